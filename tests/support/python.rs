//! Python with packages from PyPI, in environments that scripts of the project create.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tokio::sync::OnceCell;

/// The environment of `scripts/django`.
pub static DJANGO: Python = Python::by("scripts/django");
/// The environment of `scripts/clients`.
pub static CLIENTS: Python = Python::by("scripts/clients");
/// The environment of `scripts/proxies`: programs beside the interpreter.
pub static PROXIES: Python = Python::by("scripts/proxies");
/// The environment of `scripts/openapi`.
pub static OPENAPI: Python = Python::by("scripts/openapi");
/// The environment of `scripts/collector`: the program `rotel` beside the interpreter.
pub static COLLECTOR: Python = Python::by("scripts/collector");
/// The environment of `scripts/schemathesis`.
pub static SCHEMATHESIS: Python = Python::by("scripts/schemathesis");

pub struct Python {
    script: &'static str,
    interpreter: OnceCell<PathBuf>,
}

impl Python {
    const fn by(script: &'static str) -> Python {
        Python { script, interpreter: OnceCell::const_new() }
    }

    /// The interpreter; it writes no compiled files beside the sources.
    pub async fn command(&self) -> Command {
        let make = || async {
            let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(self.script));
            command.stderr(Stdio::inherit());
            let output = output(command).await;
            assert!(output.status.success(), "its packages cannot be installed: see {}", self.script);
            String::from_utf8(output.stdout).unwrap().trim_end().into()
        };
        let mut command = Command::new(self.interpreter.get_or_init(make).await);
        command.arg("-B");
        command
    }
}

/// Runs a command to its end, outside of the test's own threads.
pub async fn output(mut command: Command) -> Output {
    let run = move || match command.output() {
        Ok(output) => output,
        Err(error) => panic!("{:?} cannot be run: {error}; ./scripts/test installs it", command.get_program()),
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}
