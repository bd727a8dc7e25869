//! The runtime of a command.

use anyhow::{Context, Result};

/// Builds a runtime for one command.
pub fn for_command() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().context("the runtime cannot be started")
}
