//! What the access log contains: its format, which successful requests have a line, and what lines hide.

use std::sync::Arc;

use super::log_line::LogFormat;
use super::shared_rules::{Redact, Rules, SharedRules};

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

/// The rules, shared by all workers; at first the log is off.
#[derive(Clone, Debug, Default)]
pub struct AccessLogFormat(Arc<SharedRules>);

impl AccessLogFormat {
    /// Uses these rules from now on; `None` switches the log off.
    pub fn set(&self, rules: Option<AccessRules>) {
        self.0.set(rules.map(|AccessRules { format, sample, redact }| Rules {
            sample,
            redact,
            choice: format == LogFormat::Json,
        }));
    }

    /// The rules in use; `None`: the log is off.
    pub(super) fn get(&self) -> Option<AccessRules> {
        self.0.get().map(|Rules { sample, redact, choice }| AccessRules {
            format: if choice { LogFormat::Json } else { LogFormat::Text },
            sample,
            redact,
        })
    }
}
