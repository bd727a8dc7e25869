//! Tokens that were sent in clear.
//!
//! The listener in clear reports them; the control half marks or revokes them in the store. Reports are bounded and may
//! be lost under a flood: the next request of the same client brings another.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::config::settings::ExposedToken;
use crate::store::TokenStore;
use crate::token::TokenDigest;

const QUEUE: usize = 256;

/// Where exposed tokens are reported.
#[derive(Clone)]
pub struct ExposedTokens(mpsc::Sender<(TokenDigest, ExposedToken)>);

impl ExposedTokens {
    /// A handle and the task that carries reports out; the task ends when every handle is dropped.
    pub fn new(store: Arc<dyn TokenStore>, clock: Clock) -> (ExposedTokens, impl Future<Output = ()>) {
        let (sender, reports) = mpsc::channel(QUEUE);
        (ExposedTokens(sender), carry_out(store, clock, reports))
    }

    /// Reports a token. Never waits.
    pub fn report(&self, digest: TokenDigest, then: ExposedToken) {
        if then != ExposedToken::Ignore {
            // A full queue loses the report, not the refusal: see the module.
            let _ = self.0.try_send((digest, then));
        }
    }
}

async fn carry_out(
    store: Arc<dyn TokenStore>,
    clock: Clock,
    mut reports: mpsc::Receiver<(TokenDigest, ExposedToken)>,
) {
    while let Some((digest, then)) = reports.recv().await {
        let done = match then {
            ExposedToken::Ignore => Ok(()),
            ExposedToken::Mark => store.mark_exposed(digest, clock.now()).await,
            ExposedToken::Revoke => store.revoke_exposed(digest, clock.now()).await,
        };
        if let Err(error) = done {
            tracing::error!(code = "store_unavailable", %error, "a token sent in clear could not be marked");
        }
    }
}
