//! The client certificate of the sender of a request.

use super::{Exchange, Purpose};
use crate::auth::ShownCertificate;
use crate::client::certificate::ClientCertificate;

impl Exchange {
    /// The certificate of the sender. A proxy that forwards or asks about requests of others shows its own, which is
    /// not the sender's.
    pub(in crate::gateway) fn certificate(&self) -> Option<&ClientCertificate> {
        let certificate = self.client.certificate.get()?;
        (self.purpose == Purpose::Serve && !self.is_from_proxy()).then_some(certificate)
    }

    /// Whether the other end of the connection is a proxy that names clients in headers.
    fn is_from_proxy(&self) -> bool {
        let trust = &self.gateway.generation.policy(&self.client).trust;
        let from = self.client.peer.address.ip();
        !trust.protocol && trust.proxies.as_ref().is_some_and(|proxies| proxies.contain(from))
    }

    /// What the certificate of the sender says about the user.
    pub(in crate::gateway) fn shown_certificate(&self) -> ShownCertificate<'_> {
        match self.certificate().map(ClientCertificate::user) {
            None => ShownCertificate::None,
            Some(None) => ShownCertificate::Unknown,
            Some(Some(user)) => ShownCertificate::Of(user),
        }
    }

    /// Whether the connection may have further requests, by the rules of its listener about client certificates.
    pub(in crate::gateway) fn is_kept(&self) -> bool {
        let gateway = &self.gateway;
        match self.client.certificate.get() {
            Some(_) => gateway.generation.keeps(&self.client, gateway.worker.clock.now()),
            None => !self.lacks_certificate,
        }
    }
}
