//! The connections of one worker to one endpoint.
//!
//! Last in, first out: the most recently used connection serves next. Unneeded connections age at the bottom until the
//! sweep on the worker's tick closes them. Everything is `Rc` and `Cell`: a pool never leaves its worker.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::connect::{ConnectFault, EndpointSpec, connect};
use super::connection::Connection;
use super::http2::Multiplexed;
use super::http2_stream::Http2Stream;
use super::pools::Queue;
use super::{EndpointTally, Lease, OriginFault, TlsFault};
use crate::config::settings::Protocol;
use crate::http1::{self, BadAnswer};
use crate::limits::LogLimiter;

/// The connections of one worker to one endpoint.
pub struct EndpointPool {
    spec: Arc<EndpointSpec>,
    limits: Cell<PoolLimits>,
    /// The version of the endpoint's addresses that the connections were last compared with.
    addresses: Cell<u64>,
    /// The configuration no longer has this endpoint: connections close after their current request.
    retired: Cell<bool>,
    tally: Arc<EndpointTally>,
    idle: RefCell<VecDeque<Idle>>,
    /// Connections of HTTP/2.
    multiplexed: RefCell<Vec<Rc<Multiplexed>>>,
    /// How many connections are being opened.
    opening: Cell<usize>,
    /// Whether the last connection turned out to be one of HTTP/1.1, although HTTP/2 was offered.
    fell_back: Cell<bool>,
    /// How many connections are open or being opened.
    open: Cell<usize>,
    /// Notified when a place becomes free.
    queue: Rc<Queue>,
    bad_answers: LogLimiter,
}

/// Limits of one pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolLimits {
    /// Maximum number of connections.
    pub connections: usize,
    /// How long an unused connection is kept.
    pub idle: Duration,
    /// Longest wait for a connection.
    pub connect: Duration,
    /// Limits of response heads.
    pub answers: http1::Limits,
}

struct Idle {
    connection: Box<Connection>,
    since: Instant,
}

impl EndpointPool {
    /// An empty pool, which counts its connections in `tally`. `queue` is that of its upstream.
    pub fn new(
        spec: Arc<EndpointSpec>,
        limits: PoolLimits,
        tally: Arc<EndpointTally>,
        queue: Rc<Queue>,
    ) -> Rc<EndpointPool> {
        Rc::new(EndpointPool {
            spec,
            limits: Cell::new(limits),
            addresses: Cell::new(0),
            retired: Cell::new(false),
            tally,
            idle: RefCell::default(),
            multiplexed: RefCell::default(),
            opening: Cell::new(0),
            fell_back: Cell::new(false),
            open: Cell::new(0),
            queue,
            bad_answers: LogLimiter::default(),
        })
    }

    /// The endpoint.
    pub fn spec(&self) -> &EndpointSpec {
        &self.spec
    }

    /// Its state, which all workers share.
    pub(super) fn tally(&self) -> &EndpointTally {
        &self.tally
    }

    /// Changes the limits; connections beyond them end with their request.
    pub fn set_limits(&self, limits: PoolLimits) {
        self.limits.set(limits);
        self.queue.freed.notify_waiters();
    }

    /// Closes the unused connections, and each other one after its request.
    pub fn retire(&self) {
        self.retired.set(true);
        let unused = self.idle.take();
        unused.iter().for_each(|_| self.lost_one());
        // Each closes with its last stream.
        drop(self.multiplexed.take());
    }

    /// How many requests run and connections are being opened, as a number that can be divided by a weight.
    pub(super) fn load(&self) -> u64 {
        let multiplexed = self.multiplexed.borrow();
        let streams: usize = multiplexed.iter().map(|one| one.streams()).sum();
        let others = self.open.get().saturating_sub(self.idle.borrow().len() + multiplexed.len());
        u64::try_from(streams + others).unwrap_or(u64::MAX >> 20) << 20
    }

    /// Whether a request could begin now.
    pub(super) fn has_room(&self) -> bool {
        self.open.get() < self.limits.get().connections
            || !self.idle.borrow().is_empty()
            || self.multiplexed.borrow().iter().any(|one| one.has_room())
    }

    /// Leases an idle connection, if there is one. `certainly` is for a request that must not be sent twice: the socket
    /// is checked now, so that the request is not written to a connection which the endpoint has just closed.
    pub fn lease_warm(self: &Rc<Self>, certainly: bool) -> Option<Lease> {
        if self.spec.protocol == Protocol::Http2
            && let Some(lease) = self.lease_stream()
        {
            return Some(lease);
        }
        self.warm(certainly).map(|connection| Lease::new(connection, self, true))
    }

    /// Leases a stream of an open connection, if one has room: of one that is not worn, unless no other connection may be
    /// opened.
    pub(super) fn lease_stream(self: &Rc<Self>) -> Option<Lease> {
        let multiplexed = self.multiplexed.borrow();
        let with_room = || multiplexed.iter().filter(|one| one.has_room());
        let mut place = with_room().filter(|one| !one.is_worn()).find_map(|one| one.enter());
        if place.is_none() && self.open.get() >= self.limits.get().connections {
            place = with_room().find_map(|one| one.enter());
        }
        let place = place?;
        let is_secure = self.spec.tls.is_some();
        Some(Lease::of_stream(Http2Stream::new(place, self.limits.get().answers, is_secure), self))
    }

    /// Opens a connection and leases it. No other request gets it if it is `alone`. The future can be dropped at any time.
    ///
    /// # Errors
    /// [`OriginFault::Unresolved`] while the host name is unresolved, [`OriginFault::Overloaded`] if there is no room,
    /// [`OriginFault::Connect`], [`OriginFault::ConnectTimeout`] or [`OriginFault::Tls`] if none can be opened.
    pub async fn lease_new(self: &Rc<Self>, alone: bool) -> Result<Lease, OriginFault> {
        if !self.spec.is_known() {
            self.tally.refused(&self.spec.title(), &"its host name could not be resolved");
            return Err(OriginFault::Unresolved);
        }
        // One connection of HTTP/2 serves all requests that wait for it.
        if self.open.get() >= self.limits.get().connections || (!alone && self.is_opening_for_all()) {
            return Err(OriginFault::Overloaded);
        }
        let mut opening = Opening::begin(self, alone);
        let leased = self.connect(Instant::now() + self.limits.get().connect, alone).await;
        opening.is_over = true;
        leased
    }

    /// How long a connection may take to be ready for requests.
    pub(super) fn connect_timeout(&self) -> Duration {
        self.limits.get().connect
    }

    /// Whether a connection is being opened that will have room for further requests.
    pub(super) fn is_opening_for_all(&self) -> bool {
        self.is_multiplexed() && self.opening.get() > 0
    }

    /// Whether requests share connections.
    pub(super) fn is_multiplexed(&self) -> bool {
        self.spec.protocol == Protocol::Http2 && !self.fell_back.get()
    }

    /// Closes connections that were unused for the idle time, and removes those that the endpoint has closed.
    pub fn sweep(&self, now: Instant) {
        let addresses = self.moved();
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain_mut(|one| {
            let has_moved = addresses.as_ref().is_some_and(|all| !one.connection.leads_to(all));
            one.connection.version = self.addresses.get();
            one.connection.is_open(false) && now.duration_since(one.since) < self.limits.get().idle && !has_moved
        });
        let gone = before - idle.len();
        drop(idle);
        let then = now.checked_sub(self.limits.get().idle);
        self.multiplexed.borrow_mut().retain(|one| {
            let has_moved = one.version != self.spec.version()
                && self.spec.addresses().is_some_and(|all| one.peer.is_some_and(|peer| !all.all().contains(&peer)));
            !one.is_over(then) && !has_moved
        });
        for _ in 0..gone {
            self.lost_one();
        }
    }

    /// The addresses of the endpoint, if they have changed since the last call.
    fn moved(&self) -> Option<Arc<[SocketAddr]>> {
        let addresses = self.spec.addresses()?;
        let version = addresses.version();
        (self.addresses.replace(version) != version).then(|| addresses.all())
    }

    pub(super) fn take_back(&self, connection: Box<Connection>) {
        // Compared on the next tick, as all idle connections are, if the addresses have changed meanwhile.
        if connection.version != self.spec.version() {
            self.addresses.set(0);
        }
        if self.retired.get() || self.open.get() > self.limits.get().connections {
            return self.lost_one();
        }
        self.idle.borrow_mut().push_back(Idle { connection, since: Instant::now() });
        self.queue.freed.notify_one();
    }

    /// Logs an invalid response of the endpoint, at a limited rate; the access log has the cause of each. A response
    /// that ends early is not logged: that happens whenever an endpoint is stopped.
    pub(super) fn log_invalid(&self, bad: &BadAnswer) {
        if *bad != BadAnswer::Cut && self.bad_answers.is_due(Instant::now().into_std()) {
            let (endpoint, cause) = (&*self.spec.title(), bad.word());
            tracing::warn!(endpoint, cause, error = %bad, "invalid response from the endpoint");
        }
    }

    /// Logs that TLS broke on an open connection, at a limited rate.
    pub(super) fn log_tls(&self, fault: &TlsFault) {
        if self.bad_answers.is_due(Instant::now().into_std()) {
            let (endpoint, error, mend) = (&*self.spec.title(), &fault.what, fault.mend);
            tracing::warn!(code = "endpoint_tls", endpoint, error, mend, "the endpoint ended the TLS connection");
        }
    }

    /// A stream has ended.
    pub(super) fn has_freed(&self) {
        self.queue.freed.notify_one();
    }

    pub(super) fn lost_one(&self) {
        self.open.set(self.open.get().saturating_sub(1));
        self.tally.lost();
        self.queue.freed.notify_one();
    }

    /// The most recently used connection that is still open.
    fn warm(&self, certainly: bool) -> Option<Box<Connection>> {
        loop {
            let Idle { connection, .. } = self.idle.borrow_mut().pop_back()?;
            if connection.is_open(certainly) {
                return Some(connection);
            }
            self.lost_one();
        }
    }

    async fn connect(self: &Rc<Self>, deadline: Instant, alone: bool) -> Result<Lease, OriginFault> {
        let place = Count::enter(&self.open);
        let version = self.spec.version();
        let stream = match connect(&self.spec, deadline).await {
            Ok(stream) => stream,
            Err(fault) => {
                self.queue.freed.notify_one();
                return Err(self.failed(fault));
            }
        };
        let is_http2 = self.spec.protocol == Protocol::Http2 && stream.speaks_http2();
        self.fell_back.set(!is_http2);
        if !is_http2 {
            self.tally.made(&self.spec.title());
            // From here on the lease owns the place.
            place.stay();
            return Ok(Lease::new(Box::new(Connection::new(stream, self.limits.get().answers, version)), self, false));
        }
        let (home, tally) = (Rc::downgrade(self), Arc::clone(&self.tally));
        let ended = move || match home.upgrade() {
            Some(home) => {
                home.multiplexed.borrow_mut().retain(|one| !one.is_over(None));
                home.lost_one();
            }
            None => tally.lost(),
        };
        let begun = Multiplexed::begin(stream, self.limits.get().answers, version, ended);
        let Ok(Ok(connection)) = timeout_at(deadline, begun).await else {
            self.queue.freed.notify_one();
            return Err(self.failed(ConnectFault::Refused(io::ErrorKind::ConnectionReset.into())));
        };
        self.tally.made(&self.spec.title());
        // From here on the task of the connection owns the place.
        place.stay();
        let Some(entered) = connection.enter() else { return Err(OriginFault::Reset) };
        let stream = Http2Stream::new(entered, self.limits.get().answers, self.spec.tls.is_some());
        // Without a place in the list, it ends with its only stream.
        if !alone && !self.retired.get() {
            self.multiplexed.borrow_mut().push(connection);
        }
        Ok(Lease::of_stream(stream, self))
    }

    fn failed(&self, fault: ConnectFault) -> OriginFault {
        let endpoint = &self.spec.title();
        match fault {
            ConnectFault::Tls(error) => {
                let fault = TlsFault::of(&error);
                self.tally.distrusted(endpoint, &fault);
                OriginFault::Tls(Box::new(fault))
            }
            fault => {
                self.tally.refused(endpoint, &fault);
                match fault {
                    ConnectFault::Late { .. } => OriginFault::ConnectTimeout,
                    _ => OriginFault::Connect,
                }
            }
        }
    }
}

/// A connection that is being opened. Its end wakes the requests that wait for it, also if its own request is gone.
struct Opening<'a> {
    pool: &'a EndpointPool,
    alone: bool,
    is_over: bool,
}

impl<'a> Opening<'a> {
    fn begin(pool: &'a EndpointPool, alone: bool) -> Opening<'a> {
        pool.opening.set(pool.opening.get() + usize::from(!alone));
        Opening { pool, alone, is_over: false }
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let EndpointPool { opening, queue, spec, .. } = self.pool;
        opening.set(opening.get().saturating_sub(usize::from(!self.alone)));
        if spec.protocol == Protocol::Http2 {
            // One connection serves all of them.
            queue.freed.notify_waiters();
        } else if !self.is_over {
            queue.freed.notify_one();
        }
    }
}

/// Increments a counter until it is dropped.
pub(super) struct Count<'a>(Option<&'a Cell<usize>>);

impl<'a> Count<'a> {
    pub(super) fn enter(counter: &'a Cell<usize>) -> Count<'a> {
        counter.set(counter.get() + 1);
        Count(Some(counter))
    }

    pub(super) fn stay(mut self) {
        self.0 = None;
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        if let Some(counter) = self.0 {
            counter.set(counter.get().saturating_sub(1));
        }
    }
}
