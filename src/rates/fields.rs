//! The headers `RateLimit` and `RateLimit-Policy`, in the form of draft-ietf-httpapi-ratelimit-headers-11.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::clock::Period;
use crate::limits::{Left, Quota};
use crate::units::Rate;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The headers that describe the rates of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateFields {
    policy: Option<HeaderValue>,
    left: Option<HeaderValue>,
}

/// What is left of each rate, as it becomes known.
pub(super) struct Told<'r> {
    policy: Option<&'r HeaderValue>,
    left: String,
}

impl RateFields {
    /// Adds the headers to those of an upstream, which may have rates of its own.
    pub fn add_to(&self, fields: &mut HeaderMap) {
        for (name, value) in [(RATE_LIMIT_POLICY, &self.policy), (RATE_LIMIT, &self.left)] {
            if let Some(value) = value {
                fields.append(name, value.clone());
            }
        }
    }
}

/// A rate in `RateLimit-Policy`: `"NAME";q=REQUESTS;w=SECONDS`.
pub(super) fn rate(name: &str, rate: Rate, burst: u32) -> String {
    let (count, seconds) = (rate.count, rate.per.as_secs().max(1));
    let burst = if burst == count { String::new() } else { format!(";tokengate-burst={burst}") };
    format!("\"{name}\";q={count};w={seconds}{burst}")
}

/// A quota in `RateLimit-Policy`. Months differ in length, so that of a month has no `w`.
pub(super) fn quota(name: &str, quota: Quota) -> String {
    let window = if quota.period == Period::Day { ";w=86400" } else { "" };
    format!("\"{name}\";q={}{window};tokengate-period={}", quota.limit, quota.period)
}

/// `RateLimit-Policy` of these items; `None` without any.
pub(super) fn policy(items: impl Iterator<Item = String>) -> Option<HeaderValue> {
    let text = items.collect::<Vec<_>>().join(", ");
    if text.is_empty() { None } else { HeaderValue::try_from(text).ok() }
}

impl<'r> Told<'r> {
    pub(super) fn new(policy: Option<&'r HeaderValue>) -> Told<'r> {
        Told { policy, left: String::with_capacity(48) }
    }

    /// Adds a rate or quota: what is left, or the time until a request is allowed.
    pub(super) fn add(&mut self, name: &str, judged: Result<Left, Duration>) {
        let (events, wait) = judged.map_or_else(|wait| (0, wait), |left| (left.events, left.more_in));
        let comma = if self.left.is_empty() { "" } else { ", " };
        // Rounded up, so that a client that waits exactly this long is not too early.
        let seconds = u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX);
        // Without format!, which takes several times as long: every counted request comes here.
        for part in [comma, "\"", name, "\";r="] {
            self.left.push_str(part);
        }
        push(&mut self.left, events);
        self.left.push_str(";t=");
        push(&mut self.left, seconds);
    }

    pub(super) fn fields(self) -> RateFields {
        RateFields { policy: self.policy.cloned(), left: HeaderValue::try_from(self.left).ok() }
    }
}

/// Appends a number in decimal digits.
fn push(text: &mut String, number: u64) {
    if number > 9 {
        push(text, number / 10);
    }
    text.extend(u32::try_from(number % 10).ok().and_then(|digit| char::from_digit(digit, 10)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_name_each_rate() {
        let of = |text: &str| text.parse().unwrap();
        let monthly = Quota { limit: 9, period: Period::Month };
        let items = [rate("per-token", of("600/min"), 600), rate("site", of("50/s"), 100), quota("monthly", monthly)];
        let policy = policy(items.into_iter()).unwrap();
        let rates = "\"per-token\";q=600;w=60, \"site\";q=50;w=1;tokengate-burst=100";
        assert_eq!(policy, format!("{rates}, \"monthly\";q=9;tokengate-period=month"));
        let mut told = Told::new(Some(&policy));
        told.add("per-token", Ok(Left { events: 7, more_in: Duration::from_millis(100) }));
        told.add("site", Err(Duration::from_millis(10_204_001)));
        let mut fields = HeaderMap::new();
        told.fields().add_to(&mut fields);
        assert_eq!(fields["ratelimit"], "\"per-token\";r=7;t=1, \"site\";r=0;t=10205");
        assert_eq!(fields["ratelimit-policy"], policy);
    }
}
