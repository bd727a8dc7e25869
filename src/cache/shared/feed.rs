//! The Redis channel that publishes changes.
//!
//! A silent connection may be dead, so it is pinged. After any reconnect, the next event is a gap.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{SharedCache, scripts};
use crate::store::{PushState, TokenEvent, TokenFeed};
use crate::token::TokenDigest;

/// The interval between pings, and the timeout of each.
const PING: Duration = Duration::from_millis(500);
/// The timeout for a new subscription.
const SUBSCRIBE: Duration = Duration::from_secs(5);
/// The backoff before another attempt, doubled each time.
const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// Maximum number of queued messages. Beyond it, everything is invalidated at once, which is cheaper.
const QUEUE: usize = 4_096;

/// The feed: see the module.
pub(super) struct ChannelFeed {
    cache: Arc<SharedCache>,
    subscription: Option<Subscription>,
    /// Counts connections, so that the next one uses another node of a cluster.
    turn: AtomicUsize,
    pause: Duration,
    push_state: PushState,
}

struct Subscription {
    connection: MultiplexedConnection,
    messages: mpsc::Receiver<TokenDigest>,
    /// A message was lost: too many arrived at once.
    overflown: Arc<AtomicBool>,
    next_ping: Instant,
}

impl ChannelFeed {
    pub(super) fn new(cache: Arc<SharedCache>) -> ChannelFeed {
        let (turn, push_state) = (AtomicUsize::new(0), PushState::default());
        ChannelFeed { cache, subscription: None, turn, pause: MIN_BACKOFF, push_state }
    }

    async fn subscribe(&self) -> Option<Subscription> {
        let (sender, messages) = mpsc::channel(QUEUE);
        let overflown = Arc::new(AtomicBool::new(false));
        let lost = Arc::clone(&overflown);
        let push = move |info: PushInfo| {
            if let Some(digest) = read(&info)
                && let Err(mpsc::error::TrySendError::Full(_)) = sender.try_send(digest)
            {
                lost.store(true, Ordering::Release);
            }
            Ok(())
        };
        let subscribed = async {
            let mut connection = self.cache.link.servers().listen(&self.turn, push).await?;
            connection.subscribe(self.cache.scripts.channel()).await?;
            Ok::<_, redis::RedisError>(connection)
        };
        let connection = timeout(SUBSCRIBE, subscribed).await.ok()?;
        match connection {
            Ok(connection) => Some(Subscription { connection, messages, overflown, next_ping: Instant::now() + PING }),
            Err(error) => {
                self.cache.note(&self.cache.link.judge(error));
                None
            }
        }
    }
}

fn read(info: &PushInfo) -> Option<TokenDigest> {
    match (&info.kind, info.data.as_slice()) {
        (PushKind::Message, [_, Value::BulkString(text)]) => scripts::read_message(text),
        _ => None,
    }
}

impl Subscription {
    /// Returns the next event; `None` if the connection is dead.
    async fn next(&mut self) -> Option<TokenEvent> {
        loop {
            if self.overflown.swap(false, Ordering::AcqRel) {
                return Some(TokenEvent::Gap);
            }
            tokio::select! {
                digest = self.messages.recv() => return digest.map(TokenEvent::Changed),
                () = sleep_until(self.next_ping) => {
                    let ping = redis::cmd("PING");
                    timeout(PING, ping.query_async::<Value>(&mut self.connection)).await.ok()?.ok()?;
                    self.next_ping = Instant::now() + PING;
                }
            }
        }
    }
}

#[async_trait]
impl TokenFeed for ChannelFeed {
    async fn next(&mut self) -> TokenEvent {
        loop {
            if let Some(subscription) = &mut self.subscription {
                match subscription.next().await {
                    Some(event) => return event,
                    None => self.subscription = None,
                }
            }
            self.push_state.set(false);
            // The link decides when to retry a dead server.
            self.cache.link.until_up().await;
            self.subscription = self.subscribe().await;
            if self.subscription.is_some() {
                self.push_state.set(true);
                self.pause = MIN_BACKOFF;
                return TokenEvent::Gap;
            }
            sleep(self.pause).await;
            self.pause = (self.pause * 2).min(MAX_BACKOFF);
        }
    }

    fn push_state(&self) -> Option<PushState> {
        Some(self.push_state.clone())
    }
}
