//! The one timer of an exchange.
//!
//! Waits for an endpoint: first for the head of its answer, then for each piece of its body. It is registered once for
//! a request; every further wait only moves its end, which costs next to nothing.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A timer that is started again and again.
pub struct Timer {
    /// `None`: a wait may take as long as it likes.
    span: Option<Duration>,
    /// Whatever happens, not beyond this.
    deadline: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Timer {
    /// A timer for waits of `span`, none of which goes beyond `deadline`.
    pub fn new(span: Option<Duration>, deadline: Option<Instant>) -> Timer {
        Timer { span, deadline, sleep: None, running: false }
    }

    /// The same timer, for waits of another kind.
    pub fn for_body(self, span: Option<Duration>, deadline: Option<Instant>) -> Timer {
        let sleep = if span.is_some() || deadline.is_some() { self.sleep } else { None };
        Timer { span, deadline, sleep, running: false }
    }

    /// Is the time over for waits of any kind?
    pub fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// A wait begins with the next [`Timer::poll`].
    pub fn start(&mut self) {
        self.running = false;
    }

    /// Ready when the wait has taken too long.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !std::mem::replace(&mut self.running, true) {
            let end = self.span.map(|span| Instant::now() + span);
            let Some(end) = end.into_iter().chain(self.deadline).min() else { return Poll::Pending };
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(end),
                None => self.sleep = Some(Box::pin(tokio::time::sleep_until(end))),
            }
        }
        self.sleep.as_mut().map_or(Poll::Pending, |sleep| sleep.as_mut().poll(cx))
    }
}
