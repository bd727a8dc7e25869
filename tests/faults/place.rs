//! Three gateways, their servers, and the proxies between them.

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokengate::config::Settings;
use tokengate::config::settings::{self, RedisCache, StoreUrl};
use tokengate::store::{self, NamedToken, NewUser, Store, TokenRef};
use tokengate::token::{ScopeSet, SubjectId, TokenDigest, TokenKey};

use crate::support::redis::{Redis, command};
use crate::support::{Ask, Fleet, Line, PATIENCE, Postgres, eventually};

pub const GATEWAYS: usize = 3;

/// The default of how long a gateway may miss the change log before cached entries get a shorter lifetime, and that
/// lifetime, plus a margin.
pub const BLIND: Duration = Duration::from_secs(3);
pub const SERVE_KNOWN: Duration = Duration::from_secs(301);
/// Longer than the lifetime of an entry in memory.
pub const FORGOTTEN: Duration = Duration::from_secs(61);

/// For suspended servers: a timeout that expires within a test, but not while the server responds.
pub fn hurried(settings: &mut Settings) {
    settings.store.timeout = Duration::from_secs(10);
}

/// A site with three gateways.
pub struct Place {
    pub fleet: Fleet,
    /// The store on a separate connection, which no test interrupts.
    pub store: Store,
    /// From each gateway to PostgreSQL; empty if the test does not interrupt it.
    pub to_store: Vec<Line>,
    /// From each gateway to Redis; empty if sentinels report its address.
    pub to_redis: Vec<Line>,
}

impl Place {
    /// With a Redis for this test alone, and the shared PostgreSQL.
    pub async fn with_redis(redis: &Redis) -> Place {
        let url = Postgres::shared().await.database().await;
        Place::new(&url, None, Some(redis), |_| {}).await
    }

    /// With both servers for this test alone.
    pub async fn with_both(postgres: &(Postgres, SocketAddr), redis: &Redis, change: impl Fn(&mut Settings)) -> Place {
        let url = postgres.0.url("postgres");
        Place::new(&url, Some(postgres.1), Some(redis), change).await
    }

    /// With the shared store and a changed setting.
    pub async fn with(change: impl Fn(&mut Settings)) -> Place {
        Place::new(&Postgres::shared().await.database().await, None, None, change).await
    }

    /// As [`Place::with_redis`], with other limits for unknown tokens.
    pub async fn with_flood_limits(redis: &Redis, per_second: u32, most_entries: usize) -> Place {
        let url = Postgres::shared().await.database().await;
        let change = |settings: &mut Settings| {
            settings.store.unknown_per_second = per_second;
            settings.memory.max_entries = most_entries;
        };
        Place::new(&url, None, Some(redis), change).await
    }

    async fn new(
        url: &StoreUrl,
        postgres: Option<SocketAddr>,
        redis: Option<&Redis>,
        change: impl Fn(&mut Settings),
    ) -> Place {
        let (mut to_store, mut to_redis) = (Vec::new(), Vec::new());
        for _ in 0..GATEWAYS {
            if let Some(server) = postgres {
                to_store.push(Line::to(server).await);
            }
            if let Some(redis) = redis {
                to_redis.push(Line::to(SocketAddr::from(([127, 0, 0, 1], redis.port))).await);
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("tokengate.key");
        let number = Cell::new(0);
        let fleet = Fleet::over(url.clone(), folder, GATEWAYS, |settings| {
            let number = number.replace(number.get() + 1);
            if let Some(line) = to_store.get(number) {
                settings.store.url = Postgres::url_over(line.address, "postgres");
            }
            if let Some(line) = to_redis.get(number) {
                settings.redis = Some(shared_cache(&format!("redis://{}", line.address)));
            }
            settings.tokens.max_per_user = 100_000;
            change(settings);
        })
        .await;
        let own = settings::Store { timeout: PATIENCE, ..settings::Store::at(url.clone(), key_file) };
        let tokens = settings::Tokens { issue_on_user_create: false, max_per_user: 100_000, ..Default::default() };
        let store = store::open(&own, &tokens, fleet.first().clock()).await.unwrap();
        let place = Place { fleet, store, to_store, to_redis };
        if redis.is_some() {
            place.redis_is_up().await;
        }
        place
    }

    /// The id of a user, who is created if needed.
    pub async fn user(&self, name: &str) -> SubjectId {
        if let Some(user) = self.store.accounts.find(name).await.unwrap() {
            return user.account.id;
        }
        self.store.accounts.create(NewUser::named(name)).await.unwrap().0.account.id
    }

    /// Issues this many tokens of a user.
    pub async fn issue(&self, user: &str, count: usize) -> Vec<String> {
        let owner = self.user(user).await;
        let mut keys = Vec::new();
        for _ in 0..count {
            let order = NamedToken {
                name: "fault".to_owned(),
                expires: None,
                scopes: ScopeSet::default(),
                ..NamedToken::default()
            };
            keys.push(self.store.ledger.issue_named(owner, &order).await.unwrap().key.expose().to_owned());
        }
        keys
    }

    pub async fn revoke(&self, key: &str) {
        revoke(&self.store, key).await;
    }

    /// Advances the clock of every gateway.
    pub fn advance(&self, span: Duration) {
        for gateway in &self.fleet.gateways {
            gateway.hand.advance(span);
        }
    }

    /// New tokens have holds in Redis against late fills, for ten seconds. This deletes the holds, as if the tokens
    /// were older, without waiting.
    pub async fn tokens_are_old(&self, redis: &Redis) {
        self.fleet.changes_are_applied().await;
        self.redis_is_up().await;
        redis.ask::<String>(command(&["FLUSHALL"])).await;
    }

    /// Waits until every gateway is connected to the shared cache and has delivered all holds.
    pub async fn redis_is_up(&self) {
        eventually(PATIENCE, "every gateway has the shared cache", || async {
            self.fleet.gateways.iter().all(|gateway| {
                let page = gateway.metrics();
                let is = |line: &str| page.lines().any(|other| other == line);
                is("tokengate_shared_cache_up 1") && is("tokengate_shared_cache_holds_owed 0")
            })
        })
        .await;
    }
}

/// Settings for a Redis with a timeout that a busy machine does not reach.
pub fn shared_cache(url: &str) -> RedisCache {
    RedisCache { timeout: Duration::from_secs(1), ..RedisCache::at(url, Path::new("")).unwrap() }
}

/// The value of a token's entry in Redis.
pub async fn shared_entry(redis: &Redis, key: &str) -> Vec<u8> {
    let mut get = ::redis::cmd("GET");
    get.arg(shared_name(key));
    redis.ask::<Option<Vec<u8>>>(get).await.unwrap_or_default()
}

/// Waits until Redis has an entry for this token, which the first gateway has cached.
pub async fn is_kept(place: &Place, redis: &Redis, key: &str) {
    let looks = Cell::new(0);
    eventually(PATIENCE, "the entry is kept", || async {
        // A slow lookup stores no entry, so from time to time another one is made.
        if looks.replace(looks.get() + 1) % 100 == 99 {
            place.advance(FORGOTTEN);
            Ask::get("/api/x").token(key).to(place.fleet.first()).await;
        }
        shared_entry(redis, key).await.starts_with(b"e")
    })
    .await;
}

/// The key of a token's entry in Redis.
pub fn shared_name(key: &str) -> String {
    let digest = TokenDigest::of(key.as_bytes());
    digest.as_bytes().iter().fold("tokengate:".to_owned(), |name, byte| name + &format!("{byte:02x}"))
}

pub async fn revoke(store: &Store, key: &str) {
    let digest = TokenKey::parse(key).unwrap().digest();
    store.ledger.revoke(TokenRef::Digest(digest)).await.unwrap();
}
