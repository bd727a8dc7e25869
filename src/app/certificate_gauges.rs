//! When certificates and revocation lists expire, for the metrics.

use std::sync::PoisonError;

use crate::config::Settings;
use crate::config::settings::Listener;
use crate::telemetry::{CertificateGauge, ProcessCounters};

/// Sets the metrics of the certificates in use. `failed` are the certificates whose files cannot be used.
pub(super) fn set(settings: &Settings, failed: &[String], counts: &ProcessCounters) {
    let gauges = settings.certificates.iter().map(|certificate| CertificateGauge {
        name: certificate.name.clone(),
        not_after: certificate.not_after,
        is_current: !failed.contains(&certificate.name),
    });
    *counts.certificates.lock().unwrap_or_else(PoisonError::into_inner) = gauges.collect();
    let end = |listener: &Listener| {
        let end = listener.clients()?.authorities.lists_expire()?;
        Some((listener.name.clone(), end.as_seconds()))
    };
    let ends = settings.listeners.iter().filter_map(end).collect();
    *counts.revocation_lists.lock().unwrap_or_else(PoisonError::into_inner) = ends;
}
