//! Changes that a reload could miss, and traffic that a reload must not disturb.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{fs, io, process};

use rustix::process::Signal;
use socket2::{Domain, Socket, Type};
use tokengate::config::settings::{Admin, Endpoint, EndpointAddress, Upstream};
use tokengate::tls::Certificate;
use tokengate::upstream::Resolver;

use crate::serve::Gateway;
use crate::support::{Ask, Origin, PATIENCE, Site, Wire, eventually, soon};

#[tokio::test]
async fn another_certificate_of_the_admin_application_is_a_change() {
    let origin = Origin::answering("one").await;
    let mut site = Site::before(&origin);
    let second = site.add_certificate("second", &["two.test"]);
    site.settings.admin = Some(Admin { address: "127.0.0.1:0".parse().unwrap(), ..Admin::with(0) });
    let gateway = site.start().await;
    let changes = gateway.reload(|settings| settings.admin.as_mut().unwrap().certificate = second).await.unwrap();
    assert_eq!(changes.0, ["admin.certificate changed"]);
}

#[tokio::test]
async fn another_path_of_the_same_key_is_a_change_because_renewals_are_read_there() {
    let origin = Origin::answering("one").await;
    let gateway = Site::before(&origin).start().await;
    let folder = tempfile::tempdir().unwrap();
    let changes = gateway
        .reload(|settings| {
            let [file, key_file] = settings.certificates[0].files();
            let moved = folder.path().join("moved.pem");
            fs::copy(key_file, &moved).unwrap();
            settings.certificates[0] = Certificate::read("default", file, &moved).unwrap();
        })
        .await
        .unwrap();
    assert_eq!(changes.0, ["certificate `default` changed"]);
}

#[tokio::test]
async fn a_listener_can_be_opened_to_all_addresses_and_closed_again() {
    let origin = Origin::answering("one").await;
    let gateway = Site::before(&origin).start().await;
    // Bound to all addresses and not listening, so that no other test gets the port on one of them.
    let reserved = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    reserved.set_reuse_address(true).unwrap();
    reserved.set_reuse_port(true).unwrap();
    reserved.bind(&SocketAddr::from(([0, 0, 0, 0], 0)).into()).unwrap();
    let port = reserved.local_addr().unwrap().as_socket().unwrap().port();
    for address in [[127, 0, 0, 1], [0, 0, 0, 0], [127, 0, 0, 1]] {
        gateway
            .reload(|settings| {
                let plain = settings.listeners.iter_mut().find(|listener| listener.name == "plain").unwrap();
                plain.address = (address, port).into();
            })
            .await
            .unwrap();
        assert_eq!(Wire::plain(&gateway).await.ask(Ask::get("/public/x").bytes()).await.status, 200);
    }
}

#[tokio::test]
async fn a_name_that_two_upstreams_have_is_resolved_for_both() {
    let origin = Origin::answering("one").await;
    let asked = Arc::new(AtomicUsize::new(0));
    let mut site = Site::before(&origin);
    // The lookups at the start fail.
    let (address, count) = (origin.address(), Arc::clone(&asked));
    site.resolver = Resolver::new(move |_, _| {
        let is_down = count.fetch_add(1, Ordering::Relaxed) < 2;
        std::future::ready(if is_down { Err(io::Error::other("down")) } else { Ok(vec![address]) })
    });
    site.settings.resolve_every = Duration::from_millis(1);
    let endpoint = EndpointAddress::Tcp("app.test".to_owned(), 80);
    site.settings.upstreams[0].endpoints = vec![Endpoint::at("app.test:80", endpoint)];
    let second = Upstream { name: "second".to_owned(), ..site.settings.upstreams[0].clone() };
    site.settings.upstreams.push(second);
    site.settings.routes.iter_mut().filter(|route| &*route.name == "optional").for_each(|route| route.upstream = 1);
    let gateway = site.start().await;
    for path in ["/public/x", "/optional/x"] {
        eventually(PATIENCE, path, || async { Ask::get(path).to(&gateway).await.status == 200 }).await;
    }
}

/// Replaces a file by a FIFO, which blocks its reader like an unresponsive network file system.
fn block(gateway: &Gateway, file: &str) {
    let path = gateway.dir.path().join(file);
    fs::remove_file(&path).unwrap();
    assert!(process::Command::new("mkfifo").arg(&path).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_blocks_its_reader_is_refused_and_the_gateway_can_be_stopped() {
    let gateway = Gateway::serve_with("[control]\nsocket = \"control.sock\"\n").await;
    block(&gateway, "gateway.toml");
    gateway.signal(Signal::HUP);
    let page = || async { gateway.metrics().await.contains("tokengate_config_reload_ok 0") };
    eventually(PATIENCE, "the reload fails", page).await;
    soon("the end", gateway.stop(Signal::TERM)).await;
}
