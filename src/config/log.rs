//! `[log]`: log messages and the access log.

use super::reader::Table;

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `error`, `warn`, `info` or `debug`.
    pub level: tracing::Level,
    /// JSON lines instead of text.
    pub json: bool,
    /// One line per request, on standard output.
    pub access: bool,
}

/// `[log]`
pub(super) fn read(root: &Table<'_>) -> Log {
    use tracing::Level;
    let levels = [("error", Level::ERROR), ("warn", Level::WARN), ("info", Level::INFO), ("debug", Level::DEBUG)];
    root.table("log", |table| Log {
        level: table.key("level").choice(&levels, Level::INFO),
        json: table.key("format").choice(&[("text", false), ("json", true)], false),
        access: table.key("access").bool(true),
    })
}
