//! Reload: another configuration is loaded while the gateway serves, completely or not at all.

mod activation;
mod hand_over;
mod hand_over_soak;
mod missed;
mod process;
mod soak;

use std::sync::Arc;
use std::time::Duration;

use tokengate::app::ReloadError;
use tokengate::config::settings::{Auth, ExposedToken, ListenerRole, Plaintext, Settings};
use tokengate::telemetry::LogFormat;

use crate::support::client::BOTH;
use crate::support::gateway::{listener, plain, route};
use crate::support::origin::ok;
use crate::support::{Ask, Gate, Gateway, Origin, Site, Step, Wire};
use crate::upgrade::{echo, echoes, handshake, streaming};

/// All routes lead to this endpoint, under the name `name`.
fn leads_to(settings: &mut Settings, name: &str, origin: &Origin) {
    let mut upstream = settings.upstreams[0].clone();
    let address = origin.address();
    upstream.name = name.to_owned();
    upstream.endpoints = Site::before(origin).settings.upstreams[0].endpoints.clone();
    assert_eq!(upstream.endpoints[0].authority, address.to_string());
    settings.upstreams = vec![upstream];
}

#[tokio::test]
async fn routes_upstreams_and_identity_headers_change_on_connections_that_are_open() {
    for http in BOTH {
        let (one, two) = (Origin::answering("one").await, Origin::answering("two").await);
        let gateway = Gateway::before(&one).await;
        let key = gateway.issue("alice").await;
        assert_eq!(Ask::get("/api/x").token(&key).over(http, &gateway).await.text(), "one");
        let changes = gateway
            .reload(|settings| {
                leads_to(settings, "other", &two);
                settings.routes.retain(|route| &*route.name != "public");
                settings.routes.push(route("new", "/new/", Auth::None));
                settings.identity.user_name = Some("x-caller".parse().unwrap());
            })
            .await
            .unwrap();
        for change in
            ["upstream `other` added", "upstream `origin` removed", "route `new` added", "route `public` removed"]
        {
            assert!(changes.0.iter().any(|line| line == change), "{changes}");
        }
        assert!(changes.0.contains(&"route `api` changed".to_owned()), "{changes}");
        assert_eq!(Ask::get("/api/x").token(&key).over(http, &gateway).await.text(), "two");
        assert_eq!(two.last().fields.all("x-caller"), ["alice"]);
        assert!(!two.last().fields.has("x-user-name"));
        assert_eq!(Ask::get("/new/x").over(http, &gateway).await.status, 200);
        assert_eq!(Ask::get("/public/x").over(http, &gateway).await.status, 404);
        one.is_left().await;
    }
}

#[tokio::test]
async fn a_connection_is_kept_on_both_sides_and_each_request_sees_the_configuration_of_its_begin() {
    let (one, two) = (Origin::answering("one").await, Origin::answering("two").await);
    let gateway = Gateway::before(&one).await;
    let mut wire = Wire::open(&gateway).await;
    assert_eq!(wire.ask(Ask::get("/public/x").bytes()).await.text(), "one");
    for _ in 0..3 {
        gateway.reload(|settings| settings.identity.user_name = None).await.unwrap();
        assert_eq!(wire.ask(Ask::get("/public/x").bytes()).await.text(), "one");
    }
    assert_eq!(one.connections(), 1, "the connection to an endpoint that did not change is kept");
    gateway.reload(|settings| leads_to(settings, "origin", &two)).await.unwrap();
    one.is_left().await;
    assert_eq!(wire.ask(Ask::get("/public/x").bytes()).await.text(), "two");
}

#[tokio::test]
async fn an_exchange_that_began_before_ends_as_it_began() {
    let gate = Gate::closed();
    let held = Arc::clone(&gate);
    let one = Origin::scripted(move |_| vec![Step::Read, Step::Wait(Arc::clone(&held)), Step::Send(ok("old"))]).await;
    let two = Origin::answering("new").await;
    let gateway = Gateway::before(&one).await;
    let mut asking = Wire::open(&gateway).await;
    asking.send(Ask::get("/public/x").bytes()).await;
    one.has_seen(1).await;
    gateway
        .reload(|settings| {
            leads_to(settings, "origin", &two);
            settings.routes.retain(|route| &*route.name != "public");
        })
        .await
        .unwrap();
    assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 404);
    gate.open();
    assert_eq!(asking.answer().await.text(), "old");
    one.is_left().await;
    gateway.has_counted("public", "forwarded", 1).await;
}

/// Invariant 8 of the architecture.
#[tokio::test]
async fn invariant_8_a_reload_that_fails_changes_nothing() {
    let (one, two) = (Origin::answering("one").await, Origin::answering("two").await);
    let gateway = Gateway::before(&one).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    type Change = fn(&mut Settings, &std::net::TcpListener);
    let broken: [(&str, Change); 4] = [
        ("is another program using it", |settings, taken| {
            let mut new = listener("taken", plain(Plaintext::Serve, ExposedToken::Mark));
            new.address = taken.local_addr().unwrap();
            settings.listeners.push(new);
        }),
        ("[store]", |settings, _| settings.store.max_connections = 99),
        ("workers", |settings, _| settings.workers = 7),
        ("limits.connections", |settings, _| settings.limits.connections = usize::MAX / 2),
    ];
    let (public, plain_at) = (gateway.address(), gateway.plain_address());
    for (cause, change) in broken {
        let refused = gateway
            .reload(|settings| {
                leads_to(settings, "other", &two);
                settings.routes.clear();
                settings.routes.push(route("new", "/new/", Auth::None));
                settings.listeners.retain(|listener| listener.name != "plain");
                change(settings, &taken);
            })
            .await;
        let refused = refused.expect_err(cause).to_string();
        assert!(refused.contains(cause), "{refused}");
        assert_eq!((gateway.address(), gateway.plain_address()), (public, plain_at));
        for http in BOTH {
            assert_eq!(Ask::get("/public/x").over(http, &gateway).await.text(), "one");
            assert_eq!(Ask::get("/new/x").over(http, &gateway).await.status, 404);
        }
        let mut wire = Wire::plain(&gateway).await;
        assert_eq!(wire.ask(Ask::get("/public/x").bytes()).await.text(), "one");
    }
    assert_eq!(two.connections(), 0);
}

#[tokio::test]
async fn settings_that_need_a_restart_are_refused_by_name() {
    let origin = Origin::answering("one").await;
    let gateway = Gateway::before(&origin).await;
    let refused = gateway
        .reload(|settings| {
            settings.workers = 9;
            settings.memory.max_entries = 7;
        })
        .await;
    let Err(ReloadError::Restart(keys)) = refused else { panic!("{refused:?}") };
    assert_eq!(keys, ["workers", "[cache.memory]"]);
}

#[tokio::test]
async fn the_access_log_is_switched_off_and_on_and_changes_its_format() {
    let origin = Origin::answering("one").await;
    let gateway = Gateway::before(&origin).await;
    for (count, path, access, json) in
        [(1, "/public/text", true, false), (2, "/public/off", false, false), (3, "/public/json", true, true)]
    {
        let format = if json { LogFormat::Json } else { LogFormat::Text };
        gateway.reload(|settings| (settings.log.access, settings.log.access_format) = (access, format)).await.unwrap();
        Ask::get(path).to(&gateway).await;
        // A request ends shortly after its client has the response; its line is written then.
        gateway.has_counted("public", "forwarded", count).await;
    }
    let log = gateway.log.clone();
    gateway.stop(Duration::from_secs(60)).await;
    let lines = log.text();
    let of = |path: &str| {
        lines.lines().filter(|line| line.contains(path)).map(|line| line.starts_with('{')).collect::<Vec<_>>()
    };
    assert_eq!(
        (of("/public/text"), of("/public/off"), of("/public/json")),
        (vec![false], vec![], vec![true]),
        "{lines}"
    );
}

#[tokio::test]
async fn listeners_are_added_and_removed_and_connections_of_the_others_stay_open() {
    let origin = Origin::answering("one").await;
    let gateway = Gateway::before(&origin).await;
    let (mut kept, mut gone) = (Wire::open(&gateway).await, Wire::plain(&gateway).await);
    for wire in [&mut kept, &mut gone] {
        assert_eq!(wire.ask(Ask::get("/public/x").bytes()).await.status, 200);
    }
    let old = gateway.plain_address();
    gateway
        .reload(|settings| {
            settings.listeners.retain(|listener| listener.name != "plain");
            settings.listeners.push(listener("second", plain(Plaintext::Serve, ExposedToken::Mark)));
        })
        .await
        .unwrap();
    gone.ends().await;
    assert!(gateway.listener("plain").is_none());
    let closed = tokio::net::TcpStream::connect(old).await;
    assert!(closed.is_err(), "nothing listens there any more");
    assert_eq!(kept.ask(Ask::get("/public/x").bytes()).await.status, 200);
    let second = tokio::net::TcpStream::connect(gateway.listener("second").unwrap()).await.unwrap();
    assert_eq!(Wire::over(second).ask(Ask::get("/public/x").bytes()).await.status, 200);
}

#[tokio::test]
async fn a_listener_that_refuses_plain_http_does_so_on_open_connections_too_and_after_its_removal() {
    let origin = Origin::answering("one").await;
    let gateway = Gateway::before(&origin).await;
    let mut wire = Wire::plain(&gateway).await;
    assert_eq!(wire.ask(Ask::get("/public/x").bytes()).await.status, 200);
    let set = |settings: &mut Settings, plaintext| {
        let plain = settings.listeners.iter_mut().find(|listener| listener.name == "plain").unwrap();
        let ListenerRole::Plain(role) = &mut plain.role else { unreachable!() };
        role.plaintext = plaintext;
    };
    gateway.reload(|settings| set(settings, Plaintext::Refuse)).await.unwrap();
    assert_eq!(wire.ask(Ask::get("/public/x").bytes()).await.status, 403);
    assert_eq!(origin.count(), 1);
    // It has begun a request when its listener is removed.
    let mut begun = Wire::plain(&gateway).await;
    begun.send(b"GET /public/x HTTP/1.1\r\nHost: loc").await;
    gateway.reload(|settings| settings.listeners.retain(|listener| listener.name != "plain")).await.unwrap();
    if begun.try_send(b"alhost\r\n\r\n").await.is_ok() {
        let rest = begun.rest().await;
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 403"), "{}", String::from_utf8_lossy(&rest));
    }
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_new_certificate_is_used_for_new_connections_and_old_ones_live_on() {
    let origin = Origin::answering("one").await;
    let mut site = Site::before(&origin);
    let second = site.add_certificate("second", &["one.test"]);
    let new = site.settings.certificates[second].clone();
    site.settings.certificates.truncate(1);
    let gateway = site.start().await;
    let tls = crate::support::client::Tls::default();
    let mut old = Wire::over(tls.connect(&gateway).await.unwrap());
    assert_eq!(old.ask(Ask::get("/public/x").bytes()).await.status, 200);
    let before = tls.connect(&gateway).await.unwrap();
    let shown = |stream: &tokio_rustls::client::TlsStream<tokio::net::TcpStream>| {
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let changes = gateway
        .reload(|settings| {
            let mut renewed = new.clone();
            "default".clone_into(&mut renewed.name);
            settings.certificates = vec![renewed];
        })
        .await
        .unwrap();
    assert_eq!(changes.0, ["certificate `default` changed"]);
    let after = tls.connect(&gateway).await.unwrap();
    assert_ne!(shown(&before), shown(&after));
    assert_eq!(shown(&after), new.key.cert[0]);
    assert_eq!(old.ask(Ask::get("/public/x").bytes()).await.status, 200);
}

#[tokio::test]
async fn counters_of_a_route_continue_and_those_of_a_removed_one_are_dropped() {
    let origin = Origin::answering("one").await;
    let gateway = Gateway::before(&origin).await;
    for path in ["/public/x", "/optional/x"] {
        assert_eq!(Ask::get(path).to(&gateway).await.status, 200);
    }
    gateway.has_counted("optional", "forwarded", 1).await;
    for _ in 0..2 {
        gateway.reload(|settings| settings.routes.retain(|route| &*route.name != "optional")).await.unwrap();
    }
    assert_eq!(Ask::get("/public/x").to(&gateway).await.status, 200);
    gateway.has_counted("public", "forwarded", 2).await;
    assert!(!gateway.metrics().contains("route=\"optional\""));
}

#[tokio::test]
async fn a_limit_changes_for_new_connections() {
    let origin = Origin::answering("one").await;
    let gateway = Gateway::before(&origin).await;
    let mut first = Wire::plain(&gateway).await;
    assert_eq!(first.ask(Ask::get("/public/x").bytes()).await.status, 200);
    gateway.reload(|settings| settings.limits.connections_per_ip = 1).await.unwrap();
    Wire::plain(&gateway).await.ends().await;
    assert_eq!(first.ask(Ask::get("/public/x").bytes()).await.status, 200);
    gateway.reload(|settings| settings.limits.connections_per_ip = 100).await.unwrap();
    assert_eq!(Wire::plain(&gateway).await.ask(Ask::get("/public/x").bytes()).await.status, 200);
}

#[tokio::test]
async fn a_tunnel_of_a_removed_route_or_listener_ends_after_the_drain_and_others_stay() {
    let origin = echo().await;
    type Remove = fn(&mut Settings);
    let remove_route: Remove = |settings| settings.routes.retain(|route| &*route.name != "public");
    let remove_listener: Remove = |settings| settings.listeners.retain(|listener| listener.name != "plain");
    for remove in [remove_route, remove_listener] {
        let gateway = Site::before(&origin).with(streaming).start().await;
        let (key, mut tunnels) = (gateway.issue("alice").await, Vec::new());
        for wire in [Wire::plain(&gateway).await, Wire::open(&gateway).await] {
            let mut wire = wire;
            // The remaining route over the remaining listener, and the removed route over the removed listener.
            let path = if tunnels.is_empty() { "/public/ws" } else { "/api/ws" };
            wire.send(handshake(path).token(&key).bytes()).await;
            assert_eq!(wire.next_head().await.unwrap().0, 101);
            tunnels.push(wire);
        }
        gateway.reload(remove).await.unwrap();
        for wire in &mut tunnels {
            echoes(wire, b"still here").await;
        }
        gateway.reload(|settings| settings.reload.drain = Duration::from_millis(1)).await.unwrap();
        echoes(&mut tunnels[0], b"its own drain is an hour").await;
        let gateway = Site::before(&origin).with(streaming).start().await;
        let mut gone = Wire::plain(&gateway).await;
        gone.send(handshake("/public/ws").bytes()).await;
        assert_eq!(gone.next_head().await.unwrap().0, 101);
        gateway
            .reload(|settings| {
                settings.reload.drain = Duration::from_millis(1);
                remove(settings);
            })
            .await
            .unwrap();
        gone.ends().await;
    }
}
