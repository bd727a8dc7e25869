//! `tokengate serve`: runs the gateway until a signal or a command stops it, or another process takes over.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sd_notify::NotifyState;
use tokio::sync::Notify;

use super::{check, control, show};
use crate::app::{
    self, Granted, Inherited, Launch, Order, Predecessor, Ready, Running, Signal, Signals, StartError, Successor, World,
};
use crate::clock::Clock;
use crate::config::Problem;
use crate::config::settings::{Admin, ListenerRole};
use crate::upstream::Resolver;
use crate::{store, telemetry};

/// Time limit at the end for threads that read or write files.
const LAST_FILES: Duration = Duration::from_secs(5);

/// Where a process finds the gateway that it takes over from.
#[derive(Debug)]
pub enum TakeOver {
    /// At the control socket of the file.
    OfTheFile,
    /// At this control socket.
    At(PathBuf),
}

impl From<Option<PathBuf>> for TakeOver {
    fn from(socket: Option<PathBuf>) -> TakeOver {
        socket.map_or(TakeOver::OfTheFile, TakeOver::At)
    }
}

/// Why a gateway stops.
enum Ending {
    Signal(Signal),
    Order(Order),
}

/// Runs until SIGTERM, SIGINT or `tokengate drain`, then drains requests in flight. A second signal exits at once.
/// SIGHUP reloads. With `take_over`, this process takes the sockets of the gateway that runs.
///
/// # Errors
/// Any error that prevents a start.
pub fn run(config: &Path, take_over: Option<TakeOver>) -> Result<()> {
    app::without_huge_pages();
    // Before anything else: the file of the program may be replaced, and the environment is changed.
    let launch = Launch::of_this_process().context("the path of this program cannot be found")?;
    let inherited = match &take_over {
        None => Inherited::of_service_manager()?,
        Some(_) => Inherited::default(),
    };
    let runtime = control_runtime()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::listen().context("signals cannot be received")?;
        let (ready, granted) = tokio::select! {
            begun = begin(config, take_over, inherited) => begun?,
            () = signals.stop() => bail!("stopped by a signal before it served"),
        };
        // From here on a signal has to wait: this process serves clients, perhaps alone.
        let running = start(config, ready, granted, launch).await?;
        serve(running, signals).await;
        Ok(())
    });
    // A thread may still wait for a file system that does not answer.
    runtime.shutdown_timeout(LAST_FILES);
    ended
}

/// Does everything that comes before the first connection. In place of the gateway that runs: until that one agrees.
async fn begin(config: &Path, take_over: Option<TakeOver>, inherited: Inherited) -> Result<(Ready, Option<Granted>)> {
    let socket = match take_over {
        None => return Ok((prepare(config, inherited).await?, None)),
        Some(TakeOver::OfTheFile) => control::socket(config)?,
        Some(TakeOver::At(socket)) => socket,
    };
    let (predecessor, inherited) = Predecessor::ask(&socket).await?;
    match prepare(config, inherited).await {
        Ok(ready) => Ok((ready, Some(predecessor.ready().await?))),
        Err(error) => {
            predecessor.fail(&problems(&error)).await;
            Err(error)
        }
    }
}

/// Why this process cannot start: each problem in one line, as a reload tells them.
fn problems(error: &anyhow::Error) -> Vec<String> {
    let lines = |problems: &[Problem]| problems.iter().map(ToString::to_string).collect();
    if let Some(check::Invalid(problems)) = error.downcast_ref() {
        return lines(problems);
    }
    match error.downcast_ref() {
        Some(StartError::Tests(failed)) => lines(failed),
        _ => show::chain(error).lines().map(str::to_owned).collect(),
    }
}

/// Begins to accept. In place of the gateway that runs: until that one accepts no more.
async fn start(config: &Path, mut ready: Ready, granted: Option<Granted>, launch: Launch) -> Result<Running> {
    let claimed = ready.claim();
    let Some(granted) = granted else {
        claimed?;
        return Ok(serving(config, ready, launch));
    };
    if let Err(error) = claimed {
        granted.fail(telemetry::causes(&error)).await;
        return Err(error.into());
    }
    let mut running = serving(config, ready, launch);
    match granted.serving().await {
        Ok(draining) => {
            if let Some(draining) = draining {
                let process = draining.process();
                tracing::info!(code = "taken_over", process, "the process before finishes what is running there");
                running.follow(draining);
            }
            Ok(running)
        }
        Err(error) => {
            let grace = running.settings().grace;
            running.stop(grace).await;
            Err(error.into())
        }
    }
}

/// Reads the configuration, opens store and caches, and builds everything.
async fn prepare(config: &Path, inherited: Inherited) -> Result<Ready> {
    let settings = check::settings(config)?;
    let log = telemetry::log::init(settings.log.level, settings.log.json).context("the log cannot be set up")?;
    let clock = Clock::system();
    let store = store::open(&settings.store, &settings.tokens, clock.clone()).await?;
    for remark in &store.remarks {
        tracing::warn!(code = "store_odd", "{remark}");
    }
    let world = World {
        clock,
        store,
        access_log: Box::new(io::stdout()),
        process_log: Some(log),
        configuration: Some(config.to_owned()),
        resolver: Resolver::system(),
    };
    Ok(app::prepare(settings, world, inherited).await?)
}

/// Begins to accept.
fn serving(config: &Path, ready: Ready, launch: Launch) -> Running {
    let running = ready.serve(Some(launch));
    let settings = running.settings();
    let scheme = |role: &ListenerRole| if matches!(role, ListenerRole::Tls(_)) { "https" } else { "http" };
    let listeners = settings.listeners.iter().map(|listener| (listener.name.as_str(), scheme(&listener.role)));
    for (name, scheme) in listeners.chain(settings.admin.as_ref().map(|_| (Admin::NAME, "https"))) {
        let Some(address) = running.address(name) else { continue };
        tracing::info!(listener = name, "listening on {scheme}://{address}");
    }
    tracing::info!(config = %config.display(), version = env!("CARGO_PKG_VERSION"), "serving");
    running
}

/// Serves until something ends the gateway, and drains it.
async fn serve(running: Running, mut signals: Signals) {
    tell(&[NotifyState::Ready]);
    // The gateway can be stopped while a reload waits for a file or a name.
    let hangups = Notify::new();
    let stopping = async {
        loop {
            match signals.next().await {
                Signal::Hangup => hangups.notify_one(),
                Signal::User1 => running.reopen_logs(),
                signal => break signal,
            }
        }
    };
    let reloading = async {
        loop {
            hangups.notified().await;
            if let Ok(now) = NotifyState::monotonic_usec_now() {
                tell(&[NotifyState::Reloading, now]);
            }
            // The outcome is logged. A failure leaves everything as it is.
            drop(running.reload_file().await);
            tell(&[NotifyState::Ready]);
        }
    };
    let ending = tokio::select! {
        signal = stopping => Ending::Signal(signal),
        order = running.order() => Ending::Order(order),
        ending = reloading => ending,
    };
    let grace = running.settings().grace;
    let mut asker = None;
    match ending {
        Ending::Signal(signal) => {
            tell(&[NotifyState::Stopping]);
            tracing::info!(?signal, ?grace, "shutting down: finishing running requests; a second signal stops at once");
        }
        Ending::Order(Order::Drain(who)) => {
            tell(&[NotifyState::Stopping]);
            tracing::info!(?grace, "shutting down for `tokengate drain`: finishing running requests");
            asker = Some(who);
        }
        Ending::Order(Order::HandedOver(successor)) => finish(&running, successor, &mut signals).await,
    }
    tokio::select! {
        stopped = running.stop(grace) => {
            tracing::info!(cut = stopped.cut, "stopped");
            if let Some(asker) = asker {
                asker.tell(stopped).await;
            }
        }
        () = signals.stop() => tracing::warn!("stopped at once"),
    }
}

/// Another process serves: waits until what is running in this one has ended, or may last no longer.
async fn finish(running: &Running, mut successor: Successor, signals: &mut Signals) {
    let process = successor.process();
    // systemd listens to the main process only. So this comes before the other one says that it is ready.
    tell(&[NotifyState::MainPid(process)]);
    running.hand_over().await;
    successor.confirm().await;
    let drain = running.settings().reload.drain;
    tracing::info!(code = "handed_over", process, ?drain, "another process serves; finishing what is running here");
    tokio::select! {
        () = running.has_finished() => {}
        () = tokio::time::sleep(drain) => tracing::info!("`reload.drain` is over: shutting down"),
        () = successor.asks_to_stop() => tracing::info!("the process that serves stops: shutting down"),
        () = signals.stop() => tracing::info!("shutting down"),
    }
}

/// Tells systemd, if it started the gateway (`Type=notify-reload`).
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd cannot be notified");
    }
}

/// Builds the runtime of the control half. Two threads suffice for tasks that mostly wait.
pub fn control_runtime() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).thread_name("control").enable_all();
    builder.build().context("the runtime cannot be started")
}
