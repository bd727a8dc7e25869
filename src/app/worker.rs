//! Worker: a thread with its own runtime, sockets, connection pools and counters.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use http::HeaderValue;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::knowledge::Known;
use crate::auth::{Authenticator, IssuerHandle, Refused};
use crate::clock::Clock;
use crate::config::Settings;
use crate::config::settings::{ExposedToken, ListenerRole, Plaintext};
use crate::gateway::fields::FieldPolicy;
use crate::gateway::{self, Callers, Door, Forms, Gateway, LoginDesk, Offers, PageDesk, PlaintextAnswer, Roll, Shares};
use crate::http1;
use crate::listener::{Accept, Connections, Tls, tls};
use crate::route::RouteTable;
use crate::store::TokenEvent;
use crate::telemetry::{AccessLog, Recorder, RequestIds};
use crate::upstream::{EndpointPool, EndpointSpec, EndpointTally, PoolLimits, Pools, Spool, UpstreamPools};

/// Interval at which a worker checks its connections and flushes its log lines. It is also the resolution of timeouts.
const TICK: Duration = Duration::from_millis(250);
/// Threads of each worker for spool I/O, so the worker itself never waits for a disk.
const SPOOLING: usize = 4;
/// Interval at which a worker checks whether its connections have drained.
const LAST_TICK: Duration = Duration::from_millis(10);

/// Phase of the shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Serve.
    Serving,
    /// Draining: accept nothing new, finish requests in flight.
    Draining,
    /// Abort: close everything.
    Aborting,
}

/// State of the endpoints of each upstream.
pub(super) type Tallies = Vec<Vec<Arc<EndpointTally>>>;

/// Shared inputs of all workers.
pub(super) struct Plan {
    pub settings: Settings,
    pub routes: Arc<RouteTable>,
    /// The resolved endpoints of each upstream.
    pub endpoints: Vec<Vec<Arc<EndpointSpec>>>,
    /// The state of each endpoint.
    pub tallies: Tallies,
    /// TLS of each listener.
    pub tls: Vec<Option<TlsAcceptor>>,
    pub known: Known,
    pub spool: Spool,
    /// Memory budget for login bodies and forms that are still being received.
    pub forms: Forms,
    pub refused: Refused,
    /// `None`: logins are not configured.
    pub issuer: Option<IssuerHandle>,
    pub connections: Arc<Connections>,
    pub clock: Clock,
    pub process_id: u64,
    /// The port of the first HTTPS listener, for redirects.
    pub https_port: u16,
}

/// Inputs of a single worker.
pub(super) struct Share {
    pub index: u16,
    /// Its sockets, each with its index in the settings.
    pub sockets: Vec<(usize, TcpListener)>,
    pub recorder: Arc<Recorder>,
    pub access_log: Option<AccessLog>,
    pub phase: watch::Receiver<Phase>,
}

/// Starts a worker's thread. The worker ends when it has drained or when the phase is abort. It returns the number of
/// connections that it closed.
pub(super) fn spawn(plan: Arc<Plan>, share: Share) -> io::Result<JoinHandle<usize>> {
    let runtime = || {
        let mut builder = Builder::new_current_thread();
        builder.enable_all().max_blocking_threads(SPOOLING).build_local(LocalOptions::default())
    };
    thread::Builder::new().name(format!("worker-{}", share.index)).spawn(move || match runtime() {
        Ok(runtime) => runtime.block_on(run(&plan, share)),
        Err(error) => {
            tracing::error!(%error, "a worker could not start its runtime");
            0
        }
    })
}

async fn run(plan: &Plan, share: Share) -> usize {
    let Share { index, sockets, recorder, access_log, mut phase } = share;
    let gateway = Rc::new(gateway(plan, index, &recorder, access_log));
    let mut events = plan.known.events.subscribe();
    let roll = Rc::new(Roll::new(plan.settings.timeouts.clone()));
    let (stop, stopping) = watch::channel(false);
    let mut accepting = Vec::new();
    for (place, socket) in sockets {
        let Some(accept) = accept(plan, place, &gateway, &roll) else { continue };
        match tokio::net::TcpListener::from_std(socket) {
            Ok(socket) => accepting.push(tokio::task::spawn_local(Rc::new(accept).run(socket, stopping.clone()))),
            Err(error) => tracing::error!(%error, "a worker cannot listen"),
        }
    }
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            _ = tick.tick() => look_after(&gateway, &roll),
            event = events.recv() => hear(&gateway, event, &mut events),
            changed = phase.changed() => if changed.is_err() || *phase.borrow() > Phase::Serving { break },
        }
    }
    // Sending fails only if every accept task has ended.
    let _ = stop.send(true);
    for task in accepting {
        let _ = task.await;
    }
    roll.drain();
    let mut tick = tokio::time::interval(LAST_TICK);
    while roll.open() > 0 {
        tokio::select! {
            biased;
            aborting = phase.wait_for(|phase| *phase == Phase::Aborting) => {
                let cut = roll.open();
                if aborting.is_ok() {
                    roll.abort();
                }
                return cut;
            }
            event = events.recv() => hear(&gateway, event, &mut events),
            _ = tick.tick() => look_after(&gateway, &roll),
        }
    }
    0
}

/// Receives one event and all that are queued behind it.
fn hear(gateway: &Rc<Gateway>, first: Result<TokenEvent, RecvError>, events: &mut broadcast::Receiver<TokenEvent>) {
    // The channel never closes, since the plan keeps a sender. A receiver that lagged has lost events.
    gateway.hear(first.unwrap_or(TokenEvent::Gap));
    loop {
        match events.try_recv() {
            Ok(event) => gateway.hear(event),
            Err(TryRecvError::Lagged(_)) => gateway.hear(TokenEvent::Gap),
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        }
    }
    gateway.look_again();
}

fn look_after(gateway: &Rc<Gateway>, roll: &Roll) {
    let now = Instant::now();
    roll.sweep(now);
    gateway.look_after_callers();
    gateway.pools.sweep(now);
    if let Some(log) = &gateway.access_log {
        log.flush();
    }
}

fn gateway(plan: &Plan, index: u16, recorder: &Arc<Recorder>, access_log: Option<AccessLog>) -> Gateway {
    let settings = &plan.settings;
    Gateway {
        routes: Arc::clone(&plan.routes),
        fields: FieldPolicy::compile(&settings.identity),
        pools: pools(plan),
        shares: Shares::new(&settings.upstreams, settings.workers),
        spool: plan.spool.clone(),
        forms: plan.forms.clone(),
        login: settings.login.clone().zip(plan.issuer.clone()).map(|(settings, issuer)| LoginDesk { settings, issuer }),
        pages: pages(plan),
        authenticator: Authenticator::new(
            Arc::clone(&plan.known.memory),
            plan.known.resolver.clone(),
            plan.known.uses.clone(),
            plan.refused.clone(),
            plan.clock.clone(),
            &settings.tokens.schemes,
            Arc::clone(recorder),
        ),
        callers: Callers::default(),
        exposed: plan.known.exposed.clone(),
        limits: settings.limits.clone(),
        clock: plan.clock.clone(),
        recorder: Arc::clone(recorder),
        access_log,
        ids: RequestIds::new(plan.process_id, index),
    }
}

fn pages(plan: &Plan) -> Option<PageDesk> {
    let login = plan.settings.login.clone()?;
    let offers =
        Offers { recoverable: plan.settings.tokens.recoverable, named: plan.settings.store.url.keeps_named_tokens() };
    Some(PageDesk::new(login.browser.clone()?, login, plan.issuer.clone()?, offers))
}

fn pools(plan: &Plan) -> Pools {
    let workers = plan.settings.workers.max(1);
    let endpoints = plan.endpoints.iter().zip(&plan.tallies);
    let limits = &plan.settings.limits;
    let answers = http1::Limits { head_bytes: limits.response_header_bytes, head_count: limits.response_header_count };
    let upstreams = plan.settings.upstreams.iter().zip(endpoints).map(|(upstream, (endpoints, tallies))| {
        let limits = PoolLimits {
            connections: upstream.max_connections.div_ceil(workers).max(1),
            idle: upstream.idle_timeout,
            connect: upstream.connect_timeout,
            answers,
        };
        let pool = |(spec, tally): (&_, &_)| EndpointPool::new(Arc::clone(spec), limits, Arc::clone(tally));
        UpstreamPools::new(endpoints.iter().zip(tallies).map(pool).collect(), upstream.retry)
    });
    Pools::new(upstreams.collect())
}

/// The accept loop of one listener; `None` for internal listeners.
fn accept(plan: &Plan, place: usize, gateway: &Rc<Gateway>, roll: &Rc<Roll>) -> Option<Accept> {
    let listener = plan.settings.listeners.get(place)?;
    let (door, tls) = match &listener.role {
        ListenerRole::Internal { .. } => return None,
        ListenerRole::Tls(settings) => {
            let acceptor = plan.tls.get(place)?.clone()?;
            let names = Rc::new(tls::names(settings, &plan.settings.certificates));
            let hsts = settings.hsts.map(|age| format!("max-age={}", age.as_secs()));
            let hsts = hsts.and_then(|value| HeaderValue::try_from(value).ok());
            let plaintext = gateway::Plaintext { answer: PlaintextAnswer::WrongPort, exposed: settings.exposed_token };
            let unencrypted = Rc::new(Door { hsts: None, plaintext: Some(plaintext) });
            (Door { hsts, plaintext: None }, Some(Tls { acceptor, names, unencrypted }))
        }
        ListenerRole::Plain(settings) => {
            (Door { hsts: None, plaintext: plaintext(settings.plaintext, settings.exposed_token, plan) }, None)
        }
    };
    Some(Accept {
        gateway: Rc::clone(gateway),
        door: Rc::new(door),
        tls,
        roll: Rc::clone(roll),
        connections: Arc::clone(&plan.connections),
        limits: Rc::new(plan.settings.limits.clone()),
        timeouts: plan.settings.timeouts.clone(),
    })
}

fn plaintext(policy: Plaintext, exposed: ExposedToken, plan: &Plan) -> Option<gateway::Plaintext> {
    match policy {
        Plaintext::Serve => None,
        Plaintext::Refuse => Some(gateway::Plaintext { answer: PlaintextAnswer::Refuse, exposed }),
        Plaintext::Redirect => Some(gateway::Plaintext { answer: PlaintextAnswer::Redirect(plan.https_port), exposed }),
    }
}
