//! The admin application.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The admin application: a door of its own for those who look after users and tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens; port 0 takes any free one.
    pub address: SocketAddr,
    /// Index into [`Settings::certificates`](super::Settings::certificates).
    pub certificate: usize,
    /// Further hosts that it may be called by: names in lower case, addresses without brackets.
    pub hosts: Vec<String>,
    /// How long a sign-in lasts.
    pub session_ttl: Duration,
    /// How long entries of the audit trail are kept.
    pub audit_keep: Duration,
    /// A file with the authority that clients of the gateway have to be told of, for the lines that try a token. The
    /// demo sets it; it has no key in the file.
    pub authority: Option<PathBuf>,
}

impl Admin {
    /// The word for it where listeners have their names.
    pub const NAME: &str = "admin";

    /// How long the audit trail is kept unless the settings say otherwise: a year and the time to look back on it.
    pub const AUDIT_KEEP: Duration = Duration::from_secs(400 * 86_400);

    /// With this certificate, and everything else at its default.
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

    /// May it be called by this host (in lower case, an address without brackets)?
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
    fn it_is_called_by_its_address_by_this_machine_and_by_what_is_named() {
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
