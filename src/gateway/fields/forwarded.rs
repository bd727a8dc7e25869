//! The headers that tell an upstream where a request came from.
//!
//! Set, never appended to: [`FieldPolicy::sift`](super::FieldPolicy::sift) has removed the client's own. All values are
//! prepared, so that a request formats nothing.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::client::certificate::ClientCertificate;
use crate::config::settings::ForwardCertificate;
use crate::route::Peer;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");
/// The name of the request id, in requests and in responses.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const HTTP: HeaderValue = HeaderValue::from_static("http");
const HTTPS: HeaderValue = HeaderValue::from_static("https");

/// Sets the forwarding headers of a request for `host` from `peer`; `prefix` was stripped from its path.
pub fn set(
    fields: &mut HeaderMap,
    peer: &Peer,
    host: HeaderValue,
    prefix: Option<&HeaderValue>,
    request_id: HeaderValue,
) {
    fields.insert(X_FORWARDED_FOR, peer.address_value.clone());
    fields.insert(X_REAL_IP, peer.address_value.clone());
    fields.insert(X_FORWARDED_PROTO, if peer.secure { HTTPS } else { HTTP });
    fields.insert(X_FORWARDED_HOST, host);
    if let Some(prefix) = prefix {
        fields.insert(X_FORWARDED_PREFIX, prefix.clone());
    }
    fields.insert(X_REQUEST_ID, request_id);
}

/// Sets what a route tells its upstream about the client's certificate (RFC 9440).
pub fn set_certificate(fields: &mut HeaderMap, certificate: &ClientCertificate, told: ForwardCertificate) {
    if told == ForwardCertificate::Never {
        return;
    }
    fields.insert(CLIENT_CERT, certificate.leaf().clone());
    if let (ForwardCertificate::Chain, Some(others)) = (told, certificate.others()) {
        fields.insert(CLIENT_CERT_CHAIN, others.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::route::ServerNames;

    #[test]
    fn an_upstream_gets_the_address_of_the_socket_and_not_the_clients_claim() {
        let (address, local) = ("[::ffff:10.1.2.3]:5000".parse().unwrap(), "127.0.0.1:8443".parse().unwrap());
        for (peer, proto) in [
            (Peer::plain(address, local), "http"),
            (Peer::tls(address, local, None, Arc::new(ServerNames::default())), "https"),
        ] {
            let mut fields = HeaderMap::new();
            fields.append(X_FORWARDED_FOR, HeaderValue::from_static("10.9.9.9"));
            fields.append(X_FORWARDED_FOR, HeaderValue::from_static("10.8.8.8"));
            let [host, prefix, id] = ["a.test:8443", "/api", "r1"].map(HeaderValue::from_static);
            set(&mut fields, &peer, host, Some(&prefix), id);
            for (name, value) in [
                ("x-forwarded-for", "10.1.2.3"),
                ("x-real-ip", "10.1.2.3"),
                ("x-forwarded-proto", proto),
                ("x-forwarded-host", "a.test:8443"),
                ("x-forwarded-prefix", "/api"),
                ("x-request-id", "r1"),
            ] {
                assert_eq!(fields.get_all(name).iter().collect::<Vec<_>>(), [value], "{name}");
            }
        }
    }
}
