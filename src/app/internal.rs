//! The internal listeners: health and metrics.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::token_services::TokenServices;
use super::worker::Phase;
use crate::admin::server::Stop;
use crate::admin::{self, Health};
use crate::config::settings::{Listener, ListenerRole};
use crate::telemetry::Recorder;

/// Serves health and metrics until the shutdown has ended, so that monitoring can observe it.
pub(super) struct Internal {
    pub services: TokenServices,
    pub recorders: Vec<Arc<Recorder>>,
    pub phases: watch::Receiver<Phase>,
    /// The listeners: their tasks, and copies of their sockets for a process that takes over.
    pub serving: HashMap<String, (AbortHandle, TcpListener)>,
    pub tasks: JoinSet<()>,
}

impl Internal {
    /// Starts to serve a listener.
    pub(super) fn serve(&mut self, listener: &Listener, socket: TcpListener) {
        let ListenerRole::Internal { health, metrics } = listener.role else { return };
        let phase = self.phases.clone();
        let ask = move || match *phase.borrow() {
            Phase::Serving => Health::Ok,
            Phase::Leaving | Phase::HandedOver | Phase::Draining | Phase::Aborting => {
                Health::Failing(vec!["the gateway is shutting down".to_owned()])
            }
        };
        let ask = health.then(|| -> admin::AskHealth { Arc::new(ask) });
        let turned_away = Arc::clone(&self.services.counts.turned_away);
        let (recorders, services) = (self.recorders.clone(), self.services.clone());
        let write = metrics.then(|| -> admin::WriteMetrics { Arc::new(move || services.metrics(&recorders)) });
        let router = admin::internal_router(ask, write);
        let opened = socket.try_clone().and_then(|copy| Ok((copy, tokio::net::TcpListener::from_std(socket)?)));
        let (copy, socket) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                return tracing::error!(listener = listener.name, %error, "an internal listener cannot listen");
            }
        };
        let mut phases = self.phases.clone();
        let stop = async move {
            match phases.wait_for(|phase| *phase == Phase::HandedOver).await {
                Ok(_) => Stop::AfterNextResponse,
                // The process exits.
                Err(_) => Stop::AfterThisResponse,
            }
        };
        let task = self.tasks.spawn(admin::serve(socket, router, turned_away, stop));
        self.serving.insert(listener.name.clone(), (task, copy));
    }

    /// Closes the listener with this name, if it is internal.
    pub(super) fn close(&mut self, listener: &str) {
        if let Some((task, _)) = self.serving.remove(listener) {
            task.abort();
        }
        // Removes listeners that have ended.
        while self.tasks.try_join_next().is_some() {}
    }
}
