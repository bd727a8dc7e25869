//! Timeouts of client connections.
//!
//! A connection records its activity in some cells. The worker's tick ([`OpenConnections::sweep`]) checks all
//! connections and ends those that have exceeded a timeout. So no connection needs a timer of its own, and a request
//! costs none.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::settings::ConnectionTimeouts;

/// Silence on an HTTP/2 connection before a ping is sent.
const PROBE_AFTER: Duration = Duration::from_secs(30);
/// Timeout of the answer to that ping.
const PROBE_ANSWER: Duration = Duration::from_secs(10);

/// The activity of one connection.
pub struct Pulse {
    now: Rc<Cell<Instant>>,
    requests: Cell<u32>,
    /// Whether a request has begun.
    used: Cell<bool>,
    /// When the first byte of an incomplete head arrived; for the first head, when the connection began.
    head_since: Cell<Option<Instant>>,
    idle_since: Cell<Instant>,
    /// Number of responses whose last piece the client has not read. HTTP/2: 1 while the socket accepts nothing; each
    /// stream has its own timeout.
    untaken: Cell<u32>,
    taken_at: Cell<Instant>,
    /// HTTP/2 only.
    multiplexed: Cell<bool>,
    heard_at: Cell<Instant>,
    probe: Cell<Probe>,
    write: Duration,
    /// The name of its listener.
    listener: Arc<str>,
    end: Cell<Ending>,
    waker: RefCell<Option<Waker>>,
}

/// Whether a ping was sent to a silent client.
#[derive(Clone, Copy)]
enum Probe {
    None,
    Due,
    Sent(Instant),
}

/// What a connection must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// Go on.
    Not,
    /// Go on, and end with the next response: the client may be sending a request already.
    WithNextResponse,
    /// Finish running requests, accept no new ones.
    Gracefully,
    /// End now.
    Now,
}

impl Pulse {
    /// Records the start of a request.
    pub fn begin(&self) {
        self.requests.set(self.requests.get() + 1);
        self.used.set(true);
    }

    /// Records the end of a request.
    pub fn end(&self) {
        self.requests.set(self.requests.get().saturating_sub(1));
        self.idle_since.set(self.now.get());
    }

    /// Records that a piece of a response waits for the client.
    pub fn offer(&self) {
        if self.multiplexed.get() {
            return;
        }
        if self.untaken.get() == 0 {
            self.taken_at.set(self.now.get());
        }
        self.untaken.set(self.untaken.get() + 1);
    }

    /// Records that the client has read the piece, or never will.
    pub fn take(&self) {
        if self.multiplexed.get() {
            return;
        }
        self.untaken.set(self.untaken.get().saturating_sub(1));
        self.taken_at.set(self.now.get());
    }

    /// Records that the connection uses HTTP/2: its streams have their own timeouts, heads arrive while requests are
    /// served, and a silent client is pinged.
    pub fn is_multiplexed(&self) {
        self.multiplexed.set(true);
        self.heard_at.set(self.now.get());
    }

    /// How long a client may read nothing of a response.
    pub fn write_timeout(&self) -> Duration {
        self.write
    }

    /// HTTP/2: records whether bytes for the client wait because the socket accepts none.
    pub fn socket_is_full(&self, full: bool) {
        if full && self.untaken.get() == 0 {
            self.taken_at.set(self.now.get());
        }
        self.untaken.set(u32::from(full));
    }

    /// HTTP/2: records that bytes have arrived from the client.
    pub fn hears(&self) {
        self.heard_at.set(self.now.get());
        self.probe.set(Probe::None);
    }

    /// HTTP/2: whether a ping must be sent now.
    pub fn take_probe(&self) -> bool {
        let due = matches!(self.probe.get(), Probe::Due);
        if due {
            self.probe.set(Probe::Sent(self.now.get()));
        }
        due
    }

    /// The time of the worker's last tick.
    pub fn now(&self) -> Instant {
        self.now.get()
    }

    /// Records the first byte of a head.
    pub fn head_begins(&self) {
        if self.head_since.get().is_none() {
            self.head_since.set(Some(self.now.get()));
        }
    }

    /// Records the end of a head.
    pub fn head_ends(&self) {
        self.head_since.set(None);
    }

    /// Returns what the connection must do; wakes the task when that changes.
    pub fn ending(&self, waker: &Waker) -> Ending {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
        match self.end.get() {
            // HTTP/2 can announce its end and still serve what the client has sent by then (RFC 9113 §6.8). Before the
            // first request, some clients would take the announcement for a failure.
            Ending::WithNextResponse if self.multiplexed.get() && self.used.get() => Ending::Gracefully,
            ending => ending,
        }
    }

    /// HTTP/1: whether the response that begins now is the last one of its connection.
    pub fn responds_last(&self) -> bool {
        self.end.get() >= Ending::WithNextResponse && !self.multiplexed.get()
    }

    /// Ends the connection and its running requests.
    pub fn cut(&self) {
        self.ask(Ending::Now);
    }

    fn ask(&self, ending: Ending) {
        if ending > self.end.get() {
            self.end.set(ending);
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    fn ask_for_a_sign(&self, now: Instant) {
        if self.multiplexed.get()
            && matches!(self.probe.get(), Probe::None)
            && now.duration_since(self.heard_at.get()) >= PROBE_AFTER
        {
            self.probe.set(Probe::Due);
            self.wake();
        }
    }

    fn is_over(&self, now: Instant, limits: &ConnectionTimeouts) -> bool {
        let longer = |since: Instant, limit: Duration| now.duration_since(since) >= limit;
        if self.untaken.get() > 0 && longer(self.taken_at.get(), limits.write) {
            return true;
        }
        if let Probe::Sent(at) = self.probe.get()
            && longer(at, PROBE_ANSWER)
        {
            return true;
        }
        let head_is_late = self.head_since.get().is_some_and(|since| longer(since, limits.request_headers));
        if self.requests.get() > 0 {
            return head_is_late && self.multiplexed.get();
        }
        head_is_late || longer(self.idle_since.get(), limits.idle)
    }
}

/// All client connections of one worker.
pub struct OpenConnections {
    now: Rc<Cell<Instant>>,
    all: RefCell<Vec<Weak<Pulse>>>,
    /// What connections are asked to do from their beginning.
    ending: Cell<Ending>,
    /// A reference for each TLS handshake.
    handshakes: Rc<()>,
    limits: Cell<ConnectionTimeouts>,
}

impl OpenConnections {
    /// Creates the list, without connections.
    pub fn new(limits: ConnectionTimeouts) -> OpenConnections {
        let now = Rc::new(Cell::new(Instant::now()));
        let (all, ending, handshakes) = (RefCell::default(), Cell::new(Ending::Not), Rc::default());
        OpenConnections { now, all, ending, handshakes, limits: Cell::new(limits) }
    }

    /// Changes the timeouts of all connections.
    pub fn set_timeouts(&self, limits: ConnectionTimeouts) {
        self.limits.set(limits);
    }

    /// Adds a connection of a listener; dropping the result removes it.
    pub fn enter(&self, listener: &Arc<str>) -> Rc<Pulse> {
        let now = self.now.get();
        let pulse = Rc::new(Pulse {
            now: Rc::clone(&self.now),
            requests: Cell::new(0),
            used: Cell::new(false),
            head_since: Cell::new(Some(now)),
            idle_since: Cell::new(now),
            untaken: Cell::new(0),
            taken_at: Cell::new(now),
            multiplexed: Cell::new(false),
            heard_at: Cell::new(now),
            probe: Cell::new(Probe::None),
            write: self.limits.get().write,
            listener: Arc::clone(listener),
            end: Cell::new(self.ending.get()),
            waker: RefCell::default(),
        });
        self.all.borrow_mut().push(Rc::downgrade(&pulse));
        pulse
    }

    /// The worker's tick: ends connections that have exceeded a timeout, and removes those that have ended.
    pub fn sweep(&self, now: Instant) {
        self.now.set(now);
        let limits = self.limits.get();
        self.all.borrow_mut().retain(|pulse| {
            let Some(pulse) = pulse.upgrade() else { return false };
            if pulse.is_over(now, &limits) {
                pulse.ask(Ending::Now);
            }
            pulse.ask_for_a_sign(now);
            true
        });
    }

    /// Makes every connection, and each later one, finish its running requests and end.
    pub fn drain(&self) {
        self.ask_all(Ending::Gracefully);
    }

    /// Makes every connection, and those that still come, end with its next response.
    pub fn leave(&self) {
        self.ask_all(Ending::WithNextResponse);
    }

    /// Makes the connections of one listener finish their running requests and end; returns them.
    pub fn drain_listener(&self, listener: &str) -> Vec<Weak<Pulse>> {
        let all = self.all.borrow();
        let is_meant = |pulse: &Rc<Pulse>| *pulse.listener == *listener;
        let meant = all.iter().filter_map(Weak::upgrade).filter(is_meant);
        meant.inspect(|pulse| pulse.ask(Ending::Gracefully)).map(|pulse| Rc::downgrade(&pulse)).collect()
    }

    /// Ends every connection now.
    pub fn abort(&self) {
        self.ask_all(Ending::Now);
    }

    /// Counts a TLS handshake until the returned value is dropped.
    pub fn begin_handshake(&self) -> Rc<()> {
        Rc::clone(&self.handshakes)
    }

    /// Whether nothing is left to wait for. After [`leave`](Self::leave) that includes TLS handshakes: other clients go
    /// to the other process, but a connection that this process has accepted is served by this process or not at all.
    pub fn are_over(&self) -> bool {
        let waits_for_handshakes = self.ending.get() == Ending::WithNextResponse;
        self.count() == 0 && !(waits_for_handshakes && Rc::strong_count(&self.handshakes) > 1)
    }

    /// The number of connections.
    pub fn count(&self) -> usize {
        self.all.borrow().iter().filter(|pulse| pulse.strong_count() > 0).count()
    }

    fn ask_all(&self, ending: Ending) {
        self.ending.set(ending);
        for pulse in self.all.borrow().iter().filter_map(Weak::upgrade) {
            pulse.ask(ending);
        }
    }
}
