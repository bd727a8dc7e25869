//! `tokengate serve`: runs the gateway until a signal stops it.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use sd_notify::NotifyState;
use tokio::sync::Notify;

use super::check;
use crate::app::{self, Signal, Signals, World};
use crate::clock::Clock;
use crate::config::settings::{Admin, ListenerRole};
use crate::upstream::Resolver;
use crate::{store, telemetry};

/// Time limit at the end for threads that read or write files.
const LAST_FILES: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT, then drains requests in flight. A second one exits at once. SIGHUP reloads.
///
/// # Errors
/// Any error that prevents a start.
pub fn run(config: &Path) -> Result<()> {
    let settings = check::settings(config)?;
    let log = telemetry::log::init(settings.log.level, settings.log.json).context("the log cannot be set up")?;
    let runtime = control_runtime()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::listen().context("signals cannot be received")?;
        let clock = Clock::system();
        let store = store::open(&settings.store, &settings.tokens, clock.clone()).await?;
        for remark in &store.remarks {
            tracing::warn!(code = "store_odd", "{remark}");
        }
        let scheme = |role: &ListenerRole| if matches!(role, ListenerRole::Tls(_)) { "https" } else { "http" };
        let mut doors: Vec<_> = settings.listeners.iter().map(|l| (l.name.clone(), scheme(&l.role))).collect();
        doors.extend(settings.admin.as_ref().map(|_| (Admin::NAME.to_owned(), "https")));
        let running = app::start(
            settings,
            World { clock, store, access_log: Box::new(io::stdout()), process_log: Some(log), configuration: Some(config.to_owned()), resolver: Resolver::system() },
        )
        .await?;
        for (name, scheme) in doors {
            let Some(address) = running.address(&name) else { continue };
            tracing::info!(listener = name, "listening on {scheme}://{address}");
        }
        tracing::info!(config = %config.display(), version = env!("CARGO_PKG_VERSION"), "serving");

        tell(&[NotifyState::Ready]);
        // The gateway can be stopped while a reload waits for a file or a name.
        let hangups = Notify::new();
        let stopping = async {
            loop {
                match signals.next().await {
                    Signal::Hangup => hangups.notify_one(),
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
        let signal = tokio::select! {
            signal = stopping => signal,
            signal = reloading => signal,
        };
        tell(&[NotifyState::Stopping]);
        let grace = running.settings().grace;
        tracing::info!(?signal, grace = ?grace, "shutting down: finishing running requests; a second signal stops at once");
        tokio::select! {
            stopped = running.stop(grace) => tracing::info!(cut = stopped.cut, "stopped"),
            () = signals.stop() => tracing::warn!("stopped at once"),
        }
        Ok(())
    });
    // A thread may still wait for a file system that does not answer.
    runtime.shutdown_timeout(LAST_FILES);
    ended
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
