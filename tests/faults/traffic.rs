//! Continuous light load, and the allowed responses.
//!
//! Each gateway gets requests with five kinds of tokens all the time, over HTTP/2, with one connection per kind. The
//! allowed statuses are recorded with their start: a response is right if its status was allowed at any moment between
//! the start of the request and its end.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::place::{GATEWAYS, Place};
use crate::support::http2::H2;
use crate::support::redis::Redis;
use crate::support::{Answer, Ask, PATIENCE, eventually};

/// Interval between two requests of one kind at one gateway.
const EVERY: Duration = Duration::from_millis(25);
/// Number of tokens that were never used. Used ones are appended again.
const FRESH: usize = 250;

/// The kind of token in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A valid token that the gateway has cached.
    Valid,
    /// A token that was revoked before the fault.
    Revoked,
    /// A valid token that every gateway has cached, until the test revokes it.
    Victim,
    /// A token that never existed, a different one each time.
    Unknown,
    /// A valid token that no gateway has seen, if there still is one.
    Fresh,
}

use Kind::{Fresh, Revoked, Unknown, Valid, Victim};

const KINDS: [Kind; 5] = [Valid, Revoked, Victim, Unknown, Fresh];

/// The allowed statuses over time for one kind at one gateway.
struct Rule {
    allowed: Mutex<Vec<&'static [u16]>>,
    answers: AtomicUsize,
}

struct Shared {
    rules: Vec<Rule>,
    wrong: Mutex<Vec<String>>,
    fresh: Mutex<VecDeque<String>>,
}

/// The load. Must be ended by [`Traffic::finish`].
pub struct Traffic {
    shared: Arc<Shared>,
    pub valid: String,
    pub victim: String,
    _tasks: JoinSet<()>,
}

impl Traffic {
    /// Starts it, without any fault.
    pub async fn start(place: &Place, redis: Option<&Redis>) -> Traffic {
        let fresh: VecDeque<String> = place.issue("fresh", FRESH).await.into();
        let mut known = place.issue("known", 3).await.into_iter();
        let [valid, revoked, victim] = [(); 3].map(|()| known.next().unwrap());
        place.fleet.changes_are_applied().await;
        if let Some(redis) = redis {
            place.tokens_are_old(redis).await;
        }
        for gateway in &place.fleet.gateways {
            let mut client = H2::open(gateway).await;
            for key in [&valid, &revoked, &victim] {
                assert_eq!(client.ask(&Ask::get("/api/x").token(key)).await.status, 200);
            }
        }
        place.revoke(&revoked).await;
        place.fleet.changes_are_applied().await;
        let rule = |kind| Rule { allowed: Mutex::new(vec![normal(kind)]), answers: AtomicUsize::new(0) };
        let rules = (0..GATEWAYS).flat_map(|_| KINDS.map(rule)).collect();
        let shared = Arc::new(Shared { rules, wrong: Mutex::default(), fresh: Mutex::new(fresh) });
        let mut tasks = JoinSet::new();
        for (number, gateway) in place.fleet.gateways.iter().enumerate() {
            for kind in KINDS {
                let key = match kind {
                    Valid => valid.clone(),
                    Revoked => revoked.clone(),
                    Victim => victim.clone(),
                    Unknown | Fresh => String::new(),
                };
                tasks.spawn(keep_asking(Arc::clone(&shared), H2::open(gateway).await, number, kind, key));
            }
        }
        let traffic = Traffic { shared, valid, victim, _tasks: tasks };
        traffic.goes_on().await;
        traffic
    }

    /// From now on, responses of these kinds at one gateway can have these statuses.
    pub fn allow_at(&self, gateway: usize, kinds: &[Kind], statuses: &'static [u16]) {
        for kind in kinds {
            self.shared.rule(gateway, *kind).allowed.lock().unwrap().push(statuses);
        }
    }

    /// The same at all gateways.
    pub fn allow(&self, kinds: &[Kind], statuses: &'static [u16]) {
        (0..GATEWAYS).for_each(|gateway| self.allow_at(gateway, kinds, statuses));
    }

    /// The store may be unreachable for this gateway: only cached callers are sure to pass, and a valid token never
    /// gets 401.
    pub fn store_is_away_at(&self, gateway: usize) {
        self.allow_at(gateway, &[Fresh], &[200, 503]);
        self.allow_at(gateway, &[Unknown, Revoked], &[401, 503]);
    }

    /// The same at all gateways.
    pub fn store_is_away(&self) {
        (0..GATEWAYS).for_each(|gateway| self.store_is_away_at(gateway));
    }

    /// Revokes the victim while every gateway can be notified: it is invalid once all of them are.
    pub async fn revoke_victim(&self, place: &Place) {
        self.allow(&[Victim], &[200, 401]);
        place.revoke(&self.victim).await;
        place.fleet.changes_are_applied().await;
        self.allow(&[Victim], &[401]);
    }

    /// Waits until some more requests of every kind were sent and answered at every gateway, all as allowed.
    pub async fn goes_on(&self) {
        let count = |rule: &Rule| rule.answers.load(Ordering::Acquire);
        let before: Vec<usize> = self.shared.rules.iter().map(count).collect();
        eventually(PATIENCE, "requests are answered", || async {
            self.all_is_right();
            self.shared.rules.iter().zip(&before).all(|(rule, before)| count(rule) >= before + 4)
        })
        .await;
    }

    /// Waits until every gateway responds as without a fault; from then on all must. The victim is invalid by now.
    pub async fn heals(&self, place: &Place) {
        for gateway in &place.fleet.gateways {
            let client = tokio::sync::Mutex::new(H2::open(gateway).await);
            let status = async |key: &str| client.lock().await.ask(&Ask::get("/api/x").token(key)).await.status;
            eventually(PATIENCE, "the gateway heals", || async {
                self.all_is_right();
                let fresh = self.shared.next_fresh();
                status(&random_key()).await == 401
                    && status(&self.victim).await == 401
                    && status(&self.valid).await == 200
                    && status(&fresh).await == 200
            })
            .await;
        }
        place.fleet.changes_are_applied().await;
        for kind in KINDS {
            self.allow(&[kind], if kind == Victim { &[401] } else { normal(kind) });
        }
        self.goes_on().await;
    }

    /// Lets all entries in memory expire, revokes another token, and ends the load.
    pub async fn finish(self, place: &Place) {
        self.goes_on().await;
        place.advance(super::place::FORGOTTEN);
        self.goes_on().await;
        let last = self.shared.fresh.lock().unwrap().pop_front().unwrap();
        place.revoke(&last).await;
        place.fleet.changes_are_applied().await;
        for gateway in &place.fleet.gateways {
            for (key, status) in [(&last, 401), (&self.victim, 401), (&self.valid, 200)] {
                assert_eq!(Ask::get("/api/x").token(key).to(gateway).await.status, status);
            }
        }
        self.all_is_right();
    }

    fn all_is_right(&self) {
        let wrong = self.shared.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{} wrong answers:\n{}", wrong.len(), wrong.join("\n"));
    }
}

/// The right statuses without a fault.
fn normal(kind: Kind) -> &'static [u16] {
    match kind {
        Valid | Victim | Fresh => &[200],
        Revoked | Unknown => &[401],
    }
}

impl Shared {
    fn rule(&self, gateway: usize, kind: Kind) -> &Rule {
        let kind = KINDS.iter().position(|other| *other == kind).unwrap();
        &self.rules[gateway * KINDS.len() + kind]
    }

    /// The token that was used longest ago, or never.
    fn next_fresh(&self) -> String {
        let mut fresh = self.fresh.lock().unwrap();
        fresh.rotate_left(1);
        fresh.back().unwrap().clone()
    }
}

async fn keep_asking(shared: Arc<Shared>, mut client: H2, gateway: usize, kind: Kind, key: String) {
    let rule = shared.rule(gateway, kind);
    let mut pace = tokio::time::interval(EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let key = match kind {
            Valid | Revoked | Victim => key.clone(),
            Unknown => random_key(),
            Fresh => shared.next_fresh(),
        };
        let begun = rule.allowed.lock().unwrap().len() - 1;
        let answer = client.ask(&Ask::get("/api/x").token(&key)).await;
        let allowed = rule.allowed.lock().unwrap()[begun..].concat();
        if !allowed.contains(&answer.status) || !is_well_formed(&answer) {
            shared.wrong.lock().unwrap().push(format!("gateway {gateway}, {kind:?}: {answer:?}, not {allowed:?}"));
        }
        rule.answers.fetch_add(1, Ordering::Release);
    }
}

/// A key that no store has, in the format of existing ones.
pub fn random_key() -> String {
    rand::random::<[u8; 20]>().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the response has its required headers.
fn is_well_formed(answer: &Answer) -> bool {
    let challenge = answer.fields.get("www-authenticate");
    let says = |detail: &str| answer.detail() == detail;
    answer.complete
        && match answer.status {
            200 => answer.text() == "ok" && challenge.is_none(),
            401 => challenge == Some("Token") && says("Invalid token."),
            503 => {
                let retry = answer.fields.get("retry-after");
                retry == Some("1") && challenge.is_none() && says("Tokens cannot be checked at the moment. Try again.")
            }
            _ => false,
        }
}
