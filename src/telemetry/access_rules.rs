//! What the access log contains: its format, which successful requests have a line, and what lines hide.

use std::sync::{Arc, Mutex, PoisonError};

use super::log_line::Style;
use super::log_names;
use super::log_template::LogTemplate;
use super::shared_rules::{Redact, Rules, SharedRules};

/// The rules of an access log that is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRules {
    /// How lines are written.
    pub format: LogFormat,
    /// Of this many successful requests, one has a line.
    pub sample: u32,
    /// What lines hide.
    pub redact: Redact,
}

/// The format of the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `name=value`, separated by spaces; values are quoted when needed.
    Text,
    /// One JSON object per line, with the same names.
    Json,
    /// One JSON object per line, with the names of the Elastic Common Schema.
    Ecs,
    /// One JSON object per line, with the names of OpenTelemetry's semantic conventions.
    Otel,
    /// A form of the operator's own.
    Template(LogTemplate),
}

/// The rules, shared by all workers; at first the log is off.
#[derive(Clone, Debug, Default)]
pub struct AccessLogFormat(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    rules: SharedRules,
    /// The number of the template, and the template. A worker keeps a copy, and takes another one when the number in
    /// `rules` differs from that of its copy.
    template: Mutex<(u32, Option<LogTemplate>)>,
}

/// The rules that a worker reads for each line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LineRules {
    /// How lines are written.
    choice: u32,
    pub sample: u32,
    pub redact: Redact,
}

/// The copy of a template that a worker keeps.
#[derive(Debug, Default)]
pub(super) struct TemplateCopy(u32, Option<LogTemplate>);

const TEXT: u32 = 0;
const JSON: u32 = 1;
const ECS: u32 = 2;
const OTEL: u32 = 3;
/// This and all above are templates: each reload takes the next number.
const TEMPLATE: u32 = 4;

impl AccessLogFormat {
    /// Uses these rules from now on; `None` switches the log off.
    pub fn set(&self, rules: Option<AccessRules>) {
        let rules = rules.map(|AccessRules { format, sample, redact }| {
            let choice = match format {
                LogFormat::Text => TEXT,
                LogFormat::Json => JSON,
                LogFormat::Ecs => ECS,
                LogFormat::Otel => OTEL,
                LogFormat::Template(template) => {
                    let mut kept = self.0.template.lock().unwrap_or_else(PoisonError::into_inner);
                    let next = if kept.0 >= Rules::MAX_CHOICE { TEMPLATE } else { kept.0.max(TEMPLATE - 1) + 1 };
                    *kept = (next, Some(template));
                    next
                }
            };
            Rules { sample, redact, choice }
        });
        self.0.rules.set(rules);
    }

    /// The rules in use; `None`: the log is off.
    pub(super) fn get(&self) -> Option<LineRules> {
        self.0.rules.get().map(|Rules { sample, redact, choice }| LineRules { choice, sample, redact })
    }

    /// How lines are written under these rules.
    pub(super) fn style<'c>(&self, rules: LineRules, copy: &'c mut TemplateCopy) -> Style<'c> {
        match rules.choice {
            TEXT => Style::Names(&log_names::TEXT),
            JSON => Style::Names(&log_names::JSON),
            ECS => Style::Names(&log_names::ECS),
            OTEL => Style::Names(&log_names::OTEL),
            number => {
                if copy.0 != number {
                    let kept = self.0.template.lock().unwrap_or_else(PoisonError::into_inner);
                    *copy = TemplateCopy(kept.0, kept.1.clone());
                }
                copy.1.as_ref().map_or(Style::Names(&log_names::TEXT), Style::Template)
            }
        }
    }
}
