//! The internal listeners: health and metrics.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::token_services::TokenServices;
use super::worker::Phase;
use crate::admin::{self, Health};
use crate::config::settings::{Listener, ListenerRole};
use crate::telemetry::Recorder;

/// Serves health and metrics until the shutdown has ended, so that monitoring can observe it.
pub(super) struct Internal {
    pub services: TokenServices,
    pub recorders: Vec<Arc<Recorder>>,
    pub phases: watch::Receiver<Phase>,
    pub serving: HashMap<String, AbortHandle>,
    pub tasks: JoinSet<()>,
}

impl Internal {
    /// Starts to serve a listener.
    pub(super) fn serve(&mut self, listener: &Listener, socket: TcpListener) {
        let ListenerRole::Internal { health, metrics } = listener.role else { return };
        let phase = self.phases.clone();
        let ask = move || match *phase.borrow() {
            Phase::Serving => Health::Ok,
            Phase::Leaving | Phase::Draining | Phase::Aborting => {
                Health::Failing(vec!["the gateway is shutting down".to_owned()])
            }
        };
        let ask = health.then(|| -> admin::AskHealth { Arc::new(ask) });
        let turned_away = Arc::clone(&self.services.counts.turned_away);
        let (recorders, services) = (self.recorders.clone(), self.services.clone());
        let write = metrics.then(|| -> admin::WriteMetrics { Arc::new(move || services.metrics(&recorders)) });
        let router = admin::internal_router(ask, write);
        let name = listener.name.clone();
        let task = self.tasks.spawn(async move {
            match tokio::net::TcpListener::from_std(socket) {
                Ok(socket) => admin::serve(socket, router, turned_away, std::future::pending()).await,
                Err(error) => tracing::error!(listener = name, %error, "an internal listener cannot listen"),
            }
        });
        self.serving.insert(listener.name.clone(), task);
    }

    /// Closes the listener with this name, if it is internal.
    pub(super) fn close(&mut self, listener: &str) {
        if let Some(task) = self.serving.remove(listener) {
            task.abort();
        }
        // Removes listeners that have ended.
        while self.tasks.try_join_next().is_some() {}
    }
}
