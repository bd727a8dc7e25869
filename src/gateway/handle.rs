//! Handles of routes and upstreams in one worker.
//!
//! A handle is found once for each request and held by its exchange. Counters, connections and tunnels of a name
//! continue from one generation to the next.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tokio::time::Instant;

use super::cors::CorsFields;
use super::generation::UpstreamSpec;
use super::tunnel::Cut;
use super::{Gateway, Share};
use crate::client::Pulse;
use crate::config::settings::{self, Limits};
use crate::http1;
use crate::telemetry::{Recorder, RouteCounters};
use crate::token::AuthMethod;
use crate::upstream::{EndpointPool, PoolLimits, Rules, UpstreamPools};

/// A route, as one worker uses it.
pub struct RouteHandle {
    /// Its name in the configuration, logs and metrics.
    pub name: Arc<str>,
    /// Its counters.
    pub counters: Arc<RouteCounters>,
    /// The upstream; `None`: the gateway answers itself.
    pub upstream: Option<Rc<UpstreamHandle>>,
    /// Whether it checks for a session before a token.
    pub prefers_sessions: bool,
    /// Whether there is a challenge for the credentials that it checks first: only for tokens.
    pub has_challenge: bool,
    /// Its cross-origin rules.
    pub(super) cors: Option<CorsFields>,
    tunnels: Rc<Tunnels>,
}

/// The tunnels of one route, in all generations.
#[derive(Default)]
pub struct Tunnels {
    /// Those over HTTP/1.1.
    connections: RefCell<Vec<Weak<Pulse>>>,
    /// Those over HTTP/2, whose connections go on.
    streams: RefCell<Vec<Weak<Cut>>>,
    /// Whether the route was removed and the time of its tunnels (`reload.drain`) is over.
    is_over: Cell<bool>,
}

/// An upstream, as one worker uses it.
pub struct UpstreamHandle {
    /// Its name in the configuration.
    pub name: String,
    /// The connections to its endpoints.
    pub pools: UpstreamPools,
    /// The shares of clients.
    pub share: Rc<Share>,
}

impl RouteHandle {
    /// Creates the handle of a configured route. `tunnels` are those of the same name in the previous generation.
    pub(super) fn new(
        route: &settings::Route,
        upstream: Option<Rc<UpstreamHandle>>,
        recorder: &Recorder,
        tunnels: Option<&Rc<Tunnels>>,
    ) -> Rc<RouteHandle> {
        Rc::new(RouteHandle {
            name: Arc::clone(&route.name),
            counters: recorder.route(&route.name),
            upstream,
            prefers_sessions: route.credentials.first() == Some(&AuthMethod::Session),
            has_challenge: route.credentials.first().is_none_or(|first| *first == AuthMethod::Token),
            cors: CorsFields::of(route),
            tunnels: tunnels.map(Rc::clone).unwrap_or_default(),
        })
    }

    /// Creates the handle of a route that the gateway answers itself.
    pub(super) fn of_gateway(name: &str, recorder: &Recorder) -> Rc<RouteHandle> {
        let name: Arc<str> = name.into();
        let counters = recorder.route(&name);
        let tunnels = Rc::default();
        let (prefers_sessions, has_challenge) = (false, true);
        Rc::new(RouteHandle { name, counters, upstream: None, prefers_sessions, has_challenge, cors: None, tunnels })
    }

    /// Adds a tunnel by its client connection, or by its stream.
    pub(super) fn opens_tunnel(&self, connection: &Rc<Pulse>, stream: Option<&Rc<Cut>>) {
        let is_over = self.tunnels.is_over.get();
        match stream {
            Some(stream) if is_over => stream.cut(),
            Some(stream) => add(&self.tunnels.streams, stream),
            None if is_over => connection.cut(),
            None => add(&self.tunnels.connections, connection),
        }
    }
}

/// Adds one, and removes those that have ended.
fn add<T>(all: &RefCell<Vec<Weak<T>>>, one: &Rc<T>) {
    let mut all = all.borrow_mut();
    all.retain(|known| known.strong_count() > 0);
    all.push(Rc::downgrade(one));
}

impl Tunnels {
    /// Number of connections that may be tunnels.
    pub fn of(connections: Vec<Weak<Pulse>>) -> Rc<Tunnels> {
        Rc::new(Tunnels { connections: RefCell::new(connections), ..Tunnels::default() })
    }

    /// Ends all tunnels, and those that are still being opened.
    pub fn end(&self) {
        self.is_over.set(true);
        self.connections.take().iter().filter_map(Weak::upgrade).for_each(|connection| connection.cut());
        self.streams.take().iter().filter_map(Weak::upgrade).for_each(|stream| stream.cut());
    }
}

impl UpstreamHandle {
    pub(super) fn new(
        spec: &UpstreamSpec,
        limits: &Limits,
        before: Option<&Gateway>,
        workers: usize,
    ) -> Rc<UpstreamHandle> {
        let (settings, workers) = (&spec.settings, workers.max(1));
        let answers =
            http1::Limits { head_bytes: limits.response_header_bytes, head_count: limits.response_header_count };
        let limits = PoolLimits {
            connections: settings.max_connections.div_ceil(workers).max(1),
            idle: settings.idle_timeout,
            connect: settings.connect_timeout,
            answers,
        };
        let before = before.and_then(|gateway| gateway.upstreams.iter().find(|one| one.name == settings.name));
        let queue = before.map(|old| old.pools.queue()).unwrap_or_default();
        let pools = spec.members.iter().map(|member| {
            let pool = match before.and_then(|old| old.pools.of(&member.spec)) {
                Some(pool) => {
                    pool.set_limits(limits);
                    Rc::clone(pool)
                }
                None => {
                    EndpointPool::new(Arc::clone(&member.spec), limits, Arc::clone(&member.tally), Rc::clone(&queue))
                }
            };
            (pool, member.weight)
        });
        let rules = Rules {
            retry: settings.retry,
            balance: settings.balance,
            ejection: settings.ejection,
            slow_start: settings.slow_start,
            most_waiting: settings.max_waiting.div_ceil(workers),
            wait: settings.wait_timeout,
            ejecting: Arc::clone(&spec.ejecting),
        };
        let pools = UpstreamPools::new(pools.collect(), rules, queue, before.map(|old| &old.pools));
        let share = Share::new(settings, workers);
        let share = match before.filter(|old| old.share.has_limits_of(&share)) {
            Some(old) => Rc::clone(&old.share),
            None => Rc::new(share),
        };
        Rc::new(UpstreamHandle { name: settings.name.clone(), pools, share })
    }
}

impl Gateway {
    /// The worker's tick: closes idle connections to endpoints.
    pub fn sweep_pools(&self, now: Instant) {
        self.upstreams.iter().for_each(|upstream| upstream.pools.sweep(now));
    }

    /// Called when another gateway has replaced this one: closes connections that the new one does not use.
    pub fn retire(&self, next: &Gateway) {
        let kept: HashSet<_> = next.pools().map(Rc::as_ptr).collect();
        self.pools().filter(|pool| !kept.contains(&Rc::as_ptr(pool))).for_each(|pool| pool.retire());
    }

    /// Returns the tunnels of routes that the next generation does not have.
    pub fn tunnels_of_gone_routes(&self, next: &Gateway) -> Vec<Rc<Tunnels>> {
        let mut tunnels = self.tunnels();
        next.handles().for_each(|handle| drop(tunnels.remove(&handle.name)));
        tunnels.into_values().collect()
    }

    /// Returns the tunnels of each route.
    pub(super) fn tunnels(&self) -> HashMap<Arc<str>, Rc<Tunnels>> {
        self.handles().map(|handle| (Arc::clone(&handle.name), Rc::clone(&handle.tunnels))).collect()
    }

    fn pools(&self) -> impl Iterator<Item = &Rc<EndpointPool>> {
        self.upstreams.iter().flat_map(|upstream| upstream.pools.all())
    }
}
