//! Ends connections whose client certificate would not be accepted any more.
//!
//! A handshake checks a certificate once, and connections last. So a certificate is checked again when it expires, when
//! a revocation list expires, and when the CAs, the revocation lists or the users of its listener change: before the
//! next request, and at the worker's tick for requests that are running. A connection whose certificate is no longer
//! accepted, or belongs to another user now, ends at once with its requests. Users are looked up for each request, as
//! for tokens.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use super::Generation;
use crate::client::ClientConnection;
use crate::clock::Timestamp;

/// Maximum number of certificates that one tick checks, so that requests do not wait long for it.
const PER_TICK: usize = 200;

/// The connections of one worker whose clients have shown a certificate.
#[derive(Default)]
pub struct Certified(RefCell<Vec<Weak<ClientConnection>>>);

impl Certified {
    /// Adds a connection.
    pub fn enter(&self, client: &Rc<ClientConnection>) {
        self.0.borrow_mut().push(Rc::downgrade(client));
    }

    /// Has all certificates checked again.
    pub fn doubt(&self) {
        for client in self.0.borrow().iter().filter_map(Weak::upgrade) {
            if let Some(certificate) = client.certificate.get() {
                certificate.doubt();
            }
        }
    }

    /// The worker's tick: checks some of the certificates that are in doubt, and removes connections that have ended.
    pub fn sweep(&self, generation: &Generation, now: Timestamp) {
        let mut left = PER_TICK;
        self.0.borrow_mut().retain(|client| {
            let Some(client) = client.upgrade() else { return false };
            if left > 0 && client.certificate.get().is_some_and(|certificate| certificate.is_in_doubt(now)) {
                left -= 1;
                generation.keeps(&client, now);
            }
            true
        });
    }
}

impl Generation {
    /// Whether a connection with a certificate may have further requests: its listener accepts the certificate. If not,
    /// the connection ends.
    pub(super) fn keeps(&self, client: &ClientConnection, now: Timestamp) -> bool {
        let Some(certificate) = client.certificate.get() else { return true };
        let rules = match self.listener_of(client) {
            Some(listener) => listener.tls.as_ref().and_then(|tls| tls.clients.as_deref()),
            // Connections of a removed listener end after their requests, and no later than their certificates.
            None => certificate.first_rules(),
        };
        let is_kept = certificate.is_accepted(rules, now);
        if !is_kept {
            tracing::info!(
                code = "certificate_ended",
                listener = client.listener.as_deref(),
                peer = %client.peer.address,
                "a connection ends because its client certificate is not accepted any more"
            );
            client.pulse.cut();
        }
        is_kept
    }

    /// Whether listeners of this name have other rules about client certificates in `next`.
    pub fn asks_clients_like(&self, next: &Generation) -> bool {
        let rules = |generation: &Generation, name: &str| {
            generation.listener(name).and_then(|listener| listener.tls.as_ref()).and_then(|tls| tls.clients.clone())
        };
        self.listeners.iter().all(|listener| rules(self, &listener.name) == rules(next, &listener.name))
    }
}
