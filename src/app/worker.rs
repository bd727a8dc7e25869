//! Worker: a thread with its own runtime, sockets, connection pools and counters.

use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::token_services::TokenServices;
use super::traces::TraceControl;
use crate::auth::Authenticator;
use crate::client::OpenConnections;
use crate::clock::Clock;
use crate::gateway::{Callers, Certified, Current, DateHeader, Gateway, Generation, Timers, Tunnels, Worker};
use crate::listener::{Accept, Connections};
use crate::store::TokenEvent;
use crate::telemetry::{AccessLog, Recorder, RequestIds, Tracer};

/// Interval at which a worker checks its connections and flushes its log lines. It is also the resolution of timeouts.
const TICK: Duration = Duration::from_millis(250);
/// Threads of each worker for spool I/O, so the worker itself never waits for a disk.
const SPOOLING: usize = 4;
/// Interval at which a worker checks whether its connections have drained.
const LAST_TICK: Duration = Duration::from_millis(10);

/// Phase of the shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Serving.
    Serving,
    /// Still serving, but readiness fails: load balancers stop sending requests.
    Leaving,
    /// Another process has the sockets: accept nothing new; each connection ends with its next answer.
    HandedOver,
    /// Draining: accept nothing new, finish requests in flight.
    Draining,
    /// Aborting: close everything.
    Aborting,
}

/// Shared inputs of all workers.
pub(super) struct Plan {
    /// The number of workers.
    pub workers: usize,
    pub services: TokenServices,
    pub connections: Arc<Connections>,
    pub clock: Clock,
    pub process_id: u64,
    /// Tracing.
    pub traces: TraceControl,
}

/// Inputs of a single worker.
pub(super) struct Inputs {
    pub index: u16,
    pub recorder: Arc<Recorder>,
    pub access_log: AccessLog,
    pub phase: watch::Receiver<Phase>,
    /// Orders of the control half; the first one brings the first generation.
    pub orders: mpsc::UnboundedReceiver<Order>,
}

/// A listening socket with the name of its listener.
pub(super) type Named = (Arc<str>, TcpListener);

/// An order of the control half to a worker.
pub(super) enum Order {
    /// Use another generation.
    Switch(Switch),
    /// Give a copy of each listening socket, with the listener's name, to the process that takes over.
    Copy(oneshot::Sender<io::Result<Vec<Named>>>),
}

/// Makes a worker use another generation.
pub(super) struct Switch {
    pub generation: Arc<Generation>,
    /// Removed listeners: their connections finish the current request.
    pub closed: Vec<Arc<str>>,
    /// New listeners, with a socket for this worker. A listener has several if another process had more workers.
    pub opened: Vec<Named>,
    /// How long tunnels of removed routes and listeners may stay open.
    pub drain: Duration,
    /// Notified when the worker uses it.
    pub done: oneshot::Sender<()>,
}

/// One worker: its connections and its accept loops.
struct Serving {
    plan: Arc<Plan>,
    current: Rc<Current>,
    open_connections: Rc<OpenConnections>,
    accepting: HashMap<Arc<str>, Vec<Accepting>>,
    /// Tunnels of removed routes and listeners, with their deadlines.
    ending: Vec<(Instant, Rc<Tunnels>)>,
}

/// An accept loop.
struct Accepting {
    socket: Rc<tokio::net::TcpListener>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

/// Starts a worker's thread. The worker ends when it has drained or when the phase is abort. It returns the number of
/// connections that it closed.
pub(super) fn spawn(plan: Arc<Plan>, inputs: Inputs) -> io::Result<JoinHandle<usize>> {
    let runtime = || {
        let mut builder = Builder::new_current_thread();
        builder.enable_all().max_blocking_threads(SPOOLING).build_local(LocalOptions::default())
    };
    thread::Builder::new().name(format!("worker-{}", inputs.index)).spawn(move || match runtime() {
        Ok(runtime) => runtime.block_on(run(plan, inputs)),
        Err(error) => {
            tracing::error!(%error, "a worker could not start its runtime");
            0
        }
    })
}

async fn run(plan: Arc<Plan>, inputs: Inputs) -> usize {
    let Inputs { index, recorder, access_log, mut phase, mut orders } = inputs;
    // `None`: the start was given up.
    let Some(Order::Switch(first)) = orders.recv().await else { return 0 };
    let mut events = plan.services.events.subscribe();
    let worker = worker(&plan, index, &recorder, access_log);
    let mut serving = Serving::begin(plan, worker, first);
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            _ = tick.tick() => serving.tick(),
            event = events.recv() => apply_events(&serving.worker(), event, &mut events),
            Some(order) = orders.recv() => serving.obey(order).await,
            changed = phase.changed() => if changed.is_err() || *phase.borrow() > Phase::Leaving { break },
        }
    }
    serving.stop_accepting().await;
    let (mut asked, mut tick) = (None, tokio::time::interval(LAST_TICK));
    loop {
        let (connections, now) = (&serving.open_connections, *phase.borrow_and_update());
        if asked.replace(now) != Some(now) {
            tick = tokio::time::interval(LAST_TICK);
            match now {
                Phase::Serving | Phase::Leaving | Phase::Draining => connections.drain(),
                Phase::HandedOver => {
                    connections.leave();
                    // It can last long, and nothing waits for its end.
                    tick = tokio::time::interval(TICK);
                }
                Phase::Aborting => {
                    let cut = connections.count();
                    connections.abort();
                    return cut;
                }
            }
        }
        if connections.are_over() {
            return 0;
        }
        tokio::select! {
            biased;
            // The gateway was dropped.
            changed = phase.changed() => if changed.is_err() { return connections.count() },
            event = events.recv() => apply_events(&serving.worker(), event, &mut events),
            _ = tick.tick() => serving.tick(),
        }
    }
}

impl Serving {
    fn begin(plan: Arc<Plan>, worker: Rc<Worker>, first: Switch) -> Serving {
        let open_connections = Rc::new(OpenConnections::new(first.generation.timeouts));
        let gateway = Gateway::new(first.generation, worker, None, plan.workers);
        let current = Current::new(gateway);
        let mut serving = Serving { plan, current, open_connections, accepting: HashMap::new(), ending: Vec::new() };
        first.opened.into_iter().for_each(|(listener, socket)| serving.accept(listener, socket));
        // Fails only if the start was aborted.
        let _ = first.done.send(());
        serving
    }

    fn worker(&self) -> Rc<Worker> {
        Rc::clone(&self.current.get().worker)
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Switch(switch) => self.switch(switch).await,
            // Fails only if the receiver was dropped.
            Order::Copy(to) => drop(to.send(self.copies())),
        }
    }

    fn copies(&self) -> io::Result<Vec<Named>> {
        let all = self.accepting.iter().flat_map(|(name, accepting)| accepting.iter().map(move |one| (name, one)));
        let copy = |(name, accepting): (&Arc<str>, &Accepting)| {
            Ok((Arc::clone(name), accepting.socket.as_fd().try_clone_to_owned()?.into()))
        };
        all.map(copy).collect()
    }

    /// Uses another generation for all requests that begin from now on.
    async fn switch(&mut self, switch: Switch) {
        let mut gone = Vec::new();
        for listener in &switch.closed {
            for accepting in self.accepting.remove(listener).into_iter().flatten() {
                accepting.end().await;
            }
            // A tunnel has no next request, so it would not end by itself.
            gone.push(Tunnels::of(self.open_connections.drain_listener(listener)));
        }
        let before = self.current.get();
        let next = Gateway::new(switch.generation, Rc::clone(&before.worker), Some(&before), self.plan.workers);
        self.open_connections.set_timeouts(next.generation.timeouts);
        before.retire(&next);
        let end = Instant::now() + switch.drain;
        gone.extend(before.tunnels_of_gone_routes(&next));
        self.ending.extend(gone.into_iter().map(|tunnels| (end, tunnels)));
        if !before.generation.asks_clients_like(&next.generation) {
            next.worker.certified.doubt();
        }
        self.current.set(next);
        switch.opened.into_iter().for_each(|(listener, socket)| self.accept(listener, socket));
        // Before the answer: the control half then drops the counters that no gateway uses.
        drop(before);
        // Fails only if the receiver was dropped.
        let _ = switch.done.send(());
    }

    fn accept(&mut self, listener: Arc<str>, socket: TcpListener) {
        let socket = match tokio::net::TcpListener::from_std(socket) {
            Ok(socket) => Rc::new(socket),
            Err(error) => return tracing::error!(listener = &*listener, %error, "a worker cannot listen"),
        };
        let (stop, stopping) = watch::channel(false);
        let accept = Accept {
            listener: Arc::clone(&listener),
            current: Rc::clone(&self.current),
            open_connections: Rc::clone(&self.open_connections),
            connections: Arc::clone(&self.plan.connections),
        };
        let task = tokio::task::spawn_local(Rc::new(accept).run(Rc::clone(&socket), stopping));
        self.accepting.entry(listener).or_default().push(Accepting { socket, stop, task });
    }

    async fn stop_accepting(&mut self) {
        let accepting = std::mem::take(&mut self.accepting);
        for accepting in accepting.values().flatten() {
            // Fails only if the task has ended.
            let _ = accepting.stop.send(true);
        }
        for accepting in accepting.into_values().flatten() {
            accepting.end().await;
        }
    }

    /// The worker's tick.
    fn tick(&mut self) {
        let (now, gateway) = (Instant::now(), self.current.get());
        self.open_connections.sweep(now);
        gateway.worker.date.set(gateway.worker.clock.now());
        gateway.worker.timers.sweep(now);
        gateway.worker.check_callers();
        gateway.worker.certified.sweep(&gateway.generation, gateway.worker.clock.now());
        gateway.sweep_pools(now);
        self.ending.retain(|(end, tunnels)| {
            if *end <= now {
                tunnels.end();
            }
            *end > now
        });
        gateway.worker.access_log.flush();
    }
}

impl Accepting {
    async fn end(self) {
        // Fails only if the task has ended.
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

/// Receives one event and all that are queued after it.
fn apply_events(
    worker: &Rc<Worker>,
    first: Result<TokenEvent, RecvError>,
    events: &mut broadcast::Receiver<TokenEvent>,
) {
    // The channel never closes, since the plan keeps a sender. A receiver that lagged has lost events.
    worker.apply_event(first.unwrap_or(TokenEvent::Gap));
    loop {
        match events.try_recv() {
            Ok(event) => worker.apply_event(event),
            Err(TryRecvError::Lagged(_)) => worker.apply_event(TokenEvent::Gap),
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        }
    }
    worker.recheck();
}

fn worker(plan: &Plan, index: u16, recorder: &Arc<Recorder>, access_log: AccessLog) -> Rc<Worker> {
    let services = &plan.services;
    Rc::new(Worker {
        authenticator: Authenticator::new(
            Arc::clone(&services.memory),
            services.resolver.clone(),
            services.uses.clone(),
            plan.clock.clone(),
            Arc::clone(recorder),
        ),
        callers: Callers::default(),
        certified: Certified::default(),
        exposed: services.exposed.clone(),
        clock: plan.clock.clone(),
        recorder: Arc::clone(recorder),
        access_log,
        tracer: Tracer::new(plan.traces.switch().clone()),
        ids: RequestIds::new(plan.process_id, index),
        date: DateHeader::new(plan.clock.now()),
        timers: Timers::new(TICK),
    })
}
