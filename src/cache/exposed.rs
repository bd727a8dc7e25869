//! Tokens that were sent unencrypted.
//!
//! The plain HTTP listener reports them; the control half marks or revokes them in the store. The queue is bounded and
//! drops reports under a flood: the next request of the same client reports again.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::config::settings::ExposedToken;
use crate::store::{self, TokenStore};
use crate::token::TokenDigest;

const QUEUE: usize = 256;

/// The handle for reports.
#[derive(Clone)]
pub struct ExposedTokens(mpsc::Sender<Report>);

/// A token that was sent unencrypted, the client's address, and the action to take.
struct Report {
    digest: TokenDigest,
    from: IpAddr,
    then: ExposedToken,
}

impl ExposedTokens {
    /// Creates a handle and the task that processes the reports. The task ends when every handle is dropped.
    pub fn new(store: Arc<dyn TokenStore>, clock: Clock) -> (ExposedTokens, impl Future<Output = ()>) {
        let (sender, reports) = mpsc::channel(QUEUE);
        (ExposedTokens(sender), carry_out(store, clock, reports))
    }

    /// A handle whose reports are lost. For requests that are explained and not served.
    pub fn nowhere() -> ExposedTokens {
        ExposedTokens(mpsc::channel(1).0)
    }

    /// Reports a token from this address. Never waits.
    pub fn report(&self, digest: TokenDigest, from: IpAddr, then: ExposedToken) {
        if then != ExposedToken::Ignore {
            // A full queue drops the report, but the request is refused all the same.
            let _ = self.0.try_send(Report { digest, from, then });
        }
    }
}

async fn carry_out(store: Arc<dyn TokenStore>, clock: Clock, mut reports: mpsc::Receiver<Report>) {
    while let Some(Report { digest, from, then }) = reports.recv().await {
        let done = match then {
            ExposedToken::Ignore => Ok(()),
            ExposedToken::Mark => store.mark_exposed(digest, from, clock.now()).await,
            ExposedToken::Revoke => store.revoke_exposed(digest, from, clock.now()).await,
        };
        if let Err(error) = done {
            store::report("a token that was sent unencrypted could not be marked as exposed", &error);
        }
    }
}
