//! Detects changed files: certificates, the configuration, the key file.
//!
//! Checks files every half second, by the path: this also detects files that an editor or `mv` has replaced, swapped
//! symbolic links (Kubernetes mounts), and changes on network file systems, which send no notifications
//! (docs/decisions/0046).

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::reload::{Extent, FILE_CHANGED, Reloader};
use super::revocation::Revocation;
use crate::config::settings::Listener;

/// How often files are checked.
const INTERVAL: Duration = Duration::from_millis(500);

/// The identity and state of a file: differs for another file and for changed content. `None`: the file is missing.
type Print = Option<(u64, u64, u64, i64, i64, i64, i64)>;

/// A set of files, and their states at the last check.
struct Watched {
    files: Vec<PathBuf>,
    /// The states that were last reported.
    settled: Vec<Print>,
    seen: Vec<Print>,
}

/// Reloads certificates whose files change, and the configuration if its file changes and `reload.watch` is set. Runs
/// until the process shuts down.
pub(super) async fn run(reloader: Arc<Reloader>) {
    // Reads all files once at the beginning: they may have changed since the start read them.
    let mut certificates = Watched::unsettled(certificates_of(&reloader));
    let mut configuration = Watched::unsettled(Vec::new());
    let mut key_file = Watched::unsettled(vec![reloader.built.borrow().settings.store.key_file.clone()]);
    let mut revocation = Revocation::default();
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        // A process that drains keeps its configuration. Another one may serve, and reload the file.
        if reloader.state.lock().await.is_stopping {
            return;
        }
        let settings = Arc::clone(&reloader.built.borrow().settings);
        let watches = settings.reload.watch;
        if settings.files != configuration.files {
            configuration = Watched::unsettled(settings.files.clone());
        }
        if configuration.has_changed(look(&configuration.files).await) && watches {
            // A failure was logged.
            let _ = reloader.reload_file(FILE_CHANGED, Extent::Whole).await;
        }
        if key_file.has_changed(look(&key_file.files).await) {
            let services = reloader.builder.services.clone();
            // Fails only if it panics.
            let _ = tokio::task::spawn_blocking(move || services.refresh_key()).await;
        }
        let files = certificates_of(&reloader);
        if files != certificates.files {
            certificates = Watched::unsettled(files);
        }
        if certificates.has_changed(look(&certificates.files).await) {
            reloader.renew_certificates().await;
        }
        revocation.look(&reloader.built.borrow().settings, reloader.builder.clock.now());
    }
}

fn certificates_of(reloader: &Reloader) -> Vec<PathBuf> {
    let settings = Arc::clone(&reloader.built.borrow().settings);
    let of_upstreams = settings.upstreams.iter().filter_map(|upstream| upstream.tls.as_ref());
    let of_upstreams = of_upstreams.flat_map(|tls| tls.files().map(PathBuf::from));
    let own = settings.certificates.iter().flat_map(|certificate| certificate.files().map(PathBuf::from));
    let of_clients = settings.listeners.iter().filter_map(Listener::clients);
    let of_clients = of_clients.flat_map(|clients| clients.files().map(PathBuf::from));
    own.chain(of_upstreams).chain(of_clients).collect()
}

impl Watched {
    /// Watches files; the first check reports a change.
    fn unsettled(files: Vec<PathBuf>) -> Watched {
        Watched { files, settled: Vec::new(), seen: Vec::new() }
    }

    /// Whether a file has changed, and two checks in a row found the same state, so that a file which is still being
    /// written is ignored. Reports each change once.
    fn has_changed(&mut self, now: Vec<Print>) -> bool {
        let is_quiet = now == self.seen;
        self.seen = now;
        let is_new = is_quiet && self.seen != self.settled;
        if is_new {
            self.settled.clone_from(&self.seen);
        }
        is_new
    }
}

/// Checks files on a thread of its own, because a disk or network may block.
async fn look(files: &[PathBuf]) -> Vec<Print> {
    let files = files.to_vec();
    tokio::task::spawn_blocking(move || prints(&files)).await.unwrap_or_default()
}

fn prints(files: &[PathBuf]) -> Vec<Print> {
    let of = |metadata: Metadata| {
        let (device, inode, size) = (metadata.dev(), metadata.ino(), metadata.size());
        let (modified, changed) = (metadata.mtime(), metadata.ctime());
        (device, inode, size, modified, metadata.mtime_nsec(), changed, metadata.ctime_nsec())
    };
    let print = |file: &PathBuf| std::fs::metadata(file).ok().map(of);
    let mut prints: Vec<Print> = files.iter().map(print).collect();
    // Folders are checked by their entries: a file that was added may have been invalid, so no configuration names it.
    for folder in files.iter().filter(|file| file.is_dir()) {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        let mut entries: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        entries.sort();
        prints.extend(entries.iter().map(print));
    }
    prints
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Watched {
        fn settled(files: Vec<PathBuf>) -> Watched {
            let now = prints(&files);
            Watched { files, settled: now.clone(), seen: now }
        }

        fn looks(&mut self) -> bool {
            self.has_changed(prints(&self.files))
        }
    }

    #[test]
    fn a_change_is_reported_once_and_only_when_the_file_rests() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        std::fs::write(&file, "one").unwrap();
        let mut watched = Watched::settled(vec![file.clone()]);
        assert!(!watched.looks());
        for text in ["two!", "three"] {
            std::fs::write(&file, text).unwrap();
            assert!(!watched.looks(), "it may go on");
        }
        assert!(watched.looks());
        assert!(!watched.looks());
        let other = folder.path().join("b");
        std::fs::write(&other, "three").unwrap();
        std::fs::rename(&other, &file).unwrap();
        assert!(!watched.looks() && watched.looks(), "another file with the same contents");
        std::fs::remove_file(&file).unwrap();
        assert!(!watched.looks() && watched.looks(), "it is missing");
    }

    #[test]
    fn a_symbolic_link_is_what_it_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for version in ["v1", "v2"] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("cert"), version).unwrap();
        }
        std::os::unix::fs::symlink("v1", at("data")).unwrap();
        std::os::unix::fs::symlink("data/cert", at("cert")).unwrap();
        let mut watched = Watched::settled(vec![at("cert")]);
        std::os::unix::fs::symlink("v2", at("new")).unwrap();
        std::fs::rename(at("new"), at("data")).unwrap();
        assert!(!watched.looks() && watched.looks());
    }
}
