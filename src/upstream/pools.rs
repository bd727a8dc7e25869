//! The endpoints of one upstream in one worker: which one a request goes to.
//!
//! The choice is local to the worker and needs no lock. The health of endpoints is shared ([`Health`](super::Health)).

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::balance::{Budget, Member, hash, next_in_turn, rendezvous};
use super::connect::EndpointSpec;
use super::health::Standing;
use super::pool::Count;
use super::{EndpointPool, Lease, OriginFault};
use crate::config::settings::{Balance, Ejection};

/// The pools of one upstream in one worker.
pub struct UpstreamPools {
    members: Vec<Member>,
    rules: Rules,
    queue: Rc<Queue>,
    budget: Rc<Budget>,
}

/// How an upstream spreads its requests.
#[derive(Clone)]
pub struct Rules {
    /// Whether a request that was certainly not processed, or has no effects, may be sent once more.
    pub retry: bool,
    /// Which endpoint a request goes to.
    pub balance: Balance,
    /// When an endpoint is ejected; `None`: never.
    pub ejection: Option<Ejection>,
    /// How long the share of an endpoint grows after its return.
    pub slow_start: Duration,
    /// Maximum number of requests that wait for a connection.
    pub most_waiting: usize,
    /// How long a request waits for one.
    pub wait: Duration,
    /// Held while an endpoint is ejected, so that workers do not eject more than the cap together.
    pub ejecting: Arc<Mutex<()>>,
}

/// The requests that wait for a connection of an upstream.
#[derive(Default)]
pub struct Queue {
    pub(super) freed: Notify,
    waiting: Cell<usize>,
}

impl UpstreamPools {
    /// Pools with their weights; there must be at least one. They share `queue`. `before` are those of the previous
    /// generation.
    pub fn new(
        pools: Vec<(Rc<EndpointPool>, u32)>,
        rules: Rules,
        queue: Rc<Queue>,
        before: Option<&UpstreamPools>,
    ) -> UpstreamPools {
        let member = |(pool, weight): (Rc<EndpointPool>, u32)| Member {
            weight: u64::from(weight.max(1)),
            credit: Cell::new(0),
            hash: hash(pool.spec().title().as_bytes()),
            pool,
        };
        let members = pools.into_iter().map(member).collect();
        let budget = before.map(|old| Rc::clone(&old.budget)).unwrap_or_default();
        UpstreamPools { members, rules, queue, budget }
    }

    /// The queue of its pools, for those that are made for its successor.
    pub fn queue(&self) -> Rc<Queue> {
        Rc::clone(&self.queue)
    }

    /// Whether a request may be sent once more at all.
    pub fn retries(&self) -> bool {
        self.rules.retry
    }

    /// Takes a retry from the budget, if there is one left, for a request that failed at this endpoint.
    pub fn may_retry(&self, pool: &EndpointPool) -> bool {
        let may = self.rules.retry && self.budget.take();
        if may {
            pool.tally().retried();
        }
        may
    }

    /// Chooses the endpoint for a new request of `user`, which earns its part of a retry. Otherwise as
    /// [`UpstreamPools::choose`].
    pub fn begin(&self, user: Option<i64>) -> Option<&Rc<EndpointPool>> {
        self.budget.request();
        self.choose(user, &[])
    }

    /// Chooses an endpoint for a request of `user`. Endpoints that are out, full or not resolved are chosen only if
    /// there are no others, and those of `avoid` only if there is no other at all. `None` only without endpoints.
    pub fn choose(&self, user: Option<i64>, avoid: &[Rc<EndpointPool>]) -> Option<&Rc<EndpointPool>> {
        match self.members.as_slice() {
            [only] => Some(&only.pool),
            many => self.choose_among(many, user, avoid),
        }
    }

    fn choose_among<'a>(
        &self,
        many: &'a [Member],
        user: Option<i64>,
        avoid: &[Rc<EndpointPool>],
    ) -> Option<&'a Rc<EndpointPool>> {
        // Each condition matters more than the next one.
        let class = |member: &Member| {
            let pool = &member.pool;
            (contains(avoid, pool), !pool.spec().is_known(), !self.is_in(pool), !pool.has_room())
        };
        let best = many.iter().map(class).min()?;
        let candidates = || many.iter().filter(move |member| class(member) == best);
        let weight = |member: &Member| member.weight * member.pool.tally().health.share(self.rules.slow_start);
        let chosen = match (self.rules.balance, user) {
            (Balance::HashUser, Some(user)) => {
                let score = |member: &Member| rendezvous(member.hash, user, weight(member));
                candidates().max_by(|one, other| score(one).total_cmp(&score(other)))
            }
            (Balance::RoundRobin, _) => next_in_turn(candidates(), weight),
            (Balance::LeastRequests | Balance::HashUser, _) => {
                let load = |member: &Member| member.pool.load() / weight(member).max(1);
                let least = candidates().map(load).min()?;
                next_in_turn(candidates().filter(|member| load(member) == least), weight)
            }
        };
        chosen.map(|member| &member.pool)
    }

    /// Whether an endpoint gets requests. Logs its return, if this is the first request after its ejection.
    fn is_in(&self, pool: &EndpointPool) -> bool {
        let health = &pool.tally().health;
        if health.return_if_due() {
            let endpoint = &*pool.spec().title();
            tracing::info!(code = "endpoint_returned", endpoint, "the endpoint gets requests again");
        }
        health.standing() == Standing::Available
    }

    /// Leases a connection to the endpoint `chosen`, or to others in turn if that fails. Waits in the queue if all are
    /// full. A connection to an endpoint of `tried` is a new one. `alone`: so is one of HTTP/2, and no other request gets
    /// it, because what has ended the last connection may end this one too. Only if no connection may be opened, it is a
    /// shared one. `certainly` as in [`EndpointPool::lease_warm`].
    ///
    /// # Errors
    /// [`OriginFault::Overloaded`] if no connection becomes free in time or too many requests wait already; otherwise
    /// the fault of the last endpoint.
    pub async fn lease(
        &self,
        user: Option<i64>,
        chosen: &Rc<EndpointPool>,
        tried: &[Rc<EndpointPool>],
        alone: bool,
        certainly: bool,
    ) -> Result<(Lease, Rc<EndpointPool>), OriginFault> {
        let deadline = Instant::now() + self.rules.wait;
        let mut chosen = Rc::clone(chosen);
        // The endpoints whose turn is over, and the fault of the last one.
        let (mut avoided, mut last) = (tried.to_vec(), None);
        loop {
            let is_alone = alone && chosen.is_multiplexed();
            let warm = match contains(tried, &chosen) {
                _ if is_alone => None,
                false => chosen.lease_warm(certainly),
                true if chosen.is_multiplexed() => chosen.lease_stream(),
                true => None,
            };
            if let Some(lease) = warm {
                return Ok((lease, chosen));
            }
            match chosen.lease_new(is_alone).await {
                Ok(lease) => return Ok((lease, chosen)),
                Err(OriginFault::Overloaded) => match is_alone.then(|| chosen.lease_stream()).flatten() {
                    Some(lease) => return Ok((lease, chosen)),
                    None => self.wait(deadline).await?,
                },
                Err(fault) => {
                    self.failed(&chosen, &fault);
                    avoided.push(chosen);
                    last = Some(fault);
                }
            }
            let next = self.choose(user, &avoided).ok_or(OriginFault::Connect)?;
            if let Some(fault) = last.take_if(|_| contains(avoided.get(tried.len()..).unwrap_or_default(), next)) {
                return Err(fault);
            }
            chosen = Rc::clone(next);
        }
    }

    /// Waits until a connection becomes free.
    async fn wait(&self, deadline: Instant) -> Result<(), OriginFault> {
        let queue = &self.queue;
        if queue.waiting.get() >= self.rules.most_waiting {
            return Err(OriginFault::Overloaded);
        }
        let _place = Count::enter(&queue.waiting);
        timeout_at(deadline, queue.freed.notified()).await.map_err(|_| OriginFault::Overloaded)
    }

    /// Records a failed request or connection. Ejects the endpoint after several in a row, unless too many are out.
    pub fn failed(&self, pool: &Rc<EndpointPool>, fault: &OriginFault) {
        let Some(rule) = self.rules.ejection.filter(|_| fault.is_of_endpoint()) else { return };
        let health = &pool.tally().health;
        let failures = health.failed();
        if failures < rule.consecutive_errors || health.standing() != Standing::Available {
            return;
        }
        let _turn = self.rules.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_out = |member: &&Member| member.pool.tally().health.standing() == Standing::Ejected;
        let out = self.members.iter().filter(is_out).count() + 1;
        if health.standing() != Standing::Available || out * 100 > rule.max_ejected * self.members.len() {
            return;
        }
        health.eject(rule.eject_for, rule.consecutive_errors);
        let (endpoint, cause) = (&*pool.spec().title(), fault.word());
        let seconds = rule.eject_for.as_secs();
        tracing::warn!(
            code = "endpoint_ejected",
            endpoint,
            failures,
            cause,
            seconds,
            "requests to the endpoint failed; it gets none for a while"
        );
    }

    /// Records a response.
    pub fn succeeded(&self, pool: &EndpointPool) {
        pool.tally().health.succeeded();
    }

    /// Whether there is an endpoint besides this one that gets requests.
    pub fn has_other(&self, pool: &Rc<EndpointPool>) -> bool {
        let is_other = |member: &Member| !Rc::ptr_eq(&member.pool, pool) && member.pool.spec().is_known();
        self.members.iter().any(|member| is_other(member) && self.is_in(&member.pool))
    }

    /// The pool of this endpoint.
    pub fn of(&self, spec: &EndpointSpec) -> Option<&Rc<EndpointPool>> {
        self.all().find(|pool| *pool.spec() == *spec)
    }

    /// The pools of all endpoints.
    pub fn all(&self) -> impl Iterator<Item = &Rc<EndpointPool>> {
        self.members.iter().map(|member| &member.pool)
    }

    /// The worker's tick.
    pub fn sweep(&self, now: Instant) {
        self.all().for_each(|pool| pool.sweep(now));
    }
}

fn contains(pools: &[Rc<EndpointPool>], pool: &Rc<EndpointPool>) -> bool {
    pools.iter().any(|one| Rc::ptr_eq(one, pool))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::{EndpointTally, PoolLimits};
    use super::*;
    use crate::config::settings::{Endpoint, EndpointAddress, Protocol};
    use crate::http1;

    const LIMITS: PoolLimits = PoolLimits {
        connections: 10,
        idle: Duration::from_secs(60),
        connect: Duration::from_secs(5),
        answers: http1::Limits { head_bytes: 1_000, head_count: 10 },
    };

    const EJECTION: Ejection = Ejection { consecutive_errors: 3, eject_for: Duration::from_secs(30), max_ejected: 50 };

    fn pools(weights: &[u32], balance: Balance) -> UpstreamPools {
        let queue = Rc::<Queue>::default();
        let pool = |(number, weight): (usize, &u32)| {
            let endpoint =
                Endpoint::at(format!("10.0.0.{number}:80"), EndpointAddress::Unix(format!("socket-{number}").into()));
            let spec = Arc::new(EndpointSpec::of(&endpoint, None, Protocol::Http1));
            (EndpointPool::new(spec, LIMITS, Arc::<EndpointTally>::default(), Rc::clone(&queue)), *weight)
        };
        let rules = Rules {
            retry: true,
            balance,
            ejection: Some(EJECTION),
            slow_start: Duration::from_secs(10),
            most_waiting: 10,
            wait: Duration::from_secs(1),
            ejecting: Arc::default(),
        };
        UpstreamPools::new(weights.iter().enumerate().map(pool).collect(), rules, Rc::clone(&queue), None)
    }

    fn chosen(pools: &UpstreamPools, count: usize, user: impl Fn(usize) -> Option<i64>) -> Vec<usize> {
        let mut counts = vec![0; pools.members.len()];
        for number in 0..count {
            let chosen = pools.choose(user(number), &[]).unwrap();
            let place = pools.all().position(|pool| Rc::ptr_eq(pool, chosen)).unwrap();
            counts[place] += 1;
        }
        counts
    }

    #[tokio::test(start_paused = true)]
    async fn endpoints_get_requests_by_their_weights() {
        for balance in [Balance::RoundRobin, Balance::LeastRequests] {
            assert_eq!(chosen(&pools(&[1, 1, 1], balance), 30, |_| None), [10, 10, 10], "{balance:?}");
            assert_eq!(chosen(&pools(&[1, 3], balance), 40, |_| None), [10, 30], "{balance:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_stays_at_one_endpoint_and_only_the_users_of_a_missing_one_move() {
        let pools = pools(&[1, 1, 2], Balance::HashUser);
        let place = |user: i64| {
            let chosen = pools.choose(Some(user), &[]).unwrap();
            pools.all().position(|pool| Rc::ptr_eq(pool, chosen)).unwrap()
        };
        let before: HashMap<i64, usize> = (0..4_000).map(|user| (user, place(user))).collect();
        let count = |endpoint: usize| before.values().filter(|place| **place == endpoint).count();
        let counts = [count(0), count(1), count(2)];
        assert!((900..1_100).contains(&counts[0]) && (900..1_100).contains(&counts[1]), "{counts:?}");
        let gone = Rc::clone(&pools.members[1].pool);
        for _ in 0..3 {
            pools.failed(&gone, &OriginFault::Connect);
        }
        for (user, before) in &before {
            let now = place(*user);
            assert!(now != 1 && (*before == 1 || now == *before), "{user}: {before} {now}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_eject_an_endpoint_up_to_the_cap() {
        let pools = pools(&[1, 1, 1], Balance::RoundRobin);
        let fail = |place: usize| pools.failed(&pools.members[place].pool, &OriginFault::Timeout);
        for _ in 0..2 {
            fail(0);
        }
        pools.succeeded(&pools.members[0].pool);
        fail(0);
        assert_eq!(chosen(&pools, 3, |_| None), [1, 1, 1]);
        fail(0);
        fail(0);
        assert_eq!(chosen(&pools, 4, |_| None), [0, 2, 2]);
        // 50 % of three endpoints is one.
        for _ in 0..10 {
            fail(1);
        }
        assert_eq!(chosen(&pools, 4, |_| None), [0, 2, 2]);
        tokio::time::advance(Duration::from_secs(30)).await;
        let slow = chosen(&pools, 210, |_| None);
        assert_eq!(slow, [10, 100, 100], "a tenth of its weight at first");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(chosen(&pools, 300, |_| None), [100, 100, 100]);
    }

    #[tokio::test(start_paused = true)]
    async fn if_all_are_out_all_are_tried() {
        let pools = pools(&[1, 1], Balance::LeastRequests);
        for member in &pools.members {
            assert!(member.pool.tally().health.checked(false));
        }
        assert_eq!(chosen(&pools, 4, |_| None), [2, 2]);
        let first = Rc::clone(&pools.members[0].pool);
        let other = pools.choose(None, &[Rc::clone(&first)]).unwrap();
        assert!(!Rc::ptr_eq(other, &first), "one that was not tried");
    }
}
