//! Reads the configuration file of a running gateway again.

use std::path::{Path, PathBuf};

use super::reload::ReloadError;
use crate::config::{self, Loaded, Problem};

/// Reads a configuration on a thread that may wait for the disk.
///
/// # Errors
/// [`ReloadError::NoFile`], [`ReloadError::Problems`], [`ReloadError::Stopping`].
pub(super) async fn read(file: Option<PathBuf>) -> Result<Loaded, ReloadError> {
    let file = file.ok_or(ReloadError::NoFile)?;
    let read = tokio::task::spawn_blocking(move || load(&file)).await;
    read.map_err(|_| ReloadError::Stopping)?.map_err(ReloadError::Problems)
}

/// Returns `file` with its folder written as in `running`, if both are in the same folder.
///
/// Paths in settings begin with the folder as the file was named. `gateway.toml` and `/etc/tokengate/gateway.toml`
/// would differ in every path, although they mean the same files.
pub(super) fn named_alike(running: Option<&Path>, file: PathBuf) -> PathBuf {
    let folder = |path: &Path| match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => std::fs::canonicalize(folder).ok(),
        _ => std::fs::canonicalize(".").ok(),
    };
    match (running, file.file_name()) {
        (Some(running), Some(name)) if folder(running).is_some_and(|one| folder(&file) == Some(one)) => {
            running.with_file_name(name)
        }
        _ => file,
    }
}

/// Reads the configuration. Refuses other kinds of files: a FIFO could block the thread forever.
fn load(file: &Path) -> Result<Loaded, Vec<Problem>> {
    if std::fs::metadata(file).is_ok_and(|metadata| !metadata.is_file()) {
        let what = "cannot be read: it is not a regular file".to_owned();
        return Err(vec![Problem { file: file.to_owned(), line: None, key: None, what, mend: None }]);
    }
    config::load(file)
}
