//! Progress of long commands on standard error: what is done, of how much, and for how long.

use std::fmt::{self, Display, Formatter};
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::show;
use crate::clock::Clock;

/// How often a terminal shows it.
const ON_TERMINAL: Duration = Duration::from_secs(1);
/// How often a file or a pipe gets a line, so that the log of a long job shows that it goes on.
const ELSEWHERE: Duration = Duration::from_secs(10);
/// How often an act without reports of its own is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Counts what a long act has done. On a terminal it is one line that changes; elsewhere short acts print nothing.
pub struct Progress {
    what: &'static str,
    done: u64,
    total: Option<u64>,
    /// Formats a count.
    count: fn(u64) -> String,
    since: Instant,
    told: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    /// Begins to count.
    pub fn new(what: &'static str) -> Progress {
        let is_terminal = io::stderr().is_terminal();
        let count = |number: u64| number.to_string();
        Progress { what, done: 0, total: None, count, since: Clock::system().instant(), told: None, is_terminal }
    }

    /// Begins to count bytes.
    pub fn of_bytes(what: &'static str) -> Progress {
        let count =
            |bytes: u64| if bytes < 1 << 20 { format!("{} KiB", bytes >> 10) } else { format!("{} MiB", bytes >> 20) };
        let mut progress = Progress::new(what);
        progress.count = count;
        progress
    }

    /// Adds what was done.
    pub fn add(&mut self, count: usize) {
        self.reached(self.done.saturating_add(u64::try_from(count).unwrap_or(u64::MAX)));
    }

    /// Says how much there is.
    pub fn of(&mut self, total: u64) {
        self.total = Some(total);
    }

    /// Says how much is done.
    pub fn reached(&mut self, done: u64) {
        self.done = done;
        let now = Clock::system().instant();
        let (begin, every) = if self.is_terminal { (None, ON_TERMINAL) } else { (Some(self.since), ELSEWHERE) };
        let is_due = self.told.or(begin).is_none_or(|told| now.saturating_duration_since(told) >= every);
        if is_due {
            self.told = Some(now);
            self.tell();
        }
    }

    /// Runs an act, and says every half a second how much of it `done` finds.
    pub async fn while_running<T>(&mut self, act: impl Future<Output = T>, done: impl Fn() -> u64) -> T {
        tokio::pin!(act);
        loop {
            match tokio::time::timeout(LOOK, &mut act).await {
                Ok(result) => return result,
                Err(_) => self.reached(done()),
            }
        }
    }

    fn tell(&self) {
        if self.is_terminal {
            let _ = write!(io::stderr(), "\r{self}");
        } else {
            show::note(self);
        }
    }
}

impl Display for Progress {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let seconds = Clock::system().instant().saturating_duration_since(self.since).as_secs();
        write!(f, "{}", (self.count)(self.done))?;
        if let Some(total) = self.total {
            write!(f, " of {}", (self.count)(total))?;
        }
        write!(f, " {} ({seconds} s)", self.what)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.told.is_none() {
            return;
        }
        self.tell();
        if self.is_terminal {
            let _ = writeln!(io::stderr());
        }
    }
}
