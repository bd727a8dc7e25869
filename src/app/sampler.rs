//! Samples the traffic for the admin application, and keeps the last hour in a file.
//!
//! The file is `admin.traffic_file`, or beside the database of SQLite. With PostgreSQL there is no folder that is known
//! to be writable: without the key the history begins at the start of the process.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::MissedTickBehavior;

use crate::clock::Clock;
use crate::config::Settings;
use crate::config::settings::StoreUrl;
use crate::telemetry::history::{FILE_KIND, SLOT};
use crate::telemetry::{History, Recorder};

/// The number of samples after which the file is written: a minute.
const SAVE_EVERY: u32 = 30;

/// Maximum size of a file that is read. The details take 32 MiB, the totals less than 1 MiB.
const MAX_FILE: u64 = 40 << 20;

/// Sampler of the traffic recorders.
#[derive(Clone)]
pub(super) struct Sampler {
    history: Arc<History>,
    recorders: Vec<Arc<Recorder>>,
    clock: Clock,
    file: Option<Arc<Path>>,
    /// Whether another process serves now, which has the file.
    handed_over: Arc<AtomicBool>,
    /// Whether the file could not be written before, which is logged once.
    failed: Arc<AtomicBool>,
}

/// The file of the history, if there is a place for it.
pub(super) fn file_of(settings: &Settings) -> Option<PathBuf> {
    if let Some(file) = settings.admin.as_ref().and_then(|admin| admin.traffic_file.as_ref()) {
        return Some(file.clone());
    }
    let StoreUrl::Sqlite(database) = &settings.store.url else { return None };
    let mut name = database.file_name()?.to_owned();
    name.push("-traffic");
    Some(database.with_file_name(name))
}

impl Sampler {
    /// Creates the sampler, and reads the file.
    pub(super) fn new(
        history: Arc<History>,
        recorders: &[Arc<Recorder>],
        clock: &Clock,
        mut file: Option<PathBuf>,
    ) -> Sampler {
        if let Some(path) = &file {
            match read(path) {
                Ok(bytes) => drop(history.restore(&bytes, clock.now())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    unusable(path, &error);
                    // A file of something else is not replaced.
                    file = file.filter(|_| error.kind() != io::ErrorKind::InvalidData);
                }
            }
        }
        let (recorders, clock) = (recorders.to_vec(), clock.clone());
        Sampler {
            history,
            recorders,
            clock,
            file: file.map(Arc::from),
            handed_over: Arc::default(),
            failed: Arc::default(),
        }
    }

    /// Adds the difference to the last sample to the history.
    pub(super) fn step(&self) {
        self.history.sample(&self.recorders, self.clock.now());
    }

    /// Samples until dropped.
    pub(super) async fn run(self) {
        let mut interval = tokio::time::interval(SLOT);
        // A missed tick leaves a gap in the charts.
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick fires at once, when there is nothing to sample.
        interval.tick().await;
        let mut taken = 0_u32;
        loop {
            interval.tick().await;
            // A test may stop the clock; no time has passed then, so there is nothing to sample.
            if self.history.last_read() != self.clock.now() {
                self.step();
                taken = taken.wrapping_add(1);
                if taken.is_multiple_of(SAVE_EVERY) {
                    self.save().await;
                }
            }
        }
    }

    /// Leaves the file to another process.
    pub(super) fn hand_over(&self) {
        self.handed_over.store(true, Ordering::Relaxed);
    }

    /// Writes the file, if there is one. A failure is logged; it costs only the history of an earlier process.
    pub(super) async fn save(&self) {
        let Some(file) = self.file.clone().filter(|_| !self.handed_over.load(Ordering::Relaxed)) else { return };
        let (history, failed) = (Arc::clone(&self.history), Arc::clone(&self.failed));
        let write = move || {
            if let Err(error) = replace(&file, &history.save())
                && !failed.swap(true, Ordering::Relaxed)
            {
                unusable(&file, &error);
            }
        };
        // Fails only if the runtime stops.
        let _ = tokio::task::spawn_blocking(write).await;
    }
}

fn unusable(file: &Path, error: &io::Error) {
    tracing::warn!(
        code = "traffic_file_unusable", file = %file.display(), %error,
        "the traffic of the last hour cannot be kept across restarts"
    );
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(file)?.len() > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too large, and is not replaced"));
    }
    let bytes = fs::read(file)?;
    // A torn file of an older version is empty or begins so, too.
    if !bytes.is_empty() && !bytes.starts_with(FILE_KIND) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the file has something else in it, and is not replaced",
        ));
    }
    Ok(bytes)
}

/// Replaces the file as a whole, so that a crash leaves the former one.
fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = file.with_file_name(name);
    // Not synced: after a power cut, an empty or torn file only means an empty chart.
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?.write_all(bytes)?;
    fs::rename(&new, file)
}
