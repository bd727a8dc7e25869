//! What is wrong with a configuration: what, where, and how to mend it.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file that it stands in.
    pub file: PathBuf,
    /// The line, counted from 1, if it has one.
    pub line: Option<usize>,
    /// The path of the key, such as `routes.orders.upstream`, if it has one.
    pub key: Option<String>,
    /// What is wrong.
    pub what: String,
    /// How to mend it, if that can be said.
    pub mend: Option<String>,
}

/// `gateway.toml:14: routes.orders.upsteam: unknown key; did you mean `upstream`?`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        write!(f, ": {}", self.what)?;
        if let Some(mend) = &self.mend {
            write!(f, "; {mend}")?;
        }
        Ok(())
    }
}
