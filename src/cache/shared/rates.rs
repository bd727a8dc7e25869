//! Rates that several gateways count together: one number in Redis for each key.
//!
//! One call of a script takes any number of events and returns what is left. It uses the clock of the server, so the
//! clocks of gateways do not matter. The connection is not that of the token cache: neither can delay the other.

use std::sync::Arc;
use std::time::Duration;

use redis::{FromRedisValue, Value};
use tokio::sync::Notify;

use super::link::{Failure, Link, Purpose};
use super::scripts::Named;
use super::servers::Servers;
use crate::clock::Clock;
use crate::config::settings::RedisCache;
use crate::limits::{Granted, Left, LogLimiter, Pace, Question};

/// Takes events by GCRA, in microseconds.
///
/// ARGV: recovery time of one event and of a full burst in nanoseconds, number of wanted and of returned events.
/// Returns the number of granted events, the number that is left, and the microseconds until one more is allowed. Half
/// a microsecond of tolerance outweighs the rounding of the server's numbers.
const TAKE: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local each, all = ARGV[1] / 1000, ARGV[2] / 1000
local there = redis.pcall('GET', KEYS[1])
local full = type(there) == 'string' and tonumber(there) or now
full = math.max(now, math.min(full - ARGV[4] * each, now + all))
local free = math.max(0, math.floor((now + all - full + 0.5) / each))
local got = math.min(tonumber(ARGV[3]), free)
full = full + got * each
if full > now then
  redis.call('SET', KEYS[1], string.format('%.3f', full), 'PX', math.ceil((full - now) / 1000))
else
  redis.call('DEL', KEYS[1])
end
local wait = full > now and each - (now + all - full) % each or 0
return {got, free - got, math.ceil(wait)}
";

/// The rates in Redis.
pub struct SharedRates {
    link: Link,
    take: Named,
    prefix: String,
    timeout: Duration,
    clock: Clock,
    refusals: LogLimiter,
    needed: Notify,
}

impl SharedRates {
    /// Creates the counts, which are out of reach until the task runs. The task connects when the first rate needs it,
    /// and keeps the connection up until dropped.
    pub fn new(settings: &RedisCache, clock: Clock) -> (Arc<SharedRates>, impl Future<Output = ()> + Send + use<>) {
        let rates = Arc::new(SharedRates {
            link: Link::new(Servers::new(settings), Purpose::Rates, settings.timeout),
            take: Named::of(TAKE.to_owned()),
            prefix: format!("{}rate:", settings.prefix),
            timeout: settings.timeout,
            clock,
            refusals: LogLimiter::default(),
            needed: Notify::new(),
        });
        let task = Arc::clone(&rates);
        (rates, async move {
            task.needed.notified().await;
            task.link.keep_up().await;
        })
    }

    /// Records that a rate needs the connection.
    pub fn need(&self) {
        self.needed.notify_one();
    }

    /// Takes events for a key: one round trip, never longer than `cache.redis.timeout`. `None`: Redis does not answer.
    pub async fn take(&self, key: &str, pace: Pace, question: Question) -> Option<Granted> {
        let (each, all) = pace.nanos();
        let call = self.take.call(&format!("{}{key}", self.prefix));
        let call = call.arg(each).arg(all).arg(question.want).arg(question.back);
        let answer = self.link.ask(&call, self.timeout).await;
        let answer = answer.and_then(|value| Ok(read(value)?));
        match answer {
            Ok(granted) => Some(granted),
            Err(failure) => {
                self.note(&failure);
                None
            }
        }
    }

    fn note(&self, failure: &Failure) {
        if let Failure::Refused(error) = failure
            && self.refusals.is_due(self.clock.instant())
        {
            let why = self.link.servers().explain(error);
            tracing::warn!(code = "shared_rates_refused", why, "Redis refuses to count a rate");
        }
    }
}

fn read(answer: Value) -> Result<Granted, redis::RedisError> {
    let (events, left, wait) = <(u32, u64, u64)>::from_redis_value(answer)?;
    Ok(Granted { events, left: Left { events: left, more_in: Duration::from_micros(wait) } })
}
