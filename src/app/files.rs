//! The limit of open files.

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::config::settings::Limits;

/// The limit of open files cannot hold the configured connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "limits.connections is {connections}, which needs {needed} open files, but this process may open only {allowed}; \
     raise the limit (ulimit -n, or LimitNOFILE of the service) or lower limits.connections"
)]
pub struct OutOfFiles {
    connections: usize,
    needed: u64,
    allowed: u64,
}

/// Raises the soft limit of open files to the hard one, and checks that it holds the configured connections with a fifth
/// to spare for endpoints and stores (HARDENING §1).
///
/// # Errors
/// [`OutOfFiles`] if it does not.
pub fn reserve(limits: &Limits) -> Result<(), OutOfFiles> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // If the system refuses, what it allows now is judged below.
        let _ = setrlimit(Resource::Nofile, limit);
        limit = getrlimit(Resource::Nofile);
    }
    let allowed = limit.current.unwrap_or(u64::MAX);
    let connections = u64::try_from(limits.connections).unwrap_or(u64::MAX);
    let needed = connections.saturating_add(connections / 4).saturating_add(64);
    if needed > allowed {
        return Err(OutOfFiles { connections: limits.connections, needed, allowed });
    }
    Ok(())
}
