//! The other end of a client connection.
//!
//! The listener creates one per connection, so that requests do not compute these facts again.
//! [`Target::read`](super::Target::read) reads it, and so do the headers that tell an upstream where a request came
//! from. It knows nothing about the *user*.

use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;

use super::ServerNames;
use super::server_names::plain;

/// The other end of a client connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client's address. An IPv4-mapped IPv6 address is stored as IPv4.
    pub address: SocketAddr,
    /// The local address that the connection came to.
    pub local: SocketAddr,
    /// Whether the connection is encrypted.
    pub secure: bool,
    /// The name in the TLS handshake (SNI): lower case, without a trailing dot.
    pub server_name: Option<Box<str>>,
    /// The listener's certificates; `None` without TLS.
    pub names: Option<Arc<ServerNames>>,
    /// [`Peer::address`] without its port, as a header value.
    pub address_value: HeaderValue,
}

impl Peer {
    /// A peer without TLS.
    pub fn plain(address: SocketAddr, local: SocketAddr) -> Peer {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let local = SocketAddr::new(local.ip().to_canonical(), local.port());
        // An address consists of digits, letters, dots and colons: always a valid header value.
        let text = address.ip().to_string();
        let address_value = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Peer { address, local, secure: false, server_name: None, names: None, address_value }
    }

    /// A peer with TLS that asked for `server_name`.
    pub fn tls(address: SocketAddr, local: SocketAddr, server_name: Option<&str>, names: Arc<ServerNames>) -> Peer {
        let server_name = server_name.map(|name| plain(name).into());
        Peer { secure: true, server_name, names: Some(names), ..Peer::plain(address, local) }
    }

    /// Whether a request on this connection may be for `host` (lower case, no port, no trailing dot).
    ///
    /// True without SNI, for the name in the SNI, and for a name with the same certificate (RFC 9110 §7.4; HTTP/2
    /// clients reuse a connection for all names of a certificate).
    pub fn may_ask_for(&self, host: &str) -> bool {
        match (&self.server_name, &self.names) {
            (Some(asked), _) if **asked == *host => true,
            (Some(asked), Some(names)) => names.index_of(asked) == names.index_of(host),
            (Some(_), None) => false,
            (None, _) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> SocketAddr {
        "[::ffff:127.0.0.1]:8443".parse().unwrap()
    }

    #[test]
    fn a_mapped_address_is_stored_as_ipv4() {
        for (address, seen) in [
            ("[::ffff:10.1.2.3]:5000", "10.1.2.3"),
            ("10.1.2.3:5000", "10.1.2.3"),
            ("[2001:db8::1]:5000", "2001:db8::1"),
        ] {
            let peer = Peer::plain(address.parse().unwrap(), local());
            assert_eq!(peer.address_value, seen);
            assert_eq!(peer.address.ip().to_string(), seen);
            assert_eq!(peer.address.port(), 5000);
            assert!(peer.local.is_ipv4());
        }
    }

    #[test]
    fn a_connection_carries_only_requests_for_names_of_its_certificate() {
        let names =
            Arc::new(ServerNames::new(&[vec!["a.test".to_owned()], vec!["b.test".to_owned(), "*.b.test".to_owned()]]));
        let peer = |name: Option<&str>| Peer::tls("10.0.0.1:1".parse().unwrap(), local(), name, Arc::clone(&names));
        for (asked, host, may) in [
            (None, "b.test", true),
            (Some("a.test"), "a.test", true),
            (Some("A.Test."), "a.test", true),
            (Some("a.test"), "b.test", false),
            (Some("b.test"), "a.test", false),
            (Some("b.test"), "x.b.test", true),
            (Some("b.test"), "127.0.0.1", false),
            (Some("other.test"), "other.test", true),
            (Some("other.test"), "a.test", true),
            (Some("other.test"), "b.test", false),
        ] {
            assert_eq!(peer(asked).may_ask_for(host), may, "{asked:?} {host}");
        }
        assert!(Peer::plain("10.0.0.1:1".parse().unwrap(), local()).may_ask_for("b.test"));
    }
}
