//! How this process was started, so that it can start its successor in the same way.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The variables with which systemd passes sockets. They are for this process only.
const ACTIVATION: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];
/// The option of `serve` with which a successor is started.
const TAKE_OVER: &str = "--take-over";

/// How this process was started.
#[derive(Clone, Debug)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Launch {
    /// Notes how this process was started. Has to be called before its file can be replaced.
    ///
    /// # Errors
    /// The path of the program cannot be found.
    pub fn of_this_process() -> io::Result<Launch> {
        let mut arguments = env::args_os();
        let called = arguments.next();
        let program = program(&without_mark(env::current_exe()?), called.as_deref());
        let arguments = arguments.filter(|one| !one.as_encoded_bytes().starts_with(TAKE_OVER.as_bytes())).collect();
        Ok(Launch { program, arguments })
    }

    /// Starts the program that is now at its path, with the same arguments and environment. It takes over from the
    /// gateway at this control socket.
    pub(super) fn start(&self, socket: &Path) -> io::Result<Child> {
        let mut from = OsString::from(format!("{TAKE_OVER}="));
        from.push(socket);
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(from).stdin(Stdio::null());
        for name in ACTIVATION {
            command.env_remove(name);
        }
        command.spawn()
    }

    /// The path of the program.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }
}

/// The path of a program that has just been replaced: Linux appends a mark to it.
fn without_mark(running: PathBuf) -> PathBuf {
    let path = running.as_os_str().as_encoded_bytes().strip_suffix(b" (deleted)");
    match path.and_then(|path| std::str::from_utf8(path).ok()) {
        Some(path) if !running.exists() => PathBuf::from(path),
        _ => running,
    }
}

/// The path by which the program was called, if it leads to the program that runs. It may be a symbolic link, which a
/// new version replaces.
fn program(running: &Path, called: Option<&OsStr>) -> PathBuf {
    let Some(called) = called.map(Path::new) else { return running.to_owned() };
    let candidates = if called.components().count() > 1 {
        vec![std::path::absolute(called).unwrap_or_else(|_| called.to_owned())]
    } else {
        let folders = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&folders).map(|folder| folder.join(called)).collect()
    };
    let is_running = |path: &PathBuf| path.canonicalize().is_ok_and(|path| path == running);
    candidates.into_iter().find(is_running).unwrap_or_else(|| running.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_by_which_the_program_was_called_is_kept_if_it_leads_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().canonicalize().unwrap().join(name);
        std::fs::write(at("v1"), "").unwrap();
        std::os::unix::fs::symlink("v1", at("current")).unwrap();
        let (running, link) = (at("v1"), at("current"));
        assert_eq!(program(&running, Some(link.as_os_str())), link);
        assert_eq!(program(&running, Some(at("missing").as_os_str())), running);
        assert_eq!(program(&running, Some(OsStr::new("no-such-program-anywhere"))), running);
        assert_eq!(program(&running, None), running);
    }

    #[test]
    fn the_path_of_a_replaced_program_is_that_of_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let (path, marked) = (folder.path().join("tokengate"), folder.path().join("tokengate (deleted)"));
        assert_eq!(without_mark(path.clone()), path);
        assert_eq!(without_mark(marked.clone()), path);
        std::fs::write(&marked, "").unwrap();
        assert_eq!(without_mark(marked.clone()), marked, "a program can be called so");
    }
}
