//! Shutdown signals.

use std::io;

use tokio::signal::unix;

/// SIGTERM and SIGINT. Both mean: drain requests in flight, then exit.
#[derive(Debug)]
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

/// Received signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
}

impl Signals {
    /// Installs the handlers. From then on the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// If the system refuses to install the handlers.
    pub fn listen() -> io::Result<Signals> {
        let terminate = unix::signal(unix::SignalKind::terminate())?;
        let interrupt = unix::signal(unix::SignalKind::interrupt())?;
        Ok(Signals { terminate, interrupt })
    }

    /// Waits for the next signal. Dropping the future loses none.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
        }
    }
}
