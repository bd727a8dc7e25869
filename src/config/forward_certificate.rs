//! What a route tells its upstream about the client's certificate.

use super::reader::Table;

/// What an upstream gets of the certificate that the client showed in the TLS handshake (RFC 9440).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardCertificate {
    /// Nothing.
    Never,
    /// The certificate, in `Client-Cert`.
    Leaf,
    /// The certificates of its CAs too, in `Client-Cert-Chain`.
    Chain,
}

/// The key `forward_certificate` of a route.
pub(super) fn read(route: &Table<'_>) -> ForwardCertificate {
    let words = [
        ("never", ForwardCertificate::Never),
        ("leaf", ForwardCertificate::Leaf),
        ("chain", ForwardCertificate::Chain),
    ];
    route.key("forward_certificate").choice(&words, ForwardCertificate::Never)
}
