//! Permissions of the files of a store.
//!
//! Problems are warnings, not errors: the gateway creates its files with mode 0600, so an operator set other modes.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::value::Key;

/// The suffixes of SQLite's files beside the database, which contain parts of its data.
const COMPANIONS: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// Warns if other users can read or change an SQLite database, or replace a file in its folder.
pub(super) fn warn_of_database(key: &Key<'_>, database: &Path) {
    // SQLite creates these files beside the database itself, not beside a symbolic link to it.
    let database = database.canonicalize().unwrap_or_else(|_| database.to_owned());
    let files = COMPANIONS.map(|suffix| {
        let mut name = database.clone().into_os_string();
        name.push(suffix);
        PathBuf::from(name)
    });
    let open: Vec<_> =
        files.iter().filter_map(|file| mode(file).filter(|mode| mode & 0o077 != 0).map(|mode| (file, mode))).collect();
    if !open.is_empty() {
        let told: Vec<_> = open.iter().map(|(file, mode)| format!("{} (mode {mode:04o})", file.display())).collect();
        let names: Vec<_> = open.iter().map(|(file, _)| file.display().to_string()).collect();
        let what = format!("other users of this machine can read or change {}", told.join(", "));
        key.warning(what, format!("run: chmod go= {}", names.join(" ")));
    }
    warn_of_folder(key, &database);
}

/// Warns if other users can replace this file, or create one of SQLite's files beside it.
pub(super) fn warn_of_folder(key: &Key<'_>, file: &Path) {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if let Some(mode) = mode(folder).filter(|mode| mode & 0o022 != 0) {
        let folder = folder.display();
        let what = format!("other users of this machine can replace files in the folder {folder} (mode {mode:04o})");
        key.warning(what, format!("run: chmod go-w {folder}"));
    }
}

/// The permissions of an existing file. The gateway creates missing files for its own user only.
fn mode(path: &Path) -> Option<u32> {
    path.metadata().ok().map(|metadata| metadata.permissions().mode() & 0o7777)
}
