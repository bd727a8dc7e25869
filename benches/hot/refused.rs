//! A request that the gateway refuses, from its head to the end of its response, without a socket.

use std::cell::Cell;
use std::fs;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::request::Parts;
use http_body::Body as _;

use tokengate::app::explain::Explainer;
use tokengate::client::{ClientBody, ClientConnection, OpenConnections};
use tokengate::clock::Timestamp;
use tokengate::config::{self, Environment};
use tokengate::gateway::{Gateway, Tunnel};
use tokengate::route::Peer;

const FILE: &str = r#"
[listeners.plain]
address = "127.0.0.1:8080"
plaintext = "serve"

[upstreams.products]
endpoints = ["http://127.0.0.1:8000"]

[routes.products]
path_prefix = "/product_api/"
upstream = "products"
"#;

/// A gateway and a connection to it.
pub struct Site {
    gateway: Rc<Gateway>,
    client: Rc<ClientConnection>,
    opened: Rc<Cell<Option<Tunnel>>>,
    _connections: OpenConnections,
}

impl Site {
    pub fn new(peer: Peer, now: Timestamp) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.toml");
        fs::write(&file, FILE).unwrap();
        // Not the system's clock: valgrind cannot run what reads it.
        let environment = Environment { now, variable: &|_| None };
        let loaded = config::load_in(&file, &environment).unwrap_or_else(|problems| panic!("{problems:?}"));
        let settings = loaded.settings;
        let gateway = Rc::clone(Explainer::new(&settings, now).unwrap().gateway());
        let listener = gateway.generation.listeners.first().unwrap();
        let connections = OpenConnections::new(gateway.generation.timeouts);
        let pulse = connections.enter(&listener.name);
        let name = Some(Arc::clone(&listener.name));
        let client = ClientConnection::new(peer, pulse, name, Arc::clone(&listener.policy));
        Site { client, gateway, opened: Rc::default(), _connections: connections }
    }

    /// Serves a request that gets its response at once. Returns the status.
    pub fn serve(&self, head: Parts) -> u16 {
        let gateway = Rc::clone(&self.gateway);
        let served = pin!(gateway.serve(&self.client, &self.opened, Box::new(head), ClientBody::none()));
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(mut response)) = served.poll(&mut cx) else { panic!("no response at once") };
        while let Poll::Ready(Some(piece)) = pin!(response.body_mut()).poll_frame(&mut cx) {
            piece.unwrap();
        }
        response.status().as_u16()
    }
}
