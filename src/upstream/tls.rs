//! TLS towards endpoints.
//!
//! Each upstream has one configuration, shared by all workers, so that a session can be resumed on every worker. The
//! library keeps sessions in memory. No 0-RTT: its requests can be replayed.

use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, CertificateError, ClientConfig};

use crate::config::settings::{Protocol, UpstreamTls};
use crate::tls::ServerName;

/// TLS sessions that are kept for resumption, of all endpoints of an upstream together.
const SESSIONS: usize = 256;

/// TLS towards the endpoints of one upstream.
#[derive(Clone)]
pub struct ClientTls {
    settings: Arc<UpstreamTls>,
    protocol: Protocol,
    config: Arc<ClientConfig>,
}

/// TLS towards endpoints cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ClientTlsError(#[from] rustls::Error);

impl ClientTls {
    /// Builds the configuration.
    ///
    /// # Errors
    /// If the provider does not support a protocol version; ours supports all.
    pub fn new(settings: &UpstreamTls, protocol: Protocol) -> Result<ClientTls, ClientTlsError> {
        let versions: &[_] = if settings.tls12 { &[&TLS13, &TLS12] } else { &[&TLS13] };
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)?
            .with_root_certificates(settings.authorities.roots());
        let mut config = match &settings.client {
            Some(client) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&client.key))))
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        let offered = [(protocol == Protocol::Http2, &b"h2"[..]), (true, b"http/1.1")];
        config.alpn_protocols = offered.iter().filter(|(on, _)| *on).map(|(_, name)| name.to_vec()).collect();
        Ok(ClientTls { settings: Arc::new(settings.clone()), protocol, config: Arc::new(config) })
    }

    /// Whether it was built from equal settings, files included.
    pub fn is_of(&self, settings: &UpstreamTls, protocol: Protocol) -> bool {
        *self.settings == *settings && self.protocol == protocol
    }

    /// The name that certificates must have in place of the endpoint's host.
    pub(super) fn server_name(&self) -> Option<&ServerName<'static>> {
        self.settings.server_name.as_ref()
    }

    pub(super) fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }
}

/// Equal if connections are interchangeable: the same CAs, client certificate and versions.
impl PartialEq for ClientTls {
    fn eq(&self, other: &ClientTls) -> bool {
        self.is_of(&other.settings, other.protocol)
    }
}

impl Eq for ClientTls {}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The error of the TLS library in an error of a connection.
pub(super) fn cause(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// A TLS error, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFault {
    /// The error.
    pub what: String,
    /// How to fix it.
    pub mend: &'static str,
}

impl TlsFault {
    pub(super) fn of(error: &io::Error) -> TlsFault {
        TlsFault { what: error.to_string(), mend: mend(error) }
    }
}

/// How to fix what a TLS error reports.
fn mend(error: &io::Error) -> &'static str {
    use CertificateError as C;
    match cause(error) {
        Some(rustls::Error::InvalidCertificate(fault)) => match fault {
            C::Expired | C::ExpiredContext { .. } => "renew the certificate of the endpoint",
            C::NotValidYet | C::NotValidYetContext { .. } => "check the clocks of this machine and of the endpoint",
            C::NotValidForName | C::NotValidForNameContext { .. } => {
                "set `tls.server_name` of the upstream to a name in the endpoint's certificate"
            }
            // An issuer of the same name has another key.
            C::UnknownIssuer | C::BadSignature => {
                "set `tls.ca_file` of the upstream to the CA that issued the endpoint's certificate, and let the \
                 endpoint send its whole chain"
            }
            _ => "replace the certificate of the endpoint",
        },
        Some(rustls::Error::AlertReceived(alert)) => match alert {
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied => {
                "set `tls.client_cert_file` and `tls.client_key_file` to a certificate that the endpoint accepts"
            }
            AlertDescription::ProtocolVersion => {
                "let the endpoint offer the TLS version that `tls.min_version` asks for"
            }
            AlertDescription::UnrecognisedName => "set `tls.server_name` of the upstream to a name of the endpoint",
            _ => "look at the endpoint's log",
        },
        Some(rustls::Error::InvalidMessage(_)) => "write http:// if the endpoint speaks HTTP without TLS on this port",
        _ => "look at the endpoint's log",
    }
}
