//! One table of requests, for the gateway itself and for each proxy that asks it.

use std::time::Duration;

use tokengate::config::settings::{Admission, Auth, MethodScopes, RateFact, RateKey, Route, Settings};
use tokengate::token::{Networks, ScopeSet};

use crate::rates::{one, rate};
use crate::support::gateway::route;
use crate::support::{Ask, Gateway};

/// The keys of one side. The two sides have different ones, so that each has rates of its own.
pub struct Keys {
    good: String,
    reader: String,
    writer: String,
    admin: String,
    member: String,
    revoked: String,
    expired: String,
    inactive: String,
    limited: String,
}

impl Keys {
    pub async fn issue(gateway: &Gateway, side: &str) -> Keys {
        let former = format!("former-{side}");
        let clock = gateway.clock();
        let named = async |user: &str, scopes: &str| gateway.issue_named(user, scopes, None, &clock).await;
        let keys = Keys {
            good: named("alice", "").await,
            reader: named("alice", "read").await,
            writer: named("alice", "read write").await,
            admin: named("alice", "admin").await,
            member: named("bob", "").await,
            revoked: named("alice", "").await,
            expired: gateway.issue_named("alice", "", Some(Duration::from_secs(60)), &clock).await,
            inactive: named(&former, "").await,
            limited: named("alice", "").await,
        };
        gateway.revoke(&keys.revoked).await;
        let bob = gateway.user("bob").await;
        gateway.store.accounts.set_groups(bob, &["staff".to_owned()]).await.unwrap();
        let former = gateway.user(&former).await;
        gateway.store.accounts.deactivate(former).await.unwrap();
        keys
    }
}

/// The routes of the table.
pub fn routes(settings: &mut Settings) {
    let admission = |name: &str, admission| Route { admission, ..route(name, &format!("/{name}/"), Auth::Required) };
    let none = Admission::default;
    let limited =
        |name: &str, auth, rate: &str| Route { rates: vec![rate.into()], ..route(name, &format!("/{name}/"), auth) };
    let scopes = |text| ScopeSet::parse(text).unwrap();
    let method_scopes = MethodScopes::new(vec![("GET".parse().unwrap(), scopes("read"))], scopes("write"));
    settings.routes.extend([
        admission("methods", Admission { method_scopes, ..none() }),
        admission("members", Admission { groups: vec!["staff".to_owned()], ..none() }),
        // The clients of the table, but not the proxies.
        admission(
            "near",
            Admission {
                allow_ips: Networks::parse("127.0.0.0/8").unwrap(),
                deny_ips: Networks::parse("127.0.0.1").unwrap(),
                ..none()
            },
        ),
        admission("far", Admission { allow_ips: Networks::parse("10.0.0.0/8").unwrap(), ..none() }),
        limited("limited", Auth::Required, "per-token"),
        limited("open", Auth::None, "per-address"),
    ]);
    let rule = |name: &str, key: RateKey| rate(name, key, "1/d", 1);
    settings.rates = vec![rule("per-token", one(RateFact::Token)), rule("per-address", one(RateFact::Address))];
}

/// One request.
pub struct Case {
    pub ask: Ask,
    /// Statuses that a proxy may give instead of that of the gateway, because it judges before it asks.
    pub or: &'static [(&'static str, &'static [u16])],
}

/// The request.
fn case(ask: Ask) -> Case {
    Case { ask, or: &[] }
}

/// A request that these proxies may answer in their own way.
fn or(ask: Ask, or: &'static [(&'static str, &'static [u16])]) -> Case {
    Case { ask, or }
}

/// The requests that are asked while the store answers.
pub fn cases(keys: &Keys) -> Vec<Case> {
    let get = Ask::get;
    let post = |target: &str| Ask::post(target, "body");
    let api = || get("/api/x");
    let good = |ask: Ask| ask.token(&keys.good);
    let mut cases = Vec::new();
    // Tokens.
    cases.extend([
        case(api()),
        case(good(api())),
        case(api().token(&keys.revoked)),
        case(api().token(&keys.expired)),
        case(api().token(&keys.inactive)),
        case(api().token("0123456789012345678901234567890123456789")),
        case(api().token(&"a".repeat(256))),
        case(api().field("Authorization", format!("token {}", keys.good))),
        case(api().field("Authorization", format!("Bearer {}", keys.good))),
        case(api().field("Authorization", "Token")),
        case(api().field("Authorization", "Token a b")),
        case(api().field("Authorization", "Basic YWxpY2U6eA==")),
        case(get("/public/x")),
        case(good(get("/public/x"))),
        case(get("/public/x").token(&keys.revoked)),
        case(get("/optional/x")),
        case(good(get("/optional/x"))),
        case(get("/optional/x").token(&keys.revoked)),
        case(get("/nowhere/x")),
        case(good(get("/nowhere/x"))),
    ]);
    // Scopes, groups, addresses, methods.
    cases.extend([
        case(good(get("/scoped/x"))),
        case(get("/scoped/x").token(&keys.admin)),
        case(get("/methods/x").token(&keys.reader)),
        case(Ask::new("HEAD", "/methods/x").token(&keys.reader)),
        case(post("/methods/x").token(&keys.reader)),
        case(post("/methods/x").token(&keys.writer)),
        case(good(get("/members/x"))),
        case(get("/members/x").token(&keys.member)),
        case(good(get("/near/x"))),
        case(good(get("/far/x"))),
        case(good(get("/far/x").field("X-Forwarded-For", "10.0.0.1"))),
        case(good(get("/far/x").field("X-Real-IP", "10.0.0.1").field("Forwarded", "for=10.0.0.1"))),
        case(good(post("/api/x"))),
        case(post("/api/x")),
        case(good(Ask { method: "PUT".to_owned(), ..post("/api/x") })),
        case(good(Ask { method: "PATCH".to_owned(), ..post("/api/x") })),
        case(good(Ask::new("DELETE", "/api/x"))),
        or(Ask::new("HEAD", "/api/x"), &[("envoy", &[401])]),
        case(Ask::new("OPTIONS", "/api/x")),
        or(good(Ask::new("BREW", "/api/x")), &[("envoy", &[400])]),
        or(good(Ask::new("TRACE", "/api/x")), &[("nginx", &[405]), ("caddy", &[405, 502])]),
    ]);
    // Rates: the second request is one too many, whatever it claims.
    for _ in 0..2 {
        cases.push(case(get("/limited/x").token(&keys.limited)));
    }
    cases.extend([
        case(get("/open/x")),
        case(get("/open/x")),
        case(get("/open/x").field("X-Forwarded-For", "10.0.0.1")),
    ]);
    // Forged identity headers.
    for (name, value) in
        [("X-User-Id", "1"), ("X-User-Name", "root"), ("X-Token-Scopes", "root"), ("X-Auth-Method", "session")]
    {
        cases.push(case(get("/public/x").field(name, value)));
        cases.push(case(good(api().field(name, value))));
    }
    for name in ["X_User_Id", "X_User-Name", "X_AUTH_METHOD"] {
        cases.push(or(get("/public/x").field(name, "root"), &[("traefik", &[400])]));
    }
    for name in ["X.User.Id", "XUserId"] {
        cases.push(or(
            good(api().field(name, "root")),
            &[("traefik", &[400]), ("caddy", &[400]), ("nginx", &[200, 400])],
        ));
    }
    cases.push(case(good(api().field("X-User-Id", "1").field("X-User-Id", "2"))));
    // Proxies keep `Connection` to themselves.
    cases.push(or(
        good(api().field("Connection", "close, X-User-Id")),
        &[("nginx", &[200]), ("caddy", &[200]), ("traefik", &[200]), ("envoy", &[200])],
    ));
    // Forged descriptions of the request.
    let public = "/public/x";
    cases.extend([
        case(api().field("X-Forwarded-Uri", public)),
        case(api().field("X-Forwarded-Uri", public).field("X-Forwarded-Uri", public)),
        case(api().field("X_Forwarded_Uri", public)),
        case(api().field("X-Original-URL", public).field("X-Original-URI", public).field("X-Rewrite-URL", public)),
        case(api().field("X-Forwarded-Host", "other.test").field("X-Forwarded-Proto", "https")),
        case(api().field("X-Tokengate-Status", "200").field("X-Envoy-Auth-Headers-To-Remove", "x")),
        case(post("/methods/x").token(&keys.reader).field("X-Forwarded-Method", "GET")),
        case(post("/methods/x").token(&keys.reader).field("X-HTTP-Method-Override", "GET")),
    ]);
    // Paths that servers read differently.
    let clean: &[(&str, &[u16])] = &[("traefik", &[401]), ("caddy", &[401])];
    for target in ["/public/../api/x", "/public/./../api/x", "/public/%2e%2e/api/x", "/public/x/..%2f../api/x"] {
        cases.push(or(get(target), clean));
    }
    for target in [
        "/public//x",
        "//public/x",
        "/public/a%2Fb",
        "/public/a%5Cb",
        "/public/%252e%252e/api/x",
        "/public/%00",
        "/public/a\\b",
    ] {
        cases.push(or(get(target), &[("traefik", &[200, 400, 401]), ("caddy", &[200, 400, 401]), ("nginx", &[400])]));
    }
    cases.extend([
        case(get("/public/..;/api/x")),
        case(get("/%61pi/x")),
        or(good(get("/%61pi/x")), &[("traefik", &[200])]),
        case(get("/PUBLIC/x")),
        case(get("/public/a%20b?x=%2F..%2F&y=//")),
        case(get("/apix")),
        case(get("/public/x?X-Forwarded-Uri=/public/x")),
        case(get("http://localhost/public/x")),
        case(get("http://localhost/api/x")),
    ]);
    // Other kinds of requests, and the paths of the questions themselves.
    cases.extend([
        case(post("/api/x").field("Content-Type", "application/json")),
        case(
            Ask::new("OPTIONS", "/api/x")
                .field("Origin", "https://a.test")
                .field("Access-Control-Request-Method", "GET"),
        ),
        case(get("/forward-auth")),
        case(get("/auth-request")),
        case(get("/ext-authz/public/x")),
        or(get("/tokengate-auth"), &[("nginx", &[404])]),
    ]);
    cases
}

/// Requests that are asked while the store is away.
pub fn during_an_outage(keys: &Keys, fresh: &str) -> Vec<Case> {
    vec![
        case(Ask::get("/api/x").token(&keys.good)),
        case(Ask::get("/api/x").token(fresh)),
        case(Ask::get("/api/x").token("0123456789012345678901234567890123456789")),
        case(Ask::get("/public/x")),
        case(Ask::get("/api/x")),
    ]
}
