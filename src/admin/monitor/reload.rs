//! Asks the gateway to reload its configuration.

use tokio::sync::{mpsc, oneshot};

/// What a reload changed, one line each; or all problems.
pub type Outcome = Result<Vec<String>, Vec<String>>;

/// Asks the gateway to reload its configuration.
#[derive(Clone)]
pub struct ReloadHandle(mpsc::Sender<ReloadRequest>);

/// A request for a reload.
pub struct ReloadRequest {
    /// What triggered the reload, for the log.
    pub trigger: String,
    /// Receives the outcome.
    pub reply: oneshot::Sender<Outcome>,
}

impl ReloadHandle {
    /// Creates a handle, and the receiver of its requests.
    pub fn new() -> (ReloadHandle, mpsc::Receiver<ReloadRequest>) {
        let (asks, asked) = mpsc::channel(1);
        (ReloadHandle(asks), asked)
    }

    /// Reloads, and waits until the configuration is in use. `trigger` is for the log: what triggered the reload.
    ///
    /// # Errors
    /// All problems; the running configuration stays in use.
    pub async fn reload(&self, trigger: String) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        let stopping = || Err(vec!["the gateway is shutting down".to_owned()]);
        if self.0.send(ReloadRequest { trigger, reply }).await.is_err() {
            return stopping();
        }
        outcome.await.unwrap_or_else(|_| stopping())
    }
}
