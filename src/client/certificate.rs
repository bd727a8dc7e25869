//! The certificate that a client has shown in its TLS handshake, while its connection lasts.

use std::cell::Cell;
use std::sync::Arc;

use base64ct::{Base64, Encoding};
use http::HeaderValue;

use crate::clock::Timestamp;
use crate::config::settings::ClientCertificates;
use crate::tls::ClientChain;

/// The certificate of a client. The handshake has verified it.
pub struct ClientCertificate {
    chain: ClientChain,
    /// The rules of its listener during the handshake; `None`: it was made up.
    rules: Option<Arc<ClientCertificates>>,
    /// The name of the user that it belongs to.
    user: Option<HeaderValue>,
    leaf: HeaderValue,
    others: Option<HeaderValue>,
    /// Until when the last check holds.
    checked_until: Cell<Timestamp>,
}

impl ClientCertificate {
    /// The certificate of a new connection, verified by `rules` at the time `now`. `None` if it cannot be told to
    /// upstreams.
    pub fn new(chain: ClientChain, rules: &Arc<ClientCertificates>, now: Timestamp) -> Option<ClientCertificate> {
        let mut values = chain.certificates().iter().map(|certificate| byte_sequence(certificate));
        let leaf = HeaderValue::try_from(values.next()?).ok()?;
        let others = values.collect::<Vec<_>>().join(", ");
        let others = if others.is_empty() { None } else { Some(HeaderValue::try_from(others).ok()?) };
        let user = user_of(rules, &chain);
        let checked_until = Cell::new(next_end(&chain, rules, now));
        Some(ClientCertificate { chain, rules: Some(Arc::clone(rules)), user, leaf, others, checked_until })
    }

    /// A certificate of this user that does not exist, for requests that are explained and not served.
    pub fn made_up(user: &str) -> ClientCertificate {
        ClientCertificate {
            chain: ClientChain::default(),
            rules: None,
            user: HeaderValue::from_bytes(user.as_bytes()).ok(),
            leaf: HeaderValue::from_static("(the certificate of the client)"),
            others: None,
            checked_until: Cell::new(Timestamp::from_micros(i64::MAX)),
        }
    }

    /// The rules of its listener during the handshake.
    pub fn first_rules(&self) -> Option<&ClientCertificates> {
        self.rules.as_deref()
    }

    /// Has the certificate checked again before it is used next.
    pub fn doubt(&self) {
        self.checked_until.set(Timestamp::from_micros(i64::MIN));
    }

    /// Whether the last check does not hold any more.
    pub fn is_in_doubt(&self, now: Timestamp) -> bool {
        self.checked_until.get() <= now
    }

    /// Whether a handshake by `rules` would accept the certificate, for the same user. Checks it only if it is in
    /// doubt.
    pub fn is_accepted(&self, rules: Option<&ClientCertificates>, now: Timestamp) -> bool {
        if !self.is_in_doubt(now) {
            return true;
        }
        let Some(rules) = rules else { return false };
        let accepted = rules.authorities.accept(&self.chain, now) && user_of(rules, &self.chain) == self.user;
        if accepted {
            self.checked_until.set(next_end(&self.chain, rules, now));
        }
        accepted
    }

    /// The name of the user that it belongs to. As a header, so that a running exchange keeps it like other
    /// credentials.
    pub fn user(&self) -> Option<&HeaderValue> {
        self.user.as_ref()
    }

    /// `Client-Cert` (RFC 9440).
    pub fn leaf(&self) -> &HeaderValue {
        &self.leaf
    }

    /// `Client-Cert-Chain` (RFC 9440): what the client has shown besides its own certificate.
    pub fn others(&self) -> Option<&HeaderValue> {
        self.others.as_ref()
    }
}

/// A byte sequence of a structured field (RFC 8941 §3.3.5).
fn byte_sequence(bytes: &[u8]) -> String {
    format!(":{}:", Base64::encode_string(bytes))
}

fn user_of(rules: &ClientCertificates, chain: &ClientChain) -> Option<HeaderValue> {
    rules.users.user_of(chain.names()).and_then(|user| HeaderValue::from_bytes(user.as_bytes()).ok())
}

/// When a certificate or a revocation list expires next.
fn next_end(chain: &ClientChain, rules: &ClientCertificates, now: Timestamp) -> Timestamp {
    let ends = chain.expires(now).into_iter().chain(rules.authorities.expires(now));
    ends.min().unwrap_or(Timestamp::from_micros(i64::MAX))
}
