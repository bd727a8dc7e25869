//! The CA is away: the certificate in use stays, requests are served, and a warning says so.

use super::command::{Process, serial, text};
use super::*;

/// Status and body that a client which trusts the CA gets from the gateway at `address`, over a new connection.
async fn asked(address: SocketAddr, roots: &Arc<RootCertStore>, path: &str, key: Option<&str>) -> (u16, String) {
    let stream = connect(address, &Tls::default().trusting(roots), NAME).await.unwrap();
    let credentials = key.map_or_else(String::new, |key| format!("Authorization: Token {key}\r\n"));
    let request = format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n{credentials}\r\n");
    let answer = Wire::over(stream).ask(request).await;
    (answer.status, answer.text().to_owned())
}

#[tokio::test]
async fn a_gateway_whose_ca_is_away_for_its_whole_life_serves_as_before_and_warns_once() {
    let origin = Origin::answering("hello").await;
    let mut pebble = Pebble::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (http, tls, directory, ca) = (pebble.http, pebble.tls, pebble.directory(), pebble.authority_file());
    let configuration = format!(
        "workers = 1\n[control]\nsocket = \"control.sock\"\n\
         [acme]\naccept_terms = true\ncontact = [\"admin@a.test\"]\ndirectory = \"{directory}\"\nca_file = \"{}\"\n\
         [certificates.main]\nacme_names = [\"{NAME}\"]\nchallenge = \"http-01\"\n\
         [listeners.public]\naddress = \"127.0.0.1:{tls}\"\ncertificates = [\"main\"]\n\
         [listeners.plain]\naddress = \"127.0.0.1:{http}\"\nplaintext = \"redirect\"\n\
         [listeners.internal]\naddress = \"127.0.0.1:0\"\nservices = [\"health\", \"metrics\"]\n\
         [upstreams.one]\nendpoints = [\"http://{}\"]\n[routes.one]\npath_prefix = \"/\"\nupstream = \"one\"\n",
        ca.display(),
        origin.address()
    );
    let process = Process::start(folder.path(), &configuration);
    process.says("certificates_renewed").await;
    let made = process.run(&["user", "create", "alice", "--no-password", "--json"]).await;
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let key = made["token"]["key"].as_str().unwrap();
    let roots = Arc::new(pebble.roots().await);
    let file = folder.path().join("acme/main.pem");
    let (first, account) = (serial(&file), fs::read(folder.path().join("acme/account.json")).unwrap());
    drop(process);
    pebble.stop();

    let process = Process::start(folder.path(), &configuration);
    process.says("acme_unreachable").await;
    let address = SocketAddr::from(([127, 0, 0, 1], tls));
    for _ in 0..3 {
        assert_eq!(asked(address, &roots, "/x", Some(key)).await, (200, "hello".to_owned()));
        assert_eq!(asked(address, &roots, "/x", None).await.0, 401);
        let reloaded = process.run(&["reload"]).await;
        assert!(reloaded.status.success(), "{}", text(&reloaded));
    }
    assert!(process.run(&["check"]).await.status.success());
    let status = text(&process.run(&["status"]).await);
    assert!(status.contains("certificate main: expires 20") && status.contains("to be renewed 20"), "{status}");
    assert!(status.contains("the CA cannot be asked when it wants the certificate renewed: "), "{status}");
    let metrics = process.metrics().await;
    for line in ["unanswered_total{certificate=\"main\"} 1", "failures_total{certificate=\"main\"} 0"] {
        assert!(metrics.contains(&format!("tokengate_acme_{line}\n")), "{metrics}");
    }
    let warnings = process.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("acme_unreachable"), "{warnings:#?}");
    assert_eq!((serial(&file), fs::read(folder.path().join("acme/account.json")).unwrap()), (first, account));
}

#[tokio::test]
async fn an_outage_of_the_ca_past_the_time_of_renewal_interrupts_nothing_and_ends_by_itself() {
    let origin = Origin::answering("hello").await;
    let mut pebble = Pebble::start(&[]).await;
    let roots = Arc::new(pebble.roots().await);
    let folder = tempfile::tempdir().unwrap();
    let acme = ca(&pebble, folder.path(), AcmeChallenge::Http, &[NAME]);
    let gateway = start(&origin, &pebble, acme.clone()).await;
    becomes_trusted(&gateway, &roots, NAME).await;
    let key = gateway.issue("alice").await;
    let serves = async |roots: &Arc<RootCertStore>| {
        let answer = asked(gateway.address(), roots, "/api/x", Some(&key)).await;
        assert_eq!(answer, (200, "hello".to_owned()));
        assert_eq!(asked(gateway.address(), roots, "/api/x", None).await.0, 401);
    };
    let begin = gateway.clock().now();
    let after = async |time: Duration, what: &str, number: u64| {
        gateway.hand.advance(time);
        has_counted(&gateway, what, number).await;
    };
    let first = fs::read(acme.file("main")).unwrap();
    serves(&roots).await;

    pebble.stop();
    // Nothing is due: the CA is asked when to renew, again and again.
    for unanswered in 1..=3 {
        after(Duration::from_secs(6 * 3_600), "unanswered_total", unanswered).await;
        serves(&roots).await;
    }
    assert_eq!(count(&gateway, "failures_total"), 0);
    // Now the certificate is due.
    after(DAY * 61, "failures_total", 1).await;
    serves(&roots).await;
    after(Duration::from_secs(150), "failures_total", 2).await;
    serves(&roots).await;
    assert_eq!((fs::read(acme.file("main")).unwrap(), count(&gateway, "issued_total")), (first.clone(), 1));

    // The CA is back, with other keys and without accounts, as a test server is.
    pebble.restart().await;
    after(Duration::from_secs(300), "issued_total", 2).await;
    gateway.hand.set(begin);
    let roots = Arc::new(pebble.roots().await);
    becomes_trusted(&gateway, &roots, NAME).await;
    serves(&roots).await;
    assert_ne!(fs::read(acme.file("main")).unwrap(), first);
}
