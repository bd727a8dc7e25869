//! The predecessor's side, and `tokengate upgrade`, which starts a successor.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Answer, FAILED, Launch, Listening, PROTOCOL, READY, Request, SERVING, STOP};
use crate::app::channel::Channel;
use crate::app::reload::Reloader;
use crate::app::running::Order;
use crate::app::worker;
use crate::config::settings::Admin;
use crate::units::HumanDuration;

/// Time limit for a successor that has agreed to begin; there is nothing left for it to do.
const LAST_STEP: Duration = Duration::from_secs(10);
/// How long a process that does not take over has to end by itself.
const LEAVES: Duration = Duration::from_secs(2);

/// Hands the sockets over to a successor.
pub(in crate::app) struct HandOver {
    pub reloader: Arc<Reloader>,
    pub orders: mpsc::Sender<Order>,
    /// How this process was started; `None`: by a test, or as a demo.
    pub launch: Option<Launch>,
    /// The control socket.
    pub socket: PathBuf,
    /// Time limit for a successor to be ready.
    pub within: Duration,
    /// Tells the control socket to take its name back.
    pub reclaim: Arc<Notify>,
    /// Held during a hand-over: there is one at a time.
    pub turn: tokio::sync::Mutex<()>,
    /// The process that an upgrade has started and that has not come yet.
    pub expected: Mutex<Option<Expected>>,
}

/// The outcome of a conversation.
type Told = oneshot::Receiver<Result<(), HandOverError>>;
/// How a process has ended.
type Exit = watch::Receiver<Option<ExitStatus>>;

/// A process that an upgrade has started.
pub(in crate::app) struct Expected {
    process: u32,
    outcome: oneshot::Sender<Result<(), HandOverError>>,
}

/// The process that serves now.
#[derive(Debug)]
pub struct Successor {
    channel: Channel,
    process: u32,
}

/// Why the sockets were not handed over. This process serves on.
#[derive(Debug, thiserror::Error)]
pub(in crate::app) enum HandOverError {
    #[error("only the user that runs the gateway can take over")]
    User,
    #[error("the request cannot be read")]
    Request,
    #[error(
        "this gateway hands over by version {PROTOCOL} of the protocol, the new one by version {0}; restart instead"
    )]
    Protocol(u32),
    #[error("another process is taking over already")]
    Busy,
    #[error("the gateway is shutting down")]
    Stopping,
    #[error("the listening sockets cannot be copied: {0}")]
    Sockets(io::Error),
    #[error("the new process was not ready within {}", HumanDuration(*.0))]
    Late(Duration),
    #[error("the new process has ended before it was ready")]
    Closed,
    #[error("the new process has ended ({0}) before it was ready; its messages are in the output of the gateway")]
    Ended(ExitStatus),
    #[error("the new process cannot start: {}", .0.join("; "))]
    Failed(Vec<String>),
    #[error("this process has the id 1, as in a container, which would end with it; start a new container instead")]
    FirstProcess,
    #[error("this gateway was not started by `tokengate serve`")]
    NoLaunch,
    #[error("{program} cannot be started: {source}")]
    Launch { program: String, source: io::Error },
}

impl HandOver {
    /// Hands the sockets over to the process at the other end.
    pub(in crate::app) async fn give(&self, mut channel: Channel, request: &str) {
        let process = channel.peer().ok().and_then(|peer| u32::try_from(peer.pid()?).ok()).unwrap_or(0);
        let expected = self.take_expected(process);
        let given = {
            // An upgrade has taken the turn for the process that it has started.
            let turn = if expected.is_none() { self.turn.try_lock().ok() } else { None };
            if expected.is_none() && turn.is_none() {
                Err(HandOverError::Busy)
            } else {
                self.converse(&mut channel, request).await
            }
        };
        let mut refused = None;
        if let Err(error) = &given {
            tracing::error!(code = "hand_over_failed", process, "the sockets were not handed over: {error}");
            // Fails only if the other process has ended.
            let _ = channel.send(&Answer::refused(error.lines()).line()).await;
            refused = Some(channel);
        } else {
            // Fails if the gateway is stopping at this moment: then it drains too.
            let _ = self.orders.send(Order::HandedOver(Successor { channel, process })).await;
        }
        if let Some(expected) = expected {
            // Fails only if the upgrade does not wait any more.
            let _ = expected.outcome.send(given);
        }
        if let Some(channel) = refused {
            self.take_back(channel).await;
        }
    }

    /// Takes the name of the control socket back when a refused process has ended: it may have been too late to notice
    /// the refusal before it took the name, and removes the file when it ends.
    async fn take_back(&self, mut channel: Channel) {
        let ended = async { while let Ok(Some(_)) = channel.line().await {} };
        let _ = timeout(self.within, ended).await;
        let _turn = self.turn.lock().await;
        // After a later hand-over the name belongs to the successor.
        if self.is_serving().await.is_ok() {
            self.reclaim.notify_one();
        }
    }

    async fn converse(&self, channel: &mut Channel, request: &str) -> Result<(), HandOverError> {
        if !channel.is_of_this_user() {
            return Err(HandOverError::User);
        }
        let Request { protocol, version } = serde_json::from_str(request).map_err(|_| HandOverError::Request)?;
        if protocol != PROTOCOL {
            return Err(HandOverError::Protocol(protocol));
        }
        tracing::info!(version, "another process is about to take over");
        let deadline = Instant::now() + self.within;
        let late = |_| HandOverError::Late(self.within);
        // No reload from here on: the successor has read the file, and the sockets are copied.
        let _turn = timeout_at(deadline, self.reloader.turn.lock()).await.map_err(late)?;
        self.is_serving().await?;
        let (sockets, listening): (Vec<_>, Vec<_>) =
            self.copies().await.map_err(HandOverError::Sockets)?.into_iter().unzip();
        let descriptors: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        let answer = Answer { sockets: listening, ..Answer::ok() };
        channel.send_with(&answer.line(), &descriptors).await.map_err(|_| HandOverError::Closed)?;
        drop(sockets);
        timeout_at(deadline, expect(channel, READY)).await.map_err(late)??;
        self.is_serving().await?;
        channel.send(&Answer::ok().line()).await.map_err(|_| HandOverError::Closed)?;
        let served = timeout(LAST_STEP, expect(channel, SERVING)).await;
        if let Err(error) = served.unwrap_or(Err(HandOverError::Late(LAST_STEP))) {
            // It may have taken the name of the control socket already.
            self.reclaim.notify_one();
            return Err(error);
        }
        self.reloader.stop().await;
        Ok(())
    }

    /// Starts the program that is now at the path of this one, and waits until it has taken over.
    ///
    /// # Errors
    /// The new process has ended, and this one serves on.
    pub(in crate::app) async fn upgrade(&self) -> Result<u32, HandOverError> {
        may_end(std::process::id())?;
        let launch = self.launch.as_ref().ok_or(HandOverError::NoLaunch)?;
        let _turn = self.turn.try_lock().map_err(|_| HandOverError::Busy)?;
        self.is_serving().await?;
        let (child, told) = self.start(launch)?;
        let process = child.id();
        let exit = exit_of(child);
        let outcome = self.outcome(process, told, exit.clone()).await;
        if outcome.is_err()
            && exited(exit, LEAVES).await.is_none()
            && let Some(process) = i32::try_from(process).ok().and_then(Pid::from_raw)
        {
            // Fails only if it has ended.
            let _ = kill_process(process, Signal::KILL);
        }
        outcome.map(|()| process)
    }

    fn start(&self, launch: &Launch) -> Result<(Child, Told), HandOverError> {
        let (outcome, told) = oneshot::channel();
        // Locked until the process is known: it may be fast.
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        let child = launch.start(&self.socket).map_err(|source| {
            let program = launch.program().display().to_string();
            HandOverError::Launch { program, source }
        })?;
        *expected = Some(Expected { process: child.id(), outcome });
        Ok((child, told))
    }

    /// Waits for what becomes of a process that was started.
    async fn outcome(&self, process: u32, mut told: Told, exit: Exit) -> Result<(), HandOverError> {
        let told = tokio::select! {
            biased;
            told = &mut told => told,
            status = exited(exit.clone(), self.within) => match self.take_expected(process) {
                // It has not come.
                Some(_) => return Err(status.map_or(HandOverError::Late(self.within), HandOverError::Ended)),
                // It has. The conversation has a time limit of its own.
                None => told.await,
            },
        };
        match told.unwrap_or(Err(HandOverError::Closed)) {
            Err(HandOverError::Closed) => {
                let status = exited(exit, LEAVES).await;
                Err(status.map_or(HandOverError::Closed, HandOverError::Ended))
            }
            outcome => outcome,
        }
    }

    fn take_expected(&self, process: u32) -> Option<Expected> {
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        expected.take_if(|expected| expected.process == process)
    }

    async fn is_serving(&self) -> Result<(), HandOverError> {
        if self.reloader.state.lock().await.is_stopping { Err(HandOverError::Stopping) } else { Ok(()) }
    }

    /// Copies of all listening sockets.
    async fn copies(&self) -> io::Result<Vec<(TcpListener, Listening)>> {
        let mut asked = Vec::new();
        for worker in &self.reloader.workers {
            let (to, copies) = oneshot::channel();
            // Fails only if the worker has ended, which ends the process.
            let _ = worker.send(worker::Order::Copy(to));
            asked.push(copies);
        }
        let mut named = Vec::new();
        for copies in asked {
            let copies = copies.await.map_err(io::Error::other)??;
            named.extend(copies.into_iter().map(|(name, socket)| (name.to_string(), socket)));
        }
        let state = self.reloader.state.lock().await;
        for (name, (_, socket)) in &state.internal.serving {
            named.push((name.clone(), socket.try_clone()?));
        }
        let with_address = |(listener, socket): (String, TcpListener)| {
            let address = state.sockets.address_of(&listener)?;
            Some((socket, Listening { listener, address }))
        };
        let mut all: Vec<_> = named.into_iter().filter_map(with_address).collect();
        if let Some((socket, address)) = &state.admin {
            all.push((socket.try_clone()?, Listening { listener: Admin::NAME.to_owned(), address: *address }));
        }
        Ok(all)
    }
}

impl Successor {
    /// Its process id.
    pub fn process(&self) -> u32 {
        self.process
    }

    /// Tells it that this process accepts no more.
    pub async fn confirm(&self) {
        // Fails only if it has ended.
        let _ = self.channel.send(&Answer::ok().line()).await;
    }

    /// Waits until it asks this process to stop draining. If it ends without asking, running requests go on.
    pub async fn asks_to_stop(&mut self) {
        while let Ok(Some(line)) = self.channel.line().await {
            if line == STOP {
                return;
            }
        }
        std::future::pending().await
    }
}

impl HandOverError {
    /// Everything that is wrong, each on a line of its own.
    pub(in crate::app) fn lines(&self) -> Vec<String> {
        match self {
            HandOverError::Failed(problems) => problems.clone(),
            other => vec![other.to_string()],
        }
    }
}

/// Waits for a line of the successor.
async fn expect(channel: &mut Channel, wanted: &str) -> Result<(), HandOverError> {
    let line = channel.line().await.ok().flatten().ok_or(HandOverError::Closed)?;
    match line.split_once(' ') {
        None if line == wanted => Ok(()),
        Some((FAILED, problems)) => Err(HandOverError::Failed(serde_json::from_str(problems).unwrap_or_default())),
        _ => Err(HandOverError::Request),
    }
}

/// Waits for the end of a process on a thread of its own, so that none is left behind as a zombie.
fn exit_of(mut child: Child) -> Exit {
    let (tell, told) = watch::channel(None);
    // Fails only if something else has waited for it.
    let wait = move || tell.send_replace(child.wait().ok());
    // Without the thread, the time limits decide.
    let _ = std::thread::Builder::new().name("successor".to_owned()).spawn(wait);
    told
}

/// How a process has ended, if it ends in this time.
async fn exited(mut exit: Exit, within: Duration) -> Option<ExitStatus> {
    let status = timeout(within, exit.wait_for(Option::is_some)).await;
    status.ok()?.ok().and_then(|status| *status)
}

/// Can a process with this id end while another one goes on?
fn may_end(process: u32) -> Result<(), HandOverError> {
    if process == 1 { Err(HandOverError::FirstProcess) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_process_of_a_container_does_not_hand_over_to_its_child() {
        assert!(may_end(1).unwrap_err().to_string().contains("start a new container"));
        assert!(may_end(2).is_ok());
    }
}
