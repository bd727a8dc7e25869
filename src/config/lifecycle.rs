//! The keys outside of tables, `[shutdown]`, `[reload]` and `[control]`: how the process runs, changes and ends.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Table;

/// No known machine has more cores; a larger number is a typing error.
const MAX_WORKERS: u64 = 1_024;

/// How the configuration is replaced while the gateway runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// Reload when the file, or a file that it names, changes.
    pub watch: bool,
    /// How long tunnels of removed routes may stay open.
    pub drain: Duration,
}

impl Default for Reload {
    fn default() -> Reload {
        Reload { watch: false, drain: Duration::from_secs(3_600) }
    }
}

/// How commands reach the running gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The path of the Unix socket.
    pub socket: PathBuf,
    /// Time limit for a process that takes over to be ready.
    pub upgrade_timeout: Duration,
}

/// `workers`; `auto` is one per core.
pub(super) fn read_workers(root: &Table<'_>) -> usize {
    let workers = root.key("workers").or_word("auto").count_or_word(1..=MAX_WORKERS);
    workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// `[shutdown]`: the grace period and the delay before it.
pub(super) fn read_shutdown(root: &Table<'_>) -> (Duration, Duration) {
    root.table("shutdown", |table| {
        let grace = table.key("grace").duration(Duration::from_secs(25));
        let delay = table.key("delay").or_word("off").optional_duration(None);
        (grace, delay.unwrap_or_default())
    })
}

/// `[control]`
pub(super) fn read_control(root: &Table<'_>) -> Option<Control> {
    root.switch("control", |table| {
        let upgrade_timeout = table.key("upgrade_timeout").duration(Duration::from_secs(60));
        Some(Control { socket: table.key("socket").optional_file()?, upgrade_timeout })
    })
}

/// `[reload]`
pub(super) fn read_reload(root: &Table<'_>) -> Reload {
    let default = Reload::default();
    root.table("reload", |table| Reload {
        watch: table.key("watch").bool(default.watch),
        drain: table.key("drain").duration(default.drain),
    })
}
