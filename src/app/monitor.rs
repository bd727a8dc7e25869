//! Data of the admin application's monitoring pages: traffic samples and component status.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use http::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::generation::Built;
use super::sampler::{self, Sampler};
use super::token_services::TokenServices;

use crate::admin::monitor::status::{
    AcmeStatus, CertificateStatus, EndpointState, EndpointStatus, ReloadStatus, RouteStatus, SharedCacheStatus,
    StoreStatus, UpstreamStatus,
};
use crate::admin::monitor::{AskNames, AskQuotas, Monitor, Names, ReloadHandle, Status};
use crate::clock::{Clock, Timestamp};
use crate::config::Settings;
use crate::config::settings::{
    Auth, Browser, ForwardAuthorization, HostHeader, HostPattern, Login, PathPattern, Route, StoreUrl,
};
use crate::gateway::Member;
use crate::rates::QuotaPart;
use crate::telemetry::{EndpointGauge, EndpointNumbers, History, ProcessCounters, Recorder};
use crate::tls::Certificate;
use crate::units::{ByteSize, HumanDuration};
use crate::upstream::{EndpointTally, Reachability, Standing};

/// The inputs of the monitor.
pub(super) struct Sources<'a> {
    /// The configuration in use.
    pub in_use: watch::Receiver<Arc<Built>>,
    /// The outcome of the last reload.
    pub report: watch::Receiver<ReloadStatus>,
    /// Requests a reload.
    pub reloads: ReloadHandle,
    pub recorders: &'a [Arc<Recorder>],
    pub services: &'a TokenServices,
    pub clock: &'a Clock,
    /// Path of the configuration file.
    pub configuration: Option<PathBuf>,
}

/// Creates the monitor, and the task that takes its samples.
pub(super) fn new(sources: Sources<'_>) -> (Arc<Monitor>, Sampler) {
    let Sources { in_use, report, reloads, recorders, services, clock, configuration } = sources;
    let history = Arc::new(History::new(clock.now()));
    let file = sampler::file_of(&in_use.borrow().settings);
    let sampler = Sampler::new(Arc::clone(&history), recorders, clock, file);
    let names = {
        let in_use = in_use.clone();
        move || names(&in_use.borrow().settings)
    };
    let quotas = {
        let in_use = in_use.clone();
        move || {
            let settings = Arc::clone(&in_use.borrow().settings);
            QuotaPart::all(&settings.quotas, &settings.routes)
        }
    };
    let refused = Arc::clone(&services.counts.refused_tokens);
    let (services, clock, started) = (services.clone(), clock.clone(), clock.now());
    let ask = move || {
        let (built, now) = (Arc::clone(&in_use.borrow()), clock.now());
        let mut status = status(&built, configuration.as_deref(), &services, started, now);
        status.reload = report.borrow().clone();
        services.tell(&mut status, now);
        status
    };
    let names: (AskNames, AskQuotas) = (Arc::new(names), Arc::new(quotas));
    (Arc::new(Monitor::new(history, recorders.to_vec(), names, Arc::new(ask), reloads, refused)), sampler)
}

fn names(settings: &Settings) -> Names {
    let upstream = |route: &Route| settings.upstreams.get(route.upstream).map(|upstream| upstream.name.clone());
    let configured = settings.routes.iter().map(|route| (Arc::clone(&route.name), upstream(route)));
    let login = settings.login.as_ref().map(|_| (Login::NAME.into(), None));
    let pages = settings.login.as_ref().and_then(|login| login.browser.as_ref()).map(|_| (Browser::NAME.into(), None));
    Names {
        routes: configured.chain(login).chain(pages).collect(),
        upstreams: settings.upstreams.iter().map(|upstream| upstream.name.clone()).collect(),
    }
}

/// The upstream of each route, for the metrics page.
pub(super) fn upstreams_of_routes(settings: &Settings) -> BTreeMap<Arc<str>, String> {
    let upstream = |route: &Route| settings.upstreams.get(route.upstream).map(|upstream| upstream.name.clone());
    settings.routes.iter().filter_map(|route| Some((Arc::clone(&route.name), upstream(route)?))).collect()
}

/// The status of everything but the store and the shared cache, which [`TokenServices::tell`] adds.
fn status(
    built: &Built,
    configuration: Option<&Path>,
    services: &TokenServices,
    started: Timestamp,
    now: Timestamp,
) -> Status {
    let settings = &built.settings;
    let upstreams = built.generation.upstreams.iter().map(|upstream| UpstreamStatus {
        name: upstream.settings.name.clone(),
        max_connections: upstream.settings.max_connections,
        endpoints: upstream.members.iter().map(|member| endpoint_status(&member.spec.title(), &member.tally)).collect(),
    });
    let certificates = certificates(settings, &services.counts, now);
    Status {
        version: env!("CARGO_PKG_VERSION"),
        started,
        configuration: configuration.map(|file| file.display().to_string()),
        reload: ReloadStatus { generation: 0, loaded: now, failed: None, problems: Vec::new(), restart: Vec::new() },
        workers: settings.workers,
        routes: own_routes(settings).chain(settings.routes.iter().map(|route| route_status(route, settings))).collect(),
        upstreams: upstreams.collect(),
        certificates,
        store: StoreStatus {
            kind: match &settings.store.url {
                StoreUrl::Sqlite(_) => "SQLite",
                StoreUrl::Postgres(_) => "PostgreSQL",
                StoreUrl::Django(_) => "Django database",
            },
            place: settings.store.url.to_string(),
            is_up: true,
            log_read: now,
            questions: 0,
            failures: 0,
        },
        shared_cache: services.shared_place().map(SharedCacheStatus::unused),
        feeds: Vec::new(),
    }
}

/// The certificates, with what is known about those that a CA issues.
pub(super) fn certificates(settings: &Settings, counts: &ProcessCounters, now: Timestamp) -> Vec<CertificateStatus> {
    let states = counts.acme.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let status = |one: &Certificate| {
        let addresses = one.addresses.iter().map(ToString::to_string);
        let hosts: Vec<_> = one.names.iter().cloned().chain(addresses).collect();
        let end = Timestamp::from_micros(one.not_after.saturating_mul(1_000_000));
        let acme = states.get(&one.name).map(|state| AcmeStatus {
            waiting: one.is_stand_in(),
            renewal: state.renewal,
            failure: state.failure.clone(),
            unreachable: state.unreachable.clone(),
        });
        CertificateStatus { acme, ..CertificateStatus::new(&one.name, &hosts, end, now) }
    };
    settings.certificates.iter().map(status).collect()
}

/// Built-in routes of the gateway itself, which precede the configured routes.
fn own_routes(settings: &Settings) -> impl Iterator<Item = RouteStatus> {
    let own = |name: &str, path: String, methods: &[&str], limits| RouteStatus {
        name: name.to_owned(),
        host: "*".to_owned(),
        path,
        methods: methods.iter().map(|&method| method.to_owned()).collect(),
        auth: "none",
        credentials: Vec::new(),
        scopes: Vec::new(),
        upstream: String::new(),
        limits,
    };
    let login = settings.login.as_ref().map(move |login| {
        own(Login::NAME, login.path.clone(), &["POST"], vec![format!("body {}", ByteSize(login.max_body))])
    });
    let pages = settings.login.as_ref().and_then(|login| login.browser.as_ref());
    let pages = pages.map(move |pages| own(Browser::NAME, format!("{}*", pages.path), &["GET", "POST"], Vec::new()));
    login.into_iter().chain(pages)
}

fn route_status(route: &Route, settings: &Settings) -> RouteStatus {
    let upstream = settings.upstreams.get(route.upstream).map(|upstream| upstream.name.clone());
    RouteStatus {
        name: route.name.to_string(),
        host: match &route.host {
            HostPattern::Exact(host) => host.clone(),
            HostPattern::Below(domain) => format!("*.{domain}"),
            HostPattern::Any => "*".to_owned(),
        },
        path: match &route.path {
            PathPattern::Exact(path) => path.clone(),
            PathPattern::Prefix(path) => format!("{path}*"),
        },
        methods: route.methods.iter().map(Method::to_string).collect(),
        auth: match route.auth {
            Auth::Required => "required",
            Auth::Optional => "optional",
            Auth::None => "none",
        },
        credentials: route.credentials.iter().map(|method| method.as_str()).collect(),
        scopes: route.scopes.iter().map(ToString::to_string).collect(),
        upstream: upstream.unwrap_or_default(),
        limits: limits(route),
    }
}

fn limits(route: &Route) -> Vec<String> {
    let mut limits = vec![format!("body {}", ByteSize(route.body_limit))];
    if route.streaming {
        limits.push("streaming".to_owned());
    } else {
        limits.push(format!("response within {}", HumanDuration(route.response_headers_timeout)));
    }
    limits.extend(route.total_timeout.map(|total| format!("total within {}", HumanDuration(total))));
    let ways = [
        (route.strip_prefix, "strips its prefix"),
        (route.host_header == HostHeader::Upstream, "sends the endpoint's Host"),
        (matches!(route.host_header, HostHeader::Name(_)), "sends another Host"),
        (route.empty_segments, "allows empty segments"),
        (route.encoded_slashes, "encoded slashes pass"),
        (route.encoded_percent, "double encodings pass"),
        (route.forward_authorization == ForwardAuthorization::Always, "tokens passed on"),
        (route.buffer_request, "buffers the body"),
    ];
    limits.extend(ways.into_iter().filter(|(is_so, _)| *is_so).map(|(_, words)| words.to_owned()));
    limits
}

fn endpoint_status(address: &str, tally: &EndpointTally) -> EndpointStatus {
    EndpointStatus {
        address: address.to_owned(),
        state: endpoint_state(tally),
        connections: tally.open(),
        failures: tally.refusals(),
    }
}

/// Whether an endpoint can be reached, and gets requests.
pub(super) fn endpoint_state(tally: &EndpointTally) -> EndpointState {
    match (tally.health.standing(), tally.reachability()) {
        (Standing::Ejected, _) => EndpointState::Ejected,
        (Standing::Unhealthy, _) => EndpointState::Unhealthy,
        (Standing::Available, Reachability::Untried) => EndpointState::Untried,
        (Standing::Available, Reachability::Reachable) => EndpointState::Reachable,
        (Standing::Available, Reachability::Unreachable(_)) => EndpointState::Unreachable,
    }
}

/// The endpoints of a configuration, for the metrics page.
pub(super) fn endpoint_gauges(built: &Built) -> Vec<EndpointGauge> {
    let gauge = |(upstream, member): (&str, &Member)| {
        let tally = Arc::clone(&member.tally);
        let read = move || EndpointNumbers {
            available: tally.health.standing() == Standing::Available,
            connections: tally.open(),
            failures: tally.refusals(),
            ejections: tally.health.ejections(),
            retries: tally.retries(),
        };
        EndpointGauge {
            upstream: upstream.to_owned(),
            endpoint: member.spec.title().into_owned(),
            read: Arc::new(read),
        }
    };
    let upstreams = built.generation.upstreams.iter();
    let members = upstreams.flat_map(|one| one.members.iter().map(|member| (one.settings.name.as_str(), member)));
    members.map(gauge).collect()
}

/// The state of all endpoints, for `tokengate status`.
pub(super) fn endpoint_states(built: &Built) -> Vec<Value> {
    let upstreams = built.generation.upstreams.iter();
    let members = upstreams.flat_map(|one| one.members.iter().map(|member| (one.settings.name.as_str(), member)));
    let state = |(upstream, member): (&str, &Member)| {
        json!({
            "upstream": upstream,
            "endpoint": member.spec.title(),
            "state": endpoint_state(&member.tally),
            "connections": member.tally.open(),
        })
    };
    members.map(state).collect()
}
