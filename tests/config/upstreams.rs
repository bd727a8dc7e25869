//! `[upstreams]`: what its keys mean, and which values are refused.

use std::time::Duration;

use tokengate::config::settings::{Balance, Ejection, HostHeader};

use super::Folder;
use super::refused::BASE;
use crate::support::authority::Authority;

/// A file whose only upstream has these lines.
fn with(endpoints: &str, lines: &str) -> String {
    let begin = "endpoints = [\"http://127.0.0.1:8000\"]";
    assert!(BASE.contains(begin));
    BASE.replace(begin, &format!("endpoints = [{endpoints}]\n{lines}"))
}

#[test]
fn tls_towards_endpoints_is_read_with_its_files() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let client = authority.issue("client", &[]);
    let files = (authority.file(), client.cert_file, client.key_file);
    let table = format!(
        "tls = {{ ca_file = \"{}\", client_cert_file = \"{}\", client_key_file = \"{}\", server_name = \"app.test\", \
         min_version = \"1.3\" }}",
        files.0.display(),
        files.1.display(),
        files.2.display()
    );
    let settings = folder.settings(&with("\"https://10.0.0.1:8443\", \"http://10.0.0.1:80\"", &table));
    let upstream = &settings.upstreams[0];
    let tls = upstream.tls.as_ref().unwrap();
    assert_eq!(tls.files().collect::<Vec<_>>(), [&files.0, &files.1, &files.2]);
    assert_eq!(tls.server_name.as_ref().unwrap().to_str(), "app.test");
    assert!(!tls.tls12 && tls.authorities.roots().len() == 1);
    let names = upstream.endpoints.iter().map(|endpoint| Some(endpoint.tls.as_ref()?.to_str().into_owned()));
    assert_eq!(names.collect::<Vec<_>>(), [Some("10.0.0.1".to_owned()), None]);
    // Without a table, the CAs of the system.
    let settings = folder.settings(&with("\"https://app.test:443\"", ""));
    assert!(settings.upstreams[0].tls.as_ref().unwrap().authorities.roots().len() > 1);
    assert!(folder.settings(BASE).upstreams[0].tls.is_none());
}

#[test]
fn tls_without_an_endpoint_for_it_or_with_wrong_files_is_refused() {
    let folder = Folder::new();
    for (endpoints, table, what) in [
        ("http://a:1", "server_name = \"b\"", "no endpoint uses TLS; write https:// in `endpoints`, or remove this"),
        ("https://a:1", "server_name = \"b c\"", "`b c` is neither a host name nor an IP address"),
        ("https://a:1", "ca_file = \"no.pem\"", "no.pem: cannot be read"),
        ("https://a:1", "ca_file = \"certs/dev-key.pem\"", "contains a private key, not a certificate"),
        (
            "https://a:1",
            "client_cert_file = \"certs/dev-cert.pem\"",
            "is only one of the two files; add `client_key_file`",
        ),
        (
            "https://a:1",
            "client_key_file = \"certs/dev-key.pem\"",
            "is only one of the two files; add `client_cert_file`",
        ),
        ("https://a:1", "min_version = \"1.1\"", "`1.1` is not supported here; did you mean `1.2`?"),
    ] {
        let errors = folder.errors(&with(&format!("\"{endpoints}\""), &format!("tls = {{ {table} }}")));
        assert!(errors.len() == 1 && errors[0].contains(what), "{table}: {errors:?}");
    }
}

#[test]
fn requests_that_cross_foreign_networks_unencrypted_are_a_warning() {
    let folder = Folder::new();
    for (endpoint, is_foreign) in [
        ("http://127.0.0.1:1", false),
        ("http://[::1]:1", false),
        ("http://10.1.2.3:1", false),
        ("http://172.31.0.1:1", false),
        ("http://192.168.0.1:1", false),
        ("http://169.254.0.1:1", false),
        ("http://100.127.0.1:1", false),
        ("http://[fd00::1]:1", false),
        ("http://[fe80::1]:1", false),
        ("http://[::ffff:10.0.0.1]:1", false),
        ("unix:/run/app.sock", false),
        ("https://203.0.113.7:1", false),
        ("http://203.0.113.7:1", true),
        ("http://172.32.0.1:1", true),
        ("http://100.128.0.1:1", true),
        ("http://[2001:db8::1]:1", true),
        ("http://[::ffff:203.0.113.7]:1", true),
    ] {
        let warnings = folder.warnings(&with(&format!("\"{endpoint}\""), ""));
        let warned = warnings.iter().any(|warning| warning.contains("go unencrypted to"));
        assert_eq!(warned, is_foreign, "{endpoint}: {warnings:?}");
    }
}

#[test]
fn a_host_header_is_a_word_or_a_host() {
    let folder = Folder::new();
    let with =
        |value: &str| format!("[routes.a]\npath = \"/a\"\nupstream = \"base\"\nhost_header = \"{value}\"\n{BASE}");
    let name = |text: &'static str| HostHeader::Name(http::HeaderValue::from_static(text));
    for (value, header) in [
        ("keep", HostHeader::Keep),
        ("upstream", HostHeader::Upstream),
        ("app.internal", name("app.internal")),
        ("app.internal:8080", name("app.internal:8080")),
        ("[::1]:80", name("[::1]:80")),
    ] {
        assert_eq!(folder.settings(&with(value)).routes[0].host_header, header, "{value}");
    }
    for value in ["", "a b", "http://a", "a/b", "u@a", "a:", "a:x", "*.a"] {
        let errors = folder.errors(&with(value));
        assert!(errors.len() == 1 && errors[0].contains("is not a host"), "{value}: {errors:?}");
    }
}

#[test]
fn health_and_balancing_have_the_configured_values() {
    let folder = Folder::new();
    let defaults = &folder.settings(BASE).upstreams[0];
    assert_eq!((defaults.balance, defaults.max_waiting), (Balance::LeastRequests, 1_000));
    assert_eq!((defaults.health_check.as_ref(), defaults.ejection), (None, Some(Ejection::default())));
    assert_eq!((defaults.wait_timeout, defaults.slow_start), (Duration::from_secs(5), Duration::from_secs(10)));
    let lines = "balance = \"hash:user_id\"\nmax_connections = 7\nconnect_timeout = \"3s\"\nslow_start = \"off\"\n\
                 health_check = { path = \"/healthz?x\", host = \"h.test\", status = \"204\", every = \"1s\", unhealthy = 9 }\n\
                 ejection = { consecutive_errors = 3, eject_for = \"1m\", max_ejected = \"100%\" }";
    let upstream = &folder
        .settings(&with("\"http://a:1 weight=3\", \"unix:a.sock weight=20\", \"http://b:1\"", lines))
        .upstreams[0];
    assert_eq!(upstream.endpoints.iter().map(|endpoint| endpoint.weight).collect::<Vec<_>>(), [3, 20, 1]);
    assert_eq!((upstream.balance, upstream.max_waiting), (Balance::HashUser, 7));
    assert_eq!((upstream.wait_timeout, upstream.slow_start), (Duration::from_secs(3), Duration::ZERO));
    let check = upstream.health_check.as_ref().unwrap();
    assert_eq!((check.path.to_string(), check.status.clone()), ("/healthz?x".to_owned(), 204..=204));
    assert_eq!((check.every, check.timeout), (Duration::from_secs(1), Duration::from_secs(2)));
    assert_eq!((check.healthy, check.unhealthy), (2, 9));
    let rule = Ejection { consecutive_errors: 3, eject_for: Duration::from_secs(60), max_ejected: 100 };
    assert_eq!(upstream.ejection, Some(rule));
    let off = folder.settings(&with("\"http://a:1\"", "ejection = { consecutive_errors = \"off\" }"));
    assert_eq!(off.upstreams[0].ejection, None);
}

#[test]
fn wrong_values_of_health_and_balancing_are_refused() {
    let folder = Folder::new();
    for (lines, what) in [
        ("balance = \"random\"", "`random` is not supported here"),
        ("ejection = { max_ejected = \"half\" }", "`half` is not a percentage; write \"0%\" to \"100%\""),
        ("ejection = { max_ejected = \"101%\" }", "`101%` is not a percentage"),
        ("ejection = { consecutive_errors = 0 }", "`0` is out of bounds"),
        ("health_check = { path = \"healthz\" }", "`healthz` is not a path"),
        ("health_check = { path = \"/\", status = \"6xx\" }", "`6xx` is not a status"),
        ("health_check = { path = \"/\", status = \"abc\" }", "`abc` is not a status"),
        ("health_check = { path = \"/\", every = \"1ms\" }", "`1ms` is out of bounds"),
    ] {
        let errors = folder.errors(&with("\"http://a:1\"", lines));
        assert!(errors.len() == 1 && errors[0].contains(what), "{lines}: {errors:?}");
    }
    for endpoint in ["http://a:1 weight=0", "http://a:1 weight=x", "http://a:1 weight=1001"] {
        let errors = folder.errors(&with(&format!("\"{endpoint}\""), ""));
        assert!(errors.len() == 1 && errors[0].contains("has no valid weight"), "{endpoint}: {errors:?}");
    }
}
