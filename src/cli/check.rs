//! `tokengate check`: what is wrong with a configuration, all of it at once.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::show;
use crate::config::{self, Loaded, Settings, problem};

/// Checks, prints, and gives 0 if the gateway would start with it.
pub fn run(config: &Path, json: bool) -> ExitCode {
    let (errors, warnings) = match config::load(config) {
        Ok(Loaded { warnings, .. }) => (Vec::new(), warnings),
        Err(errors) => (errors, Vec::new()),
    };
    let ok = errors.is_empty();
    let printed = if json {
        show::json(&json!({ "ok": ok, "errors": errors, "warnings": warnings }))
    } else if ok {
        if !warnings.is_empty() {
            show::note(problem::render(&errors, &warnings).trim_end());
        }
        show::line(format!("{}: good", config.display()))
    } else {
        show::note(problem::render(&errors, &warnings).trim_end());
        Ok(())
    };
    if ok && printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The settings, for the commands that need them.
///
/// # Errors
/// All problems of the file, one a line.
pub fn settings(config: &Path) -> anyhow::Result<Settings> {
    match config::load(config) {
        Ok(Loaded { settings, .. }) => Ok(settings),
        Err(errors) => Err(anyhow::anyhow!("{}", problem::render(&errors, &[]).trim_end().to_owned())),
    }
}
