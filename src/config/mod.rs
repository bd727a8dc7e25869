//! `gateway.toml`: its meaning ([`Settings`]), and all its errors at once ([`Problem`]).
//!
//! Data flows in one direction: text → tree with the line of every value (`document`) → tables. One function per table
//! reads all its keys and applies the defaults (`reader`, `value`) → [`Settings`]. Only this module reads configuration
//! text.

mod access;
mod acme;
mod admin;
mod certificates;
mod client_certificates;
mod cors;
mod defaults;
mod django;
mod django_columns;
mod document;
mod effective;
mod file_tests;
mod files;
mod forward_certificate;
mod health;
mod host_header;
mod identity;
mod lifecycle;
mod limits;
mod listeners;
mod log;
mod login;
mod manual;
mod memory_cache;
mod names;
mod nearest;
mod patterns;
mod portals;
pub mod problem;
mod quotas;
mod rates;
mod reader;
mod record;
mod routes;
mod schema;
mod secret;
pub mod settings;
mod shared_cache;
mod source;
mod spool;
mod sql_name;
mod store;
mod store_files;
mod syntax;
mod tokens;
mod traces;
mod upstream_tls;
mod upstreams;
mod url;
mod value;
mod variables;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::clock::{Clock, Timestamp};
use document::Document;
pub use document::Environment;
pub use effective::{Effective, EffectiveTable, EffectiveValue, ValueOrigin};
pub use files::read_again;
use names::Names;
pub use problem::Problem;
use reader::{Named, Table};
use record::{Grammar, Record};
pub use secret::request_shown;
pub use settings::Settings;
use source::Source;

/// A valid configuration, with warnings.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What works, but is probably not as intended.
    pub warnings: Vec<Problem>,
}

/// Reads and checks a configuration file with the current time and environment.
///
/// Reads the certificates and keys that the file names; opens no socket and no database.
///
/// # Errors
/// All errors at once, in the order of the file.
pub fn load(file: &Path) -> Result<Loaded, Vec<Problem>> {
    let variable = |name: &str| std::env::var(name).ok();
    load_in(file, &Environment { now: Clock::system().now(), variable: &variable })
}

/// As [`load`], with another time and environment.
///
/// # Errors
/// All errors at once, in the order of the file.
pub fn load_in(file: &Path, environment: &Environment<'_>) -> Result<Loaded, Vec<Problem>> {
    let source = Source::read(file)?;
    let (settings, _, problems, warnings) = interpret(&source, Document::new(&source, environment));
    match settings {
        Some(settings) if problems.is_empty() => Ok(Loaded { settings, warnings }),
        _ => Err(problems),
    }
}

/// The path of the control socket, even if the rest of the file is wrong.
///
/// # Errors
/// The file cannot be read, or is not TOML.
pub fn control_socket(file: &Path) -> Result<Option<PathBuf>, Problem> {
    let source = Source::read(file).map_err(|problems| problems.into_iter().next());
    let source = source.map_err(|problem| problem.unwrap_or_else(|| unreadable(file)))?;
    let variable = |name: &str| std::env::var(name).ok();
    let environment = Environment { now: Clock::system().now(), variable: &variable };
    let document = Document::new(&source, &environment);
    let socket = document.parse().map(|tree| Table::root(&document, &tree, lifecycle::read_control));
    let socket = socket.map(|control| Some(control?.socket));
    socket.ok_or_else(|| document.finish().1.into_iter().next().unwrap_or_else(|| unreadable(file)))
}

fn unreadable(file: &Path) -> Problem {
    Problem { file: file.to_owned(), line: None, key: None, what: "cannot be read".to_owned(), mend: None }
}

/// The JSON Schema of a configuration file, for editors.
pub fn schema() -> serde_json::Value {
    schema::of(&grammar())
}

/// All keys that a file can have, such as `log.level` and `routes.NAME.upstream`.
pub fn known_keys() -> BTreeSet<String> {
    grammar().keys.into_keys().collect()
}

/// Every value in effect, with its origin.
///
/// # Errors
/// All errors at once, in the order of the file.
pub fn effective(file: &Path, environment: &Environment<'_>) -> Result<Effective, Vec<Problem>> {
    let source = Source::read(file)?;
    let (_, record, problems, _) = interpret(&source, Document::new(&source, environment).recorded());
    if !problems.is_empty() {
        return Err(problems);
    }
    let (_, tables, readings) = record.finish();
    let place = |line| {
        let (file, line) = source.place(line);
        (file.to_owned(), line)
    };
    Ok(Effective::of(tables, readings, place))
}

/// The definition of all keys and tables.
fn grammar() -> Grammar {
    // The file has one of each table whose name the operator chooses.
    let one_of_each = "[listeners.a.client_users.a]\n[certificates.a]\n[upstreams.a]\n[rates.a]\n[quotas.a]\n[portals.a]\n\
                       [routes.a]\n[[tests]]\n";
    let environment = Environment { now: Timestamp::from_micros(0), variable: &|_| None };
    let source = Source::of(Path::new("gateway.toml"), one_of_each.to_owned());
    let (_, record, _, _) = interpret(&source, Document::new(&source, &environment).recorded());
    record.finish().0
}

type Interpreted = (Option<Settings>, Record, Vec<Problem>, Vec<Problem>);

fn interpret(source: &Source, document: Document<'_>) -> Interpreted {
    let settings = document.parse().map(|tree| Table::root(&document, &tree, read));
    let settings = settings.map(|settings| Settings { files: source.files(), ..settings });
    let (record, problems, warnings) = document.finish();
    (settings, record, problems, warnings)
}

/// Reads the whole file. Tables that others refer to come first.
fn read(root: &Table<'_>) -> Settings {
    root.key("version").count(1..=1, 1_u8);
    // The files were read with the text; here only its type is checked. Their tables are part of the effective
    // configuration.
    root.key("include").only_if(false).parse_list(|text| Ok(text.to_owned()));
    let workers = lifecycle::read_workers(root);
    let (defaults, mut timeouts) = defaults::read(root);
    let mut acme = acme::read(root);
    let certificates = certificates::read(root, &mut acme);
    let upstreams = upstreams::read(root, &defaults);
    let certificate_names = Names::of("certificates", "certificate", &certificates);
    let upstream_names = Names::of("upstreams", "upstream", &upstreams);
    let (identity, forwards_all) = identity::read(root);
    let (memory, redis) = root.table("cache", |cache| (memory_cache::read(cache), shared_cache::read(cache)));
    let rates = rates::read(root, redis.is_some());
    let own_rates = rates::read_own(root, redis.is_some());
    let rate_names = Names::of("rates", "rate", &rates);
    let quotas = quotas::read(root, &rates.iter().map(|rate| rate.name.as_str()).collect::<Vec<_>>());
    let quota_names = Names::of("quotas", "quota", &quotas);
    let portals = portals::read(root, &upstream_names, &identity);
    let names =
        routes::RouteNames { upstreams: &upstream_names, rates: &rate_names, quotas: &quota_names, portals: &portals };
    let route_identity = routes::RouteIdentity { identity: &identity, forwards_all };
    let routes = routes::read(root, &names, &defaults, &route_identity);
    let (login, hashing) = login::read(root, &routes, &defaults);
    let listeners = listeners::read(root, &certificate_names);
    let asked: Vec<_> = listeners.iter().filter_map(settings::Listener::clients).collect();
    client_certificates::check(root, &routes, &asked);
    acme::check(root, acme.as_ref(), &listeners);
    let store = settings::Store { hashing, ..store::read(root) };
    let (grace, shutdown_delay) = lifecycle::read_shutdown(root);
    let upstreams = values(upstreams);
    let tests = file_tests::read(root, &routes, login.as_ref(), &upstreams);
    let settings = Settings {
        files: Vec::new(),
        workers,
        admin: admin::read(root, &certificate_names, &listeners, &store.url),
        listeners,
        certificates: values(certificates),
        acme,
        store,
        memory,
        redis,
        tokens: tokens::read(root),
        login,
        identity,
        tests,
        upstreams,
        rates: values(rates),
        quotas: values(quotas),
        own_rates,
        spool: spool::read(root, &routes),
        routes,
        limits: limits::read(root, &mut timeouts.handshake),
        timeouts,
        log: log::read(root),
        traces: traces::read(root),
        grace,
        shutdown_delay,
        resolve_every: defaults.resolve_every,
        reload: lifecycle::read_reload(root),
        control: lifecycle::read_control(root),
    };
    check_django(root, &settings);
    certificate_names.warn_unused(root.document());
    upstream_names.warn_unused(root.document());
    rate_names.warn_unused(root.document());
    quota_names.warn_unused(root.document());
    portals.names.warn_unused(root.document());
    settings
}

/// Reports settings that a Django database does not support.
fn check_django(root: &Table<'_>, settings: &Settings) {
    if !matches!(settings.store.url, settings::StoreUrl::Django(_)) {
        return;
    }
    let problem = |key: &str, what: &str, mend: &str| {
        root.document().problem(None, Some(key), what.to_owned(), Some(mend.to_owned()));
    };
    if settings.redis.as_ref().is_some_and(|redis| redis.tokens) {
        let mend = "add `tokens = false` to use Redis for rates only, remove [cache.redis], or import the users into tokengate's \
                    own store";
        problem("cache.redis", "a shared cache needs a change log, which a Django database does not have", mend);
    }
    if settings.tokens.revoke_on_password_change {
        let mend = "remove the line, and revoke tokens where the passwords are changed";
        problem(
            "tokens.revoke_on_password_change",
            "the passwords of a Django database are changed by the Django project",
            mend,
        );
    }
    if settings.tokens.per_login == settings::PerLogin::Device {
        let mend = "remove the line: a login returns the token of the user";
        problem("tokens.per_login", "a Django database has one token for each user", mend);
    }
    for quota in &settings.quotas {
        problem(
            &format!("quotas.{}", quota.name),
            "a Django database has no table for the counts of quotas",
            "use a rate such as \"10000/d\", or import the users into tokengate's own store",
        );
    }
    let revokes = |role: &settings::ListenerRole| match role {
        settings::ListenerRole::Tls(tls) => tls.exposed_token == settings::ExposedToken::Revoke,
        settings::ListenerRole::Plain(plain) => plain.exposed_token == settings::ExposedToken::Revoke,
        settings::ListenerRole::Internal { .. } => false,
    };
    for listener in settings.listeners.iter().filter(|listener| revokes(&listener.role)) {
        let key = format!("listeners.{}.exposed_token", listener.name);
        problem(
            &key,
            "a Django database stores tokens by key only, so the gateway cannot revoke them there",
            "write \"ignore\"",
        );
    }
}

/// The values. The indices are right: if a value is missing, there was an error, and the settings are not used.
fn values<T>(named: Vec<Named<T>>) -> Vec<T> {
    named.into_iter().filter_map(|named| named.value).collect()
}
