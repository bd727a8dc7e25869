//! Active checks of endpoints, for upstreams with `health_check`.
//!
//! Each endpoint is asked at its own rhythm. The answers decide whether workers send it requests
//! ([`Health`](crate::upstream::Health)). The endpoints are always those of the configuration in use.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::generation::Built;
use crate::config::settings::HealthCheck;
use crate::upstream::{EndpointSpec, EndpointTally, ProbeFault, probe};

/// How often the due checks are determined.
const TICK: Duration = Duration::from_millis(100);
/// How much the time between two checks varies, in percent, so that gateways do not ask at the same time.
const JITTER: u32 = 20;

/// An endpoint of an upstream: the upstream, and the endpoint's place in it.
type Name = (String, usize);

/// An endpoint between two checks.
struct Entry {
    spec: Arc<EndpointSpec>,
    tally: Arc<EndpointTally>,
    check: Arc<HealthCheck>,
    due: Instant,
    is_asked: bool,
    /// Results in a row that differ from the present state.
    others: u32,
    is_healthy: bool,
}

/// The result of a check.
struct Answer {
    name: Name,
    spec: Arc<EndpointSpec>,
    result: Result<(), ProbeFault>,
}

/// Checks endpoints until dropped.
pub(super) async fn run(mut in_use: watch::Receiver<Arc<Built>>) {
    let mut endpoints: HashMap<Name, Entry> = HashMap::new();
    let (mut asked, mut drawn) = (JoinSet::new(), 0_u32);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    adopt(&in_use.borrow_and_update(), &mut endpoints);
    loop {
        tokio::select! {
            changed = in_use.changed() => {
                if changed.is_err() {
                    return;
                }
                adopt(&in_use.borrow_and_update(), &mut endpoints);
            }
            _ = tick.tick(), if !endpoints.is_empty() => begin(&mut endpoints, &mut asked),
            Some(answer) = asked.join_next() => if let Ok(answer) = answer {
                drawn = drawn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                end(answer, &mut endpoints, drawn >> 16);
            },
        }
    }
}

/// Takes over the endpoints of a configuration. Those that were checked before keep their state.
fn adopt(built: &Built, endpoints: &mut HashMap<Name, Entry>) {
    let mut before = std::mem::take(endpoints);
    for upstream in &built.generation.upstreams {
        let Some(check) = &upstream.settings.health_check else {
            upstream.members.iter().for_each(|member| member.tally.health.unchecked());
            continue;
        };
        let check = Arc::new(check.clone());
        for (place, member) in upstream.members.iter().enumerate() {
            let (spec, tally, check) = (Arc::clone(&member.spec), Arc::clone(&member.tally), Arc::clone(&check));
            let name = (upstream.settings.name.clone(), place);
            let same = before.remove(&name).filter(|old| Arc::ptr_eq(&old.tally, &tally));
            let entry = match same {
                Some(old) => Entry { spec, check, ..old },
                None => {
                    let (due, is_healthy) = (Instant::now(), true);
                    Entry { spec, tally, check, due, is_asked: false, others: 0, is_healthy }
                }
            };
            endpoints.insert(name, entry);
        }
    }
}

/// Starts the checks that are due.
fn begin(endpoints: &mut HashMap<Name, Entry>, asked: &mut JoinSet<Answer>) {
    let now = Instant::now();
    for (name, entry) in endpoints.iter_mut().filter(|(_, entry)| entry.due <= now && !entry.is_asked) {
        entry.is_asked = true;
        let (name, spec, check) = (name.clone(), Arc::clone(&entry.spec), Arc::clone(&entry.check));
        asked.spawn(async move {
            let result = probe(&spec, &check).await;
            Answer { name, spec, result }
        });
    }
}

/// Records a result. Logs each change once.
fn end(answer: Answer, endpoints: &mut HashMap<Name, Entry>, drawn: u32) {
    let Answer { name, spec, result } = answer;
    // A reload may have removed or replaced the endpoint meanwhile.
    let Some(entry) = endpoints.get_mut(&name) else { return };
    entry.is_asked = false;
    let spread = entry.check.every * (100 - JITTER / 2 + drawn % (JITTER + 1)) / 100;
    entry.due = Instant::now() + spread;
    if !Arc::ptr_eq(&entry.spec, &spec) {
        return;
    }
    let passed = result.is_ok();
    entry.others = if passed == entry.is_healthy { 0 } else { entry.others + 1 };
    let needed = if passed { entry.check.healthy } else { entry.check.unhealthy };
    if entry.others >= needed {
        (entry.is_healthy, entry.others) = (passed, 0);
    }
    if !entry.tally.health.checked(entry.is_healthy) {
        return;
    }
    let ((upstream, _), endpoint) = (&name, &*entry.spec.title());
    match result {
        Ok(()) => {
            tracing::info!(
                code = "endpoint_healthy",
                upstream,
                endpoint,
                "the endpoint is healthy and gets requests again"
            );
        }
        Err(error) => {
            tracing::warn!(code = "endpoint_unhealthy", upstream, endpoint, %error, "the endpoint is unhealthy and gets no requests");
        }
    }
}
