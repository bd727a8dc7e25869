//! Start and shutdown of the gateway.

use std::collections::HashMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::admin_door;
use super::error::StartError;
use super::files;
use super::knowledge::{self, Known};
use super::monitor::{self, Sampler};
use super::worker::{self, Phase, Plan, Share, Tallies};
use crate::admin::{self, Health, Records};
use crate::auth::{Issuer, Refused};
use crate::cache::IdentityCache;
use crate::clock::Clock;
use crate::config::Settings;
use crate::config::settings::{Admin, Browser, ExposedToken, Listener, ListenerRole, Login, TlsListener};
use crate::gateway::Forms;
use crate::limits::TurnedAway;
use crate::listener::{Connections, socket, tls};
use crate::route::RouteTable;
use crate::store::{Store, Via};
use crate::telemetry::{AccessLog, LogFormat, LogWriter, Recorder, RequestIds};
use crate::upstream::{EndpointSpec, Spool};

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
    /// Path of the configuration file, for display only.
    pub configuration: Option<PathBuf>,
}

/// A running gateway. Dropping it does not stop its threads; they end with the process.
pub struct Running {
    addresses: HashMap<String, SocketAddr>,
    phase: watch::Sender<Phase>,
    workers: Vec<JoinHandle<usize>>,
    control: JoinSet<()>,
    /// Serves the admin application until shutdown, then finishes requests in flight.
    admin: Option<tokio::task::JoinHandle<()>>,
    /// Samples the traffic for the admin application.
    sampler: Option<Sampler>,
    log: Option<LogWriter>,
    known: Known,
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
    let World { clock, store, access_log, configuration } = world;
    files::reserve(&settings)?;
    if settings.admin.is_some() && store.directory.is_none() {
        return Err(StartError::NoDirectory);
    }
    if let Err(none) = &store.sessions
        && settings.login.as_ref().is_some_and(|login| login.browser.is_some())
    {
        return Err(StartError::NoSessions(none.clone()));
    }
    let routes = RouteTable::build(settings.routes.clone()).map_err(|conflicts| {
        let conflict = conflicts.into_iter().next();
        let (first, second) = conflict.map(|c| (c.first.to_string(), c.second.to_string())).unwrap_or_default();
        StartError::Routes { first, second }
    })?;
    let (tls, admin_tls) = set_up_tls(&settings)?;
    let sockets = settings.listeners.iter().map(|l| open(l, settings.workers)).collect::<Result<Vec<_>, _>>()?;
    let admin_socket = settings.admin.as_ref().map(admin_door::open).transpose()?;
    let mut addresses: HashMap<String, SocketAddr> = settings
        .listeners
        .iter()
        .zip(&sockets)
        .filter_map(|(listener, sockets)| Some((listener.name.clone(), sockets.first()?.local_addr().ok()?)))
        .collect();
    let admin_address = admin_socket.as_ref().and_then(|socket| socket.local_addr().ok());
    addresses.extend(admin_address.map(|address| (Admin::NAME.to_owned(), address)));

    let mut control = JoinSet::new();
    let endpoints = resolve_all(&settings, &mut control).await;
    let (known, last_uses) = knowledge::start(&settings, &store, &clock, &mut control).await?;
    let spool = spool(&settings, &known)?;
    let issuer = settings.login.as_ref().map(|login| {
        let (issuer, handle) = Issuer::new(store.clone(), Via::Gateway, login, clock.clone());
        control.spawn(issuer.run());
        handle
    });

    let mut names: Vec<Arc<str>> = settings.routes.iter().map(|route| Arc::clone(&route.name)).collect();
    // Its index follows the last route: see `Exchange::matched_login`.
    names.extend(settings.login.as_ref().map(|_| Login::NAME.into()));
    names.extend(settings.login.as_ref().and_then(|login| login.browser.as_ref()).map(|_| Browser::NAME.into()));
    let recorders: Vec<Arc<Recorder>> = (0..settings.workers).map(|_| Recorder::new(&names)).collect();
    let log = settings.log.access.then(|| LogWriter::start(access_log)).transpose()?;
    let format = if settings.log.json { LogFormat::Json } else { LogFormat::Text };
    let (phase, phases) = watch::channel(Phase::Serving);

    let https_port = settings.listeners.iter().find(|l| matches!(l.role, ListenerRole::Tls(_)));
    let https_port = https_port.and_then(|l| addresses.get(&l.name)).map_or(443, SocketAddr::port);
    control.spawn(tell_turned_away(Arc::clone(&known.counts.turned_away)));
    serve_internal(&settings, &sockets, (&recorders, &known), &phases, &mut control);
    let tallies: Tallies = endpoints.iter().map(|members| members.iter().map(|_| Arc::default()).collect()).collect();
    let (mut admin, mut sampler) = (None, None);
    if let Some((socket, acceptor)) = admin_socket.zip(admin_tls) {
        let door = (socket, acceptor, Arc::clone(&known.counts.turned_away));
        let sources = monitor::Sources {
            settings: &settings,
            names: &names,
            recorders: &recorders,
            tallies: &tallies,
            known: &known,
            clock: &clock,
            configuration,
        };
        let (monitor, sampling) = monitor::new(sources);
        control.spawn(sampling.clone().run());
        sampler = Some(sampling);
        // Uses request ids that no worker uses. Lines lost by its log are not counted: only workers have counters.
        let lines = log.as_ref().map(|log| log.worker(format, &Recorder::new(&[])));
        let records = Records::new(lines, RequestIds::new(process_id(), 0), clock.clone());
        let from = (&store, &clock, known.uses.clone(), records);
        admin = admin_door::serve(&settings, door, &addresses, from, monitor, &phases, &mut control);
    }
    let plan = Arc::new(Plan {
        routes: Arc::new(routes),
        endpoints,
        tallies,
        tls,
        known: known.clone(),
        spool,
        forms: Forms::new(&settings.login.clone().unwrap_or_default()),
        refused: Refused::new(settings.limits.wrong_keys),
        issuer,
        connections: Connections::new(&settings.limits, settings.timeouts.handshake, &known.counts.turned_away),
        clock,
        process_id: process_id(),
        https_port,
        settings,
    });
    let log_for = |recorder: &Arc<Recorder>| log.as_ref().map(|log| log.worker(format, recorder));
    let shares = share_out(&plan.settings, sockets, &recorders, log_for, &phases);
    let workers = shares.into_iter().map(|share| worker::spawn(Arc::clone(&plan), share)).collect::<Result<_, _>>()?;
    Ok(Running { addresses, phase, workers, control, admin, sampler, log, known, recorders, last_uses })
}

impl Running {
    /// Returns the address of a listener.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.addresses.get(listener).copied()
    }

    /// Returns the token cache of this process.
    pub fn memory(&self) -> &Arc<IdentityCache> {
        &self.known.memory
    }

    /// Renders the metrics page.
    pub fn metrics(&self) -> String {
        self.known.metrics(&self.recorders)
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

    /// Shuts down: accepts nothing new, drains for at most `grace`, then closes what is left.
    ///
    /// Dropping the future closes all connections at once.
    pub async fn stop(mut self, grace: Duration) -> Stopped {
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
        self.control.shutdown().await;
        drop(self.known);
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

/// Resolves the names of all endpoints in parallel. Names that do not resolve are retried until they do.
async fn resolve_all(settings: &Settings, control: &mut JoinSet<()>) -> Vec<Vec<Arc<EndpointSpec>>> {
    let mut asked = JoinSet::new();
    let mut all = Vec::new();
    for upstream in &settings.upstreams {
        let members: Vec<_> = upstream.endpoints.iter().map(|endpoint| Arc::new(EndpointSpec::of(endpoint))).collect();
        for addresses in members.iter().filter_map(|spec| spec.addresses()).cloned() {
            let upstream = upstream.name.clone();
            asked.spawn(async move { addresses.look_up().await.map_err(|error| (addresses, upstream, error)) });
        }
        all.push(members);
    }
    while let Some(answer) = asked.join_next().await {
        if let Ok(Err((addresses, upstream, error))) = answer {
            control.spawn(addresses.keep_looking_up(upstream, error));
        }
    }
    all
}

/// The spool of request bodies, if a route buffers them. Checks that its folder is writable.
fn spool(settings: &Settings, known: &Known) -> Result<Spool, StartError> {
    let spool = Spool::new(&settings.spool, Arc::clone(&known.counts));
    if settings.routes.iter().any(|route| route.buffer_request) {
        spool.probe().map_err(|source| StartError::Spool { folder: settings.spool.folder.clone(), source })?;
    }
    Ok(spool)
}

/// Builds the TLS acceptors of the listeners and of the admin application.
fn set_up_tls(settings: &Settings) -> Result<(Vec<Option<TlsAcceptor>>, Option<TlsAcceptor>), tls::TlsError> {
    let ticketer = tls::ticketer()?;
    let acceptor = |tls: &TlsListener| -> Result<TlsAcceptor, tls::TlsError> {
        Ok(tls::config(tls, &settings.certificates, Arc::clone(&ticketer))?.into())
    };
    let one = |listener: &Listener| match &listener.role {
        ListenerRole::Tls(tls) => acceptor(tls).map(Some),
        ListenerRole::Plain(_) | ListenerRole::Internal { .. } => Ok(None),
    };
    let admin = settings.admin.as_ref().map(|admin| {
        let certificates = vec![admin.certificate];
        let (http1, http2, tls12) = (true, false, true);
        acceptor(&TlsListener { certificates, http1, http2, tls12, hsts: None, exposed_token: ExposedToken::Ignore })
    });
    Ok((settings.listeners.iter().map(one).collect::<Result<_, _>>()?, admin.transpose()?))
}

fn open(listener: &Listener, workers: usize) -> Result<Vec<TcpListener>, StartError> {
    let count = if matches!(listener.role, ListenerRole::Internal { .. }) { 1 } else { workers };
    let opened = socket::probe(listener.address).and_then(|()| socket::open(listener.address, count));
    let key = format!("listeners.{}", listener.name);
    opened.map_err(|source| StartError::Listen { key, address: listener.address, source })
}

/// Logs what limits rejected, at most once a second for each limit.
async fn tell_turned_away(turned_away: Arc<TurnedAway>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        for (limit, count) in turned_away.news() {
            tracing::warn!(limit, count, "a limit turned connections away");
        }
    }
}

/// The internal listener: health and metrics.
fn serve_internal(
    settings: &Settings,
    sockets: &[Vec<TcpListener>],
    (recorders, known): (&[Arc<Recorder>], &Known),
    phases: &watch::Receiver<Phase>,
    control: &mut JoinSet<()>,
) {
    for (listener, sockets) in settings.listeners.iter().zip(sockets) {
        let ListenerRole::Internal { health, metrics } = listener.role else { continue };
        let phase = phases.clone();
        let ask = move || match *phase.borrow() {
            Phase::Serving => Health::Ok,
            Phase::Draining | Phase::Aborting => Health::Failing(vec!["the gateway is shutting down".to_owned()]),
        };
        let ask = health.then(|| -> admin::AskHealth { Arc::new(ask) });
        let turned_away = Arc::clone(&known.counts.turned_away);
        let (recorders, known) = (recorders.to_vec(), known.clone());
        let write = metrics.then(|| -> admin::WriteMetrics { Arc::new(move || known.metrics(&recorders)) });
        let router = admin::internal_router(ask, write);
        let Some(socket) = sockets.first().and_then(|socket| socket.try_clone().ok()) else { continue };
        let name = listener.name.clone();
        control.spawn(async move {
            match tokio::net::TcpListener::from_std(socket) {
                // Served until the very end, so monitoring can observe the shutdown.
                Ok(socket) => admin::serve(socket, router, turned_away, std::future::pending()).await,
                Err(error) => tracing::error!(listener = name, %error, "an internal listener cannot listen"),
            }
        });
    }
}

/// Distributes the sockets: each worker gets one of each listener.
fn share_out(
    settings: &Settings,
    sockets: Vec<Vec<TcpListener>>,
    recorders: &[Arc<Recorder>],
    log_for: impl Fn(&Arc<Recorder>) -> Option<AccessLog>,
    phases: &watch::Receiver<Phase>,
) -> Vec<Share> {
    let mut shares: Vec<Share> = (0_u16..)
        .zip(recorders)
        .map(|(index, recorder)| Share {
            index,
            sockets: Vec::new(),
            recorder: Arc::clone(recorder),
            access_log: log_for(recorder),
            phase: phases.clone(),
        })
        .collect();
    for (place, sockets) in sockets.into_iter().enumerate() {
        let for_clients =
            settings.listeners.get(place).is_some_and(|l| !matches!(l.role, ListenerRole::Internal { .. }));
        if for_clients {
            for (share, socket) in shares.iter_mut().zip(sockets) {
                share.sockets.push((place, socket));
            }
        }
    }
    shares
}

/// Prefix that distinguishes request ids of this process from those of other processes.
#[expect(clippy::disallowed_methods, reason = "drawn once, at the top")]
fn process_id() -> u64 {
    rand::rng().random()
}
