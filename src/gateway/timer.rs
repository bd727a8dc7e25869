//! The one timer of an exchange.
//!
//! Waits for an endpoint: first for the head of its answer, then for each piece of its body. It is registered once for a
//! request; every further wait only moves its end, which costs next to nothing (PERFORMANCE §11).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A timer that is started again and again.
pub struct Timer {
    span: Duration,
    /// Whatever happens, not beyond this.
    deadline: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Timer {
    /// A timer for waits of `span`.
    pub fn new(span: Duration) -> Timer {
        Timer { span, deadline: None, sleep: None, running: false }
    }

    /// The same timer, for waits of another kind.
    pub fn for_body(self, span: Duration, deadline: Option<Instant>) -> Timer {
        Timer { span, deadline, sleep: self.sleep, running: false }
    }

    /// A wait begins with the next [`Timer::poll`].
    pub fn start(&mut self) {
        self.running = false;
    }

    /// Ready when the wait has taken too long.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !std::mem::replace(&mut self.running, true) {
            let end = Instant::now() + self.span;
            let end = self.deadline.map_or(end, |deadline| deadline.min(end));
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(end),
                None => self.sleep = Some(Box::pin(tokio::time::sleep_until(end))),
            }
        }
        self.sleep.as_mut().map_or(Poll::Pending, |sleep| sleep.as_mut().poll(cx))
    }
}
