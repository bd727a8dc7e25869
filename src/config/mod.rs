//! `gateway.toml`: what may be written ([`raw`]), what it means ([`settings`]), and everything that is wrong with it at
//! once ([`Problem`]).
//!
//! Data goes one way: file → raw → check → [`Settings`]. Nobody outside this module reads configuration text.

pub mod certificate;
pub mod problem;
pub mod settings;

use std::path::Path;

pub use problem::Problem;
pub use settings::Settings;

/// A configuration that holds, with what is worth a second look.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it means.
    pub settings: Settings,
    /// What works but is probably not meant.
    pub warnings: Vec<Problem>,
}

/// Reads, checks and interprets a configuration file.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load(file: &Path) -> Result<Loaded, Vec<Problem>> {
    let what = "cannot be read".to_owned();
    Err(vec![Problem { file: file.to_owned(), line: None, key: None, what, mend: None }])
}
