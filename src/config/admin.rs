//! `[admin]`: the admin application.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::listeners::Listener;
use super::names::Names;
use super::reader::Table;
use super::store::StoreUrl;
use super::value::Fault;

const MIN_SESSION: Duration = Duration::from_secs(60);
const MAX_SESSION: Duration = Duration::from_secs(30 * 86_400);
const MIN_AUDIT_KEEP: Duration = Duration::from_secs(86_400);

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
    /// The file that keeps the traffic of the last hour; `None`: beside an SQLite database, and nowhere with PostgreSQL.
    pub traffic_file: Option<PathBuf>,
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
            traffic_file: None,
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

    /// Whether this listener has its address.
    fn has_address_of(&self, listener: &Listener) -> bool {
        listener.address == self.address && self.address.port() != 0
    }

    /// Whether this listener cannot be used beside it: it has its address, or its name.
    pub fn excludes(&self, listener: &Listener) -> bool {
        self.has_address_of(listener) || listener.name == Admin::NAME
    }
}

/// Reads `[admin]`; without the table there is no admin application.
pub(super) fn read(root: &Table<'_>, certificates: &Names, listeners: &[Listener], store: &StoreUrl) -> Option<Admin> {
    root.switch("admin", |table| {
        let (address, hosts, traffic_file) = (table.key("address"), table.key("hosts"), table.key("traffic_file"));
        let mend = "add `certificate = \"NAME\"`: one of [certificates]";
        let certificate = table.key("certificate").required_if(table.is_set(), mend);
        let default = Admin::with(0);
        let read_address = |text: &str| {
            let example = "write an IP address with a port, such as \"127.0.0.1:8444\"";
            text.parse::<SocketAddr>().map_err(|_| Fault::new("is not an address with a port", example))
        };
        let admin = Admin {
            address: address.parse_or(default.address, read_address),
            certificate: certificates.find(&certificate).unwrap_or_default(),
            hosts: hosts.parse_list(host),
            session_ttl: table.key("session_ttl").duration_within(MIN_SESSION..=MAX_SESSION, default.session_ttl),
            audit_keep: table.key("audit_keep").duration_within(MIN_AUDIT_KEEP..=Duration::MAX, default.audit_keep),
            traffic_file: traffic_file.optional_file(),
            authority: None,
        };
        if !table.is_set() {
            return None;
        }
        if admin.address.ip().is_unspecified() && !hosts.is_set() {
            address.problem("needs the host names that browsers use", "add `hosts = [\"NAME\"]`");
        }
        if let Some(file) = &admin.traffic_file
            && !file.parent().is_some_and(Path::is_dir)
        {
            traffic_file.warning("is in a folder that does not exist", "create the folder, or write another path");
        }
        for listener in listeners {
            if admin.has_address_of(listener) {
                let what = format!("`{}` is already used by listeners.{}", admin.address, listener.name);
                address.problem(what, "choose another port");
            }
            if listener.name == Admin::NAME {
                table.problem(
                    "a listener is named `admin`, which is the name of the application in logs",
                    "rename the listener",
                );
            }
        }
        if matches!(store, StoreUrl::Django(_)) {
            table.problem(
                "the users belong to a Django project and are managed in its own admin",
                "remove [admin], or import the users into tokengate's own store",
            );
        }
        Some(admin)
    })
}

/// A host as in the `Host` header, without port.
fn host(text: &str) -> Result<String, Fault> {
    let is_name = text.len() <= 253
        && text.split('.').all(|label| {
            let plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            plain && !label.is_empty() && label.len() <= 63
        });
    if let Ok(address) = text.parse::<IpAddr>() {
        Ok(address.to_string())
    } else if is_name {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(Fault::new(
            "is not a valid host",
            "write a name or an IP address, without port, such as \"admin.example.com\"",
        ))
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
