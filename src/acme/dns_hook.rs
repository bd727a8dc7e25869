//! The program that writes and removes DNS records: `HOOK add NAME VALUE` and `HOOK remove NAME VALUE`.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::AcmeError;

/// Time limit of one call.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often is checked whether the program has ended.
const LOOK: Duration = Duration::from_millis(50);
/// The most that is shown of its messages.
const SHOWN: u64 = 2_000;

/// What is done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Add,
    Remove,
}

/// A TXT record that proves a name (RFC 8555 §8.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub name: String,
    pub value: String,
}

/// Runs the program, and waits for its end.
pub(super) async fn call(hook: &Path, act: Act, record: &Record) -> Result<(), AcmeError> {
    let failed = |why: String| AcmeError::Hook { hook: hook.to_owned(), why };
    let word = match act {
        Act::Add => "add",
        Act::Remove => "remove",
    };
    // A file and not a pipe: a child of the program may keep a pipe open, and nothing reads it meanwhile.
    let messages = tempfile::tempfile().map_err(|error| failed(error.to_string()))?;
    let errors = messages.try_clone().map_err(|error| failed(error.to_string()))?;
    let mut command = Command::new(hook);
    command.args([word, &record.name, &record.value]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    let mut running = Running(command.spawn().map_err(|error| failed(format!("cannot be started: {error}")))?);
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match running.0.try_wait() {
            Ok(None) if Instant::now() < deadline => sleep(LOOK).await,
            Ok(None) => return Err(failed(format!("`{word} {}` did not end within {TIMEOUT:?}", record.name))),
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => {
                // What cannot be read is not shown.
                let told = beginning(messages).unwrap_or_default();
                let told = told.trim().replace('\n', " | ");
                return Err(failed(format!("`{word} {}` ended with {status}: {told}", record.name)));
            }
            Err(error) => return Err(failed(error.to_string())),
        }
    }
}

/// The beginning of what the program wrote.
fn beginning(mut messages: File) -> io::Result<String> {
    let mut told = Vec::new();
    messages.rewind()?;
    messages.take(SHOWN).read_to_end(&mut told)?;
    Ok(String::from_utf8_lossy(&told).into_owned())
}

/// A program that is killed if it is not waited for.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // Fails only if it has just ended.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn hook(folder: &Path, text: &str) -> std::path::PathBuf {
        let path = folder.join("hook");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        path
    }

    #[tokio::test]
    async fn the_program_gets_the_record_and_its_failure_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let record = Record { name: "_acme-challenge.a.test".to_owned(), value: "v-1".to_owned() };
        let path = hook(folder.path(), &format!("echo \"$@\" >> {}/calls", folder.path().display()));
        call(&path, Act::Add, &record).await.unwrap();
        call(&path, Act::Remove, &record).await.unwrap();
        let calls = std::fs::read_to_string(folder.path().join("calls")).unwrap();
        assert_eq!(calls, "add _acme-challenge.a.test v-1\nremove _acme-challenge.a.test v-1\n");
        let path = hook(folder.path(), "echo no zone >&2; echo of that name >&2; exit 3");
        let told = call(&path, Act::Add, &record).await.unwrap_err().to_string();
        assert!(
            told.ends_with("`add _acme-challenge.a.test` ended with exit status: 3: no zone | of that name"),
            "{told}"
        );
        let path = hook(folder.path(), "sleep 600 & echo left a child >&2; exit 1");
        let told = tokio::time::timeout(Duration::from_secs(30), call(&path, Act::Add, &record)).await.unwrap();
        assert!(told.unwrap_err().to_string().ends_with("left a child"));
        let missing = call(&folder.path().join("none"), Act::Add, &record).await.unwrap_err().to_string();
        assert!(missing.contains("cannot be started"), "{missing}");
    }
}
