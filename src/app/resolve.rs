//! Resolves the host names of endpoints periodically.
//!
//! A resolved name is looked up every `defaults.resolve_every`; if the lookup fails, its addresses stay in use. A name
//! that was never resolved is retried sooner. The names are always those of the configuration in use.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::generation::Built;
use crate::upstream::{Addresses, Resolver};

/// How often the due names are determined.
const TICK: Duration = Duration::from_millis(250);
/// Backoff before a name that was never resolved is looked up again: the first and the longest.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// Maximum number of concurrent lookups.
const MAX_LOOKUPS: usize = 16;

/// A name of an upstream: the upstream, host and port. Each upstream has its own addresses of a name.
type Name = (String, String, u16);

/// The state of a name between two lookups.
struct Entry {
    due: Instant,
    /// Delay after the next failure, while the name was never resolved.
    rest: Duration,
    is_failing: bool,
    is_asked: bool,
}

/// The result of a lookup.
struct Answer {
    name: Name,
    addresses: Addresses,
    found: io::Result<bool>,
}

/// Resolves names until dropped.
pub(super) async fn run(in_use: watch::Receiver<Arc<Built>>, resolver: Resolver) {
    let mut names: HashMap<Name, Entry> = HashMap::new();
    let mut asked = JoinSet::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => begin(&in_use, &resolver, &mut names, &mut asked),
            Some(answer) = asked.join_next() => if let Ok(answer) = answer {
                let every = in_use.borrow().settings.resolve_every;
                end(answer, &mut names, every);
            },
        }
    }
}

/// Starts the lookups that are due.
fn begin(
    in_use: &watch::Receiver<Arc<Built>>,
    resolver: &Resolver,
    names: &mut HashMap<Name, Entry>,
    asked: &mut JoinSet<Answer>,
) {
    let (built, now) = (Arc::clone(&in_use.borrow()), Instant::now());
    let mut present = HashMap::new();
    for upstream in &built.generation.upstreams {
        let named = upstream.members.iter().filter_map(|member| member.spec.addresses());
        for addresses in named.filter(|addresses| !addresses.is_literal()) {
            let (host, port) = addresses.name();
            present.insert((upstream.settings.name.clone(), host, port), addresses.clone());
        }
    }
    names.retain(|name, _| present.contains_key(name));
    for (name, addresses) in present {
        let entry = names.entry(name.clone()).or_insert_with(|| {
            // The name was looked up when its configuration was built.
            let is_failing = !addresses.are_known();
            let due = now + if is_failing { MIN_BACKOFF } else { built.settings.resolve_every };
            Entry { due, rest: MIN_BACKOFF, is_failing, is_asked: false }
        });
        if entry.due <= now && !entry.is_asked && asked.len() < MAX_LOOKUPS {
            entry.is_asked = true;
            let resolver = resolver.clone();
            asked.spawn(async move {
                let found = addresses.look_up(&resolver).await;
                Answer { name, addresses, found }
            });
        }
    }
}

/// Records the result of a lookup.
fn end(answer: Answer, names: &mut HashMap<Name, Entry>, every: Duration) {
    let Answer { name, addresses, found } = answer;
    // A reload may have removed the name meanwhile.
    let Some(entry) = names.get_mut(&name) else { return };
    let (now, (upstream, host, _)) = (Instant::now(), &name);
    entry.is_asked = false;
    match found {
        Ok(has_changed) => {
            if entry.is_failing {
                tracing::info!(upstream, host, "the endpoint's host was resolved");
            } else if has_changed {
                tracing::info!(upstream, host, "the endpoint's host has other addresses");
            }
            (entry.is_failing, entry.rest, entry.due) = (false, MIN_BACKOFF, now + every);
        }
        Err(error) if addresses.are_known() => {
            if !entry.is_failing {
                tracing::warn!(upstream, host, %error, "an endpoint's host cannot be resolved; its last addresses stay in use");
            }
            (entry.is_failing, entry.due) = (true, now + every);
        }
        Err(_) => {
            entry.rest = (entry.rest * 2).min(MAX_BACKOFF);
            entry.due = now + entry.rest;
        }
    }
}
