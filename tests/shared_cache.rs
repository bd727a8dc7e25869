//! The shared cache, with real servers.

mod causes;
mod cluster;
mod entries;
mod feed;
mod holds;
mod kinds;
mod outages;
mod sentinel;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokengate::cache::{Begun, Looked, SharedCache};
use tokengate::clock::{Clock, Hand, Timestamp};
use tokengate::config::settings::{RedisCache, RedisPassword};
use tokengate::store::{Cursor, SharedCacheKey, TokenEvent, TokenFeed};
use tokengate::token::{Account, AuthMethod, Restrictions, ScopeSet, SubjectId, TokenDigest, TokenId, TokenRecord};
use tokio::task::JoinHandle;

use crate::support::redis::Redis;
use crate::support::{PATIENCE, eventually, soon};

/// Long enough that a healthy server does not look slow on a busy machine.
const UNHURRIED: Duration = Duration::from_secs(10);

/// Gateways with the same key file.
struct Fleet {
    folder: TempDir,
}

impl Fleet {
    fn new() -> Fleet {
        let folder = tempfile::tempdir().unwrap();
        write_key(&folder.path().join("key"), 1);
        Fleet { folder }
    }

    /// Settings for a cache at this URL.
    fn settings(&self, url: &str) -> RedisCache {
        RedisCache { timeout: UNHURRIED, ..RedisCache::at(url, Path::new("")).unwrap() }
    }

    /// As [`Fleet::settings`], with a user that has exactly the required rights.
    fn restricted(&self, url: &str) -> RedisCache {
        let (username, password) = (Some("gate".to_owned()), Some(RedisPassword::new("open-sesame".to_owned())));
        RedisCache { username, password, ..self.settings(url) }
    }

    /// Another gateway, which knows all changes up to now.
    fn gateway(&self, settings: &RedisCache) -> Gateway {
        let gateway = self.ignorant(settings);
        gateway.cache.caught_up();
        gateway
    }

    /// Another gateway, which was down and knows no changes.
    fn ignorant(&self, settings: &RedisCache) -> Gateway {
        let (clock, hand) = Clock::by_hand(Clock::system().now());
        let key = SharedCacheKey::read(&self.folder.path().join("key")).unwrap();
        let (cache, task) = SharedCache::new(settings, key, clock);
        Gateway { cache, hand, task: Some(tokio::spawn(task)) }
    }

    /// Another gateway, connected.
    async fn connected(&self, settings: &RedisCache) -> Gateway {
        let gateway = self.gateway(settings);
        gateway.is_connected().await;
        gateway
    }

    /// Another gateway with a single server, connected.
    async fn before(&self, redis: &Redis) -> Gateway {
        self.connected(&self.settings(&redis.url())).await
    }
}

fn write_key(path: &Path, byte: u8) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, [byte; 32]).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// One gateway's view of the shared cache.
struct Gateway {
    cache: Arc<SharedCache>,
    hand: Hand,
    task: Option<JoinHandle<()>>,
}

impl Gateway {
    async fn is_connected(&self) {
        let what = "the gateway is connected";
        eventually(PATIENCE, what, || async { !self.cache.is_away() }).await;
    }

    /// Looks up a token that is not in the cache; a fill needs that.
    async fn begin(&self, digest: TokenDigest) -> Begun {
        match self.cache.look(digest).await {
            Looked::Nothing(begun) => begun,
            other => panic!("{other:?}; {:?}", self.cache.trouble()),
        }
    }

    /// Looks up the token and stores the store's response, until it is in the cache: a slow lookup stores nothing.
    async fn fill(&self, record: &TokenRecord) {
        eventually(PATIENCE, "the new read is stored", || async {
            self.try_fill(record).await;
            self.finds(record).await
        })
        .await;
    }

    /// The same once.
    async fn try_fill(&self, record: &TokenRecord) {
        let begun = self.begin(record.digest).await;
        self.cache.keep(begun, record).await;
    }

    async fn finds(&self, record: &TokenRecord) -> bool {
        matches!(self.cache.look(record.digest).await, Looked::Found(found) if *found == *record)
    }

    async fn finds_nothing(&self, record: &TokenRecord) -> bool {
        matches!(self.cache.look(record.digest).await, Looked::Nothing(_))
    }

    /// Reports a change of the token, and waits until the hold is delivered.
    async fn change(&self, record: &TokenRecord, number: i64) {
        self.cache.changed(record.digest, Cursor(number));
        self.has_delivered().await;
    }

    /// Reports changes of the token, again after each gap, until the feed delivers one: a pause of the machine may
    /// break the connection.
    async fn change_is_heard(&self, record: &TokenRecord, number: i64, feed: &mut Box<dyn TokenFeed>) {
        let mut numbers = number..;
        self.cache.changed(record.digest, Cursor(numbers.next().unwrap()));
        loop {
            match soon("the change", feed.next()).await {
                TokenEvent::Changed(digest) if digest == record.digest => return self.has_delivered().await,
                TokenEvent::Gap => self.cache.changed(record.digest, Cursor(numbers.next().unwrap())),
                _ => {}
            }
        }
    }

    async fn has_delivered(&self) {
        eventually(PATIENCE, "the hold is delivered", || async { self.cache.owed() == 0 }).await;
    }

    fn counted(&self, which: fn(&tokengate::cache::SharedCounters) -> &AtomicU64) -> u64 {
        which(self.cache.counters()).load(Ordering::Relaxed)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// The store's record of a token with this key.
fn record(key: &str) -> TokenRecord {
    TokenRecord {
        id: TokenId(7),
        method: AuthMethod::Token,
        digest: TokenDigest::of(key.as_bytes()),
        owner: Account {
            id: SubjectId(1001),
            name: "alice".to_owned(),
            email: "alice@example.com".to_owned(),
            groups: vec!["sales".to_owned()],
            active: true,
        },
        scopes: ScopeSet::parse("read").unwrap(),
        created: Timestamp::from_micros(1),
        expires: None,
        revoked: None,
        restrictions: Restrictions::default(),
    }
}
