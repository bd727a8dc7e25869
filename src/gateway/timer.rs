//! The timer of an exchange.
//!
//! It limits the waits for an endpoint: first for the head of the response, then for each piece of the body. Timers are
//! checked on the worker's tick, so that an exchange needs no timer of the runtime: most exchanges end long before
//! their timeout. A wait ends at its timeout at the earliest, and at most two ticks later.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;
use tokio::time::Instant;

/// The running timers of one worker.
pub struct Timers {
    /// The time of the last tick.
    now: Cell<Instant>,
    /// The time between two ticks.
    tick: Duration,
    waiting: RefCell<Slab<Waiting>>,
}

struct Waiting {
    end: Instant,
    waker: Waker,
}

impl Timers {
    /// No timers. [`Timers::sweep`] must be called every `tick`.
    pub fn new(tick: Duration) -> Rc<Timers> {
        Rc::new(Timers { now: Cell::new(Instant::now()), tick, waiting: RefCell::default() })
    }

    /// The worker's tick: wakes the tasks whose wait is over.
    pub fn sweep(&self, now: Instant) {
        self.now.set(now);
        for (_, waiting) in &*self.waiting.borrow() {
            if waiting.end <= now {
                waiting.waker.wake_by_ref();
            }
        }
    }
}

/// A timer that can be restarted.
pub struct Timer {
    timers: Rc<Timers>,
    /// Maximum duration of a wait; `None`: unlimited.
    span: Option<Duration>,
    /// The deadline of all waits together.
    deadline: Option<Instant>,
    /// The key of its entry in `timers`, if it has waited.
    entry: Option<usize>,
    running: bool,
}

impl Timer {
    /// Creates a timer for waits of `span`, none of which lasts beyond `deadline`.
    pub fn new(timers: &Rc<Timers>, span: Option<Duration>, deadline: Option<Instant>) -> Timer {
        Timer { timers: Rc::clone(timers), span, deadline, entry: None, running: false }
    }

    /// Changes the duration of the following waits.
    pub fn set(&mut self, span: Option<Duration>, deadline: Option<Instant>) {
        (self.span, self.deadline, self.running) = (span, deadline, false);
        if span.is_none() && deadline.is_none() {
            self.leave();
        }
    }

    /// Whether the deadline has passed.
    pub fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= self.timers.now.get())
    }

    /// Starts a wait with the next [`Timer::poll`].
    pub fn start(&mut self) {
        self.running = false;
    }

    /// Ready when the wait has exceeded its maximum.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.timers.now.get();
        // The last tick can be almost one tick ago.
        let span_end = self.span.map(|span| now + self.timers.tick + span);
        let Some(end) = span_end.into_iter().chain(self.deadline).min() else { return Poll::Pending };
        let mut all = self.timers.waiting.borrow_mut();
        let started = !std::mem::replace(&mut self.running, true);
        match self.entry.and_then(|entry| all.get_mut(entry)) {
            Some(waiting) => {
                if started {
                    waiting.end = end;
                }
                if !waiting.waker.will_wake(cx.waker()) {
                    waiting.waker = cx.waker().clone();
                }
                if waiting.end <= now { Poll::Ready(()) } else { Poll::Pending }
            }
            None => {
                self.entry = Some(all.insert(Waiting { end, waker: cx.waker().clone() }));
                if end <= now { Poll::Ready(()) } else { Poll::Pending }
            }
        }
    }

    fn leave(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.timers.waiting.borrow_mut().try_remove(entry);
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(250);

    #[test]
    fn a_wait_ends_not_before_its_timeout_and_at_most_two_ticks_later() {
        let timers = Timers::new(TICK);
        let begin = timers.now.get();
        let mut timer = Timer::new(&timers, Some(TICK * 4), None);
        let poll = |timer: &mut Timer| timer.poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll(&mut timer).is_pending());
        for ticks in 1..=4 {
            timers.sweep(begin + TICK * ticks);
            assert!(poll(&mut timer).is_pending(), "{ticks}");
        }
        timers.sweep(begin + TICK * 5);
        assert!(poll(&mut timer).is_ready());
        timer.start();
        assert!(poll(&mut timer).is_pending(), "it was restarted");
        drop(timer);
        assert!(timers.waiting.borrow().is_empty());
    }

    #[test]
    fn no_wait_lasts_beyond_the_deadline() {
        let timers = Timers::new(TICK);
        let begin = timers.now.get();
        let mut timer = Timer::new(&timers, Some(TICK * 40), Some(begin + TICK));
        let poll = |timer: &mut Timer| timer.poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll(&mut timer).is_pending() && !timer.is_over());
        timers.sweep(begin + TICK);
        assert!(poll(&mut timer).is_ready() && timer.is_over());
        timer.set(None, None);
        assert!(poll(&mut timer).is_pending());
    }
}
