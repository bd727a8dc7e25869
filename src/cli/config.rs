//! `tokengate config` and `tokengate schema`: the effective configuration, and the schema of a configuration file.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Result;

use super::show;
use crate::clock::Clock;
use crate::config::{self, Environment, problem};

/// Prints every value in effect, with its origin.
///
/// # Errors
/// All problems of the file.
pub fn run(file: &Path, json: bool) -> Result<()> {
    let variable = |name: &str| std::env::var(name).ok();
    let environment = Environment { now: Clock::system().now(), variable: &variable };
    let effective = config::effective(file, &environment)
        .map_err(|errors| anyhow::anyhow!("{}", problem::render(&errors, &[]).trim_end().to_owned()))?;
    if json {
        return show::json(&serde_json::to_value(&effective)?);
    }
    Ok(io::stdout().write_all(effective.to_toml().as_bytes())?)
}

/// Prints the JSON Schema of the file.
///
/// # Errors
/// Standard output is closed.
pub fn schema() -> Result<()> {
    show::json(&config::schema())
}
