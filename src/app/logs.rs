//! The logs of the running gateway, whose settings a reload changes.

use std::sync::{Mutex, PoisonError};

use super::StartError;
use crate::config::settings::{AccessTarget, Log, Redacted};
use crate::telemetry::log::ProcessLog;
use crate::telemetry::{AccessLogFormat, AccessRules, Destination, LogSink, Redact};

/// The access log and the log of the process.
pub(super) struct Logs {
    access: AccessLogFormat,
    sink: LogSink,
    process: Option<ProcessLog>,
    /// What [`Logs::reopen`] opens again.
    target: Mutex<AccessTarget>,
}

impl Logs {
    /// Logs that are off until [`Logs::set`].
    pub(super) fn new(access: AccessLogFormat, sink: LogSink, process: Option<ProcessLog>) -> Logs {
        Logs { access, sink, process, target: Mutex::new(AccessTarget::Stdout) }
    }

    /// Opens the destination of the access log.
    ///
    /// # Errors
    /// [`StartError::AccessLog`].
    pub(super) fn open(log: &Log) -> Result<Destination, StartError> {
        open(&log.access_to)
    }

    /// Uses these settings from now on.
    pub(super) fn set(&self, log: &Log, opened: Destination) {
        let hides = |fact| log.redact.contains(&fact);
        let redact = Redact { peer: hides(Redacted::Peer), path: hides(Redacted::Path), user: hides(Redacted::User) };
        self.access.set(log.access.then_some(AccessRules {
            format: log.access_format.clone(),
            sample: log.sample,
            redact,
        }));
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = log.access_to.clone();
        self.sink.set(opened);
        if let Some(process) = &self.process {
            process.set(log.level, log.json);
        }
    }

    /// Opens the file of the access log again, after it was renamed. If it cannot be opened, the log goes on as before.
    pub(super) fn reopen(&self) {
        let target = self.target.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if target == AccessTarget::Stdout {
            return;
        }
        match open(&target) {
            Ok(opened) => {
                self.sink.set(opened);
                tracing::info!(code = "access_log_reopened", to = %target, "opened the access log again");
            }
            Err(error) => tracing::error!(code = "access_log_failed", "{}", crate::telemetry::causes(&error)),
        }
    }
}

fn open(target: &AccessTarget) -> Result<Destination, StartError> {
    let opened = match target {
        AccessTarget::Stdout => Ok(Destination::Given),
        AccessTarget::File(path) => Destination::file(path),
        AccessTarget::Syslog => Destination::syslog(),
    };
    opened.map_err(|source| StartError::AccessLog { to: target.to_string(), source })
}
