//! The log of the process: standard error, as text or as JSON.
//!
//! The command line sets it up once at start; a reload can change it ([`ProcessLog`]). The configured level applies to
//! the gateway's own messages; libraries log warnings and errors only, so that their messages do not bury ours.
//! Requests go to the access log, on standard output.

use std::error::Error;
use std::io;

use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;

type Filter = reload::Handle<Targets, Registry>;

/// Changes the level and the format of the log.
#[derive(Clone)]
pub struct ProcessLog {
    text: Filter,
    json: Filter,
}

/// Sends the log messages of this process to standard error from now on.
///
/// # Errors
/// If a log was set up before.
pub fn init(level: Level, json: bool) -> Result<ProcessLog, tracing::subscriber::SetGlobalDefaultError> {
    let (subscriber, log) = subscriber(level, json, io::stderr);
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(log)
}

/// Writes messages of at least `level` to `writer`; messages of libraries from `warn` at least.
pub fn subscriber<W>(level: Level, json: bool, writer: W) -> (impl Subscriber + Send + Sync, ProcessLog)
where
    W: for<'w> MakeWriter<'w> + Clone + Send + Sync + 'static,
{
    // One layer for each format. The layer of the other format drops all messages.
    let (text_filter, text) = reload::Layer::new(filter_if(!json, level));
    let (json_filter, json) = reload::Layer::new(filter_if(json, level));
    let text_layer = fmt::layer().with_writer(writer.clone()).with_filter(text_filter);
    let json_layer = fmt::layer().json().flatten_event(true).with_writer(writer).with_filter(json_filter);
    (Registry::default().with(vec![text_layer.boxed(), json_layer.boxed()]), ProcessLog { text, json })
}

impl ProcessLog {
    /// Sets the level and the format of messages from now on.
    pub fn set(&self, level: Level, json: bool) {
        // Fails only if the log was dropped, which it never is.
        let _ = self.text.reload(filter_if(!json, level));
        let _ = self.json.reload(filter_if(json, level));
    }
}

fn filter_if(is_on: bool, level: Level) -> Targets {
    if is_on { filter(level) } else { Targets::new() }
}

fn filter(level: Level) -> Targets {
    // sqlx warns about each connection that a server closes; the store logs one line for all of them. h2 warns about
    // frames that any client can send without end.
    let quiet = ["sqlx", "h2"].map(|library| (library, Level::ERROR));
    let filter = Targets::new().with_default(level.min(Level::WARN)).with_targets(quiet);
    filter.with_target("tokengate", level)
}

/// Formats an error and its causes in one line, without repetition.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let (mut text, mut next) = (String::new(), Some(error));
    while let Some(error) = next {
        let cause = error.to_string();
        // Some errors include their cause in their own text.
        if !text.contains(&cause) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&cause);
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Capture(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Capture {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn told(level: Level, json: bool, tell: impl FnOnce()) -> String {
        let capture = Capture::default();
        let writer = capture.clone();
        let (subscriber, _log) = subscriber(level, json, move || writer.clone());
        tracing::subscriber::with_default(subscriber, tell);
        String::from_utf8(capture.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn our_own_messages_follow_the_level_and_libraries_may_only_warn() {
        let lines = told(Level::INFO, false, || {
            tracing::info!(listener = "front", "listening");
            tracing::debug!("detail of ours");
            tracing::info!(target: "somelib", "chatter");
            tracing::warn!(target: "somelib", "trouble");
        });
        assert!(lines.contains("listening listener=\"front\""), "{lines}");
        assert!(lines.contains("trouble"), "{lines}");
        assert_eq!(lines.lines().count(), 2, "{lines}");
    }

    #[test]
    fn a_stricter_level_holds_for_libraries_too() {
        let lines = told(Level::ERROR, false, || tracing::warn!(target: "somelib", "trouble"));
        assert_eq!(lines, "");
    }

    #[test]
    fn level_and_format_change_while_it_runs() {
        let capture = Capture::default();
        let writer = capture.clone();
        let (subscriber, log) = subscriber(Level::WARN, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            for (level, json) in
                [(Level::WARN, false), (Level::INFO, true), (Level::DEBUG, false), (Level::ERROR, false)]
            {
                log.set(level, json);
                tracing::debug!("debug");
                tracing::info!("info");
                tracing::warn!("warn");
            }
        });
        let text = String::from_utf8(capture.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = text.lines().map(|line| (line.starts_with('{'), line.to_lowercase())).collect();
        let levels: Vec<_> = lines
            .iter()
            .map(|(json, line)| {
                (*json, ["debug", "info", "warn"].into_iter().find(|level| line.contains(level)).unwrap())
            })
            .collect();
        let expected =
            [(false, "warn"), (true, "info"), (true, "warn"), (false, "debug"), (false, "info"), (false, "warn")];
        assert_eq!(levels, expected, "{text}");
    }

    #[test]
    fn json_messages_are_one_object_a_line() {
        let lines = told(Level::INFO, true, || tracing::info!(code = "a\nb", "told"));
        let object: serde_json::Value = serde_json::from_str(lines.trim_end()).unwrap();
        assert_eq!(
            (&object["level"], &object["message"], &object["code"]),
            (&"INFO".into(), &"told".into(), &"a\nb".into())
        );
    }
}
