//! The timer of an exchange.
//!
//! It limits the waits for an endpoint: first for the head of the response, then for each piece of the body. It is
//! registered once per request; a further wait only moves its deadline, which is cheap.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A timer that can be restarted.
pub struct Timer {
    /// Maximum duration of a wait; `None`: unlimited.
    span: Option<Duration>,
    /// The deadline of all waits together.
    deadline: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Timer {
    /// Creates a timer for waits of `span`, none of which lasts beyond `deadline`.
    pub fn new(span: Option<Duration>, deadline: Option<Instant>) -> Timer {
        Timer { span, deadline, sleep: None, running: false }
    }

    /// Changes the duration of the following waits.
    pub fn for_body(self, span: Option<Duration>, deadline: Option<Instant>) -> Timer {
        let sleep = if span.is_some() || deadline.is_some() { self.sleep } else { None };
        Timer { span, deadline, sleep, running: false }
    }

    /// Whether the deadline has passed.
    pub fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Starts a wait with the next [`Timer::poll`].
    pub fn start(&mut self) {
        self.running = false;
    }

    /// Ready when the wait has exceeded its maximum.
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
