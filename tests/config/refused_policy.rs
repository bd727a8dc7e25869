//! Invalid rates, rules about callers, proxies and origins, each with all its errors.

use tokengate::config::settings::{CorsOrigins, ForwardedFamily, RateBackend};

use super::Folder;
use super::refused::{BASE, each_is_refused};

const ROUTE: &str = "[routes.a] | path = \"/a\" | upstream = \"base\"";

#[test]
fn invalid_rates_are_refused() {
    each_is_refused(&[
        (
            "[rates.a] | key = \"ip\" | rate = \"5\" | burst = 0 | backend = \"memory\" | max_keys = 1",
            "2: rates.a.key: `ip` is not what a rate can count by; write \"token\", \"user\", \"address\" or \"route\", or two of \
             them such as \"user+route\" | 3: rates.a.rate: `5` is not a rate; write a number and one of the units /s, /min, /h \
             and /d, as in \"5/min\" | 4: rates.a.burst: `0` is out of bounds; write a whole number from 1 to 4294967295 | \
             5: rates.a.backend: `memory` is not supported here; write \"local\" or \"redis\" | 6: rates.a.max_keys: `1` is out of \
             bounds; write a whole number from 1000 to 100000000",
        ),
        (
            "[rates.a] | key = \"user+user\" | rate = \"5/s\" | [rates.b] | key = \"a+b+c\" | rate = \"5/s\"",
            "2: rates.a.key: `user+user` is not what a rate can count by; write \"token\", \"user\", \"address\" or \"route\", or two \
             of them such as \"user+route\" | 5: rates.b.key: `a+b+c` is not what a rate can count by; write \"token\", \"user\", \
             \"address\" or \"route\", or two of them such as \"user+route\"",
        ),
        (
            "[rates.a] | key = \"user\" | rate = \"5/s\" | backend = \"redis\" | [rates.b] | key = \"user\" | rate = \"5/s\" | gateways = 2",
            "4: rates.a.backend: `redis` needs the address of a Redis server; add [cache.redis] with `url` | \
             8: rates.b.gateways: only gateways with `backend = \"redis\"` count together; remove it",
        ),
        (
            "[rates.\"a b\"] | key = \"user\" | rate = \"5/s\"",
            "1: rates.a b: a rate has a name that a header cannot contain; use letters, digits, `-`, `_` and `.`",
        ),
        (
            &format!("{ROUTE} | rates = [\"quick\"] | [rates.quik] | key = \"user\" | rate = \"5/s\""),
            "4: routes.a.rates: `quick` is not the name of any rate in this file; did you mean `quik`?",
        ),
    ]);
}

#[test]
fn invalid_quotas_are_refused() {
    let what = "quotas count requests of tokens and users, and requests on this route can have neither; use `auth = \
                \"required\"` without a portal, or a rate with `key = \"address\"`";
    each_is_refused(&[
        (
            "[quotas.a] | key = \"address\" | limit = 0 | period = \"week\" | max_keys = 1",
            "2: quotas.a.key: `address` is not what a quota can count by; write \"token\", \"user\" or \"route\", or two of them \
             such as \"user+route\" | 3: quotas.a.limit: `0` is out of bounds; write a whole number from 1 to 999999999999999 | \
             4: quotas.a.period: `week` is not supported here; write \"day\" or \"month\" | 5: quotas.a.max_keys: `1` is out of \
             bounds; write a whole number from 1000 to 1000000",
        ),
        (
            "[rates.a] | key = \"user\" | rate = \"5/s\" | [quotas.a] | key = \"user\" | limit = 5 | period = \"day\"",
            "4: quotas.a: a rate has this name too; use another name: clients see both in one header",
        ),
        (
            "[quotas.\"a b\"] | key = \"user+address\" | limit = 5 | period = \"day\"",
            "1: quotas.a b: a quota has a name that a header cannot contain; use letters, digits, `-`, `_` and `.` | \
             2: quotas.a b.key: `user+address` is not what a quota can count by; write \"token\", \"user\" or \"route\", or two of \
             them such as \"user+route\"",
        ),
        (
            &format!(
                "{ROUTE} | auth = \"optional\" | quotas = [\"daily\", \"dayly\"] | [quotas.daily] | key = \"user\" | limit = 5 | period = \"day\""
            ),
            &format!(
                "5: routes.a.quotas: `dayly` is not the name of any quota in this file; did you mean `daily`? | 5: routes.a.quotas: {what}"
            ),
        ),
    ]);
}

#[test]
fn invalid_rules_about_callers_are_refused() {
    let scopes = "scopes need a required token; use `auth = \"required\"`, or remove the table";
    each_is_refused(&[
        (
            &format!(
                "{ROUTE} | allow_ips = [\"10.0.0.0/8\", \"here\"] | deny_ips = [\"10.0.0.1/33\"] | groups = [\"\"]"
            ),
            "4: routes.a.allow_ips: `here` is not a network; write an address or a network such as \"10.0.0.0/8\" or \
             \"2001:db8::/32\" | 5: routes.a.deny_ips: `10.0.0.1/33` is not a network; write an address or a network such as \
             \"10.0.0.0/8\" or \"2001:db8::/32\" | 6: routes.a.groups: `` is not the name of a group; write a name such as \"staff\"",
        ),
        (
            &format!("{ROUTE} | method_scopes = {{ GET = [\"read\"] }}"),
            "4: routes.a.method_scopes: does not say what other methods need; add `other = [\"SCOPE\"]`, or `other = \"none\"` if \
             all other methods need no scope",
        ),
        (
            &format!("{ROUTE} | auth = \"none\" | groups = [\"staff\"] | method_scopes = {{ other = [\"read\"] }}"),
            &format!(
                "5: routes.a.groups: groups need a required token; use `auth = \"required\"`, or remove the groups | \
                 6: routes.a.method_scopes: {scopes}"
            ),
        ),
    ]);
}

#[test]
fn invalid_origins_are_refused() {
    let example = "write one such as \"https://app.example.com\" or \"http://localhost:3000\"";
    let refused = |origin: &str, what: &str| {
        let fragment = format!("{ROUTE} | [routes.a.cors] | origins = [\"{origin}\"]");
        each_is_refused(&[(&fragment, &format!("5: routes.a.cors.origins: `{origin}` {what}"))]);
    };
    for (origin, what) in [
        ("app.example.com", format!("is not an origin; {example}")),
        ("null", format!("is not an origin; {example}")),
        ("ftp://a.test", format!("has a scheme other than http and https; {example}")),
        ("https://a.test/", format!("contains more than scheme, host and port; {example}")),
        ("https://*.a.test", format!("has no valid host; {example}")),
        ("https://a.test:0", format!("has no valid port; {example}")),
        ("https://A.test", "is not in lower case; write \"https://a.test\"".to_owned()),
        (
            "https://a.test:443",
            "has the port of its scheme, which browsers leave out; write \"https://a.test\"".to_owned(),
        ),
    ] {
        refused(origin, &what);
    }
    each_is_refused(&[
        (
            &format!("{ROUTE} | [routes.a.cors] | origins = [\"*\"] | credentials = true"),
            "6: routes.a.cors.credentials: every site could act with the cookies of your users: `origins` is `*`; list the \
             origins, or remove `credentials`",
        ),
        (
            &format!("{ROUTE} | [routes.a.cors] | origins = [\"*\", \"https://a.test\"]"),
            "5: routes.a.cors.origins: `*` stands for all origins; remove the others, or `*`",
        ),
        (
            &format!("{ROUTE} | [routes.a.cors] | max_age = \"5m\""),
            "4: routes.a.cors.origins: missing; add `origins = [\"https://app.example.com\"]`",
        ),
    ]);
}

#[test]
fn a_proxy_must_be_named_to_be_trusted() {
    let listener = "[listeners.a] | address = \"127.0.0.1:1\" | plaintext = \"serve\"";
    let mend = "no proxy is trusted; add `trusted_proxies` with the addresses of the proxies, such as [\"10.0.0.0/8\"]";
    each_is_refused(&[
        (
            &format!("{listener} | proxy_protocol = true | forwarded_header = \"forwarded\""),
            &format!("4: listeners.a.proxy_protocol: {mend} | 5: listeners.a.forwarded_header: {mend}"),
        ),
        (
            "[listeners.a] | address = \"127.0.0.1:1\" | services = [\"health\"] | trusted_proxies = [\"10.0.0.1\"]",
            "4: listeners.a.trusted_proxies: is only allowed together with `certificates` or `plaintext`; remove it",
        ),
    ]);
    let folder = Folder::new();
    let everybody = format!("{listener} | trusted_proxies = [\"0.0.0.0/0\"]").replace(" | ", "\n");
    let warnings = folder.warnings(&format!("{everybody}{BASE}"));
    assert_eq!(
        warnings,
        [
            "gateway.toml:4: listeners.a.trusted_proxies: every client can choose the address that it seems to come from; list \
          the addresses of the proxies only"
        ]
    );
}

#[test]
fn a_listener_for_questions_of_proxies_names_them_and_does_nothing_else() {
    let listener = "[listeners.a] | address = \"127.0.0.1:1\" | services = [\"forward-auth\"]";
    let proxies = "trusted_proxies = [\"10.0.0.1\"]";
    each_is_refused(&[
        (
            listener,
            "3: listeners.a.services: `forward-auth` answers known proxies only; add `trusted_proxies` with the addresses of \
             the proxies that ask, such as [\"127.0.0.1\"]",
        ),
        (
            &format!("{} | {proxies}", listener.replace(']', ", \"health\"]").replace(".a, \"health\"]", ".a]")),
            "3: listeners.a.services: `forward-auth` needs a listener of its own; make one listener for each",
        ),
        (
            &format!("{listener} | {proxies} | plaintext = \"serve\""),
            "1: listeners.a: only one of `certificates`, `plaintext` and `services` is allowed; make one listener for each",
        ),
        (
            &format!("{listener} | {proxies} | proxy_protocol = true | forwarded_header = \"forwarded\""),
            "5: listeners.a.proxy_protocol: has no effect on questions of proxies; remove it | \
             6: listeners.a.forwarded_header: has no effect on questions of proxies; remove it",
        ),
        (
            &format!("{listener} | {proxies} | exposed_token = \"mark\" | hsts = \"off\""),
            "5: listeners.a.exposed_token: is only allowed together with `certificates` or `plaintext`; remove it | \
             6: listeners.a.hsts: is only allowed together with `certificates`; remove it",
        ),
    ]);
    let folder = Folder::new();
    let foreign = format!("{listener} | trusted_proxies = [\"192.0.2.1\"]").replace(" | ", "\n");
    assert_eq!(
        folder.warnings(&format!("{foreign}{BASE}")),
        [
            "gateway.toml:3: listeners.a.services: tokens come unencrypted from 192.0.2.1, which is neither a loopback nor a \
          private address; add `certificates`, so that proxies ask over HTTPS"
        ]
    );
    let settings = folder.settings(&format!("{}{BASE}", format!("{listener} | {proxies}").replace(" | ", "\n")));
    let listener = settings.listeners.iter().find(|listener| listener.name == "a").unwrap();
    assert!(listener.forward_auth && listener.trust.proxies.is_some());
}

#[test]
fn a_portal_decides_alone_and_last() {
    let portal = "[portals.sso] | upstream = \"base\" | path = \"/verify\"";
    let route = "[routes.a] | path = \"/a\" | upstream = \"base\" | portal = \"sso\"";
    each_is_refused(&[
        (
            &format!("{portal} | {route}"),
            "7: routes.a.portal: this route does not ask a portal; add \"portal\" to `credentials`, or remove it",
        ),
        (
            "[routes.a] | path = \"/a\" | upstream = \"base\" | credentials = [\"token\", \"portal\"]",
            "4: routes.a.credentials: names no portal; add `portal = \"NAME\"`: one of [portals]",
        ),
        (
            &format!("{portal} | {route} | credentials = [\"portal\", \"token\"]"),
            "8: routes.a.credentials: the portal is asked last, about requests without other credentials; write `credentials = \
             [\"token\", \"portal\"]`",
        ),
        (
            &format!("{portal} | {route} | credentials = [\"token\", \"portal\"] | scopes = [\"read\"]"),
            "8: routes.a.credentials: users of a portal have neither scopes nor groups here; let the portal decide who may use \
             the route, and put `scopes` and `groups` on a route for tokens",
        ),
        (
            &format!("{portal} | {route} | credentials = [\"token\", \"portal\"] | auth = \"optional\""),
            "8: routes.a.credentials: a portal decides about required credentials; use `auth = \"required\"`",
        ),
        (
            &format!(
                "{portal} | headers = [\"X-User-Id\", \"Cookie\"] | {route} | credentials = [\"token\", \"portal\"]"
            ),
            "4: portals.sso.headers: `X-User-Id` is set by the gateway itself; remove it, or rename it in [identity.headers] | \
             4: portals.sso.headers: `Cookie` has another meaning; choose a name of your own, such as \"X-User-Name\"",
        ),
    ]);
    let text = format!("{portal} | headers = [\"Remote-User\"] | {route} | credentials = [\"token\", \"portal\"]");
    let settings = Folder::new().settings(&format!("{}{BASE}", text.replace(" | ", "\n")));
    let route = settings.routes.iter().find(|route| &*route.name == "a").unwrap();
    let portal = route.portal.as_ref().unwrap();
    assert_eq!(
        (portal.headers[0].as_str(), portal.path.as_str(), portal.timeout.as_secs()),
        ("remote-user", "/verify", 5)
    );
}

#[test]
fn valid_rules_are_read() {
    let text = "[listeners.a] | address = \"127.0.0.1:1\" | plaintext = \"serve\" | trusted_proxies = [\"10.0.0.0/8\"] | \
        forwarded_header = \"forwarded\" | proxy_protocol = true | [cache.redis] | url = \"redis://h:1\" | \
        [rates.r] | key = \"user+route\" | rate = \"600/min\" | burst = 50 | backend = \"redis\" | gateways = 3 | \
        [quotas.q] | key = \"user\" | limit = 10_000 | period = \"month\" | \
        [routes.a] | path = \"/a\" | upstream = \"base\" | rates = [\"r\"] | quotas = [\"q\"] | groups = [\"staff\"] | allow_ips = [\"::1\"] | \
        method_scopes = { GET = \"none\", other = [\"write\"] } | cors = { origins = [\"*\"] }";
    let settings = Folder::new().settings(&format!("{}{BASE}", text.replace(" | ", "\n")));
    let listener = settings.listeners.iter().find(|listener| listener.name == "a").unwrap();
    assert!(listener.trust.protocol && listener.trust.family == ForwardedFamily::Forwarded);
    assert_eq!((settings.rates[0].burst, settings.rates[0].backend), (50, RateBackend::Redis { gateways: 3 }));
    assert_eq!(settings.rates[0].key.to_string(), "user+route");
    let route = settings.routes.iter().find(|route| &*route.name == "a").unwrap();
    assert_eq!(route.rates.iter().map(|rate| &**rate).collect::<Vec<_>>(), ["r"]);
    assert_eq!(route.quotas.iter().map(|quota| &**quota).collect::<Vec<_>>(), ["q"]);
    assert_eq!(settings.quotas[0].to_string(), "q (10000 in a month for each user)");
    let scopes = |method: http::Method| route.admission.method_scopes.of(&method).to_string();
    assert_eq!((scopes(http::Method::GET), scopes(http::Method::PUT)), (String::new(), "write".to_owned()));
    assert_eq!(route.cors.as_ref().unwrap().origins, CorsOrigins::Any);
}
