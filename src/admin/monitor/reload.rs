//! Requests a reload of the configuration, or a comparison with a file.

use std::path::PathBuf;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use utoipa::ToSchema;

/// How a configuration differs from the one in use before.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Reloaded {
    /// What a reload changes, one line each; empty if nothing differs.
    pub changes: Vec<String>,
    /// Settings that differ and that only a restart can change.
    pub restart: Vec<String>,
}

/// The differences, or all problems.
pub type Outcome = Result<Reloaded, Vec<String>>;

/// Requests a reload of the configuration.
#[derive(Clone)]
pub struct ReloadHandle(mpsc::Sender<ReloadRequest>);

/// A request to the gateway.
pub struct ReloadRequest {
    /// The request.
    pub what: Asked,
    /// Receives the outcome.
    pub reply: oneshot::Sender<Outcome>,
}

/// The kind of request. `trigger` names in the log what triggered a reload.
pub enum Asked {
    /// A reload. A file that changes a setting that needs a restart is refused.
    Reload {
        /// For the log.
        trigger: String,
    },
    /// A reload of all settings except those that need a restart.
    ReloadPartly {
        /// For the log.
        trigger: String,
    },
    /// Compares a file with the configuration in use.
    Compare {
        /// The configuration file.
        file: PathBuf,
    },
}

impl ReloadHandle {
    /// Creates a handle, and the receiver of its requests.
    pub fn new() -> (ReloadHandle, mpsc::Receiver<ReloadRequest>) {
        let (asks, asked) = mpsc::channel(1);
        (ReloadHandle(asks), asked)
    }

    /// Sends a request and waits for the outcome; a reload is complete when the configuration is in use.
    ///
    /// # Errors
    /// All problems; the running configuration stays in use.
    pub async fn ask(&self, what: Asked) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        let stopping = || Err(vec!["the gateway is shutting down".to_owned()]);
        if self.0.send(ReloadRequest { what, reply }).await.is_err() {
            return stopping();
        }
        outcome.await.unwrap_or_else(|_| stopping())
    }
}
