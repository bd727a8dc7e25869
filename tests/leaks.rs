//! Keys are secret: no log, error, metric or response contains one.

use std::sync::OnceLock;
use std::time::Duration;

use tokengate::config::settings::{ExposedToken, Login, Plaintext};
use tokengate::store::{NewUser, Password};
use tokengate::telemetry::{LogFormat, log};
use tokengate::units::Rate;

use crate::support::client::BOTH;
use crate::support::gateway::{Captured, plain};
use crate::support::{Ask, Origin, PATIENCE, Site, Step, Wire, eventually};

/// Everything that this process has logged since the first call, at the most verbose level.
pub fn said() -> Captured {
    static SAID: OnceLock<Captured> = OnceLock::new();
    SAID.get_or_init(|| {
        let said = Captured::default();
        let writer = said.clone();
        let (subscriber, _log) = log::subscriber(tracing::Level::TRACE, false, move || writer.clone());
        // Set for the whole process, since all workers have their own threads.
        tracing::subscriber::set_global_default(subscriber).unwrap();
        said
    })
    .clone()
}

#[tokio::test]
async fn invariant_3_a_key_never_appears_in_any_output() {
    let said = said();
    for json in [false, true] {
        let origin = Origin::scripted(|request| match request.target.as_str() {
            "/api/garbage" => vec![Step::Read, Step::Send(b"garbage\r\n\r\n".to_vec()), Step::Close],
            "/api/reset" => vec![Step::Reset],
            "/api/cut" => vec![
                Step::Read,
                Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello".to_vec()),
                Step::Close,
            ],
            _ => vec![Step::Read, Step::Send(crate::support::origin::ok("hello"))],
        })
        .await;
        let site = Site::before(&origin).with(|settings| {
            settings.log.json = json;
            settings.log.access_format = if json { LogFormat::Json } else { LogFormat::Text };
            settings.listeners[1].role = plain(Plaintext::Redirect, ExposedToken::Revoke);
        });
        let gateway = site.start().await;
        let good = gateway.issue("alice").await;
        let exposed = gateway.issue("bob").await;
        let revoked = gateway.issue("carol").await;
        gateway.revoke(&revoked).await;
        let unknown = "1234567890123456789012345678901234567890".to_owned();
        let odd = "unknown\u{f6}key\"with'odd\\characters%41".to_owned();
        let keys = [&good, &exposed, &revoked, &unknown, &odd];

        let mut answers = Vec::new();
        for http in BOTH {
            for key in keys {
                for path in ["/api/x", "/api/garbage", "/api/reset", "/api/cut", "/scoped/x", "/optional/x", "/nope"] {
                    answers.push(Ask::get(path).token(key).over(http, &gateway).await);
                }
                for line in [format!("Bearer {key}"), format!("Token {key} x"), format!("Token {key},"), key.clone()] {
                    answers.push(Ask::get("/api/x").field("Authorization", line).over(http, &gateway).await);
                }
                answers.push(Ask::get("/api/x").token(key).token(key).over(http, &gateway).await);
                let query = key.replace(['\u{f6}', '"', '\\', '\''], "x");
                answers.push(Ask::get(&format!("/api/x?token={query}")).over(http, &gateway).await);
                answers.push(Ask::get("/api/x").field("Cookie", format!("token={key}")).over(http, &gateway).await);
            }
        }
        for key in keys {
            let mut wire = Wire::open(&gateway).await;
            let damaged = format!("GET /api/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {key}\nX: y\r\n\r\n");
            answers.push(wire.ask(damaged).await);
            answers.push(Wire::plain(&gateway).await.ask(Ask::get("/api/x").token(key).bytes()).await);
        }
        eventually(PATIENCE, "the exposed token is revoked", || async {
            Ask::get("/api/x").token(&exposed).to(&gateway).await.status == 401
        })
        .await;
        let away = gateway.database.with_extension("away");
        std::fs::rename(&gateway.database, away).unwrap();
        for key in [&unknown[1..], &exposed] {
            gateway.hand.advance(std::time::Duration::from_secs(61));
            answers.push(Ask::get("/api/x").token(key).to(&gateway).await);
        }

        let (metrics, log) = (gateway.metrics(), gateway.log.clone());
        gateway.stop(PATIENCE).await;
        let (log, told) = (log.text(), said.text());
        // The captures are not empty.
        assert!(log.lines().count() > 100 && metrics.contains("store_unavailable"));
        assert!(told.contains("a token could not be looked up"), "{told}");
        let everything: String =
            answers.iter().map(|answer| format!("{answer:?}{}", String::from_utf8_lossy(&answer.body))).collect();
        for key in keys {
            // Any twelve consecutive characters; the hint may show eight.
            let letters: Vec<char> = key.chars().collect();
            for part in letters.windows(12).map(|part| part.iter().collect::<String>()) {
                for (name, text) in
                    [("access log", &log), ("log", &told), ("metrics", &metrics), ("answers", &everything)]
                {
                    assert!(!text.contains(&part), "{name} has a part of a key: {part}");
                }
            }
            for seen in origin.requests() {
                let head: String = seen.head.iter().map(|byte| char::from(*byte)).collect();
                let head = head.replace(&format!("token={key}"), "");
                assert!(!head.contains(key.as_str()), "the origin got a key: {head}");
            }
        }
    }
}

#[tokio::test]
async fn a_password_never_appears_in_any_output() {
    let said = said();
    let origin = Origin::answering("hello").await;
    let site = Site::before(&origin).with(|settings| {
        settings.login = Some(Login { per_user: Some(Rate::per_minute(4)), ..Login::default() });
        settings.store.hashing.failed_after = Duration::from_millis(1);
        settings.listeners[1].role = plain(Plaintext::Refuse, ExposedToken::Revoke);
    });
    let gateway = site.start().await;
    let (right, wrong) = ("hushhushhush one", "hushhushhush two");
    // Users type passwords into the username field.
    let (name, misplaced) = ("alice", "hushhushhush three");
    let password = Some(Password::parse(right).unwrap());
    gateway.store.accounts.create(NewUser { password, ..NewUser::named(name) }).await.unwrap();
    let login = |name: &str, password: &str| {
        let json = serde_json::json!({"username": name, "password": password}).to_string();
        Ask::post("/gettoken/", json).field("Content-Type", "application/json")
    };
    let mut answers = Vec::new();
    for http in BOTH {
        for ask in [
            login(name, right),
            login(name, wrong),
            login(misplaced, "x"),
            login(name, &format!("{wrong}\0")),
            Ask::post("/gettoken/", format!("{{\"{wrong}\": \"{wrong}\\x\"}}"))
                .field("Content-Type", "application/json"),
            Ask::post("/gettoken/", format!("username=alice&password={wrong}")).field("Content-Type", "text/plain"),
            Ask::post("/gettoken/", format!("--{wrong}")).field("Content-Type", "multipart/form-data; boundary=b"),
            Ask::new("POST", &format!("/gettoken/?password={}", wrong.replace(' ', "+"))),
        ] {
            answers.push(ask.over(http, &gateway).await);
        }
    }
    answers.push(Wire::plain(&gateway).await.ask(login(name, right).bytes()).await);
    std::fs::rename(&gateway.database, gateway.database.with_extension("away")).unwrap();
    answers.push(login("bob", right).to(&gateway).await);
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    for status in [200, 400, 403, 415, 503] {
        assert!(statuses.contains(&status), "{statuses:?}");
    }
    let key = answers[0].text().split('"').nth(3).unwrap().to_owned();
    let (metrics, log) = (gateway.metrics(), gateway.log.clone());
    gateway.stop(PATIENCE).await;
    let (log, told) = (log.text(), said.text());
    assert!(log.lines().count() > 15 && told.contains("a login could not be checked"), "{told}");
    let answers: String = answers.iter().map(|answer| format!("{answer:?}{}", answer.text())).collect();
    for (place, text) in [("access log", &log), ("log", &told), ("metrics", &metrics), ("answers", &answers)] {
        assert!(!text.contains("hushhushhush"), "{place} has a password: {text}");
        assert!(place == "answers" || !text.contains(&key[8..]), "{place} has a key");
    }
}
