//! The control socket: a Unix socket for commands to the running gateway.
//!
//! A client sends one line, a command with what belongs to it, and gets one line of JSON. Only the user that runs the
//! gateway can connect: the socket has mode 0600. A process that takes over goes on talking (`hand_over`).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, watch};

use super::channel::Channel;
use super::control_socket::ControlSocket;
use super::hand_over::{HandOver, TAKE_OVER};
use super::monitor;
use super::running::{Asker, Order};
use crate::admin::monitor::status::ReloadStatus;
use crate::admin::monitor::{Asked, Outcome, ReloadHandle, Reloaded};

/// The argument of `reload` that leaves out settings which need a restart.
const PARTLY: &str = "partly";
/// Time limit for sending a command.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_secs(5);
/// Maximum number of connections.
const MAX_CONNECTIONS: usize = 16;

/// The commands of the socket.
pub(super) struct Control {
    pub reloads: ReloadHandle,
    pub report: watch::Receiver<ReloadStatus>,
    /// The process that this one has taken over from, while it drains.
    pub predecessor: watch::Receiver<Option<i32>>,
    pub orders: mpsc::Sender<Order>,
    pub hand_over: HandOver,
}

/// Serves commands until dropped.
pub(super) async fn serve(mut socket: ControlSocket, control: Control) {
    let reclaim = Arc::clone(&control.hand_over.reclaim);
    let (control, places) = (Arc::new(control), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = reclaim.notified() => {
                if let Err(error) = socket.reclaim() {
                    tracing::error!(%error, "the control socket cannot be created again");
                }
                continue;
            }
        };
        match accepted {
            Ok(channel) => {
                let control = Arc::clone(&control);
                tokio::spawn(async move {
                    control.answer(channel).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Control {
    async fn answer(&self, mut channel: Channel) {
        let Ok(Ok(Some(line))) = tokio::time::timeout(REQUEST_TIMEOUT, channel.line()).await else { return };
        let (command, request) = line.split_once(' ').unwrap_or((&line, ""));
        let trigger = "tokengate reload".to_owned();
        let answer = match command {
            "reload" => told(
                self.reloads
                    .ask(if request == PARTLY { Asked::ReloadPartly { trigger } } else { Asked::Reload { trigger } })
                    .await,
            ),
            "compare" => told(self.reloads.ask(Asked::Compare { file: request.into() }).await),
            "status" => self.status().await,
            "upgrade" => match self.hand_over.upgrade().await {
                Ok(process) => json!({ "ok": true, "pid": process, "predecessor": std::process::id() }),
                Err(error) => refused(&error.lines()),
            },
            // The gateway answers when it has stopped.
            "drain" => match self.orders.send(Order::Drain(Asker(channel))).await {
                Ok(()) => return,
                Err(mpsc::error::SendError(Order::Drain(Asker(back)))) => {
                    channel = back;
                    refused(&["the gateway is shutting down already".to_owned()])
                }
                Err(_) => return,
            },
            TAKE_OVER => return self.hand_over.give(channel, request).await,
            _ => refused(&[format!(
                "unknown command `{command}`; this gateway knows `reload`, `status`, `drain`, `upgrade` and `{TAKE_OVER}`"
            )]),
        };
        // Fails only if the client has left.
        let _ = channel.answer(&answer).await;
    }

    async fn status(&self) -> Value {
        let stopping = self.hand_over.reloader.state.lock().await.is_stopping;
        let report = self.report.borrow().clone();
        let (built, builder) = (self.hand_over.reloader.built.borrow().clone(), &self.hand_over.reloader.builder);
        let endpoints = monitor::endpoint_states(&built);
        let certificates = monitor::certificates(&built.settings, &builder.services.counts, builder.clock.now());
        json!({
            "ok": true,
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "stopping": stopping,
            "predecessor": *self.predecessor.borrow(),
            "reload": report,
            "endpoints": endpoints,
            "certificates": certificates,
        })
    }
}

fn told(outcome: Outcome) -> Value {
    match outcome {
        Ok(Reloaded { changes, restart }) => json!({ "ok": true, "changes": changes, "restart": restart }),
        Err(problems) => refused(&problems),
    }
}

fn refused(problems: &[String]) -> Value {
    json!({ "ok": false, "problems": problems })
}
