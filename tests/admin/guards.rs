//! The request guard: hosts, origins, CSRF tokens, paths.

use tokengate::config::settings::ListenerRole;

use super::*;
use crate::support::Http;
use crate::support::gateway::listener;

#[tokio::test(flavor = "multi_thread")]
async fn only_configured_hosts_are_answered() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway_with(&origin, |admin| admin.hosts = vec!["admin.test".to_owned()]).await;
    let browser = Browser::of(&gateway, "root").await;
    for host in ["localhost", "LocalHost:8444", "127.0.0.1", "[::1]:1", "admin.test", "Admin.Test:443"] {
        assert_eq!(browser.send_to(host, Ask::get("/users")).await.status, 200, "{host}");
    }
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "admin.test.",
        "10.0.0.1",
        "",
        "a@localhost",
        "localhost,evil.example",
    ] {
        let answer = browser.send_to(host, Ask::get("/users")).await;
        assert!(matches!(answer.status, 400 | 403) && !answer.text().contains("alice"), "{host}: {}", answer.status);
    }
    let answer = browser.send(Ask::get("/users").field("Host", "evil.example")).await;
    assert!(matches!(answer.status, 400 | 403), "two hosts: {}", answer.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_must_come_from_a_page_of_the_application() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    let id = id_of(&gateway, "alice").await;
    let (path, csrf) = (format!("/users/{id}/active"), csrf(&browser.page(&format!("/users/{id}")).await));
    let own = format!("https://localhost:{}", browser.address().port());
    let ask = |fields: &[(&str, &str)]| {
        let ask = Ask::post(&path, encoded(&[("csrf", &csrf), ("active", "no")]));
        let ask = ask.field("Content-Type", "application/x-www-form-urlencoded");
        fields.iter().fold(ask, |ask, (name, value)| ask.field(name, value))
    };
    for fields in [
        &[("Origin", "https://evil.example")][..],
        &[("Origin", "null")],
        &[("Origin", "https://localhost")],
        &[("Origin", "https://localhost:1")],
        &[("Origin", &own.replace("https", "http"))],
        &[("Origin", &own), ("Origin", "https://evil.example")],
        &[("Origin", "https://evil.example"), ("Sec-Fetch-Site", "same-origin")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site")],
        &[("Sec-Fetch-Site", "none")],
        &[],
    ] {
        assert_eq!(browser.send(ask(fields)).await.status, 403, "{fields:?}");
    }
    let active = || async { gateway.store.accounts.find("alice").await.unwrap().unwrap().account.active };
    assert!(active().await);
    assert_eq!(browser.send(ask(&[("Sec-Fetch-Site", "same-origin")])).await.status, 303);
    assert!(!active().await);
    assert_eq!(browser.send(ask(&[("Origin", &own)])).await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_site_reads_nothing() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    let from =
        |fields: &[(&str, &str)]| fields.iter().fold(Ask::get("/users"), |ask, (name, value)| ask.field(name, value));
    for fields in [
        &[("Origin", "https://evil.example")][..],
        &[("Origin", "null")],
        &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")],
        &[("Sec-Fetch-Site", "same-site"), ("Sec-Fetch-Mode", "cors")],
        &[("Sec-Fetch-Site", "cross-site")],
    ] {
        let answer = browser.send(from(fields)).await;
        assert!(answer.status == 403 && !answer.text().contains("alice"), "{fields:?}");
        assert!(!answer.fields.has("access-control-allow-origin"));
    }
    let followed = browser.send(from(&[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")])).await;
    assert_eq!(followed.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_needs_the_secret_of_its_own_sign_in() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let (one, other) = (Browser::of(&gateway, "root").await, Browser::of(&gateway, "root").await);
    let id = id_of(&gateway, "alice").await;
    let (path, stolen) = (format!("/users/{id}/active"), csrf(&other.page("/users").await));
    for secret in ["", "x", &stolen] {
        let answer = one.send(one.form(&path, encoded(&[("csrf", secret), ("active", "no")]))).await;
        assert_eq!(answer.status, 403, "{secret}");
    }
    let body = encoded(&[("csrf", &csrf(&one.page("/users").await)), ("active", "no")]);
    let json = Ask { fields: vec![], ..one.form(&path, body.clone()) };
    let own = format!("https://localhost:{}", one.address().port());
    assert_eq!(one.send(json.field("Origin", own).field("Content-Type", "text/plain")).await.status, 415);
    assert!(gateway.store.accounts.find("alice").await.unwrap().unwrap().account.active);
    assert_eq!(one.send(one.form(&path, body)).await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_response_has_the_security_headers() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    let page = browser.page("/users").await;
    let asset = |begin: &str| page.split('"').find(|text| text.starts_with(begin)).unwrap().to_owned();
    for path in
        ["/users", "/missing", "/sign-in", &asset("/assets/style"), &asset("/assets/script"), "/assets/icon.svg"]
    {
        let answer = browser.get(path).await;
        let policy = answer.fields.get("content-security-policy").unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"));
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
            ("x-robots-tag", "noindex, nofollow"),
        ] {
            assert_eq!(answer.fields.get(name), Some(value), "{path}");
        }
        let kept = path.starts_with("/assets/s");
        assert_eq!(answer.fields.get("cache-control").unwrap() == "no-store", !kept, "{path}");
    }
    assert!(!page.contains("style=") && !page.contains("<script>") && !page.contains("onclick"), "nothing inline");
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_have_one_spelling() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    let id = id_of(&gateway, "alice").await;
    for path in [
        "/users/",
        "//users",
        "/users//",
        "/Users",
        "/users%2f..",
        "/tokens%2f..%2fusers",
        "/tokens/../users",
        "/./users",
        "/users/x",
        "/users/1x",
        "/sign-in/../users",
        "/assets/../users",
        "/%75sers",
        "/users;x",
        "/users.",
        "/admin",
        "/api",
        "/metrics",
        "/health",
        "/assets/style.css",
        &format!("/users/%3{id}"),
        &format!("/users/{id}/"),
        &format!("/users/{id}/nothing"),
    ] {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
    }
    assert_eq!(browser.get("/sign-out").await.status, 405);
    assert_eq!(browser.send(Ask::new("DELETE", "/users").field("Sec-Fetch-Site", "same-origin")).await.status, 405);
    let bytes = format!("GET https://localhost:{}/users HTTP/1.1\r\nHost: localhost\r\n\r\n", browser.address().port());
    assert_eq!(raw(&gateway, &bytes).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_of_it_is_on_a_public_listener() {
    let origin = Origin::answering("fine").await;
    let internal = ListenerRole::Internal { health: true, metrics: true };
    let site = site(&origin, |_| {}).with(|settings| {
        settings.routes.retain(|route| &*route.name == "public");
        settings.listeners.push(listener("internal", internal));
    });
    let gateway = site.start().await;
    let key = gateway.issue_named("root", "tokengate:admin", None, &gateway.clock()).await;
    for path in [
        "/",
        "/users",
        "/sign-in",
        "/tokens",
        "/audit",
        "/traffic/live",
        "/assets/icon.svg",
        "/admin/",
        "/api/v1/users",
        "/api/v1/openapi.json",
        "/metrics",
        "/health",
        "/healthz",
        "/status",
        "/debug/pprof/",
        "/debug/pprof/profile?seconds=1",
        "/debug/vars",
        "/server-status",
        "/.well-known/tokengate",
    ] {
        let ask = Ask::get(path).token(&key);
        let mut in_clear = Wire::plain(&gateway).await;
        for answer in
            [ask.over(Http::One, &gateway).await, ask.over(Http::Two, &gateway).await, in_clear.ask(ask.bytes()).await]
        {
            assert_eq!(answer.status, 404, "{path}");
            assert!(!answer.text().contains("tokengate"));
        }
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_too_long_is_refused() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let browser = Browser::of(&gateway, "root").await;
    let answer = browser.send(browser.form("/look-up", format!("pasted={}", "a".repeat(70_000)))).await;
    assert_eq!(answer.status, 413);
    assert!(answer.text().contains("64 KiB") && answer.text().contains("Sign out"), "{}", answer.text());
}
