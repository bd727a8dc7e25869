//! The successor's side.

use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use super::{Answer, FAILED, PROTOCOL, READY, Request, SERVING, STOP, TAKE_OVER};
use crate::app::channel::Channel;
use crate::app::inherited::{Given, Inherited, MeantFor};

/// Why this process does not take over.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// There is no gateway.
    #[error(
        "no gateway answers at {path} ({error}); is it running, and as this user? Without one, start without --take-over"
    )]
    Unreachable {
        /// The path of the control socket.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The process there could keep the sockets that it gives, and take connections from them.
    #[error("the process that answers at {path} belongs to another user")]
    User {
        /// The path of the control socket.
        path: PathBuf,
    },
    /// The predecessor refuses, and serves on.
    #[error("the running gateway does not hand over: {}", .0.join("; "))]
    Refused(Vec<String>),
    /// The conversation broke off.
    #[error("the running gateway has broken off the hand-over")]
    Broken(#[source] io::Error),
}

/// The process that serves, and whose sockets this one has.
#[derive(Debug)]
pub struct Predecessor(Channel);

/// The predecessor has agreed: this process may accept.
#[derive(Debug)]
pub struct Granted(Channel);

/// A predecessor that finishes what was running when this process took over. It ends by itself.
#[derive(Debug)]
pub struct Draining {
    channel: Channel,
    process: Option<i32>,
}

impl Predecessor {
    /// Asks the gateway at this control socket for its listening sockets.
    ///
    /// # Errors
    /// [`TakeOverError`].
    pub async fn ask(socket: &Path) -> Result<(Predecessor, Inherited), TakeOverError> {
        let unreachable = |error| TakeOverError::Unreachable { path: socket.to_owned(), error };
        let mut channel = Channel::connect(socket).await.map_err(unreachable)?;
        if !channel.is_of_this_user() {
            return Err(TakeOverError::User { path: socket.to_owned() });
        }
        let request = Request { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned() };
        let request = serde_json::to_string(&request).unwrap_or_default();
        channel.send(&format!("{TAKE_OVER} {request}")).await.map_err(TakeOverError::Broken)?;
        let answer = answer(&mut channel).await?;
        let descriptors = channel.take_descriptors();
        if descriptors.len() != answer.sockets.len() {
            let what = format!("{} sockets came in place of {}", descriptors.len(), answer.sockets.len());
            return Err(TakeOverError::Broken(io::Error::other(what)));
        }
        let mut given = Vec::new();
        for (descriptor, listening) in descriptors.into_iter().zip(answer.sockets) {
            let socket = TcpListener::from(descriptor);
            let bound = socket.local_addr().map_err(TakeOverError::Broken)?;
            let meant_for = MeantFor::Listener { name: listening.listener, address: listening.address };
            given.push(Given { socket, bound, meant_for });
        }
        Ok((Predecessor(channel), Inherited::of_predecessor(given, socket.to_owned())))
    }

    /// Says that this process cannot start. The predecessor tells the operator and serves on.
    pub async fn fail(self, problems: &[String]) {
        // Fails only if it has ended.
        let _ = tell_failure(&self.0, problems).await;
    }

    /// Says that this process has everything it needs, and waits for the sockets to be its own too.
    ///
    /// # Errors
    /// The predecessor serves on, and this process must not accept.
    pub async fn ready(self) -> Result<Granted, TakeOverError> {
        let Predecessor(mut channel) = self;
        channel.send(READY).await.map_err(TakeOverError::Broken)?;
        answer(&mut channel).await?;
        Ok(Granted(channel))
    }
}

impl Granted {
    /// Says that this process cannot begin to accept.
    pub async fn fail(self, problem: String) {
        // Fails only if the predecessor has ended.
        let _ = tell_failure(&self.0, &[problem]).await;
    }

    /// Says that this process accepts, and waits until the predecessor does no longer. `None`: the predecessor has
    /// died, so that this process serves alone.
    ///
    /// # Errors
    /// The predecessor has given up waiting and serves on: this process has to stop.
    pub async fn serving(self) -> Result<Option<Draining>, TakeOverError> {
        let Granted(mut channel) = self;
        let process = channel.peer().ok().and_then(|peer| peer.pid());
        let told = match channel.send(SERVING).await {
            Ok(()) => answer(&mut channel).await,
            Err(error) => Err(TakeOverError::Broken(error)),
        };
        match told {
            Ok(_) => Ok(Some(Draining { channel, process })),
            Err(TakeOverError::Broken(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Draining {
    /// Its process id.
    pub fn process(&self) -> Option<i32> {
        self.process
    }

    /// Waits until it has ended.
    pub(in crate::app) async fn ended(&mut self) {
        while let Ok(Some(_)) = self.channel.line().await {}
    }

    /// Asks it to drain no longer than a shutdown does.
    pub(in crate::app) async fn stop(self) {
        // Fails only if it has ended.
        let _ = self.channel.send(STOP).await;
    }
}

async fn tell_failure(channel: &Channel, problems: &[String]) -> io::Result<()> {
    let problems = serde_json::to_string(problems).unwrap_or_default();
    channel.send(&format!("{FAILED} {problems}")).await
}

async fn answer(channel: &mut Channel) -> Result<Answer, TakeOverError> {
    let line = channel.line().await.map_err(TakeOverError::Broken)?;
    let line = line.ok_or_else(|| TakeOverError::Broken(io::ErrorKind::UnexpectedEof.into()))?;
    let answer: Answer = serde_json::from_str(&line).map_err(|error| TakeOverError::Broken(error.into()))?;
    if answer.ok { Ok(answer) } else { Err(TakeOverError::Refused(answer.problems)) }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use super::*;

    /// Answers as a gateway without listeners.
    const GATEWAY: &str = "import socket, sys\n\
                           s = socket.socket(socket.AF_UNIX)\n\
                           s.bind(sys.argv[1])\n\
                           s.listen()\n\
                           print(flush=True)\n\
                           c = s.accept()[0]\n\
                           c.sendall(b'{\"ok\": true}\\n')\n\
                           c.recv(1000)\n";

    #[tokio::test]
    async fn sockets_are_taken_from_a_process_of_the_same_user_only() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let own = rustix::process::geteuid().as_raw();
        // Only root can start a process as another user.
        let users = if own == 0 { vec![own, 65_534] } else { vec![own] };
        for user in users {
            let path = folder.path().join(user.to_string());
            let mut command = Command::new("python3");
            let command = command.args(["-c", GATEWAY]).arg(&path).uid(user).stdout(Stdio::piped());
            let mut gateway = command.spawn().unwrap();
            BufReader::new(gateway.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
            let asked = Predecessor::ask(&path).await;
            match user == own {
                true => drop(asked.unwrap()),
                false => assert!(matches!(asked, Err(TakeOverError::User { .. })), "{asked:?}"),
            }
            gateway.kill().unwrap();
            gateway.wait().unwrap();
        }
    }
}
