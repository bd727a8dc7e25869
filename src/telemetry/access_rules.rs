//! What the access log contains: its format, which successful requests have a line, and what lines hide.
//!
//! [`AccessLogFormat`] holds the rules for all workers in one atomic number, so that a reload changes them at once and a
//! request reads them without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::log_line::LogFormat;

/// The rules of an access log that is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessRules {
    /// How lines are written.
    pub format: LogFormat,
    /// Of this many successful requests, one has a line.
    pub sample: u32,
    /// What lines hide.
    pub redact: Redact,
}

/// The facts that lines hide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redact {
    /// The last part of the client's address, and its port.
    pub peer: bool,
    /// The path.
    pub path: bool,
    /// Username and ids of user and token.
    pub user: bool,
}

/// The rules, shared by all workers; at first the log is off.
#[derive(Clone, Debug, Default)]
pub struct AccessLogFormat(Arc<AtomicU64>);

/// The log is on. The other bits are zero while it is off.
const ON: u64 = 1;
const JSON: u64 = 1 << 1;
const PEER: u64 = 1 << 2;
const PATH: u64 = 1 << 3;
const USER: u64 = 1 << 4;
/// The upper half is the sample.
const SAMPLE: u32 = 32;

impl AccessLogFormat {
    /// Uses these rules from now on; `None` switches the log off.
    pub fn set(&self, rules: Option<AccessRules>) {
        let bits = rules.map_or(0, |AccessRules { format, sample, redact }| {
            let flags = [
                (ON, true),
                (JSON, format == LogFormat::Json),
                (PEER, redact.peer),
                (PATH, redact.path),
                (USER, redact.user),
            ];
            let flags: u64 = flags.into_iter().filter(|(_, holds)| *holds).map(|(bit, _)| bit).sum();
            u64::from(sample) << SAMPLE | flags
        });
        self.0.store(bits, Ordering::Relaxed);
    }

    /// The rules in use; `None`: the log is off.
    pub(super) fn get(&self) -> Option<AccessRules> {
        let bits = self.0.load(Ordering::Relaxed);
        let has = |bit| bits & bit != 0;
        has(ON).then(|| AccessRules {
            format: if has(JSON) { LogFormat::Json } else { LogFormat::Text },
            sample: u32::try_from(bits >> SAMPLE).unwrap_or(1),
            redact: Redact { peer: has(PEER), path: has(PATH), user: has(USER) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_read_as_it_was_set() {
        let format = AccessLogFormat::default();
        assert_eq!(format.get(), None);
        for bits in 0..16_u32 {
            let has = |bit: u32| bits & bit != 0;
            let rules = AccessRules {
                format: if has(1) { LogFormat::Json } else { LogFormat::Text },
                sample: if has(2) { u32::MAX } else { 1 },
                redact: Redact { peer: has(4), path: has(8), user: has(2) },
            };
            format.set(Some(rules));
            assert_eq!(format.get(), Some(rules));
        }
        format.set(None);
        assert_eq!(format.get(), None);
    }
}
