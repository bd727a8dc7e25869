//! A running gateway, and its shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;

use super::changes::Changes;
use super::channel::Channel;
use super::hand_over::{Draining, Successor};
use super::reload::{Extent, ReloadError, Reloader};
use super::sampler::Sampler;
use super::token_services::TokenServices;
use super::worker::Phase;
use crate::cache::IdentityCache;
use crate::config::Settings;
use crate::config::settings::Admin;
use crate::telemetry::{LogWriter, Recorder};

/// Time limit at shutdown for writing the last lines of the access log.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Time limit at shutdown for writing the last uses of tokens and the counts of quotas.
const LAST_USES: Duration = Duration::from_secs(2);

/// A running gateway. Dropping it does not stop its threads; they end with the process.
pub struct Running {
    pub(super) admin_address: Option<SocketAddr>,
    pub(super) reloader: Arc<Reloader>,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) workers: Vec<JoinHandle<usize>>,
    pub(super) control: JoinSet<()>,
    /// Serves the admin application until shutdown, then finishes requests in flight.
    pub(super) admin: Option<tokio::task::JoinHandle<()>>,
    /// Samples the traffic for the admin application.
    pub(super) sampler: Option<Sampler>,
    pub(super) log: Option<LogWriter>,
    pub(super) services: TokenServices,
    pub(super) recorders: Vec<Arc<Recorder>>,
    /// What the control socket asks for.
    pub(super) orders: Mutex<mpsc::Receiver<Order>>,
    /// The process that this one has taken over from, while it drains.
    pub(super) predecessor: watch::Sender<Option<i32>>,
    /// Ends when the predecessor has ended or was asked to stop.
    pub(super) following: Option<tokio::task::JoinHandle<()>>,
    /// Writes the last uses of tokens and the counts of quotas; ends after the last worker.
    pub(super) last_uses: tokio::task::JoinHandle<()>,
}

/// What the control socket asks the process for.
pub enum Order {
    /// Shut down as for SIGTERM, and tell how that went.
    Drain(Asker),
    /// Another process serves now: see [`Running::hand_over`].
    HandedOver(Successor),
}

/// A client of the control socket that waits for the outcome of a shutdown.
pub struct Asker(pub(super) Channel);

impl Asker {
    /// Tells the outcome.
    pub async fn tell(self, stopped: Stopped) {
        // Fails only if the client has left.
        let _ = self.0.answer(&json!({ "ok": true, "cut": stopped.cut })).await;
    }
}

/// Outcome of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Connections that were closed because the grace period was over.
    pub cut: usize,
}

impl Running {
    /// Returns the address of a listener. `None` for one that does not exist.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        if listener == Admin::NAME {
            return self.admin_address;
        }
        self.reloader.built.borrow().addresses.get(listener).copied()
    }

    /// Returns the settings in use.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.reloader.built.borrow().settings)
    }

    /// Loads a checked configuration. Returns the changes when every worker uses it. Dropping the future does not stop
    /// the reload.
    ///
    /// # Errors
    /// [`ReloadError`]; the running configuration stays as it is.
    pub async fn reload(&self, settings: Settings) -> Result<Changes, ReloadError> {
        let reloader = Arc::clone(&self.reloader);
        let reload = tokio::spawn(async move { reloader.reload(settings).await });
        reload.await.unwrap_or(Err(ReloadError::Stopping))
    }

    /// Reads the configuration file again and takes it over, as for SIGHUP. The outcome is logged. Dropping the future
    /// does not stop the reload.
    ///
    /// # Errors
    /// [`ReloadError`]; the running configuration stays as it is.
    pub async fn reload_file(&self) -> Result<Changes, ReloadError> {
        let reloader = Arc::clone(&self.reloader);
        let reload = tokio::spawn(async move { Ok(reloader.reload_file("SIGHUP", Extent::Whole).await?.changes) });
        reload.await.unwrap_or(Err(ReloadError::Stopping))
    }

    /// Opens the file of the access log again, after it was renamed.
    pub fn reopen_logs(&self) {
        self.reloader.logs.reopen();
    }

    /// Returns the token cache of this process.
    pub fn memory(&self) -> &Arc<IdentityCache> {
        &self.services.memory
    }

    /// Renders the metrics page.
    pub fn metrics(&self) -> String {
        self.services.metrics(&self.recorders)
    }

    /// Takes a traffic sample now, in addition to the regular one every two seconds.
    pub fn sample_traffic(&self) {
        if let Some(sampler) = &self.sampler {
            sampler.step();
        }
    }

    /// Waits for what the control socket asks for. Dropping the future loses nothing.
    pub async fn order(&self) -> Order {
        match self.orders.lock().await.recv().await {
            Some(order) => order,
            None => std::future::pending().await,
        }
    }

    /// Follows the process that this one has taken over from: the status names it while it drains, and it is asked to
    /// stop when this one stops.
    pub fn follow(&mut self, mut draining: Draining) {
        let (predecessor, mut phases) = (self.predecessor.clone(), self.phase.subscribe());
        predecessor.send_replace(draining.process());
        self.following = Some(tokio::spawn(async move {
            let is_over = tokio::select! {
                () = draining.ended() => true,
                _ = phases.wait_for(|phase| *phase >= Phase::Draining) => false,
            };
            predecessor.send_replace(None);
            if !is_over {
                draining.stop().await;
            }
        }));
    }

    /// Leaves new connections to the process that has taken over. Those of this process end with their next response.
    pub async fn hand_over(&self) {
        // Sending fails only if all workers have ended.
        let _ = self.phase.send(Phase::HandedOver);
        self.sampler.iter().for_each(Sampler::hand_over);
        let mut state = self.reloader.state.lock().await;
        state.internal.serving.clear();
        state.admin = None;
    }

    /// Waits until all connections of clients have ended, after [`hand_over`](Self::hand_over): those of this process,
    /// and those of the process that it has taken over from. That one is asked to stop when this one stops.
    pub async fn has_finished(&self) {
        for worker in &self.reloader.workers {
            worker.closed().await;
        }
        // Fails only if the sender is dropped, which is a field of this process.
        let _ = self.predecessor.subscribe().wait_for(Option::is_none).await;
    }

    /// Returns true if every worker has ended; before shutdown that is a fault.
    pub fn is_dead(&self) -> bool {
        self.workers.iter().any(JoinHandle::is_finished)
    }

    /// Shuts down: readiness fails, and after `shutdown.delay` the gateway accepts nothing new, drains for at most
    /// `grace`, then closes what is left.
    ///
    /// Dropping the future closes all connections at once.
    pub async fn stop(mut self, grace: Duration) -> Stopped {
        self.reloader.stop().await;
        // Nothing more is carried out.
        self.orders.get_mut().close();
        let is_handed_over = *self.phase.borrow() == Phase::HandedOver;
        let delay = self.settings().shutdown_delay;
        if !delay.is_zero() && !is_handed_over {
            let _ = self.phase.send(Phase::Leaving);
            tokio::time::sleep(delay).await;
        }
        // Sending fails only if all workers have ended already.
        let _ = self.phase.send(Phase::Draining);
        let workers = std::mem::take(&mut self.workers);
        let mut ended = tokio::task::spawn_blocking(move || {
            workers.into_iter().map(|worker| worker.join().unwrap_or(0)).sum::<usize>()
        });
        let admin = self.admin.take();
        let cut_admin = admin.as_ref().map(tokio::task::JoinHandle::abort_handle);
        let in_flight = async {
            if let Some(admin) = admin {
                let _ = admin.await;
            }
            // Must be last: the workers' future must not be polled after it has returned the count.
            (&mut ended).await
        };
        let cut = match tokio::time::timeout(grace, in_flight).await {
            Ok(cut) => cut.unwrap_or(0),
            Err(_) => {
                let _ = self.phase.send(Phase::Aborting);
                cut_admin.inspect(tokio::task::AbortHandle::abort);
                ended.await.unwrap_or(0)
            }
        };
        if let Some(following) = self.following.take() {
            let _ = following.await;
        }
        self.reloader.shutdown().await;
        self.control.shutdown().await;
        if let Some(sampler) = self.sampler.take() {
            sampler.save().await;
        }
        drop((self.services, self.reloader));
        if tokio::time::timeout(LAST_USES, self.last_uses).await.is_err() {
            tracing::warn!("the last uses of some tokens, or counts of quotas, were not written");
        }
        if let Some(log) = self.log.take() {
            let written = tokio::task::spawn_blocking(move || log.stop(LAST_LINES)).await;
            if !written.unwrap_or(false) {
                tracing::warn!("the last lines of the access log were not written");
            }
        }
        Stopped { cut }
    }
}
