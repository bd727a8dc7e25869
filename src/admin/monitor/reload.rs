//! Asks the gateway to reload its configuration.

use tokio::sync::{mpsc, oneshot};

/// What a reload changed, one line each; or everything that was wrong.
pub type Outcome = Result<Vec<String>, Vec<String>>;

/// Asks the gateway to reload its configuration.
#[derive(Clone)]
pub struct ReloadHandle(mpsc::Sender<ReloadRequest>);

/// A request for a reload.
pub struct ReloadRequest {
    /// What asks for it, for the log.
    pub trigger: String,
    /// Takes the outcome.
    pub reply: oneshot::Sender<Outcome>,
}

impl ReloadHandle {
    /// Creates a handle, and the end that serves it.
    pub fn new() -> (ReloadHandle, mpsc::Receiver<ReloadRequest>) {
        let (asks, asked) = mpsc::channel(1);
        (ReloadHandle(asks), asked)
    }

    /// Reloads, and waits until the configuration is in use. `trigger` says in the log what asks for it.
    ///
    /// # Errors
    /// Everything that is wrong; the running configuration stays.
    pub async fn reload(&self, trigger: String) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        let stopping = || Err(vec!["the gateway is shutting down".to_owned()]);
        if self.0.send(ReloadRequest { trigger, reply }).await.is_err() {
            return stopping();
        }
        outcome.await.unwrap_or_else(|_| stopping())
    }
}
