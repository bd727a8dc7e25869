//! Configurations and requests, drawn at random and reproducibly.

use std::net::IpAddr;
use std::sync::Arc;

use http::Method;
use tokengate::auth::CsrfSecret;
use tokengate::config::Settings;
use tokengate::config::settings::{
    Auth, Browser, ExposedToken, ForwardAuthorization, HostHeader, HostPattern, IdentityFields, ListenerRole, Login,
    PathPattern, Plaintext, Route, SampleRequest,
};
use tokengate::token::{AuthMethod, ScopeSet, ShownKey};

use crate::support::dice::Dice;
use crate::support::gateway::{plain, route};

/// The keys of tokens and sessions in the store, and others.
pub struct Keys {
    /// Valid, invalid, and texts that are no keys.
    pub tokens: Vec<String>,
    pub sessions: Vec<String>,
}

/// Changes the settings to others, which a reload takes over.
pub fn configuration(dice: &mut Dice, settings: &mut Settings) {
    settings.tokens.schemes = dice.one_of(&[vec!["Token".to_owned()], vec!["Bearer".to_owned(), "token".to_owned()]]);
    settings.login = (!dice.once_in(3)).then(|| Login {
        browser: (!dice.once_in(3)).then(Browser::default),
        path: dice.one_of(&["/gettoken/", "/api/login"]).to_owned(),
        ..Login::default()
    });
    let has_sessions = settings.login.as_ref().is_some_and(|login| login.browser.is_some());
    settings.identity = IdentityFields::default();
    if dice.once_in(3) {
        settings.identity.user_id = Some("remote-user".parse().unwrap());
        settings.identity.user_email = Some("x-mail".parse().unwrap());
    }
    settings.limits.header_count = dice.one_of(&[100, 100, 6]);
    settings.limits.uri_bytes = dice.one_of(&[8_192, 8_192, 30]);
    for listener in settings.listeners.iter_mut().filter(|listener| listener.name == "closed") {
        listener.role = plain(dice.one_of(&[Plaintext::Refuse, Plaintext::Redirect]), ExposedToken::Mark);
    }
    let mut routes: Vec<Route> = Vec::new();
    if dice.once_in(2) {
        routes.push(Route { methods: Vec::new(), ..one_route(dice, "all", has_sessions) });
        routes[0].path = PathPattern::Prefix("/".to_owned());
        routes[0].host = HostPattern::Any;
    }
    for number in 0..1 + dice.below(7) {
        let next = one_route(dice, &format!("r{number}"), has_sessions);
        if !routes.iter().any(|route| route.rivals(&next)) {
            routes.push(next);
        }
    }
    settings.routes = routes;
}

fn one_route(dice: &mut Dice, name: &str, has_sessions: bool) -> Route {
    let auth = dice.one_of(&[Auth::Required, Auth::Required, Auth::Required, Auth::Optional, Auth::None]);
    let path = match dice.below(10) {
        0 => PathPattern::Exact("/api/x".to_owned()),
        1 => PathPattern::Exact("/".to_owned()),
        _ => PathPattern::Prefix(dice.one_of(&["/", "/", "/api/", "/api", "/api/v1/", "/ó/", "/files"]).to_owned()),
    };
    let scopes = if auth == Auth::Required { dice.one_of(&["", "", "read", "read write"]) } else { "" };
    let credentials = match dice.below(4) {
        0 if has_sessions => vec![AuthMethod::Session],
        1 if has_sessions => vec![AuthMethod::Session, AuthMethod::Token],
        2 if has_sessions => vec![AuthMethod::Token, AuthMethod::Session],
        _ => vec![AuthMethod::Token],
    };
    let methods = match dice.below(6) {
        0 => vec![Method::GET],
        1 => vec![Method::GET, Method::POST],
        2 => vec![Method::PUT, Method::DELETE, Method::from_bytes(b"PURGE").unwrap()],
        _ => Vec::new(),
    };
    Route {
        host: match dice.below(8) {
            0 => HostPattern::Exact("one.test".to_owned()),
            1 => HostPattern::Below("wild.test".to_owned()),
            2 => HostPattern::Exact("a.wild.test".to_owned()),
            _ => HostPattern::Any,
        },
        methods,
        token_parameter: auth != Auth::None && credentials.contains(&AuthMethod::Token) && dice.once_in(4),
        credentials,
        scopes: ScopeSet::parse(scopes).unwrap(),
        forward_authorization: match dice.below(4) {
            0 => ForwardAuthorization::Always,
            1 => ForwardAuthorization::Foreign,
            _ => ForwardAuthorization::Never,
        },
        pass_headers: if dice.once_in(3) { vec!["remote-user-x".parse().unwrap()] } else { Vec::new() },
        strip_prefix: matches!(path, PathPattern::Prefix(_)) && dice.once_in(3),
        host_header: if dice.once_in(4) { HostHeader::Upstream } else { HostHeader::Keep },
        empty_segments: dice.once_in(3),
        encoded_slashes: dice.once_in(3),
        encoded_percent: dice.once_in(3),
        buffer_request: dice.once_in(4),
        streaming: dice.once_in(6),
        body_limit: dice.one_of(&[3, 10 << 20, 10 << 20]),
        path,
        ..route(name, "/", auth)
    }
}

/// How many of the following lists are ordinary, from their begin.
const ORDINARY_METHODS: usize = 6;
const ORDINARY_TARGETS: usize = 10;
const ORDINARY_LINES: usize = 15;
/// How many of the keys are valid, from the begin of the list.
pub const VALID_TOKENS: usize = 4;

const METHODS: [&str; 14] =
    ["GET", "GET", "GET", "GET", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PURGE", "get", "TRACE", "BREW"];

const TARGETS: [&str; 46] = [
    "/",
    "/",
    "/api/x",
    "/api/x",
    "/api/",
    "/api",
    "/api/v1/things/7?page=2",
    "/api/v1/things/7?page=2",
    "/apix",
    "/files/a/b",
    "/other",
    "/%C3%B3/x",
    "/%61pi/x",
    "/api/a%20b",
    "/api//x",
    "//api/x",
    "/api/v1//x",
    "/api/../x",
    "/api/%2e%2e/x",
    "/api/.",
    "/api/a%2Fb",
    "/api%2Fx",
    "/files/a%252Fb",
    "/files/a%25252fb",
    "/api/%5Cx",
    "/api/%00",
    "/api/x;v=1",
    "/api;x/v1/y",
    "/api/%zz",
    "/api/%ff",
    "/ä",
    "/api/x?ä",
    "/api/a b",
    "/api/x?a=%2F..&b=//",
    "/api/{x}",
    "/gettoken/",
    "/gettoken",
    "/api/login",
    "/auth/login/",
    "/auth/account/?next=/x",
    "/auth//login/",
    "/gettoken%2F",
    "/files/this/path/is/longer/than/the/limit/of/some",
    "http://one.test/api/x",
    "*",
    "?x",
];

/// Lines that are the same in every request.
const LINES: [&str; 34] = [
    "Accept: text/html",
    "X-Trace-Id: 7",
    "X-User-Id: 1",
    "X_User_Name: root",
    "x-user.email: root@x",
    "X-Forwarded-For: 10.0.0.1",
    "X-Forwarded-Proto: https",
    "Forwarded: for=10.0.0.1",
    "Remote-User: root",
    "Remote-User-X: root",
    "X-Auth-Request-User: root",
    "X-Tokengate-Assertion: x",
    "X-Request-Id: mine",
    "Connection: X-Trace-Id",
    "Connection: close, x-user-id",
    "Connection: Content-Length",
    "Keep-Alive: 5",
    "Proxy-Authorization: Basic YTpi",
    "TE: trailers",
    "Content-Length: 5",
    "Content-Length: 5",
    "Content-Length: 0",
    "Content-Length: 5, 5",
    "Content-Length: +5",
    "Content-Length: 999999999999",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Expect: 100-continue",
    "Expect: miracles",
    "Upgrade: websocket",
    "Cookie: a=b; c=d",
    "X-Name: \u{e9}",
    "X Name: y",
    "Host: two.test",
];

/// A request for one of the listeners.
pub fn request(dice: &mut Dice, keys: &Keys, ports: &dyn Fn(&str) -> u16, from: IpAddr) -> SampleRequest {
    let (listener, secure) = match dice.below(12) {
        0 => ("closed", false),
        1 => ("public", false),
        2..=4 => ("public", true),
        _ => ("plain", false),
    };
    let host = match secure {
        true => dice.one_of(&["one.test", "a.wild.test", "localhost", "two.test"]),
        false => dice.one_of(&["one.test", "a.wild.test", "b.a.wild.test", "ONE.test.", "127.0.0.1", "else", "a@b"]),
    };
    let port = ports(listener);
    let authority = if dice.once_in(4) { host.to_owned() } else { format!("{host}:{port}") };
    // Most requests are ordinary in most respects; otherwise nearly all would be refused.
    let is_odd = dice.once_in(3);
    let mut headers = Vec::new();
    for _ in 0..dice.below(4) {
        headers.push(dice.one_of(if is_odd { &LINES } else { &LINES[..ORDINARY_LINES] }).to_owned());
    }
    if dice.once_in(6) {
        headers.push(dice.one_of(&["Content-Length: 5", "Transfer-Encoding: chunked"]).to_owned());
    }
    let scheme = if secure { "https" } else { "http" };
    if is_odd {
        credentials(dice, keys, &format!("{scheme}://{authority}"), &mut headers);
    } else if !dice.once_in(6) {
        headers.push(format!("Authorization: Token {}", dice.one_of(&keys.tokens[..VALID_TOKENS])));
    }
    if dice.once_in(30) {
        headers.extend((0..8).map(|number| format!("X-More-{number}: y")));
    }
    SampleRequest {
        method: dice.one_of(if is_odd { &METHODS } else { &METHODS[..ORDINARY_METHODS] }).to_owned(),
        secure,
        authority,
        port,
        target: {
            let targets = if dice.once_in(3) { &TARGETS } else { &TARGETS[..ORDINARY_TARGETS] };
            dice.one_of(targets).to_owned()
        },
        headers,
        from,
        // By its port, or by its name.
        listener: dice.once_in(2).then(|| listener.to_owned()),
    }
}

fn credentials(dice: &mut Dice, keys: &Keys, origin: &str, headers: &mut Vec<String>) {
    let token = dice.one_of(&keys.tokens);
    match dice.below(16) {
        0..=5 => headers.push(format!("Authorization: {} {token}", dice.one_of(&["Token", "token", "Bearer"]))),
        6 => headers.push(format!("Authorization: Token token=\"{token}\"")),
        7 => headers.push(format!("authorization: Basic {token}")),
        8 => headers.extend([format!("Authorization: Token {token}"), "Authorization: Basic YTpi".to_owned()]),
        9 => headers
            .push(dice.one_of(&["Authorization: Token", "Authorization: Token a b", "Authorization:"]).to_owned()),
        _ => {}
    }
    if dice.once_in(4) {
        let session = dice.one_of(&keys.sessions);
        headers.push(format!("Cookie: x=y; __Host-tokengate-sessionid={session}"));
        if dice.once_in(2) {
            headers.push(format!("Origin: {}", dice.one_of(&[origin, origin, "https://evil.test"])));
        }
        if let (true, Ok(key)) = (dice.once_in(2), ShownKey::parse_session(&session)) {
            headers.push(format!("X-CSRFToken: {}", CsrfSecret::of_session(key).expose()));
        }
    }
}

/// The settings with the addresses that the listeners really have.
pub fn placed(settings: &Settings, ports: &dyn Fn(&str) -> u16) -> Arc<Settings> {
    let mut settings = settings.clone();
    for listener in &mut settings.listeners {
        assert!(!matches!(listener.role, ListenerRole::Internal { .. }));
        listener.address.set_port(ports(&listener.name));
    }
    Arc::new(settings)
}
