//! The admin application.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The admin application: a separate listener for managing users and tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The local address; port 0 takes any free one.
    pub address: SocketAddr,
    /// Index into [`Settings::certificates`](super::Settings::certificates).
    pub certificate: usize,
    /// Further host names of the application, in lower case; IP addresses without brackets.
    pub hosts: Vec<String>,
    /// Lifetime of an admin session.
    pub session_ttl: Duration,
    /// How long entries of the audit trail are kept.
    pub audit_keep: Duration,
    /// The CA file in the `curl` commands that the application shows. Set by the demo; it has no key in the
    /// configuration file.
    pub authority: Option<PathBuf>,
}

impl Admin {
    /// Its name in logs, where listeners have their names.
    pub const NAME: &str = "admin";

    /// The default time for which the audit trail is kept: a year, and some time to review it.
    pub const AUDIT_KEEP: Duration = Duration::from_secs(400 * 86_400);

    /// Settings with this certificate and defaults for everything else.
    pub fn with(certificate: usize) -> Admin {
        Admin {
            address: SocketAddr::from(([127, 0, 0, 1], 8444)),
            certificate,
            hosts: Vec::new(),
            session_ttl: Duration::from_secs(8 * 3_600),
            audit_keep: Admin::AUDIT_KEEP,
            authority: None,
        }
    }

    /// Whether `host` (in lower case, an IP address without brackets) is a name of the application.
    pub fn is_called(&self, host: &str) -> bool {
        let own = self.address.ip();
        let local = own.is_loopback() && matches!(host, "localhost" | "127.0.0.1" | "::1");
        let by_address = !own.is_unspecified() && host.parse() == Ok(own);
        local || by_address || self.hosts.iter().any(|known| known == host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_hosts_are_its_address_loopback_names_and_the_configured_names() {
        let at = |address: &str, hosts: &[&str]| Admin {
            address: address.parse().unwrap(),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            ..Admin::with(0)
        };
        let local = at("127.0.0.1:8444", &["admin.example"]);
        for host in ["127.0.0.1", "localhost", "::1", "admin.example"] {
            assert!(local.is_called(host), "{host}");
        }
        for host in
            ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "admin.example.", "0.0.0.0"]
        {
            assert!(!local.is_called(host), "{host}");
        }
        let everywhere = at("0.0.0.0:8444", &["admin.example"]);
        assert!(everywhere.is_called("admin.example"));
        for host in ["localhost", "127.0.0.1", "0.0.0.0", "10.0.0.7"] {
            assert!(!everywhere.is_called(host), "{host}");
        }
        let one = at("10.0.0.7:8444", &[]);
        assert!(one.is_called("10.0.0.7") && !one.is_called("localhost"));
    }
}
