//! Many streams at once, by a load generator for HTTP/2.

use std::process::Command;

use tokengate::config::settings::{ClientShare, Protocol};

use crate::support::h2_origin::H2Origin;
use crate::support::python::output;
use crate::support::{Origin, Site};

/// A thousand streams of ten connections, through HTTP/2 to the endpoint and back.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_pass_through_an_endpoint_of_http2() {
    let (one, two) = (Origin::answering("hello").await, H2Origin::answering("hello").await);
    for (address, protocol) in [(two.address(), Protocol::Http2), (one.address(), Protocol::Http1)] {
        let site = Site::before_all(&[address]).with(|settings| {
            settings.upstreams[0].protocol = protocol;
            settings.upstreams[0].client_share = ClientShare::Unlimited;
            settings.upstreams[0].max_waiting = 1_000;
        });
        let gateway = site.start().await;
        let key = gateway.issue("alice").await;
        let mut h2load = Command::new("h2load");
        h2load.args(["-n10000", "-c10", "-m100", "-H", &format!("Authorization: Token {key}")]);
        h2load.arg(format!("https://localhost:{}/api/x", gateway.address().port()));
        let output = output(h2load).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let wanted = "10000 total, 10000 started, 10000 done, 10000 succeeded, 0 failed, 0 errored, 0 timeout";
        assert!(text.contains(wanted) && text.contains("10000 2xx"), "{protocol:?}: {text}");
        gateway.has_counted("api", "forwarded", 10_000).await;
    }
    assert_eq!((one.count(), two.count()), (10_000, 10_000));
    assert!((1..=40).contains(&two.connections()), "{}", two.connections());
}
