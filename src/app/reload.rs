//! Replaces the configuration of a running gateway.
//!
//! A reload has three parts: check that the process can change so far, build everything that the new configuration needs,
//! switch. Only the first two can fail, and they change nothing that serves. Workers switch one after the other; each
//! request sees one generation, and which one is in use shows in the metrics.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::StartError;
use super::changes::{self, Changes};
use super::files;
use super::generation::{Builder, Built};
use super::internal::Internal;
use super::sockets::Sockets;
use super::worker::Switch;
use crate::config::Settings;
use crate::listener::Connections;

/// Why a configuration was not taken over. The running one stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It changes what only a restart can change.
    #[error("these settings can only be changed by a restart: {}", .0.join(", "))]
    Restart(Vec<&'static str>),
    /// The gateway is shutting down.
    #[error("the gateway is shutting down")]
    Stopping,
    /// Something that it needs cannot be had.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Replaces the configuration of a running gateway.
pub(super) struct Reloader {
    pub builder: Builder,
    pub workers: Vec<mpsc::UnboundedSender<Switch>>,
    pub connections: Arc<Connections>,
    /// The TLS of the admin application; `None`: there is none.
    pub admin: Option<watch::Sender<TlsAcceptor>>,
    pub built: watch::Sender<Arc<Built>>,
    /// Held for the whole of a reload: one at a time.
    pub state: Mutex<State>,
}

/// What a reload changes in the control half.
pub(super) struct State {
    pub sockets: Sockets,
    pub internal: Internal,
    /// Tasks that belong to configurations, such as name lookups.
    pub tasks: JoinSet<()>,
    pub is_stopping: bool,
}

impl Reloader {
    /// Takes over a configuration that was checked. Returns what it changes, when every worker uses it.
    ///
    /// # Errors
    /// [`ReloadError`]; the running configuration stays as it is.
    pub(super) async fn reload(&self, settings: Settings) -> Result<Changes, ReloadError> {
        let mut state = self.state.lock().await;
        let state = &mut *state;
        if state.is_stopping {
            return Err(ReloadError::Stopping);
        }
        let before = Arc::clone(&self.built.borrow());
        let fixed = changes::fixed(&before.settings, &settings);
        if !fixed.is_empty() {
            return Err(ReloadError::Restart(fixed));
        }
        files::reserve(&settings).map_err(StartError::from)?;
        let mut prepared = state.sockets.prepare(&settings.listeners, self.workers.len())?;
        let admin = self.builder.admin_tls(&settings)?;
        let changes = Changes::between(&before.settings, &settings);
        let built = self.builder.build(settings, Some(&before), &prepared.addresses, &mut state.tasks).await?;
        let built = Arc::new(built);

        self.connections.set_limits(&built.settings.limits, built.settings.timeouts.handshake);
        let (for_workers, internal) =
            (std::mem::take(&mut prepared.for_workers), std::mem::take(&mut prepared.internal));
        let mut switched = Vec::new();
        for (worker, opened) in self.workers.iter().zip(for_workers) {
            let (done, is_done) = oneshot::channel();
            let switch = Switch {
                generation: Arc::clone(&built.generation),
                closed: prepared.closed.clone(),
                opened,
                drain: built.settings.reload.drain,
                done,
            };
            // Fails only if the worker has ended, which ends the process.
            let _ = worker.send(switch);
            switched.push(is_done);
        }
        for is_done in switched {
            let _ = is_done.await;
        }
        prepared.closed.iter().for_each(|listener| state.internal.close(listener));
        for (listener, socket) in internal {
            state.internal.serve(&listener, socket, &mut state.tasks);
        }
        state.sockets.adopt(prepared);
        if let Some((sender, acceptor)) = self.admin.as_ref().zip(admin) {
            sender.send_replace(acceptor);
        }
        self.built.send_replace(built);
        // The previous generation's handles are dropped by now, except those that exchanges still hold.
        state.internal.recorders.iter().for_each(|recorder| recorder.forget_unused());
        while state.tasks.try_join_next().is_some() {}
        Ok(changes)
    }

    /// Refuses reloads from now on; waits for one that is under way.
    pub(super) async fn stop(&self) {
        let mut state = self.state.lock().await;
        state.is_stopping = true;
    }

    /// Ends the tasks of the configurations.
    pub(super) async fn shutdown(&self) {
        self.state.lock().await.tasks.shutdown().await;
    }
}
