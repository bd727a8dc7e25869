//! Signals.

use std::io;

use tokio::signal::unix;

/// SIGTERM, SIGINT and SIGHUP.
#[derive(Debug)]
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
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
        Ok(Signals { terminate, interrupt, hangup })
    }

    /// Waits for the next signal. Dropping the future loses none.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.hangup.recv() => Signal::Hangup,
        }
    }

    /// Waits for SIGTERM or SIGINT.
    pub async fn stop(&mut self) {
        while self.next().await == Signal::Hangup {}
    }
}
