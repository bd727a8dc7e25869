//! A generation: everything that requests are judged by, from one configuration.
//!
//! The control half builds it; all workers share it. Each worker makes a [`Gateway`] of it, which adds the worker's own
//! connection pools and counters. A request takes the current gateway once, when it begins, and keeps it until its
//! exchange ends, so it never sees two configurations. State that outlives a generation is in [`Worker`].

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use tokio_rustls::TlsAcceptor;

use super::fields::FieldPolicy;
use super::handle::{RouteHandle, UpstreamHandle};
use super::{Callers, Certified, DateHeader, Forms, LoginEndpoint, PagesEndpoint, Timers};
use crate::acme::Challenges;
use crate::auth::{Authenticator, CredentialRules};
use crate::cache::ExposedTokens;
use crate::client::{ClientConnection, ListenerPolicy};
use crate::clock::Clock;
use crate::config::settings::{self, Browser, ClientCertificates, ConnectionTimeouts, Limits, Login};
use crate::rates::Rates;
use crate::route::{Route, RouteTable, ServerNames};
use crate::telemetry::{AccessLog, Recorder, RequestIds, Tracer};
use crate::upstream::{ClientTls, EndpointSpec, EndpointTally, Spool};

/// Everything that requests are judged by. Immutable.
pub struct Generation {
    /// The number of the configuration; 1 is the one of the start.
    pub number: u64,
    /// The listeners for clients, without the internal ones.
    pub listeners: Vec<ServedListener>,
    /// Finds the route of a request.
    pub routes: RouteTable,
    /// How often requests may come.
    pub rates: Rates,
    /// Which headers are removed from requests and added to them.
    pub fields: FieldPolicy,
    /// How credentials are read.
    pub credentials: CredentialRules,
    /// `POST /gettoken/`; `None`: switched off.
    pub login: Option<LoginEndpoint>,
    /// Pages for browsers, and sessions; `None`: switched off.
    pub pages: Option<PagesEndpoint>,
    /// Limits for incomplete bodies of logins and forms.
    pub forms: Forms,
    /// Buffers request bodies on routes that ask for it.
    pub spool: Spool,
    /// Upstreams, in the order of the settings.
    pub upstreams: Vec<UpstreamSpec>,
    /// Limits that hold before a route is known.
    pub limits: Arc<Limits>,
    /// Timeouts that hold before a route is known.
    pub timeouts: ConnectionTimeouts,
    /// The answers that a CA may ask for; `None`: no CA issues certificates.
    pub challenges: Option<Arc<Challenges>>,
}

/// A listener for clients.
pub struct ServedListener {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The settings that its connections share.
    pub policy: Arc<ListenerPolicy>,
    /// `None`: the listener is unencrypted.
    pub tls: Option<ListenerTls>,
}

/// The TLS of a listener.
#[derive(Clone)]
pub struct ListenerTls {
    /// Performs handshakes.
    pub acceptor: TlsAcceptor,
    /// The names of its certificates.
    pub names: Arc<ServerNames>,
    /// The certificates of clients; `None`: they are not asked for one.
    pub clients: Option<Arc<ClientCertificates>>,
    /// For clients that send unencrypted HTTP to it.
    pub unencrypted: Arc<ListenerPolicy>,
}

/// An upstream with its endpoints.
pub struct UpstreamSpec {
    /// Its settings.
    pub settings: settings::Upstream,
    /// Its endpoints, in the order of the settings.
    pub members: Vec<Member>,
    /// Held while an endpoint is ejected, so that workers do not eject more than the cap together.
    pub ejecting: Arc<Mutex<()>>,
}

/// An endpoint and its state, shared by all workers.
#[derive(Clone)]
pub struct Member {
    /// Its address.
    pub spec: Arc<EndpointSpec>,
    /// Whether it can be reached.
    pub tally: Arc<EndpointTally>,
    /// Its part of the requests.
    pub weight: u32,
}

/// The state of one worker that outlives generations.
pub struct Worker {
    /// Checks credentials.
    pub authenticator: Authenticator,
    /// The running exchanges that were admitted by a token.
    pub callers: Callers,
    /// The connections whose clients have shown a certificate.
    pub certified: Certified,
    /// Where tokens that were sent unencrypted are reported.
    pub exposed: ExposedTokens,
    /// Wall time, for the log.
    pub clock: Clock,
    /// Counters.
    pub recorder: Arc<Recorder>,
    /// The access log.
    pub access_log: AccessLog,
    /// Records traces of requests.
    pub tracer: Tracer,
    /// Makes the ids of requests.
    pub ids: RequestIds,
    /// The `Date` header of responses.
    pub date: DateHeader,
    /// The timers of exchanges.
    pub timers: Rc<Timers>,
}

/// The request pipeline of one worker under one generation.
pub struct Gateway {
    /// The generation.
    pub generation: Arc<Generation>,
    /// The state of the worker that outlives generations.
    pub worker: Rc<Worker>,
    pub(super) upstreams: Vec<Rc<UpstreamHandle>>,
    /// Route handles, in the order of the route table.
    routes: Vec<Rc<RouteHandle>>,
    /// `None`: switched off.
    pub(super) login: Option<Rc<RouteHandle>>,
    /// `None`: switched off.
    pub(super) pages: Option<Rc<RouteHandle>>,
}

/// The gateway that a worker uses at the moment.
pub struct Current(RefCell<Rc<Gateway>>);

impl UpstreamSpec {
    /// Its TLS, if it has an endpoint with TLS.
    pub fn tls(&self) -> Option<&ClientTls> {
        self.members.iter().find_map(|member| member.spec.tls.as_ref().map(|(tls, _)| tls))
    }

    /// The endpoint at the same address, whatever its TLS.
    pub fn member_at(&self, spec: &EndpointSpec) -> Option<&Member> {
        let same = |member: &&Member| member.spec.location == spec.location;
        let equal = self.members.iter().find(|member| *member.spec == *spec);
        equal.or_else(|| self.members.iter().find(same))
    }
}

impl Generation {
    /// Returns the listener with this name.
    pub fn listener(&self, name: &str) -> Option<&ServedListener> {
        self.listeners.iter().find(|listener| *listener.name == *name)
    }

    /// Returns the current settings of a connection's listener. If this generation has no such listener, an encrypted
    /// connection keeps the settings with which it began, and an unencrypted one is refused.
    pub(super) fn policy<'a>(&'a self, client: &'a ClientConnection) -> &'a ListenerPolicy {
        match self.listener_of(client) {
            Some(listener) => &listener.policy,
            None if client.peer.secure || client.policy.plaintext.is_some() => &client.policy,
            None => &ListenerPolicy::REMOVED,
        }
    }

    /// The listener of a connection, if this generation has it.
    pub(super) fn listener_of(&self, client: &ClientConnection) -> Option<&ServedListener> {
        let listener = client.listener.as_ref().and_then(|name| self.listener(name));
        // If a listener of the same name changed between TLS and unencrypted, it is a different listener.
        listener.filter(|listener| listener.tls.is_some() == client.peer.secure)
    }
}

impl Gateway {
    /// Creates the pipeline of a worker for a generation. `before` is the worker's previous one: connections to
    /// endpoints, shares of clients and tunnels continue if the configuration still has their endpoint, upstream or
    /// route. `workers` is the number of workers that share the limits.
    pub fn new(
        generation: Arc<Generation>,
        worker: Rc<Worker>,
        before: Option<&Gateway>,
        workers: usize,
    ) -> Rc<Gateway> {
        let upstreams: Vec<_> = generation
            .upstreams
            .iter()
            .map(|spec| UpstreamHandle::new(spec, &generation.limits, before, workers))
            .collect();
        let recorder = &worker.recorder;
        let tunnels = before.map(Gateway::tunnels).unwrap_or_default();
        let routes = generation.routes.routes().iter().map(|route| {
            let upstream = upstreams.get(route.settings.upstream).map(Rc::clone);
            RouteHandle::new(&route.settings, upstream, recorder, tunnels.get(&route.settings.name))
        });
        let routes = routes.collect();
        let login = generation.login.as_ref().map(|_| RouteHandle::of_gateway(Login::NAME, recorder));
        let pages = generation.pages.as_ref().map(|_| RouteHandle::of_gateway(Browser::NAME, recorder));
        Rc::new(Gateway { generation, worker, upstreams, routes, login, pages })
    }

    /// Returns the handle of a route of this generation.
    pub(super) fn handle(&self, route: &Route) -> Option<&Rc<RouteHandle>> {
        self.routes.get(route.index)
    }

    /// Returns the handles of all configured routes.
    pub(super) fn handles(&self) -> impl Iterator<Item = &Rc<RouteHandle>> {
        self.routes.iter()
    }
}

impl Current {
    /// Creates it with this gateway.
    pub fn new(gateway: Rc<Gateway>) -> Rc<Current> {
        Rc::new(Current(RefCell::new(gateway)))
    }

    /// Returns the gateway for a request or connection that begins now.
    pub fn get(&self) -> Rc<Gateway> {
        Rc::clone(&self.0.borrow())
    }

    /// Replaces the gateway for everything that begins from now on. Returns the previous one.
    pub fn set(&self, gateway: Rc<Gateway>) -> Rc<Gateway> {
        self.0.replace(gateway)
    }
}
