//! Start of the gateway: first everything that can fail, then everything that serves.

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::admin_server;
use super::changes::Difference;
use super::control::{self, Control};
use super::control_socket::ControlSocket;
use super::error::StartError;
use super::file_watch;
use super::files;
use super::generation::Builder;
use super::hand_over::{HandOver, Launch};
use super::health_checks;
use super::inherited::Inherited;
use super::internal::Internal;
use super::logs::Logs;
use super::monitor;
use super::reload::{Extent, Reloader, State};
use super::resolve;
use super::running::Running;
use super::sockets::{self, Prepared, Sockets};
use super::token_services;
use super::traces::TraceControl;
use super::worker::{self, Inputs, Order, Phase, Plan, Switch};
use crate::acme::Keeper;
use crate::admin::Records;
use crate::admin::monitor::status::ReloadStatus;
use crate::admin::monitor::{Asked, ReloadHandle, ReloadRequest, Reloaded};
use crate::clock::Clock;
use crate::config::Settings;
use crate::config::settings::Admin;
use crate::limits::TurnedAway;
use crate::listener::{Connections, tls};
use crate::store::Store;
use crate::telemetry::log::ProcessLog;
use crate::telemetry::{AccessLogFormat, LogSink, LogWriter, Recorder, RequestIds};
use crate::upstream::Resolver;

/// External inputs of the gateway.
pub struct World {
    /// The clock.
    pub clock: Clock,
    /// The store of users and tokens.
    pub store: Store,
    /// Destination of the access log.
    pub access_log: Box<dyn Write + Send>,
    /// The log of the process, whose level and format a reload can change; `None`: something else sets it up.
    pub process_log: Option<ProcessLog>,
    /// Path of the configuration file, for reloads; `None`: there is none.
    pub configuration: Option<PathBuf>,
    /// Resolves the host names of endpoints.
    pub resolver: Resolver,
}

/// A gateway that has everything it needs and accepts nothing yet. Dropping it leaves nothing behind.
pub struct Ready {
    control: JoinSet<()>,
    last_uses: tokio::task::JoinHandle<()>,
    recorders: Vec<Arc<Recorder>>,
    log: LogWriter,
    phase: watch::Sender<Phase>,
    reloader: Reloader,
    workers: Vec<JoinHandle<usize>>,
    prepared: Prepared,
    admin_socket: Option<TcpListener>,
    control_socket: Option<ControlSocket>,
    report: watch::Receiver<ReloadStatus>,
}

/// Starts the gateway. Returns when all sockets are bound.
///
/// # Errors
/// [`StartError`]; nothing keeps running in that case.
pub async fn start(settings: Settings, world: World) -> Result<Running, StartError> {
    let mut ready = prepare(settings, world, Inherited::default()).await?;
    ready.claim()?;
    Ok(ready.serve(None))
}

/// Does everything of a start that can fail: opens sockets, caches and logs, builds the generation, starts the threads.
///
/// # Errors
/// [`StartError`]; nothing keeps running in that case.
pub async fn prepare(settings: Settings, world: World, mut inherited: Inherited) -> Result<Ready, StartError> {
    let World { clock, store, access_log, process_log, configuration, resolver } = world;
    files::reserve(&settings)?;
    let opened_log = Logs::open(&settings.log)?;
    if settings.admin.is_some() && store.directory.is_none() {
        return Err(StartError::NoDirectory);
    }
    let sockets = Sockets::default();
    let prepared = sockets.prepare(&settings.listeners, settings.workers, &mut inherited)?;
    let admin_socket = settings.admin.as_ref().map(|admin| admin_server::open(admin, &mut inherited)).transpose()?;
    let opened = settings.control.as_ref().map(|control| {
        let failed = |source| StartError::Control { path: control.socket.clone(), source };
        ControlSocket::open(&control.socket, inherited.control()).map_err(failed)
    });
    let control_socket = opened.transpose()?;
    inherited.end()?;
    let mut control = JoinSet::new();
    let (services, last_uses) = token_services::start(&settings, &store, &clock, &mut control).await?;
    let (ticketer, clock_of_workers) = (tls::ticketer()?, clock.clone());
    let builder = Builder { store, clock, services: services.clone(), ticketer, resolver, challenges: Arc::default() };
    let admin = builder.admin_tls(&settings)?.map(|acceptor| watch::channel(acceptor).0);
    let built = Arc::new(builder.build(settings, None, &prepared.addresses).await?);
    let settings = Arc::clone(&built.settings);

    let recorders: Vec<Arc<Recorder>> = (0..settings.workers).map(|_| Recorder::new()).collect();
    let access = AccessLogFormat::default();
    let sink = LogSink::default();
    let log = LogWriter::start(access_log, sink.clone(), access.clone())?;
    let logs = Logs::new(access, sink, process_log);
    logs.set(&settings.log, opened_log);
    let process_id = process_id();
    let (traces, exporting) = TraceControl::new(Arc::clone(&services.counts), format!("{process_id:016x}"));
    control.spawn(exporting);
    traces.set(settings.traces.as_ref(), &settings.log);
    let (phase, phases) = watch::channel(Phase::Serving);
    let connections = Connections::new(&settings.limits, settings.timeouts.handshake, &services.counts.turned_away);
    let first = ReloadStatus {
        generation: 1,
        loaded: builder.clock.now(),
        failed: None,
        problems: Vec::new(),
        restart: Vec::new(),
    };
    let plan = Arc::new(Plan {
        workers: settings.workers,
        services: services.clone(),
        connections: Arc::clone(&connections),
        clock: clock_of_workers,
        process_id,
        traces: traces.clone(),
    });
    let (mut workers, mut orders) = (Vec::new(), Vec::new());
    for (index, recorder) in (0_u16..).zip(&recorders) {
        let (order, orders_of) = mpsc::unbounded_channel();
        let access_log = log.worker(recorder);
        let inputs =
            Inputs { index, recorder: Arc::clone(recorder), access_log, phase: phases.clone(), orders: orders_of };
        workers.push(worker::spawn(Arc::clone(&plan), inputs)?);
        orders.push(order);
    }
    let internal =
        Internal { services, recorders: recorders.clone(), phases, serving: HashMap::new(), tasks: JoinSet::new() };
    let admin_copy = admin_socket.as_ref().zip(settings.admin.as_ref());
    let admin_copy = admin_copy.map(|(socket, admin)| Ok((socket.try_clone()?, admin.address)));
    let admin_copy = admin_copy.transpose().map_err(StartError::Thread)?;
    let (report, reports) = watch::channel(first);
    let reloader = Reloader {
        builder,
        file: configuration,
        workers: orders,
        connections,
        logs,
        traces,
        admin,
        built: watch::channel(built).0,
        report,
        turn: Mutex::new(()),
        state: Mutex::new(State { sockets, internal, admin: admin_copy, is_stopping: false }),
    };
    Ok(Ready {
        control,
        last_uses,
        recorders,
        log,
        phase,
        reloader,
        workers,
        prepared,
        admin_socket,
        control_socket,
        report: reports,
    })
}

impl Ready {
    /// Gives the control socket its name, and begins to listen. From then on commands and clients are for this process.
    ///
    /// # Errors
    /// [`StartError::Control`], [`StartError::Listen`].
    pub fn claim(&mut self) -> Result<(), StartError> {
        if let Some(socket) = &mut self.control_socket {
            socket.claim().map_err(|source| StartError::Control { path: socket.path().to_owned(), source })?;
        }
        self.prepared.listen()?;
        self.admin_socket.as_ref().map_or(Ok(()), |socket| sockets::listen(Admin::NAME, socket))
    }

    /// Begins to accept. `launch` is for `tokengate upgrade`.
    pub fn serve(self, launch: Option<Launch>) -> Running {
        let Ready { mut control, last_uses, recorders, log, phase, mut reloader, .. } = self;
        let (mut prepared, report) = (self.prepared, self.report);
        let Builder { store, clock, services, .. } = &reloader.builder;
        let built = Arc::clone(&reloader.built.borrow());
        let settings = &built.settings;

        for (worker, opened) in reloader.workers.iter().zip(std::mem::take(&mut prepared.for_workers)) {
            let generation = Arc::clone(&built.generation);
            let (done, _) = oneshot::channel();
            // Fails only if the worker has ended, which ends the process.
            let switch = Switch { generation, closed: Vec::new(), opened, drain: Duration::ZERO, done };
            let _ = worker.send(Order::Switch(switch));
        }
        let state = reloader.state.get_mut();
        for (listener, socket) in std::mem::take(&mut prepared.internal) {
            state.internal.serve(&listener, socket);
        }
        control.spawn(tell_turned_away(Arc::clone(&services.counts.turned_away)));
        control.spawn(resolve::run(reloader.built.subscribe(), reloader.builder.resolver.clone()));
        control.spawn(health_checks::run(reloader.built.subscribe()));
        let keeper = Keeper::new(
            clock.clone(),
            Arc::clone(&reloader.builder.challenges),
            Arc::clone(&services.counts),
            random(),
        );
        let in_use = reloader.built.subscribe();
        control.spawn(keeper.run(move || Arc::clone(&in_use.borrow().settings)));
        let (reloads, asked) = ReloadHandle::new();
        let (mut admin, mut sampler) = (None, None);
        let admin_address = self.admin_socket.as_ref().and_then(|socket| socket.local_addr().ok());
        if let Some((socket, acceptor)) = self.admin_socket.zip(reloader.admin.as_ref()) {
            let sockets = (socket, acceptor.subscribe(), Arc::clone(&services.counts.turned_away));
            let sources = monitor::Sources {
                in_use: reloader.built.subscribe(),
                report: report.clone(),
                reloads: reloads.clone(),
                recorders: &recorders,
                services,
                clock,
                configuration: reloader.file.clone(),
            };
            let (monitor, sampling) = monitor::new(sources);
            control.spawn(sampling.clone().run());
            sampler = Some(sampling);
            // Uses request ids that no worker uses. Lines lost by its log are not counted: only workers have counters.
            let lines = log.worker(&Recorder::new());
            let records = Records::new(lines, RequestIds::new(process_id(), 0), clock.clone());
            let from = (store, clock, services.uses.clone(), records);
            let phases = phase.subscribe();
            admin = admin_server::serve(settings, sockets, &prepared.addresses, from, monitor, &phases, &mut control);
        }
        state.sockets.adopt(prepared);
        reloader.measure(clock.now());
        reloader.succeeded(&[]);
        let (services, reloader) = (services.clone(), Arc::new(reloader));
        control.spawn(file_watch::run(Arc::clone(&reloader)));
        control.spawn(serve_reloads(Arc::clone(&reloader), asked));
        let (order, orders) = mpsc::channel(1);
        let (predecessor, draining) = watch::channel(None);
        if let Some((socket, settings)) = self.control_socket.zip(settings.control.as_ref()) {
            let hand_over = HandOver {
                reloader: Arc::clone(&reloader),
                orders: order.clone(),
                launch,
                socket: socket.path().to_owned(),
                within: settings.upgrade_timeout,
                reclaim: Arc::default(),
                turn: Mutex::default(),
                expected: std::sync::Mutex::default(),
            };
            let commands = Control { reloads, report, predecessor: draining, orders: order, hand_over };
            control.spawn(control::serve(socket, commands));
        }
        Running {
            admin_address,
            reloader,
            phase,
            workers: self.workers,
            control,
            admin,
            sampler,
            log: Some(log),
            services,
            recorders,
            orders: Mutex::new(orders),
            predecessor,
            following: None,
            last_uses,
        }
    }
}

/// Runs the reloads that the admin application and the control socket request.
async fn serve_reloads(reloader: Arc<Reloader>, mut asked: mpsc::Receiver<ReloadRequest>) {
    while let Some(ReloadRequest { what, reply }) = asked.recv().await {
        let outcome = match what {
            Asked::Reload { trigger } => reloader.reload_file(&trigger, Extent::Whole).await,
            Asked::ReloadPartly { trigger } => reloader.reload_file(&trigger, Extent::WithoutRestart).await,
            Asked::Compare { file } => reloader.compare(file).await,
        };
        let names = |restart: Vec<&str>| restart.into_iter().map(str::to_owned).collect();
        let told = |Difference { changes, restart }| Reloaded { changes: changes.0, restart: names(restart) };
        // Fails only if the caller has stopped waiting.
        let _ = reply.send(outcome.map(told).map_err(|error| error.lines()));
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

/// Randomness for the times of renewals.
#[expect(clippy::disallowed_methods, reason = "drawn once, at the top")]
fn random() -> StdRng {
    StdRng::from_rng(&mut rand::rng())
}

/// Prefix that distinguishes request ids of this process from those of other processes.
#[expect(clippy::disallowed_methods, reason = "drawn once, at the top")]
fn process_id() -> u64 {
    rand::rng().random()
}
