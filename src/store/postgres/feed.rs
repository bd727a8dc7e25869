//! Listens for the notifications of the schema's triggers.
//!
//! A task listens on a connection of its own, so that dropping [`TokenFeed::next`] loses nothing. A connection that was
//! lost without a reset looks like a silent one, so a silent connection is pinged.

use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::{StdRng, SysRng};
use rand::{RngExt, SeedableRng};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::store::{PushState, TokenEvent, TokenFeed};
use crate::telemetry::Outage;
use crate::token::{SubjectId, TokenDigest};

/// The channel that the triggers notify.
const CHANNEL: &str = "tokengate";

/// Silence before a ping.
const PING_AFTER: Duration = Duration::from_secs(2);

/// Delay before reconnecting: the first and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Maximum number of events in the queue; the server buffers further ones.
const MAX_QUEUED: usize = 1_024;

/// The events of one server.
pub(super) struct PostgresFeed {
    events: mpsc::Receiver<TokenEvent>,
    /// The collecting task, until the first call starts it.
    collector: Option<Collector>,
    collecting: JoinSet<()>,
    push_state: PushState,
}

struct Collector {
    options: PgConnectOptions,
    /// Longest wait for a response.
    timeout: Duration,
    events: mpsc::Sender<TokenEvent>,
    push_state: PushState,
}

impl PostgresFeed {
    pub(super) fn new(options: PgConnectOptions, timeout: Duration) -> PostgresFeed {
        let (sender, events) = mpsc::channel(MAX_QUEUED);
        let push_state = PushState::default();
        let collector = Some(Collector { options, timeout, events: sender, push_state: push_state.clone() });
        PostgresFeed { events, collector, collecting: JoinSet::new(), push_state }
    }
}

#[async_trait]
impl TokenFeed for PostgresFeed {
    async fn next(&mut self) -> TokenEvent {
        if let Some(collector) = self.collector.take() {
            self.collecting.spawn(collector.run());
        }
        match self.events.recv().await {
            Some(event) => event,
            // The runtime shuts down.
            None => std::future::pending().await,
        }
    }

    fn push_state(&self) -> Option<PushState> {
        Some(self.push_state.clone())
    }
}

impl Collector {
    async fn run(self) {
        let mut chance = StdRng::try_from_rng(&mut SysRng).unwrap_or_else(|_| StdRng::seed_from_u64(0));
        let (mut pause, outage) = (BACKOFF.0, Outage::default());
        loop {
            match self.connect().await {
                Ok(listener) => {
                    if let Some(ended) = outage.succeeded() {
                        let (failures, lasted_ms) = (ended.failures, ended.lasted_ms());
                        tracing::info!(
                            code = "push_unavailable",
                            failures,
                            lasted_ms,
                            "push notifications of changes work again"
                        );
                    }
                    pause = BACKOFF.0;
                    // No change is missed from here on; earlier ones are in the change log.
                    if self.events.send(TokenEvent::Gap).await.is_err() {
                        return;
                    }
                    self.push_state.set(true);
                    self.listen(listener).await;
                    self.push_state.set(false);
                }
                Err(error) => {
                    if outage.failed() {
                        tracing::warn!(code = "push_unavailable", %error, "cannot listen for changes; the change log is polled instead");
                    }
                }
            }
            // Half of the delay is random, so that gateways which lost the same server do not all reconnect at once.
            tokio::time::sleep(pause.mul_f64(chance.random_range(0.5..1.0))).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    async fn connect(&self) -> Result<PgListener, sqlx::Error> {
        let connecting = tokio::time::timeout(self.timeout, self.subscribe());
        connecting.await.unwrap_or_else(|elapsed| Err(sqlx::Error::Io(elapsed.into())))
    }

    async fn subscribe(&self) -> Result<PgListener, sqlx::Error> {
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(self.timeout).idle_timeout(None);
        let pool = pool.max_lifetime(None).test_before_acquire(false).connect_lazy_with(self.options.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        // Reconnecting is our task, since a reconnect must be reported as a gap.
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok(listener)
    }

    /// Passes events on while the connection lasts.
    async fn listen(&self, mut listener: PgListener) {
        loop {
            match tokio::time::timeout(PING_AFTER, listener.try_recv()).await {
                Ok(Ok(Some(notification))) => {
                    if self.events.send(event(notification.payload())).await.is_err() {
                        return;
                    }
                }
                Ok(Ok(None) | Err(_)) => return,
                Err(_) => {
                    let ping =
                        tokio::time::timeout(self.timeout, sqlx::raw_sql("SELECT 1").execute(&mut listener)).await;
                    if !matches!(ping, Ok(Ok(_))) {
                        return;
                    }
                }
            }
        }
    }
}

/// Parses a notification. An unknown one could be about any change, so it is a gap.
fn event(payload: &str) -> TokenEvent {
    let known = match payload.split_once(' ') {
        Some(("token", digest)) => digest_of(digest).map(TokenEvent::Changed),
        Some(("user", id)) => id.parse().ok().map(|id| TokenEvent::SubjectChanged(SubjectId(id))),
        _ => None,
    };
    known.unwrap_or(TokenEvent::Gap)
}

fn digest_of(hex: &str) -> Option<TokenDigest> {
    let pairs = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    TokenDigest::from_bytes(&pairs.map(byte).collect::<Option<Vec<u8>>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_names_what_to_invalidate_and_an_unknown_one_is_a_gap() {
        let digest = TokenDigest::of(b"key");
        let hex: String = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(event(&format!("token {hex}")), TokenEvent::Changed(digest));
        assert_eq!(event("user 7"), TokenEvent::SubjectChanged(SubjectId(7)));
        for other in ["", "token", "token ", "token 00", &format!("token {hex}0"), "user x", "role 1", "token zz"] {
            assert_eq!(event(other), TokenEvent::Gap, "{other}");
        }
    }
}
