//! `tokengate check`: reports every problem of a configuration.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::show::Colour;
use super::{control, live, runtime, show};
use crate::app::{StartError, file_tests};
use crate::clock::Clock;
use crate::config::settings::{StoreUrl, unencrypted};
use crate::config::{self, Loaded, Problem, Settings, problem};
use crate::units::HumanDuration;
use crate::upstream::{EndpointSpec, Resolver};
use crate::{store, telemetry};

/// Checks the configuration and prints the problems. Returns 0 if the gateway would start with it; with
/// `against_running`, if the running gateway can change to it by a reload; with `live`, if everything that it names
/// answers.
///
/// # Errors
/// The running gateway cannot be reached.
pub fn run(config: &Path, against_running: bool, live: bool, json: bool) -> anyhow::Result<ExitCode> {
    let (errors, warnings) = match config::load(config) {
        Ok(Loaded { settings, mut warnings }) => {
            let (error, warning) = look_at_django(config, &settings);
            warnings.extend(warning);
            warnings.extend(look_at_names(config, &settings));
            let mut errors: Vec<Problem> = error.into_iter().chain(failed_tests(config, &settings)).collect();
            if live {
                errors.extend(live::look(config, &settings)?);
            }
            (errors, warnings)
        }
        Err(errors) => (errors, Vec::new()),
    };
    let is_good = errors.is_empty();
    let compared = if is_good && against_running { Some(control::compare(config)?) } else { None };
    let ok = is_good && compared.as_ref().is_none_or(|(_, restart)| restart.is_empty());
    if json {
        let (changes, restart) = compared.unzip();
        show::json(&serde_json::to_value(Answer { ok, errors, warnings, changes, restart })?)?;
    } else {
        if !errors.is_empty() || !warnings.is_empty() {
            show::note(problem::render(&errors, &warnings).trim_end());
        }
        if is_good {
            let ok = show::painted(&std::io::stdout(), Colour::Green, "OK");
            show::line(format!("{}: {ok}", config.display()))?;
        }
        if let Some((changes, restart)) = compared {
            show_differences(&changes, &restart)?;
        }
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The outcome as JSON.
#[derive(Serialize)]
struct Answer {
    ok: bool,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    /// With `--against-running`: what a reload changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Vec<String>>,
    /// With `--against-running`: what needs a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    restart: Option<Vec<String>>,
}

fn show_differences(changes: &[String], restart: &[String]) -> anyhow::Result<()> {
    if changes.is_empty() && restart.is_empty() {
        return show::line("the running gateway uses the same settings");
    }
    changes.iter().try_for_each(|change| show::line(format!("a reload changes: {change}")))?;
    restart.iter().try_for_each(|name| show::line(format!("needs a restart: {name}")))?;
    if !restart.is_empty() {
        show::note(
            "`tokengate upgrade` applies the whole file without an interruption; `tokengate reload --force-partial` \
             applies what needs no restart",
        );
    }
    Ok(())
}

/// Checks that a Django database has the required tables, and a session table if sessions are configured. Warns how
/// long a deleted token stays valid.
///
/// The gateway's own store is not checked: opening it would create it.
fn look_at_django(config: &Path, settings: &Settings) -> (Option<Problem>, Vec<Problem>) {
    if !matches!(settings.store.url, StoreUrl::Django(_)) {
        return (None, Vec::new());
    }
    let problem = |key: &str, what: String, mend: Option<&str>| {
        let mend = mend.map(str::to_owned);
        Some(Problem { file: config.to_owned(), line: None, key: Some(key.to_owned()), what, mend })
    };
    let wants_sessions = settings.login.as_ref().is_some_and(|login| login.browser.is_some());
    let opened = runtime::for_command()
        .and_then(|runtime| Ok(runtime.block_on(store::open(&settings.store, &settings.tokens, Clock::system()))?));
    let store = match opened {
        Ok(store) => store,
        Err(error) => return (problem("store.url", show::chain(&error), None), Vec::new()),
    };
    let error = match store.sessions {
        Err(none) if wants_sessions => problem("login.browser", format!("sessions cannot be stored: {none}"), None),
        _ => None,
    };
    let mut warnings: Vec<Problem> =
        store.remarks.into_iter().filter_map(|remark| problem("store.django", remark, None)).collect();
    if store.pushes_changes {
        return (error, warnings);
    }
    let ttl = HumanDuration(settings.memory.ttl);
    let what = if store.broken_triggers.is_empty() {
        format!("this database does not push changes: a token deleted in Django may work here for {ttl}")
    } else {
        let broken = store.broken_triggers.join("; ");
        format!(
            "not all triggers report changes in this database, so the gateway relies on none: {broken}. A token \
             deleted in Django may work here for {ttl}"
        )
    };
    let mend = if store.broken_triggers.is_empty() {
        "shorten cache.memory.ttl, or on PostgreSQL create the triggers: `tokengate django triggers | psql DATABASE`"
    } else {
        "create the triggers again: `tokengate django triggers | psql DATABASE`"
    };
    warnings.extend(problem("store.url", what, Some(mend)));
    (error, warnings)
}

/// Runs the tests of the file.
fn failed_tests(config: &Path, settings: &Settings) -> Vec<Problem> {
    let problem = |what| Problem { file: config.to_owned(), line: None, key: None, what, mend: None };
    match file_tests::run(settings) {
        Ok(()) => Vec::new(),
        Err(StartError::Tests(failed)) => failed,
        Err(error) => vec![problem(telemetry::causes(&error))],
    }
}

/// Resolves the names of all endpoints, as the gateway does at start.
fn look_at_names(config: &Path, settings: &Settings) -> Vec<Problem> {
    let look_up = async {
        let mut found = Vec::new();
        for upstream in &settings.upstreams {
            for endpoint in &upstream.endpoints {
                let spec = EndpointSpec::of(endpoint, None, upstream.protocol);
                // The reader of the file has looked at IP addresses.
                let Some(addresses) = spec.addresses().filter(|addresses| !addresses.is_literal()) else { continue };
                let authority = &endpoint.authority;
                let problem = match addresses.look_up(&Resolver::system()).await {
                    Err(error) => Some((
                        format!("the host of {authority} cannot be resolved ({error}); requests for it get 503"),
                        "correct the name, or check that the resolver of this machine knows it",
                    )),
                    Ok(_) if endpoint.tls.is_some() => None,
                    Ok(_) => addresses.foreign().map(|address| unencrypted(authority, address)),
                };
                found.extend(problem.map(|(what, mend)| (upstream.name.as_str(), what, mend)));
            }
        }
        found
    };
    let Ok(runtime) = runtime::for_command() else { return Vec::new() };
    let problem = |(upstream, what, mend): (&str, String, &str)| Problem {
        file: config.to_owned(),
        line: None,
        key: Some(format!("upstreams.{upstream}.endpoints")),
        what,
        mend: Some(mend.to_owned()),
    };
    let found: Vec<(&str, String, &str)> = runtime.block_on(look_up);
    // A resolver that hangs must not block the command's exit.
    runtime.shutdown_background();
    found.into_iter().map(problem).collect()
}

/// A configuration with problems, which are printed as `check` does.
#[derive(Debug, thiserror::Error)]
#[error("{}", problem::render(.0, &[]).trim_end())]
pub struct Invalid(pub Vec<Problem>);

/// Reads the settings, for the commands that need them.
///
/// # Errors
/// All problems of the file, one per line.
pub fn settings(config: &Path) -> anyhow::Result<Settings> {
    match config::load(config) {
        Ok(Loaded { settings, .. }) => Ok(settings),
        Err(errors) => Err(Invalid(errors).into()),
    }
}
