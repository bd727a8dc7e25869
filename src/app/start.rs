//! Start and shutdown of the gateway.

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::admin_door;
use super::changes::Changes;
use super::control::{Control, ControlSocket};
use super::error::StartError;
use super::file_watch;
use super::files;
use super::generation::Builder;
use super::internal::Internal;
use super::monitor::{self, Sampler};
use super::reload::{ReloadError, Reloader, State};
use super::resolve;
use super::sockets::Sockets;
use super::token_services::{self, TokenServices};
use super::worker::{self, Inputs, Phase, Plan, Switch};
use crate::admin::Records;
use crate::admin::monitor::status::ReloadStatus;
use crate::admin::monitor::{ReloadHandle, ReloadRequest};
use crate::cache::IdentityCache;
use crate::clock::Clock;
use crate::config::Settings;
use crate::config::settings::Admin;
use crate::limits::TurnedAway;
use crate::listener::{Connections, tls};
use crate::store::Store;
use crate::telemetry::{LogFormat, LogWriter, Recorder, RequestIds};
use crate::upstream::Resolver;

/// Time limit at shutdown for writing the last lines of the access log.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Time limit at shutdown for writing the last uses of tokens.
const LAST_USES: Duration = Duration::from_secs(2);

/// External inputs of the gateway.
pub struct World {
    /// The clock.
    pub clock: Clock,
    /// The store of users and tokens.
    pub store: Store,
    /// Destination of the access log.
    pub access_log: Box<dyn Write + Send>,
    /// Path of the configuration file, for reloads; `None`: there is none.
    pub configuration: Option<PathBuf>,
    /// Resolves the host names of endpoints.
    pub resolver: Resolver,
}

/// A running gateway. Dropping it does not stop its threads; they end with the process.
pub struct Running {
    admin_address: Option<SocketAddr>,
    reloader: Arc<Reloader>,
    phase: watch::Sender<Phase>,
    workers: Vec<JoinHandle<usize>>,
    control: JoinSet<()>,
    /// Serves the admin application until shutdown, then finishes requests in flight.
    admin: Option<tokio::task::JoinHandle<()>>,
    /// Samples the traffic for the admin application.
    sampler: Option<Sampler>,
    log: Option<LogWriter>,
    services: TokenServices,
    recorders: Vec<Arc<Recorder>>,
    /// Writes the last uses of tokens; ends after the last worker.
    last_uses: tokio::task::JoinHandle<()>,
}

/// Outcome of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Connections that were closed because the grace period was over.
    pub cut: usize,
}

/// Starts the gateway. Returns when all sockets are bound.
///
/// # Errors
/// [`StartError`]; nothing keeps running in that case.
pub async fn start(settings: Settings, world: World) -> Result<Running, StartError> {
    let World { clock, store, access_log, configuration, resolver } = world;
    files::reserve(&settings)?;
    if settings.admin.is_some() && store.directory.is_none() {
        return Err(StartError::NoDirectory);
    }
    let mut sockets = Sockets::default();
    let mut prepared = sockets.prepare(&settings.listeners, settings.workers)?;
    let admin_socket = settings.admin.as_ref().map(admin_door::open).transpose()?;
    let opened = settings
        .control
        .as_deref()
        .map(|path| ControlSocket::open(path).map_err(|source| StartError::Control { path: path.to_owned(), source }));
    let control_socket = opened.transpose()?;
    let mut control = JoinSet::new();
    let (services, last_uses) = token_services::start(&settings, &store, &clock, &mut control).await?;
    let builder = Builder {
        store: store.clone(),
        clock: clock.clone(),
        services: services.clone(),
        ticketer: tls::ticketer()?,
        resolver: resolver.clone(),
    };
    let admin_tls = builder.admin_tls(&settings)?.map(|acceptor| watch::channel(acceptor).0);
    let built = Arc::new(builder.build(settings, None, &prepared.addresses).await?);
    let settings = Arc::clone(&built.settings);

    let recorders: Vec<Arc<Recorder>> = (0..settings.workers).map(|_| Recorder::new()).collect();
    let log = settings.log.access.then(|| LogWriter::start(access_log)).transpose()?;
    let format = if settings.log.json { LogFormat::Json } else { LogFormat::Text };
    let (phase, phases) = watch::channel(Phase::Serving);
    control.spawn(tell_turned_away(Arc::clone(&services.counts.turned_away)));
    let mut internal = Internal {
        services: services.clone(),
        recorders: recorders.clone(),
        phases: phases.clone(),
        serving: HashMap::new(),
        tasks: JoinSet::new(),
    };
    for (listener, socket) in std::mem::take(&mut prepared.internal) {
        internal.serve(&listener, socket);
    }
    let (built, in_use) = watch::channel(built);
    control.spawn(resolve::run(in_use.clone(), resolver));
    let started = clock.now();
    let first = ReloadStatus { generation: 1, loaded: started, failed: None, problems: Vec::new() };
    let (report, reports) = watch::channel(first);
    let (reloads, asked) = ReloadHandle::new();
    let (mut admin, mut sampler) = (None, None);
    let admin_address = admin_socket.as_ref().and_then(|socket| socket.local_addr().ok());
    if let Some((socket, acceptor)) = admin_socket.zip(admin_tls.as_ref()) {
        let door = (socket, acceptor.subscribe(), Arc::clone(&services.counts.turned_away));
        let sources = monitor::Sources {
            in_use,
            report: reports.clone(),
            reloads: reloads.clone(),
            recorders: &recorders,
            services: &services,
            clock: &clock,
            configuration: configuration.clone(),
        };
        let (monitor, sampling) = monitor::new(sources);
        control.spawn(sampling.clone().run());
        sampler = Some(sampling);
        // Uses request ids that no worker uses. Lines lost by its log are not counted: only workers have counters.
        let lines = log.as_ref().map(|log| log.worker(format, &Recorder::new()));
        let records = Records::new(lines, RequestIds::new(process_id(), 0), clock.clone());
        let from = (&store, &clock, services.uses.clone(), records);
        admin = admin_door::serve(&settings, door, &prepared.addresses, from, monitor, &phases, &mut control);
    }
    let connections = Connections::new(&settings.limits, settings.timeouts.handshake, &services.counts.turned_away);
    let plan = Arc::new(Plan {
        workers: settings.workers,
        services: services.clone(),
        connections: Arc::clone(&connections),
        clock,
        process_id: process_id(),
    });
    let (mut workers, mut orders) = (Vec::new(), Vec::new());
    let for_workers = std::mem::take(&mut prepared.for_workers);
    let generation = Arc::clone(&built.borrow().generation);
    for ((index, recorder), opened) in (0_u16..).zip(&recorders).zip(for_workers) {
        let (switch, switches) = mpsc::unbounded_channel();
        let generation = Arc::clone(&generation);
        let first =
            Switch { generation, closed: Vec::new(), opened, drain: Duration::ZERO, done: oneshot::channel().0 };
        let access_log = log.as_ref().map(|log| log.worker(format, recorder));
        let (recorder, phase) = (Arc::clone(recorder), phases.clone());
        workers.push(worker::spawn(Arc::clone(&plan), Inputs { index, recorder, access_log, phase, first, switches })?);
        orders.push(switch);
    }
    sockets.adopt(prepared);
    let state = Mutex::new(State { sockets, internal, is_stopping: false });
    let turn = Mutex::new(());
    let file = configuration;
    let reloader = Arc::new(Reloader {
        builder,
        file,
        workers: orders,
        connections,
        admin: admin_tls,
        built,
        report,
        turn,
        state,
    });
    reloader.measure(started);
    reloader.succeeded();
    control.spawn(file_watch::run(Arc::clone(&reloader)));
    control.spawn(serve_reloads(Arc::clone(&reloader), asked));
    if let Some(socket) = control_socket {
        control.spawn(socket.serve(Control { reloads, report: reports }));
    }
    Ok(Running {
        admin_address,
        reloader,
        phase,
        workers,
        control,
        admin,
        sampler,
        log,
        services,
        recorders,
        last_uses,
    })
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

    /// Reads the configuration file again and loads it, as for SIGHUP. The outcome is logged. Dropping the future does
    /// not stop the reload.
    ///
    /// # Errors
    /// [`ReloadError`]; the running configuration stays as it is.
    pub async fn reload_file(&self) -> Result<Changes, ReloadError> {
        let reloader = Arc::clone(&self.reloader);
        let reload = tokio::spawn(async move { reloader.reload_file("SIGHUP").await });
        reload.await.unwrap_or(Err(ReloadError::Stopping))
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
        let delay = self.settings().shutdown_delay;
        if !delay.is_zero() {
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
        self.reloader.shutdown().await;
        self.control.shutdown().await;
        drop((self.services, self.reloader));
        if tokio::time::timeout(LAST_USES, self.last_uses).await.is_err() {
            tracing::warn!("the last uses of some tokens were not written");
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

/// Runs the reloads that the admin application and the control socket request.
async fn serve_reloads(reloader: Arc<Reloader>, mut asked: mpsc::Receiver<ReloadRequest>) {
    while let Some(ReloadRequest { trigger, reply }) = asked.recv().await {
        let reloaded = reloader.reload_file(&trigger).await;
        // Fails only if the caller has stopped waiting.
        let _ = reply.send(reloaded.map(|changes| changes.0).map_err(|error| error.lines()));
    }
}

/// Logs what limits rejected, at most once a second for each limit.
async fn tell_turned_away(turned_away: Arc<TurnedAway>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        for (limit, count) in turned_away.since_last_call() {
            tracing::warn!(limit, count, "a limit turned connections away");
        }
    }
}

/// Prefix that distinguishes request ids of this process from those of other processes.
#[expect(clippy::disallowed_methods, reason = "drawn once, at the top")]
fn process_id() -> u64 {
    rand::rng().random()
}
