//! `[log]`: log messages and the access log.

use std::fmt::{self, Display};
use std::path::PathBuf;

use super::document::Document;
use super::nearest::nearest;
use super::reader::Table;
use super::value::{Fault, Key};
use crate::telemetry::{BadTemplate, LogFormat, LogTemplate};

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `error`, `warn`, `info` or `debug`.
    pub level: tracing::Level,
    /// JSON lines instead of text.
    pub json: bool,
    /// Whether each request has a line in the access log.
    pub access: bool,
    /// How its lines are written.
    pub access_format: LogFormat,
    /// Where the access log goes.
    pub access_to: AccessTarget,
    /// Of this many successful requests, one has a line; other requests all have one.
    pub sample: u32,
    /// What lines of the access log do not show.
    pub redact: Vec<Redacted>,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessTarget {
    /// Standard output.
    Stdout,
    /// A file, to which lines are appended.
    File(PathBuf),
    /// The syslog of this machine.
    Syslog,
}

/// A fact about a request that the access log can hide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redacted {
    /// The last part of the client's address, and its port.
    Peer,
    /// The path.
    Path,
    /// Username and ids of user and token.
    User,
}

impl Display for AccessTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AccessTarget::Stdout => f.write_str("stdout"),
            AccessTarget::File(path) => write!(f, "file:{}", path.display()),
            AccessTarget::Syslog => f.write_str("syslog"),
        }
    }
}

/// `[log]`
pub(super) fn read(root: &Table<'_>) -> Log {
    use tracing::Level;
    let levels = [("error", Level::ERROR), ("warn", Level::WARN), ("info", Level::INFO), ("debug", Level::DEBUG)];
    let facts = [("peer", Redacted::Peer), ("path", Redacted::Path), ("user", Redacted::User)];
    root.table("log", |table| {
        let json = table.key("format").choice(&[("text", false), ("json", true)], false);
        Log {
            level: table.key("level").choice(&levels, Level::INFO),
            json,
            access_format: read_format(&table.key("access_format").like(Some("log.format")), json),
            access: table.key("access").bool(true),
            access_to: read_target(&table.key("access_to"), table.document()),
            sample: table.key("sample").count(1..=1_000_000, 1),
            redact: table.key("redact").choices(&facts, &[]),
        }
    })
}

fn read_format(key: &Key<'_>, json: bool) -> LogFormat {
    let read = key.parse(|text| match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        "ecs" => Ok(LogFormat::Ecs),
        "otel" => Ok(LogFormat::Otel),
        _ if !text.contains(['{', '}']) => {
            let words = "write \"text\", \"json\", \"ecs\", \"otel\", or a template such as \"{time} {status} {path}\"";
            Err(Fault::new("is not a format", words))
        }
        template => LogTemplate::parse(template).map(LogFormat::Template).map_err(|bad| {
            let mend = match &bad {
                BadTemplate::Unknown(name) => nearest(name, LogTemplate::FACTS)
                    .unwrap_or_else(|| format!("known facts: {}", LogTemplate::FACTS.join(", "))),
                BadTemplate::Brace => "write `{{` or `}}` for a brace".to_owned(),
                BadTemplate::NoFact => "write facts in braces, such as {time}".to_owned(),
                BadTemplate::Control => "write one line".to_owned(),
            };
            Fault::new(bad.to_string(), mend)
        }),
    });
    read.unwrap_or(if json { LogFormat::Json } else { LogFormat::Text })
}

fn read_target(key: &Key<'_>, document: &Document<'_>) -> AccessTarget {
    let target = key.parse_or(AccessTarget::Stdout, |text| match text {
        "stdout" => Ok(AccessTarget::Stdout),
        "syslog" => Ok(AccessTarget::Syslog),
        _ => match text.strip_prefix("file:") {
            Some(path) if !path.is_empty() => Ok(AccessTarget::File(document.resolve(path))),
            _ => Err(Fault::new("is not a place for a log", "write \"stdout\", \"file:PATH\" or \"syslog\"")),
        },
    });
    if let AccessTarget::File(path) = &target
        && path.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.is_dir())
    {
        key.problem("the folder of the file does not exist", "create it for the user that runs the gateway");
    }
    target
}
