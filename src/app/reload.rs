//! Replaces the configuration of a running gateway.
//!
//! A reload has three steps: check that no changed setting needs a restart, build everything that the new configuration
//! needs, switch. Only the first two can fail, and they do not affect running traffic. Workers switch one after the
//! other; each request uses one generation. The outcome goes to the log, to the metrics and to the status page.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio_rustls::TlsAcceptor;

use super::StartError;
use super::certificate_gauges;
use super::changes::{self, Changes, Difference};
use super::configuration_file::{named_alike, read};
use super::files;
use super::generation::{Builder, Built};
use super::inherited::Inherited;
use super::internal::Internal;
use super::logs::Logs;
use super::monitor;
use super::sockets::Sockets;
use super::traces::TraceControl;
use super::worker::{Order, Switch};
use crate::admin::monitor::status::ReloadStatus;
use crate::clock::Timestamp;
use crate::config::settings::{ClientCertificates, UpstreamTls};
use crate::config::{self, Loaded, Problem, Settings};
use crate::listener::Connections;
use crate::telemetry;

/// The trigger name of reloads because of a changed file.
pub(super) const FILE_CHANGED: &str = "its file changed";

/// Why a configuration was not loaded. The running configuration stays in use.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The gateway was started without a file.
    #[error("this gateway was not started from a configuration file")]
    NoFile,
    /// The file has these problems.
    #[error("{}", lines(.0))]
    Problems(Vec<Problem>),
    /// It changes settings that need a restart.
    #[error(
        "these settings can only be changed by a restart: {}; `tokengate upgrade` applies the whole file without an \
         interruption, `tokengate reload --force-partial` applies the rest of it",
        .0.join(", ")
    )]
    Restart(Vec<&'static str>),
    /// The rest of the file cannot be used without the settings that need a restart.
    #[error("{0}")]
    Apart(String),
    /// The gateway is shutting down.
    #[error("the gateway is shutting down")]
    Stopping,
    /// A part of it could not be built.
    #[error("{}", telemetry::causes(.0))]
    Start(#[from] StartError),
}

/// Replaces the configuration of a running gateway.
pub(super) struct Reloader {
    pub builder: Builder,
    /// The configuration file.
    pub file: Option<PathBuf>,
    pub workers: Vec<mpsc::UnboundedSender<Order>>,
    pub connections: Arc<Connections>,
    pub logs: Logs,
    pub traces: TraceControl,
    /// The TLS of the admin application; `None`: there is none.
    pub admin: Option<watch::Sender<TlsAcceptor>>,
    pub built: watch::Sender<Arc<Built>>,
    /// The outcome of the last reload.
    pub report: watch::Sender<ReloadStatus>,
    /// Locked from reading the files to the end of the switch: one reload runs at a time, so the configuration that was
    /// read last is in use at the end.
    pub turn: Mutex<()>,
    /// Locked during a switch. A shutdown waits for the switch, but not for files or name lookups.
    pub state: Mutex<State>,
}

/// The state of the control half that a reload changes.
pub(super) struct State {
    pub sockets: Sockets,
    pub internal: Internal,
    /// A copy of the admin application's socket, with its address in the file, for a process that takes over.
    pub admin: Option<(TcpListener, SocketAddr)>,
    pub is_stopping: bool,
}

impl Reloader {
    /// Reads the configuration file again and loads it. `trigger` names in the log what requested the reload.
    ///
    /// # Errors
    /// [`ReloadError`]; the running configuration stays as it is.
    pub(super) async fn reload_file(&self, trigger: &str, extent: Extent) -> Result<Difference, ReloadError> {
        let turn = self.turn.lock().await;
        let reloaded = match read(self.file.clone()).await {
            Ok(Loaded { settings, warnings }) => {
                warnings.iter().for_each(|warning| tracing::warn!(code = "config_warning", "{warning}"));
                self.take_over(settings, extent).await
            }
            Err(error) => Err(error),
        };
        self.tell(trigger, &reloaded);
        drop(turn);
        reloaded
    }

    /// Reads a configuration file and compares it with the configuration in use. Changes nothing.
    ///
    /// # Errors
    /// [`ReloadError::Problems`].
    pub(super) async fn compare(&self, file: PathBuf) -> Result<Difference, ReloadError> {
        let running = self.file.clone();
        let named = tokio::task::spawn_blocking(move || named_alike(running.as_deref(), file)).await;
        let after = read(Some(named.map_err(|_| ReloadError::Stopping)?)).await?.settings;
        let before = Arc::clone(&self.built.borrow().settings);
        Ok(Difference { changes: Changes::between(&before, &after), restart: changes::fixed(&before, &after) })
    }

    /// Loads a checked configuration. Returns the changes when every worker uses it.
    ///
    /// # Errors
    /// [`ReloadError`]; the running configuration stays as it is.
    pub(super) async fn reload(&self, settings: Settings) -> Result<Changes, ReloadError> {
        let _turn = self.turn.lock().await;
        Ok(self.take_over(settings, Extent::Whole).await?.changes)
    }

    async fn take_over(&self, mut settings: Settings, extent: Extent) -> Result<Difference, ReloadError> {
        let before = Arc::clone(&self.built.borrow().settings);
        let restart = match extent {
            Extent::Whole => Vec::new(),
            Extent::WithoutRestart => changes::keep_fixed(&before, &mut settings).map_err(ReloadError::Apart)?,
        };
        drop(before);
        let changes = self.switch(settings).await?;
        self.succeeded(&restart);
        Ok(Difference { changes, restart })
    }

    /// Reads the files of each certificate again. If a pair cannot be used, the previous pair stays in use; the other
    /// certificates are renewed.
    pub(super) async fn renew_certificates(&self) {
        let _turn = self.turn.lock().await;
        let before = Arc::clone(&self.built.borrow().settings);
        let old = Arc::clone(&before);
        let read = move || {
            let own = old.certificates.iter().map(config::read_again).collect::<Vec<_>>();
            let of_upstreams = old.upstreams.iter().map(|one| one.tls.as_ref().map(UpstreamTls::read_again));
            let of_clients = old.listeners.iter().map(|one| one.clients().map(ClientCertificates::read_again));
            (own, of_upstreams.collect::<Vec<_>>(), of_clients.collect::<Vec<_>>())
        };
        let Ok((read, of_upstreams, of_clients)) = tokio::task::spawn_blocking(read).await else { return };
        let mut settings = Settings::clone(&before);
        let mut failed = Vec::new();
        for (upstream, read) in settings.upstreams.iter_mut().zip(of_upstreams) {
            match read.transpose() {
                Ok(tls) => upstream.tls = tls,
                Err(error) => {
                    let upstream = &upstream.name;
                    tracing::error!(code = "certificate_not_renewed", upstream, "{error}; the old files stay in use");
                }
            }
        }
        for (listener, read) in settings.listeners.iter_mut().zip(of_clients) {
            match read.transpose() {
                Ok(clients) => listener.renew_clients(clients),
                Err(error) => {
                    let listener = &listener.name;
                    tracing::error!(code = "certificate_not_renewed", listener, "{error}; the old files stay in use");
                }
            }
        }
        for (certificate, read) in settings.certificates.iter_mut().zip(read) {
            match read {
                Ok(new) => *certificate = new,
                Err(error) => {
                    let name = &certificate.name;
                    tracing::error!(code = "certificate_not_renewed", certificate = name, "{error}; the old one stays");
                    failed.push(name.clone());
                }
            }
        }
        let is_new = settings.certificates != before.certificates
            || settings.upstreams != before.upstreams
            || settings.listeners != before.listeners;
        if is_new {
            match self.switch(settings).await {
                Ok(changes) => tracing::info!(code = "certificates_renewed", "{changes}"),
                Err(error) => tracing::error!(code = "certificate_not_renewed", "{error}"),
            }
        }
        self.measure_certificates(&failed);
    }

    async fn switch(&self, settings: Settings) -> Result<Changes, ReloadError> {
        let before = Arc::clone(&self.built.borrow());
        let fixed = changes::fixed(&before.settings, &settings);
        if !fixed.is_empty() {
            return Err(ReloadError::Restart(fixed));
        }
        let changes = Changes::between(&before.settings, &settings);
        if changes.is_empty() {
            self.logs.reopen();
            return Ok(changes);
        }
        files::reserve(&settings).map_err(StartError::from)?;
        let access_log = Logs::open(&settings.log)?;
        let mut prepared = self.state.lock().await.sockets.prepare(
            &settings.listeners,
            self.workers.len(),
            &mut Inherited::default(),
        )?;
        let admin = self.builder.admin_tls(&settings)?;
        let built = Arc::new(self.builder.build(settings, Some(&before), &prepared.addresses).await?);

        let mut state = self.state.lock().await;
        if state.is_stopping {
            return Err(ReloadError::Stopping);
        }
        prepared.listen()?;
        self.connections.set_limits(&built.settings.limits, built.settings.timeouts.handshake);
        self.logs.set(&built.settings.log, access_log);
        self.traces.set(built.settings.traces.as_ref(), &built.settings.log);
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
            let _ = worker.send(Order::Switch(switch));
            switched.push(is_done);
        }
        for is_done in switched {
            let _ = is_done.await;
        }
        prepared.closed.iter().for_each(|listener| state.internal.close(listener));
        for (listener, socket) in internal {
            state.internal.serve(&listener, socket);
        }
        state.sockets.adopt(prepared);
        if let Some((sender, acceptor)) = self.admin.as_ref().zip(admin) {
            sender.send_replace(acceptor);
        }
        let now = self.builder.clock.now();
        self.built.send_replace(built);
        self.measure(now);
        // The handles of the previous generation are dropped by now, except those that running exchanges hold.
        drop(before);
        state.internal.recorders.iter().for_each(|recorder| recorder.forget_unused());
        Ok(changes)
    }

    /// Sets the metrics of the configuration in use, which was loaded at `now`.
    pub(super) fn measure(&self, now: Timestamp) {
        let (counts, number) = (&self.builder.services.counts, self.built.borrow().generation.number);
        counts.config_generation.set(number);
        counts.config_loaded.set(u64::try_from(now.as_seconds()).unwrap_or(0));
        self.report.send_modify(|report| (report.generation, report.loaded) = (number, now));
        self.measure_certificates(&[]);
        let gauges = monitor::endpoint_gauges(&self.built.borrow());
        *counts.endpoints.lock().unwrap_or_else(PoisonError::into_inner) = gauges;
        let upstreams = monitor::upstreams_of_routes(&self.built.borrow().settings);
        *counts.upstreams.lock().unwrap_or_else(PoisonError::into_inner) = upstreams;
    }

    /// Records a successful reload. A renewal of certificates does not change the result of the last reload of the
    /// file.
    pub(super) fn succeeded(&self, restart: &[&str]) {
        self.builder.services.counts.config_reload_ok.set(1);
        self.report.send_modify(|report| {
            (report.failed, report.problems) = (None, Vec::new());
            report.restart = restart.iter().map(|name| (*name).to_owned()).collect();
        });
    }

    /// Records that a reload has failed.
    fn tell(&self, trigger: &str, reloaded: &Result<Difference, ReloadError>) {
        let generation = self.built.borrow().generation.number;
        match reloaded {
            // The first check of a watched file is not a change.
            Ok(Difference { changes, restart })
                if changes.is_empty() && restart.is_empty() && trigger == FILE_CHANGED => {}
            Ok(Difference { changes, restart }) => {
                if !restart.is_empty() {
                    let what = restart.join(", ");
                    tracing::warn!(code = "config_restart_needed", "these settings of the file need a restart: {what}");
                }
                tracing::info!(
                    code = "config_reloaded",
                    trigger,
                    generation,
                    "the configuration was reloaded: {changes}"
                );
            }
            Err(error) => {
                let problems = error.lines();
                tracing::error!(
                    code = "config_reload_failed",
                    trigger,
                    generation,
                    "the configuration was not reloaded, the running one stays: {}",
                    problems.join(" | ")
                );
                self.builder.services.counts.config_reload_ok.set(0);
                let now = self.builder.clock.now();
                self.report.send_modify(|report| (report.failed, report.problems) = (Some(now), problems));
            }
        }
    }

    fn measure_certificates(&self, failed: &[String]) {
        let settings = Arc::clone(&self.built.borrow().settings);
        certificate_gauges::set(&settings, failed, &self.builder.services.counts);
    }

    /// Refuses reloads from now on, and waits for a running switch.
    pub(super) async fn stop(&self) {
        self.state.lock().await.is_stopping = true;
    }

    /// Ends the internal listeners.
    pub(super) async fn shutdown(&self) {
        self.state.lock().await.internal.tasks.shutdown().await;
    }
}

/// Which settings of a file a reload uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All. A file that changes a setting that needs a restart is refused.
    Whole,
    /// All except those that need a restart.
    WithoutRestart,
}

impl ReloadError {
    /// All problems, one per line.
    pub fn lines(&self) -> Vec<String> {
        match self {
            ReloadError::Problems(problems) | ReloadError::Start(StartError::Tests(problems)) => {
                problems.iter().map(ToString::to_string).collect()
            }
            other => vec![other.to_string()],
        }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
