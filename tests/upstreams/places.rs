//! Where endpoints of HTTP/2 are: at Unix sockets, and at names whose addresses change.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokengate::config::settings::{Endpoint, EndpointAddress, Protocol};
use tokio::net::{TcpStream, UnixListener};

use super::faults::Load;
use super::http2::before;
use crate::names::Told;
use crate::support::client::BOTH;
use crate::support::h2_origin::{Act, H2Origin};
use crate::support::http2::H2;
use crate::support::{Ask, Gate, PATIENCE, Site, eventually, nowhere, soon};

/// A Unix socket that leads to an endpoint.
fn socket_to(endpoint: SocketAddr, folder: &Path) -> PathBuf {
    let path = folder.join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(endpoint).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    path
}

#[tokio::test]
async fn requests_share_one_connection_to_a_unix_socket_and_name_their_callers() {
    let gate = Gate::closed();
    let held = Arc::clone(&gate);
    let origin = H2Origin::scripted(100, move |seen| match seen.target.as_str() {
        "/api/held" => Act::Wait(Arc::clone(&held), "held".to_owned()),
        _ => Act::Trailers("hello".to_owned(), vec![("grpc-status", "0")]),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = socket_to(origin.address(), folder.path());
    let site = before(&[nowhere()]).with(|settings| {
        settings.upstreams[0].endpoints = vec![Endpoint::at("localhost", EndpointAddress::Unix(path))];
    });
    let gateway = site.start().await;
    let (alice, bob) = (gateway.issue("alice").await, gateway.issue("bob").await);
    assert_eq!(Ask::get("/public/x").to(&gateway).await.text(), "hello");
    let mut client = H2::open(&gateway).await;
    let hold =
        |number: usize| Ask::post("/api/held", "body").token(if number.is_multiple_of(2) { &alice } else { &bob });
    let waiting: Vec<_> =
        (0..8).map(|number| tokio::spawn(client.begin(hold(number).field("X-User-Name", "root").http2()))).collect();
    origin.has_seen(9).await;
    // Others are answered while these wait.
    for http in BOTH {
        let call = Ask::post("/api/x", "body").token(&alice).field("Content-Type", "application/grpc");
        let answer = call.over(http, &gateway).await;
        assert_eq!((answer.status, answer.text()), (200, "hello"), "{http:?}");
        let seen = origin.last();
        assert_eq!((seen.body.as_slice(), seen.complete), (&b"body"[..], true), "{http:?}");
    }
    gate.open();
    for answer in waiting {
        assert_eq!(soon("an answer", answer).await.unwrap().unwrap().status(), 200);
    }
    let mut callers: HashMap<String, usize> = HashMap::new();
    for seen in origin.requests().into_iter().filter(|seen| seen.target == "/api/held") {
        let names: Vec<_> = seen.headers.get_all("x-user-name").iter().map(|name| name.to_str().unwrap()).collect();
        assert!(names.len() == 1 && !seen.headers.contains_key("authorization"), "{seen:?}");
        *callers.entry(names[0].to_owned()).or_default() += 1;
    }
    assert_eq!(callers, HashMap::from([("alice".to_owned(), 4), ("bob".to_owned(), 4)]));
    assert_eq!((origin.count(), origin.connections()), (11, 1));
}

#[tokio::test]
async fn requests_follow_a_name_to_its_new_address_and_the_old_connection_ends_with_its_last_one() {
    let gate = Gate::closed();
    let held = Arc::clone(&gate);
    let one = H2Origin::scripted(100, move |seen| match seen.target.as_str() {
        "/public/held" => Act::Wait(Arc::clone(&held), "one".to_owned()),
        _ => Act::Answer("one".to_owned()),
    })
    .await;
    let two = H2Origin::answering("two").await;
    let told = Told::saying(one.address());
    let mut site: Site = before(&[nowhere()]);
    site.resolver = told.resolver();
    site.settings.resolve_every = Duration::from_millis(1);
    let address = EndpointAddress::Tcp("app.test".to_owned(), 80);
    site.settings.upstreams[0].endpoints = vec![Endpoint::at("app.test:80", address)];
    assert_eq!(site.settings.upstreams[0].protocol, Protocol::Http2);
    let gateway = site.start().await;
    let mut client = H2::open(&gateway).await;
    let asks = [Ask::get("/public/held"), Ask::post("/public/held", "body")];
    let waiting = asks.map(|ask| tokio::spawn(client.begin(ask.http2())));
    let load = Load::on(&gateway);
    one.has_seen(100).await;
    told.says(Some(vec![two.address()])).await;
    two.has_seen(100).await;
    // The worker has seen the change on its tick. From then on the old address gets nothing.
    let at_old = one.count();
    two.has_seen(two.count() + 100).await;
    assert_eq!(one.count(), at_old);
    assert!(!waiting.iter().any(tokio::task::JoinHandle::is_finished));
    gate.open();
    for answer in waiting {
        let answer = soon("an answer", answer).await.unwrap().unwrap();
        assert_eq!(crate::support::http2::collect(answer).await.text(), "one");
    }
    one.is_left().await;
    let asked = load.end().await;
    let mut seen: HashMap<String, usize> = HashMap::new();
    for request in one.requests().into_iter().chain(two.requests()) {
        *seen.entry(request.target).or_default() += 1;
    }
    for asked in asked {
        assert_eq!((asked.status, seen.get(&asked.target)), (200, Some(&1)), "{}", asked.target);
    }
    assert_eq!((one.connections(), two.connections()), (1, 1));
    // A resolver that is down changes nothing, and an address that stays keeps its connection.
    for answer in [None, Some(vec![one.address(), two.address()])] {
        told.says(answer).await;
        assert_eq!(Ask::post("/public/x", "body").to(&gateway).await.text(), "two");
    }
    eventually(PATIENCE, "all are counted", || async { gateway.outcome("public", "origin_reset") == 0 }).await;
    assert_eq!(two.connections(), 1);
}
