//! A randomised test of several gateways. Tokens are used while they are revoked and reissued, their scopes change, and
//! their owners are deactivated and activated. A model knows for each moment which responses are allowed.
//!
//! The test depends on no time limit. A change is complete when every gateway has applied it; from then on no response
//! may show the old state. Until then both states are allowed. A seed determines the order of operations; set
//! `TOKENGATE_RACE_SEED` for another one.

use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokengate::config::settings::RedisCache;
use tokengate::store::{NamedToken, NewUser, Store, Terms, TokenRef};
use tokengate::token::{ScopeSet, SubjectId, TokenId};
use tokio::task::{JoinSet, LocalSet};

use crate::support::http2::H2;
use crate::support::postgres::Postgres;
use crate::support::redis::Redis;
use crate::support::{Ask, Fleet, Gateway};

/// Number of tokens that half of all operations use. Few, so that many operations collide.
const HOT: usize = 12;
/// Number of changes in a race, however fast the machine is.
const CHANGES: usize = 101;
/// Requests in flight at each gateway.
const LOOKERS: usize = 12;
const CHANGERS: usize = 4;

/// What a token permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Allowed {
    live: bool,
    active: bool,
    admin: bool,
}

impl Allowed {
    /// The expected status of `/api/` or `/scoped/`.
    fn status(self, scoped: bool) -> u16 {
        match self {
            Allowed { live: false, .. } | Allowed { active: false, .. } => 401,
            Allowed { admin: false, .. } if scoped => 403,
            _ => 200,
        }
    }
}

/// The life of one token.
struct Life {
    key: String,
    id: TokenId,
    /// States, with the tick from which each is certain and the tick until which the previous one was possible.
    states: Mutex<Vec<State>>,
}

#[derive(Clone, Copy)]
struct State {
    allowed: Allowed,
    /// A request that ended before this tick cannot have seen the state.
    from: u64,
    /// A request that began after this tick cannot have seen an earlier state.
    sure: u64,
}

impl Life {
    /// Whether a request from tick `begun` to tick `ended` can have this status.
    fn permits(&self, scoped: bool, status: u16, begun: u64, ended: u64) -> bool {
        let states = self.states.lock().unwrap();
        states.iter().enumerate().any(|(place, state)| {
            let over = states.get(place + 1).map_or(u64::MAX, |next| next.sure);
            state.allowed.status(scoped) == status && state.from <= ended && begun <= over
        })
    }

    fn now(&self) -> Allowed {
        self.states.lock().unwrap().last().unwrap().allowed
    }
}

struct Slot {
    owner: SubjectId,
    /// All tokens of this slot, the newest last. Old ones must stay invalid.
    lives: Vec<Arc<Life>>,
}

struct Race {
    fleet: Fleet,
    store: Store,
    slots: Vec<tokio::sync::Mutex<Slot>>,
    /// The tokens that requests choose from.
    known: Mutex<Vec<Arc<Life>>>,
    /// A counter of moments; every read increments it.
    ticks: AtomicU64,
    done: AtomicUsize,
    changes: AtomicUsize,
    wanted: usize,
}

impl Race {
    fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }

    fn is_over(&self) -> bool {
        self.done.load(Ordering::Relaxed) >= self.wanted && self.changes.load(Ordering::Relaxed) >= CHANGES
    }

    async fn issue(&self, slot: &mut Slot) {
        let order =
            NamedToken { name: "race".to_owned(), expires: None, scopes: ScopeSet::default(), ..NamedToken::default() };
        let issued = self.store.ledger.issue_named(slot.owner, &order).await.unwrap();
        let allowed = Allowed { live: true, active: true, admin: false };
        let life = Life {
            key: issued.key.expose().to_owned(),
            id: issued.id,
            states: Mutex::new(vec![State { allowed, from: 0, sure: 0 }]),
        };
        let life = Arc::new(life);
        slot.lives.push(Arc::clone(&life));
        self.known.lock().unwrap().push(life);
    }

    /// Changes the newest token of a slot, and waits until every gateway has applied the change.
    async fn change(&self, slot: &mut Slot, choice: u32) {
        let life = Arc::clone(slot.lives.last().unwrap());
        let before = life.now();
        let from = self.tick();
        let after = match choice {
            0 if before.live => Allowed { live: false, ..before },
            1 => Allowed { active: !before.active, ..before },
            _ => Allowed { admin: !before.admin, ..before },
        };
        // Recorded before the change: from now on both states are possible.
        let affected: Vec<Arc<Life>> = if choice == 1 { slot.lives.clone() } else { vec![Arc::clone(&life)] };
        for one in &affected {
            let allowed = if choice == 1 { Allowed { active: after.active, ..one.now() } } else { after };
            one.states.lock().unwrap().push(State { allowed, from, sure: u64::MAX });
        }
        let (ledger, accounts) = (&self.store.ledger, &self.store.accounts);
        match choice {
            0 if before.live => drop(ledger.revoke(TokenRef::Id(life.id)).await.unwrap()),
            1 if after.active => drop(accounts.activate(slot.owner).await.unwrap()),
            1 => drop(accounts.deactivate(slot.owner).await.unwrap()),
            _ => {
                let scopes = ScopeSet::parse(if after.admin { "admin" } else { "" }).unwrap();
                ledger.set_terms(life.id, &Terms { scopes: Some(scopes), ..Terms::default() }).await.unwrap();
            }
        }
        self.fleet.changes_are_applied().await;
        let sure = self.tick();
        for one in &affected {
            one.states.lock().unwrap().last_mut().unwrap().sure = sure;
        }
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    async fn keep_changing(&self, mut rng: StdRng) {
        while !self.is_over() {
            let among = if rng.random_bool(0.5) { HOT } else { self.slots.len() };
            let place = rng.random_range(0..among);
            let mut slot = self.slots[place].lock().await;
            let now = slot.lives.last().unwrap().now();
            if now.live {
                self.change(&mut slot, rng.random_range(0..3)).await;
            } else {
                if !now.active {
                    self.change(&mut slot, 1).await;
                }
                self.issue(&mut slot).await;
            }
        }
    }

    async fn keep_looking(&self, gateway: &Gateway, mut rng: StdRng) {
        let mut client = H2::open(gateway).await;
        while !self.is_over() {
            let life = {
                let known = self.known.lock().unwrap();
                // Mostly recent tokens, sometimes any earlier one.
                let newest = known.len().saturating_sub(HOT * 2);
                let from = if rng.random_bool(0.3) { 0 } else { newest };
                Arc::clone(&known[rng.random_range(from..known.len())])
            };
            let scoped = rng.random_bool(0.5);
            let ask = Ask::get(if scoped { "/scoped/x" } else { "/api/x" }).token(&life.key);
            let begun = self.tick();
            let answer = client.ask(&ask).await;
            let ended = self.tick();
            assert!(
                life.permits(scoped, answer.status, begun, ended),
                "token {} (scoped: {scoped}) was answered {} {:?} between {begun} and {ended}",
                life.id.0,
                answer.status,
                answer.text(),
            );
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Runs a race with this many requests.
async fn run(fleet: Fleet, slots: usize, wanted: usize) -> Rc<Race> {
    let seed = std::env::var("TOKENGATE_RACE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_124);
    println!("TOKENGATE_RACE_SEED={seed}");
    let store = fleet.first().store.clone();
    let mut race = Race {
        fleet,
        store,
        slots: Vec::new(),
        known: Mutex::default(),
        ticks: AtomicU64::new(1),
        done: AtomicUsize::new(0),
        changes: AtomicUsize::new(0),
        wanted,
    };
    for number in 0..slots {
        let user = NewUser::named(format!("racer{number}"));
        let owner = race.store.accounts.create(user).await.unwrap().0.account.id;
        let mut slot = Slot { owner, lives: Vec::new() };
        race.issue(&mut slot).await;
        race.slots.push(tokio::sync::Mutex::new(slot));
    }
    race.fleet.changes_are_applied().await;
    for store in &race.fleet.stores {
        store.answers_late(4);
    }
    let race = Rc::new(race);
    let rng = |stream: usize| StdRng::seed_from_u64(seed + u64::try_from(stream).unwrap());
    let all = async {
        let mut tasks = JoinSet::new();
        for stream in 0..CHANGERS {
            let (race, rng) = (Rc::clone(&race), rng(stream));
            tasks.spawn_local(async move { race.keep_changing(rng).await });
        }
        for stream in 0..race.fleet.gateways.len() * LOOKERS {
            let (race, rng) = (Rc::clone(&race), rng(CHANGERS + stream));
            tasks.spawn_local(async move {
                let gateway = &race.fleet.gateways[stream % race.fleet.gateways.len()];
                race.keep_looking(gateway, rng).await;
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    };
    LocalSet::new().run_until(all).await;
    race
}

#[tokio::test]
async fn no_gateway_shows_an_old_state_after_a_change_was_applied_over_sqlite() {
    let fleet = Fleet::over_sqlite(3, |settings| {
        settings.store.poll_every = Duration::from_millis(10);
        settings.tokens.max_per_user = 10_000;
    })
    .await;
    let changes = run(fleet, HOT, 34_000).await.changes.load(Ordering::Relaxed);
    println!("{changes} changes");
}

#[tokio::test]
async fn no_gateway_shows_an_old_state_after_a_change_was_applied_over_postgresql_and_redis() {
    let (redis, postgres) = (Redis::start().await, Postgres::shared().await);
    let shared = RedisCache::at(&redis.url(), Path::new("")).unwrap();
    let fleet = Fleet::over(postgres.database().await, tempfile::tempdir().unwrap(), 3, |settings| {
        settings.tokens.max_per_user = 10_000;
        // Long enough for a machine that runs all other tests at the same time.
        settings.redis = Some(RedisCache { timeout: Duration::from_secs(2), ..shared.clone() });
        settings.memory.max_entries = 64;
    })
    .await;
    let hits = |fleet: &Fleet| -> u64 {
        fleet.gateways.iter().map(|gateway| gateway.metric("tokengate_shared_cache_hits_total")).sum()
    };
    // Most tokens do not change, so that the shared cache has entries; the cache in memory has room for few.
    let race = run(fleet, 600, 66_000).await;
    let (changes, hits) = (race.changes.load(Ordering::Relaxed), hits(&race.fleet));
    println!("{changes} changes, {hits} answers from the shared cache");
    assert!(hits > 100, "only {hits} answers came from the shared cache");
}
