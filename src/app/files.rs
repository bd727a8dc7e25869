//! The limit of open files.

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::config::Settings;
use crate::upstream::IN_MEMORY;

/// The limit of open files cannot hold the configured connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "limits.connections is {connections} and spool.max_size is enough for {spooled} long bodies, which needs {needed} open \
     files, but this process may open only {allowed}; raise the limit (ulimit -n, or LimitNOFILE of the service) or lower \
     those"
)]
pub struct OutOfFiles {
    connections: usize,
    spooled: u64,
    needed: u64,
    allowed: u64,
}

/// Raises the soft limit of open files to the hard limit. Checks that it covers the configured connections, a reserve
/// for endpoints and stores, and the files of buffered request bodies.
///
/// # Errors
/// [`OutOfFiles`] if the limit is too low.
pub fn reserve(settings: &Settings) -> Result<(), OutOfFiles> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // If the system refuses, the check below uses the current limit.
        let _ = setrlimit(Resource::Nofile, limit);
        limit = getrlimit(Resource::Nofile);
    }
    let allowed = limit.current.unwrap_or(u64::MAX);
    let connections = u64::try_from(settings.limits.connections).unwrap_or(u64::MAX);
    // Only bodies larger than the memory share use a file.
    let bodies = settings.spool.max_size / u64::try_from(IN_MEMORY).unwrap_or(1);
    let spooled = if settings.routes.iter().any(|route| route.buffer_request) { bodies } else { 0 };
    let needed = connections.saturating_add(connections / 4).saturating_add(64).saturating_add(spooled);
    if needed > allowed {
        return Err(OutOfFiles { connections: settings.limits.connections, spooled, needed, allowed });
    }
    Ok(())
}
