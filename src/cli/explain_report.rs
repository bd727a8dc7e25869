//! The output of `tokengate explain`, as text and as JSON. Never shows a key or a cookie.

use std::fmt::Write;

use http::header::{AUTHORIZATION, COOKIE, LOCATION, PROXY_AUTHORIZATION, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::app::explain::{Caller, Explained};
use crate::auth::{AuthFailure, BadCredentials};
use crate::config::settings::{
    Auth, Balance, ClientShare, HostPattern, ListenerRole, PathPattern, Route, SampleRequest,
};
use crate::config::{Settings, request_shown};
use crate::gateway::explanation::{Candidate, End, Explanation, Forwarded, Refused, Standing};
use crate::identity::{Denied, Identity, decode};
use crate::token::AuthMethod;
use crate::units::{ByteSize, HumanDuration};

/// What is reported on.
pub struct Subject<'a> {
    pub settings: &'a Settings,
    pub request: &'a SampleRequest,
    pub caller: &'a Caller,
    pub explained: &'a Explained,
}

impl Subject<'_> {
    fn explanation(&self) -> &Explanation {
        &self.explained.explanation
    }

    /// The configured route that takes the request.
    fn route(&self) -> Option<&Route> {
        let name = self.explanation().route.as_ref()?;
        self.settings.routes.iter().find(|route| route.name == *name)
    }

    fn listener(&self) -> String {
        let listener = self.settings.listeners.iter().find(|listener| listener.name == self.explained.listener);
        listener.map_or_else(String::new, |listener| {
            let speaks = match listener.role {
                ListenerRole::Tls(_) => "HTTPS",
                ListenerRole::Plain(_) | ListenerRole::Internal { .. } => "HTTP",
            };
            format!("{} ({}, {speaks})", listener.name, listener.address)
        })
    }

    /// What the route needs, and what was found.
    fn credentials(&self) -> Vec<String> {
        let Some(route) = self.route() else { return Vec::new() };
        let mut lines = self.admission(route);
        if route.auth == Auth::None {
            lines.insert(0, "auth = \"none\": not read".to_owned());
            return lines;
        }
        let accepted: Vec<&str> = route.credentials.iter().map(|method| method.as_str()).collect();
        let needed = match route.auth {
            Auth::Required => "required",
            Auth::Optional | Auth::None => "optional",
        };
        lines.insert(0, format!("{needed}: {}", accepted.join(" or ")));
        lines.extend(self.explanation().caller.as_ref().map(|found| match found {
            Ok(Some(identity)) => self.caller_text(identity),
            Ok(None) => "none found: the caller is anonymous".to_owned(),
            Err(failure) => failure_text(*failure),
        }));
        lines
    }

    /// What the route needs of the caller and of the client.
    fn admission(&self, route: &Route) -> Vec<String> {
        let rules = &route.admission;
        let mut lines = Vec::new();
        if !route.scopes.is_empty() {
            lines.push(format!("scopes needed: {}", route.scopes));
        }
        lines.extend(rules.method_scopes.all().map(|(method, scopes)| format!("scopes needed for {method}: {scopes}")));
        if !rules.groups.is_empty() {
            lines.push(format!("one of these groups needed: {}", rules.groups.join(", ")));
        }
        let networks = [("only from", &rules.allow_ips), ("not from", &rules.deny_ips)];
        lines.extend(networks.iter().filter_map(|(how, networks)| Some(format!("{how}: {}", networks.as_ref()?))));
        lines
    }

    fn caller_text(&self, identity: &Identity) -> String {
        let name = identity.values().user_name.to_str().map(decode).unwrap_or_default();
        let mut text = format!("found: a valid {} of {name} (user {})", identity.method().as_str(), identity.subject());
        if identity.method() == AuthMethod::Token {
            let scopes = identity.scopes().to_string();
            text += &format!(", scopes: {}", if scopes.is_empty() { "none" } else { &scopes });
        }
        if identity.is_read_only() {
            text += ", read-only";
        }
        if matches!(self.caller, Caller::Sample(_)) {
            text += "; made up for this explanation";
        }
        text
    }

    /// The limits that apply to a request of the route: by subject, each with the name of its key in the file.
    fn limits(&self) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
        let Some(route) = self.route() else { return Vec::new() };
        let (limits, timeouts) = (&self.settings.limits, &self.settings.timeouts);
        let time = |time| HumanDuration(time).to_string();
        let size = |length: usize| ByteSize(u64::try_from(length).unwrap_or(u64::MAX)).to_string();
        let or_unlimited = |limit: Option<String>| limit.unwrap_or_else(|| "unlimited".to_owned());
        let unless_streaming = |limit| if route.streaming { "off".to_owned() } else { time(limit) };
        let body = Some(route.body_limit).filter(|limit| *limit != u64::MAX);
        let mut all = vec![
            (
                "body",
                vec![
                    ("body", or_unlimited(body.map(|limit| ByteSize(limit).to_string()))),
                    ("body_rate", route.body_rate.map_or("off".to_owned(), |rate| format!("{}/s", ByteSize(rate)))),
                    ("request_body", if route.buffer_request { "buffer" } else { "stream" }.to_owned()),
                ],
            ),
            (
                "timeouts",
                vec![
                    ("request_headers", time(timeouts.request_headers)),
                    ("request_body", time(route.request_body_timeout)),
                    ("response_headers", unless_streaming(route.response_headers_timeout)),
                    ("response_body", unless_streaming(route.response_body_timeout)),
                    ("total", or_unlimited(route.total_timeout.map(time))),
                ],
            ),
            (
                "head",
                vec![
                    ("header_bytes", size(limits.header_bytes)),
                    ("header_count", limits.header_count.to_string()),
                    ("uri_bytes", size(limits.uri_bytes)),
                ],
            ),
            (
                "client",
                vec![
                    ("connections_per_ip", limits.connections_per_ip.to_string()),
                    ("h2_streams", limits.h2_streams.to_string()),
                    ("wrong_keys", or_unlimited(limits.wrong_keys.map(|rate| rate.to_string()))),
                ],
            ),
        ];
        let rates = route.rates.iter().filter_map(|name| self.settings.rates.iter().find(|rate| rate.name == **name));
        let quotas = route.quotas.iter().filter_map(|name| self.settings.quotas.iter().find(|one| one.name == **name));
        let rates: Vec<String> = rates.map(ToString::to_string).chain(quotas.map(ToString::to_string)).collect();
        if !rates.is_empty() {
            all.push(("rates", vec![("rates", rates.join(", "))]));
        }
        all.extend(self.settings.upstreams.get(route.upstream).map(|upstream| {
            let share = match upstream.client_share {
                ClientShare::Fair => "three times as many as are free".to_owned(),
                ClientShare::Most(most) => most.to_string(),
                ClientShare::Unlimited => "unlimited".to_owned(),
            };
            let balance = Balance::WORDS.iter().find(|(_, balance)| *balance == upstream.balance);
            let checks =
                upstream.health_check.as_ref().map(|check| format!("{} every {}", check.path, time(check.every)));
            let ejection = upstream.ejection.map(|rule| {
                let after = rule.consecutive_errors;
                format!("after {after} failures in a row for {}", time(rule.eject_for))
            });
            let of_upstream = vec![
                ("balance", balance.map_or("", |(word, _)| *word).to_owned()),
                ("health_check", checks.unwrap_or_else(|| "off".to_owned())),
                ("ejection", ejection.unwrap_or_else(|| "off".to_owned())),
                ("max_connections", upstream.max_connections.to_string()),
                ("max_connections_per_client", share),
                ("connect_timeout", time(upstream.connect_timeout)),
            ];
            ("upstream", of_upstream)
        }));
        all
    }
}

/// The report for people.
pub fn text(subject: &Subject<'_>) -> String {
    let explanation = subject.explanation();
    let request = subject.request;
    let scheme = if request.secure { "https" } else { "http" };
    let url = format!("{scheme}://{}{}", request.authority, request.target);
    let mut out = format!("{} {}\n\n", request.method, request_shown(&url));
    section(&mut out, "listener", &[subject.listener()]);
    let target = match &explanation.target {
        Some(target) => {
            let mut lines = vec![format!("host {}, path {}", target.host, target.path)];
            lines.extend(target.other_readings.iter().map(|path| format!("an upstream could also read {path}")));
            lines
        }
        None => vec!["refused, see the answer below".to_owned()],
    };
    section(&mut out, "target", &target);
    let candidates = &explanation.candidates;
    let mut routes: Vec<String> = candidates.iter().map(|one| candidate(subject, one)).collect();
    if let ([Candidate { standing: Standing::Takes, .. }], Some(line)) = (candidates.as_slice(), routes.first_mut()) {
        line.push_str("; no other route has a matching host and path");
    }
    if routes.is_empty() && explanation.target.is_some() && explanation.route.is_none() {
        routes.push("none has a matching host and path".to_owned());
    }
    section(&mut out, "routes", &routes);
    section(&mut out, "credentials", &subject.credentials());
    let listed = |(subject, limits): &(&str, Vec<(&str, String)>)| {
        let limits: Vec<String> = limits.iter().map(|(key, limit)| format!("{key} {limit}")).collect();
        format!("{subject}: {}", limits.join(", "))
    };
    section(&mut out, "limits", &subject.limits().iter().map(listed).collect::<Vec<_>>());
    match &explanation.end {
        End::Forwarded(forwarded) => {
            let upstream = format!("{}: {}", forwarded.upstream, forwarded.endpoints.join(", "));
            section(&mut out, "upstream", &[upstream]);
            let (method, uri) = (forwarded.request.method(), forwarded.request.uri());
            let lines = shown(subject, forwarded.request.headers())
                .into_iter()
                .map(|(name, value)| format!("  {name}: {value}"));
            let head = std::iter::once(format!("{method} {}", request_shown(&uri.to_string())))
                .chain(lines)
                .collect::<Vec<_>>();
            section(&mut out, "receives", &head);
            section(&mut out, "answer", &["forwarded".to_owned()]);
        }
        End::Answered => {
            let by = explanation.route.as_deref().unwrap_or("OPTIONS *");
            section(&mut out, "answer", &[format!("by the gateway itself: {by}")]);
        }
        End::Asked(portal) => section(&mut out, "answer", &[format!("of the portal {portal}, which decides")]),
        End::Refused(refused) => {
            let mut lines = vec![
                format!("{}: {}", refused.status, refused.detail),
                format!("outcome in logs and metrics: {}", refused.outcome.code()),
            ];
            lines.extend(refused.reason.as_ref().map(|why| format!("reason: {why}")));
            lines
                .extend(shown(subject, &refused.headers).into_iter().map(|(name, value)| format!("  {name}: {value}")));
            section(&mut out, "answer", &lines);
        }
    }
    out
}

/// The report for programs.
pub fn json(subject: &Subject<'_>) -> Value {
    let explanation = subject.explanation();
    let routes = explanation.candidates.iter().map(
        |one| json!({ "name": &*one.route, "takes": one.standing == Standing::Takes, "why": standing(&one.standing) }),
    );
    json!({
        "request": {
            "method": subject.request.method,
            "secure": subject.request.secure,
            "authority": subject.request.authority,
            "target": request_shown(&subject.request.target),
            "from": subject.request.from.to_string(),
        },
        "listener": subject.explained.listener,
        "target": explanation.target.as_ref().map(|target| json!({
            "host": target.host, "path": target.path, "other_readings": target.other_readings,
        })),
        "routes": routes.collect::<Vec<_>>(),
        "route": explanation.route.as_deref(),
        "credentials": subject.credentials(),
        "caller": explanation.caller.as_ref().and_then(|found| found.as_ref().ok()?.as_deref()).map(caller),
        "limits": subject.limits().into_iter().map(|(subject, limits)| (subject.to_owned(), of_pairs(limits))).collect::<Value>(),
        "forwarded": match &explanation.end { End::Forwarded(forwarded) => forwarded_json(subject, forwarded), _ => Value::Null },
        "asked": match &explanation.end { End::Asked(portal) => Value::from(&**portal), _ => Value::Null },
        "refused": match &explanation.end { End::Refused(refused) => refused_json(subject, refused), _ => Value::Null },
    })
}

fn of_pairs(pairs: Vec<(&'static str, String)>) -> Value {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

fn forwarded_json(subject: &Subject<'_>, forwarded: &Forwarded) -> Value {
    json!({
        "upstream": forwarded.upstream,
        "endpoints": forwarded.endpoints,
        "method": forwarded.request.method().as_str(),
        "target": request_shown(&forwarded.request.uri().to_string()),
        "headers": shown(subject, forwarded.request.headers()),
    })
}

fn refused_json(subject: &Subject<'_>, refused: &Refused) -> Value {
    json!({
        "status": refused.status.as_u16(),
        "outcome": refused.outcome.code(),
        "detail": refused.detail,
        "reason": refused.reason.as_ref().map(ToString::to_string),
        "headers": shown(subject, &refused.headers),
    })
}

fn caller(identity: &Identity) -> Value {
    json!({
        "user_id": identity.subject().0,
        "user": identity.values().user_name.to_str().map(decode).unwrap_or_default(),
        "method": identity.method().as_str(),
        "scopes": identity.scopes().iter().map(|scope| scope.as_str()).collect::<Vec<_>>(),
        "groups": identity.groups(),
    })
}

fn section(out: &mut String, title: &str, lines: &[String]) {
    for (place, line) in lines.iter().enumerate() {
        // Writing into a String cannot fail.
        let _ = writeln!(out, "{:<13}{line}", if place == 0 { title } else { "" });
    }
}

fn candidate(subject: &Subject<'_>, candidate: &Candidate) -> String {
    let route = subject.settings.routes.iter().find(|route| route.name == candidate.route);
    let pattern = route.map(pattern).unwrap_or_default();
    format!("{} ({pattern}) {}", candidate.route, standing(&candidate.standing))
}

fn standing(standing: &Standing) -> String {
    match standing {
        Standing::Takes => "takes the request".to_owned(),
        Standing::Refuses(missing) => format!("would take the request, but {missing}"),
        Standing::OtherMethod => "does not accept the method".to_owned(),
        Standing::MethodListed => "gives way to a route with this host and path that lists the method".to_owned(),
        Standing::LessSpecificHost => "gives way to a route with a more specific host".to_owned(),
        Standing::LessSpecificPath => "gives way to a route with a more specific path".to_owned(),
        Standing::Precedence => "gives way to the login or one of its pages".to_owned(),
    }
}

fn pattern(route: &Route) -> String {
    let host = match &route.host {
        HostPattern::Any => "any host".to_owned(),
        HostPattern::Exact(host) => host.clone(),
        HostPattern::Below(domain) => format!("*.{domain}"),
    };
    let path = match &route.path {
        PathPattern::Exact(path) => format!("path {path}"),
        PathPattern::Prefix(path) => format!("prefix {path}"),
    };
    let methods: Vec<&str> = route.methods.iter().map(http::Method::as_str).collect();
    let methods = if methods.is_empty() { String::new() } else { format!(", {}", methods.join(" ")) };
    format!("{host}, {path}{methods}")
}

fn failure_text(failure: AuthFailure) -> String {
    match failure {
        AuthFailure::NoCredentials => "none found".to_owned(),
        AuthFailure::Malformed(BadCredentials::NotAKey) => "found: a text that cannot be a key".to_owned(),
        AuthFailure::Malformed(bad) => format!("found, but malformed: {bad}"),
        AuthFailure::Denied(Denied::Unknown) => "found: a key that the store does not have".to_owned(),
        AuthFailure::Denied(Denied::Revoked) => "found: a revoked token".to_owned(),
        AuthFailure::Denied(Denied::Expired) => "found: an expired token".to_owned(),
        AuthFailure::Denied(Denied::Unused) => "found: a token that ended because it was not used".to_owned(),
        AuthFailure::Denied(Denied::OwnerInactive) => "found: a token of a deactivated user".to_owned(),
        AuthFailure::NoUser(_) => "found: a client certificate of no active user".to_owned(),
        AuthFailure::StoreUnavailable => "found, but the store did not answer".to_owned(),
        AuthFailure::Throttled(_) => "found, but the client sent too many wrong keys".to_owned(),
    }
}

/// Headers for a reader: without secrets, and without the id that each request gets.
fn shown(subject: &Subject<'_>, fields: &HeaderMap) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| (name.to_string(), value_shown(subject, name, value))).collect()
}

fn value_shown(subject: &Subject<'_>, name: &HeaderName, value: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    match name.as_str() {
        "x-request-id" => "(new for each request)".to_owned(),
        "x-csrftoken" => "(hidden)".to_owned(),
        _ if *name == AUTHORIZATION || *name == PROXY_AUTHORIZATION => {
            let scheme = text.split(' ').next().filter(|scheme| scheme.len() < text.len());
            scheme.map_or("(hidden)".to_owned(), |scheme| format!("{scheme} (hidden)"))
        }
        _ if *name == COOKIE || *name == SET_COOKIE => {
            let names = text.split(';').map(|pair| pair.split('=').next().unwrap_or_default().trim());
            names.map(|name| format!("{name}=(hidden)")).collect::<Vec<_>>().join("; ")
        }
        _ if *name == LOCATION => request_shown(&text),
        // A challenge: it says which credentials are missing.
        _ if *name == WWW_AUTHENTICATE => text.into_owned(),
        _ => {
            let line = format!("{name}: {text}");
            let is_open = subject.settings.identity.header_shown(&line) == line;
            if is_open { text.into_owned() } else { "(hidden)".to_owned() }
        }
    }
}
