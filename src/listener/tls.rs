//! The server side of TLS.
//!
//! One configuration per listener, shared by all workers: certificates by SNI, ALPN, one ticketer per process, so that
//! a TLS session can be resumed on every worker. No 0-RTT: its requests can be replayed, and requests carry
//! credentials.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, ServerConfig, ServerConnection,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use crate::acme::Challenges;
use crate::config::settings::TlsListener;
use crate::route::ServerNames;
use crate::tls::{ACME_PROTOCOL, Certificate, ClientChain};

/// The error of setting up TLS.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TlsError(#[from] rustls::Error);

/// The names of a listener's certificates in the order of the listener, for the choice by SNI.
pub fn names(listener: &TlsListener, certificates: &[Certificate]) -> ServerNames {
    let chosen = listener.certificates.iter().filter_map(|index| certificates.get(*index));
    ServerNames::new(&chosen.map(|certificate| certificate.names.clone()).collect::<Vec<_>>())
}

/// Encrypts the tickets with which clients resume TLS sessions.
pub type Ticketer = Arc<dyn ProducesTickets>;

/// Creates the ticketer of this process. Its key is rotated every six hours; a ticket is valid for up to twelve.
///
/// # Errors
/// If the system provides no random numbers.
pub fn ticketer() -> Result<Ticketer, TlsError> {
    Ok(aws_lc_rs::Ticketer::new()?)
}

/// The configuration of one listener. `challenges`: those of a CA that it answers, with handshakes of their own
/// protocol.
///
/// # Errors
/// If the provider does not support a protocol version; ours supports all.
pub fn config(
    listener: &TlsListener,
    certificates: &[Certificate],
    ticketer: Ticketer,
    challenges: Option<Arc<Challenges>>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let versions: &[_] = if listener.tls12 { &[&TLS13, &TLS12] } else { &[&TLS13] };
    let keys = listener.certificates.iter().filter_map(|index| certificates.get(*index));
    let chooser = Chooser {
        names: names(listener, certificates),
        keys: keys.map(|certificate| Arc::clone(&certificate.key)).collect(),
        challenges,
    };
    let answers_challenges = chooser.challenges.is_some();
    let verifier = match &listener.clients {
        Some(clients) => clients.authorities.verifier(),
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(chooser));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if listener.clients.is_none() {
        config.ticketer = ticketer;
        // One ticket per handshake: API clients open one connection after another, not several at once.
        config.send_tls13_tickets = 1;
    } else {
        // A resumed session would bring back the certificate that its first handshake has verified.
        config.send_tls13_tickets = 0;
    }
    config.max_early_data_size = 0;
    // The order of cipher suites is ours, see `provider`.
    config.ignore_client_order = true;
    // The last one: a client that also offers HTTP gets HTTP.
    let offered = [(listener.http2, &b"h2"[..]), (listener.http1, b"http/1.1"), (answers_challenges, ACME_PROTOCOL)];
    config.alpn_protocols = offered.iter().filter(|(on, _)| *on).map(|(_, name)| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// The certificates that a client has shown in its handshake; `Some(None)`: none. `None`: they cannot be read.
pub(super) fn shown(session: &ServerConnection) -> Option<Option<ClientChain>> {
    match session.peer_certificates() {
        None | Some([]) => Some(None),
        Some(certificates) => ClientChain::read(certificates).map(Some),
    }
}

/// The provider's cipher suites, those with AES-128 and SHA-256 first. Processors have instructions for SHA-256, but
/// rarely for SHA-384, and a TLS 1.3 handshake hashes more than it encrypts.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite().as_str().is_some_and(|name| !name.contains("AES_128")));
    provider
}

/// Chooses a certificate by SNI. Of several certificates for a name it chooses the first whose signatures the client
/// can verify.
struct Chooser {
    names: ServerNames,
    keys: Vec<Arc<CertifiedKey>>,
    challenges: Option<Arc<Challenges>>,
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(challenges) = &self.challenges
            && is_challenge(&hello)
        {
            return challenges.for_name(hello.server_name()?).map(|certificate| certificate.key());
        }
        let schemes = hello.signature_schemes();
        let keys = |place: usize| self.keys.get(place);
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let named = || hello.server_name().into_iter().flat_map(|name| self.names.all_of(name)).filter_map(keys);
        let chosen = match named().next() {
            Some(first) => named().find(fits).unwrap_or(first),
            // No name, or a name of no certificate: chooses the first certificate that the client can verify.
            None => self.keys.iter().find(fits).or(self.keys.first())?,
        };
        Some(Arc::clone(chosen))
    }
}

/// Whether a CA asks for the answer to its challenge: it offers this protocol and no other (RFC 8737 §3).
fn is_challenge(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut offered| offered.next() == Some(ACME_PROTOCOL) && offered.next().is_none())
}

impl fmt::Debug for Chooser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chooser").finish_non_exhaustive()
    }
}
