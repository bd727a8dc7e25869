//! Signals.

use std::io;

use tokio::signal::unix;

/// SIGTERM, SIGINT, SIGHUP and SIGUSR1.
#[derive(Debug)]
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
    user1: unix::Signal,
}

/// Received signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: drain requests in flight, then exit.
    Terminate,
    /// SIGINT: the same.
    Interrupt,
    /// SIGHUP: reload the configuration.
    Hangup,
    /// SIGUSR1: open the file of the access log again.
    User1,
}

impl Signals {
    /// Installs the handlers. From then on the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// If the system refuses to install the handlers.
    pub fn listen() -> io::Result<Signals> {
        let terminate = unix::signal(unix::SignalKind::terminate())?;
        let interrupt = unix::signal(unix::SignalKind::interrupt())?;
        let hangup = unix::signal(unix::SignalKind::hangup())?;
        let user1 = unix::signal(unix::SignalKind::user_defined1())?;
        Ok(Signals { terminate, interrupt, hangup, user1 })
    }

    /// Waits for the next signal. Dropping the future loses none.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.hangup.recv() => Signal::Hangup,
            _ = self.user1.recv() => Signal::User1,
        }
    }

    /// Waits for SIGTERM or SIGINT.
    pub async fn stop(&mut self) {
        while matches!(self.next().await, Signal::Hangup | Signal::User1) {}
    }
}
