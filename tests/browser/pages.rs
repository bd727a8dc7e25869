//! The pages: their headers, and attacks against them.

use super::{Browser, ORIGIN, PASSWORD, SESSION, WRONG, form, gateway, secret, user, with_pages};
use crate::support::client::BOTH;
use crate::support::{Answer, Ask, Origin, Site};
use tokengate::config::settings::Browser as Pages;
use tokengate::units::Rate;

fn escaped(text: &str) -> String {
    text.replace('&', "&#38;").replace('<', "&#60;").replace('>', "&#62;").replace('"', "&#34;")
}

fn cookie<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let lines = answer.fields.all("set-cookie");
    lines.into_iter().find(|line| line.starts_with(&format!("{name}="))).unwrap_or_else(|| panic!("{name}: {answer:?}"))
}

#[tokio::test]
async fn every_page_has_a_strict_policy_and_no_script() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let mut alice = Browser::of(&gateway, "alice").await;
    let login = Browser::default().get(&gateway, "/auth/login/").await;
    let account = alice.get(&gateway, "/auth/account/").await;
    let forged = alice.post(&gateway, "/auth/account/", &[]).await;
    let left = alice.submit(&gateway, "/auth/account/", "/auth/logout/", &[]).await;
    let gone = alice.get(&gateway, "/auth/account/").await;
    let method = alice.get(&gateway, "/auth/logout/").await;
    let statuses = [&login, &account, &forged, &left, &gone, &method].map(|page| page.status);
    assert_eq!(statuses, [200, 200, 403, 200, 302, 405]);
    assert_eq!(gone.fields.get("location"), Some("/auth/login/?next=/auth/account/"));
    for page in [login, account, forged, left, gone, method] {
        let policy = page.fields.get("content-security-policy").unwrap();
        let (begin, end) = ("default-src 'none'; style-src 'sha256-", "frame-ancestors 'none'");
        assert!(policy.starts_with(begin) && policy.ends_with(end) && !policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("content-type", "text/html; charset=utf-8"),
            ("cache-control", "max-age=0, no-cache, no-store, must-revalidate, private"),
            ("vary", "Cookie"),
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("strict-transport-security", "max-age=600"),
        ] {
            assert_eq!(page.fields.get(name), Some(value), "{name}");
        }
        let text = page.text().to_ascii_lowercase();
        for bad in ["<script", "javascript:", " onload", " onclick", " style=", "http://", "https://", "<img", "<link"]
        {
            assert!(!text.contains(bad), "{bad}");
        }
    }
    assert_eq!(origin.count(), 0, "no upstream sees a page");
}

#[tokio::test]
async fn cookies_have_protective_attributes() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    for http in BOTH {
        let page = Ask::get("/auth/login").over(http, &gateway).await;
        let csrf = cookie(&page, "csrftoken").to_owned();
        assert!(csrf.ends_with("; Max-Age=31449600; Path=/; Secure; SameSite=Lax"), "{csrf}");
        assert_eq!(page.fields.all("set-cookie").len(), 1);
        let fields = [("csrfmiddlewaretoken", &*secret(&page)), ("username", "alice"), ("password", PASSWORD)];
        let ask =
            form("/auth/login/", &fields).field("Origin", ORIGIN).field("Cookie", csrf.split(';').next().unwrap());
        let answer = ask.over(http, &gateway).await;
        assert_eq!(answer.status, 302, "{answer:?}");
        let session = cookie(&answer, SESSION);
        assert!(session.ends_with("; Max-Age=1209600; Path=/; Secure; HttpOnly; SameSite=Lax"), "{session}");
        assert_ne!(cookie(&answer, "csrftoken"), csrf, "the secret is another one from now on");
    }
}

#[tokio::test]
async fn all_failed_logins_look_the_same_and_set_no_cookie() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let ivan = user(&gateway, "ivan").await;
    gateway.store.accounts.deactivate(ivan).await.unwrap();
    for (name, password) in [
        ("alice", "nope"),
        ("nobody", PASSWORD),
        ("ivan", PASSWORD),
        ("", PASSWORD),
        ("alice", ""),
        ("a\0", "x"),
        ("<b>", "\""),
    ] {
        let mut browser = Browser::default();
        let answer = browser.log_in(&gateway, name, password).await;
        assert_eq!(answer.status, 200, "{name}");
        assert!(answer.text().contains(WRONG) && !browser.jar.contains_key(SESSION), "{name}: {answer:?}");
        assert!(!answer.text().contains("<b>"), "{name}");
        assert!(
            answer.text().contains(&format!("required value=\"{}\" aria-describedby", escaped(name))),
            "{name}: not typed again"
        );
    }
    assert_eq!(Browser::default().log_in(&gateway, "  alice ", PASSWORD).await.status, 302, "names are stripped");
}

#[tokio::test]
async fn a_form_from_another_site_has_no_effect() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let mut browser = Browser::default();
    let page = browser.get(&gateway, "/auth/login/").await;
    let (own, cookies) = (secret(&page), browser.cookies());
    let foreign = secret(&Browser::default().get(&gateway, "/auth/login/").await);
    let bare = browser.jar["csrftoken"].clone();
    let ask = |secret: &str| {
        form("/auth/login/", &[("csrfmiddlewaretoken", secret), ("username", "alice"), ("password", PASSWORD)])
    };
    let table: [(&str, Ask); 12] = [
        ("CSRF cookie not set.", ask(&own).field("Origin", ORIGIN)),
        ("CSRF token missing.", ask("").field("Origin", ORIGIN).field("Cookie", &cookies)),
        ("CSRF token from POST incorrect.", ask(&foreign).field("Origin", ORIGIN).field("Cookie", &cookies)),
        ("CSRF token from POST incorrect.", ask(&own[..63]).field("Origin", ORIGIN).field("Cookie", &cookies)),
        ("CSRF token from POST incorrect.", ask("\u{e4}").field("Origin", ORIGIN).field("Cookie", &cookies)),
        ("Origin checking failed", ask(&own).field("Origin", "https://evil.example").field("Cookie", &cookies)),
        ("Origin checking failed", ask(&own).field("Origin", "null").field("Cookie", &cookies)),
        ("Origin checking failed", ask(&own).field("Origin", "http://localhost").field("Cookie", &cookies)),
        ("Origin checking failed", ask(&own).field("Origin", "https://localhost:8443").field("Cookie", &cookies)),
        ("no Referer", ask(&own).field("Cookie", &cookies)),
        (
            "Referer checking failed",
            ask(&own).field("Referer", "https://localhost.evil.example/").field("Cookie", &cookies),
        ),
        (
            "Referer checking failed",
            ask(&own).field("Referer", "https://localhost@evil.example/").field("Cookie", &cookies),
        ),
    ];
    for (why, ask) in table {
        let answer = ask.to(&gateway).await;
        assert_eq!(answer.status, 403, "{why}: {answer:?}");
        assert!(answer.text().contains(why), "{why}: {}", answer.text());
        assert!(!answer.fields.has("set-cookie"), "{why}");
    }
    for ask in [
        ask(&own).field("Origin", "https://LOCALHOST"),
        ask(&own).field("Origin", "https://localhost:443"),
        ask(&own).field("Referer", "https://localhost/auth/login/?a"),
        ask(&bare).field("Referer", "https://localhost"),
        ask("").field("Origin", ORIGIN).field("X-CSRFToken", &bare),
    ] {
        assert_eq!(ask.field("Cookie", &cookies).to(&gateway).await.status, 302);
    }
    gateway.has_counted("auth", "csrf", 12).await;
}

#[tokio::test]
async fn a_planted_or_foreign_csrf_secret_is_refused() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    user(&gateway, "mallory").await;
    let mut mallory = Browser::of(&gateway, "mallory").await;
    let theirs = secret(&mallory.get(&gateway, "/auth/account/").await);
    let mut alice = Browser::of(&gateway, "alice").await;
    // A sibling host can set this cookie, and knows its value.
    alice.jar.insert("csrftoken".to_owned(), mallory.jar["csrftoken"].clone());
    let fields = [("csrfmiddlewaretoken", theirs.as_str())];
    assert_eq!(alice.post(&gateway, "/auth/logout/", &fields).await.status, 403);
    let ask = alice.with_cookies(Ask::post("/both/x", "")).field("Origin", ORIGIN).field("X-CSRFToken", theirs);
    assert_eq!(
        ask.to(&gateway).await.detail(),
        "CSRF Failed: CSRF token from the 'X-Csrftoken' HTTP header incorrect."
    );
    assert_eq!(origin.count(), 0);
    assert_eq!(
        alice.submit(&gateway, "/auth/account/", "/auth/logout/", &[]).await.status,
        200,
        "her own page works on"
    );
}

#[tokio::test]
async fn redirects_lead_to_paths_of_this_origin_only() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    for (next, to) in [
        ("/both/x?a=b", "/both/x?a=b"),
        ("https://localhost/both/", "/both/"),
        ("", "/auth/account/"),
        ("//evil.example", "/auth/account/"),
        ("/\\evil.example", "/auth/account/"),
        ("https://evil.example", "/auth/account/"),
        ("https://localhost@evil.example/", "/auth/account/"),
        ("javascript:alert(1)", "/auth/account/"),
        ("/x\r\nSet-Cookie: a=b", "/auth/account/"),
    ] {
        let fields = [("username", "alice"), ("password", PASSWORD), ("next", next)];
        let answer = Browser::default().submit(&gateway, "/auth/login/", "/auth/login/", &fields).await;
        assert_eq!((answer.status, answer.fields.get("location")), (302, Some(to)), "{next}");
        let page = Browser::default().get(&gateway, &format!("/auth/login/?next={}", super::encoded(next))).await;
        let hidden = if to == "/auth/account/" { "" } else { to };
        assert!(page.text().contains(&format!("name=\"next\" value=\"{hidden}\"")), "{next}: {}", page.text());
        let mut alice = Browser::of(&gateway, "alice").await;
        let answer = alice.submit(&gateway, "/auth/account/", "/auth/logout/", &[("next", next)]).await;
        let expected = if hidden.is_empty() { (200, None) } else { (302, Some(to)) };
        assert_eq!((answer.status, answer.fields.get("location")), expected, "{next}");
    }
}

#[tokio::test]
async fn a_form_without_next_uses_next_of_the_query() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let login = [("username", "alice"), ("password", PASSWORD)];
    // The form field takes precedence, even if it is empty.
    for (query, said, to) in [
        ("?next=/both/x", None, "/both/x"),
        ("?next=/both/x&next=/first/x", None, "/first/x"),
        ("?next=//evil.example", None, "/auth/account/"),
        ("?next=/both/x", Some("/only/x"), "/only/x"),
        ("?next=/both/x", Some(""), "/auth/account/"),
        ("?next=/both/x", Some("//evil.example"), "/auth/account/"),
    ] {
        let next: &[_] = &said.map(|next| ("next", next)).into_iter().collect::<Vec<_>>();
        let (page, target) = ("/auth/login/", format!("/auth/login/{query}"));
        let mut alice = Browser::default();
        let answer = alice.submit(&gateway, page, &target, &[&login, next].concat()).await;
        assert_eq!((answer.status, answer.fields.get("location")), (302, Some(to)), "{query} {said:?}");
        let answer = alice.submit(&gateway, "/auth/account/", &format!("/auth/logout/{query}"), next).await;
        let expected = if to == "/auth/account/" { (200, None) } else { (302, Some(to)) };
        assert_eq!((answer.status, answer.fields.get("location")), expected, "{query} {said:?}");
    }
}

#[tokio::test]
async fn a_sign_out_does_not_redirect_to_itself() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let mut alice = Browser::of(&gateway, "alice").await;
    let next = [("next", "/auth/logout/")];
    assert_eq!(alice.submit(&gateway, "/auth/account/", "/auth/logout/", &next).await.status, 200);
}

#[tokio::test]
async fn a_name_can_be_typed_in_other_unicode_forms() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    for name in ["zażółć", "ﬁ"] {
        user(&gateway, name).await;
    }
    for (typed, status) in [
        // In full width, as on Japanese keyboards, and with combining accents, as in file names on a Mac.
        ("ａｌｉｃｅ", 302),
        ("zaz\u{307}o\u{301}łc\u{301}", 302),
        // A user with exactly this name.
        ("ﬁ", 302),
        ("fi", 200),
        ("ｎｏｂｏｄｙ", 200),
        ("ＡＬＩＣＥ", 200),
    ] {
        assert_eq!(Browser::default().log_in(&gateway, typed, PASSWORD).await.status, status, "{typed}");
    }
}

#[tokio::test]
async fn a_login_creates_a_new_session_and_ends_the_previous_one() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let mut browser = Browser::default();
    let planted = "0123456789012345678901234567890123456789";
    browser.jar.insert(SESSION.to_owned(), planted.to_owned());
    assert_eq!(browser.log_in(&gateway, "alice", PASSWORD).await.status, 302);
    assert_ne!(browser.session(), planted);
    let ask = |key: &str| Ask::get("/both/x").field("Cookie", format!("{SESSION}={key}"));
    assert_eq!(ask(planted).to(&gateway).await.status, 401, "the planted cookie is no session");
    let former = browser.session().to_owned();
    assert_eq!(browser.log_in(&gateway, "alice", PASSWORD).await.status, 302);
    assert_ne!(browser.session(), former);
    assert_eq!(ask(browser.session()).to(&gateway).await.status, 200);
    let ended = || async { ask(&former).to(&gateway).await.status == 401 };
    crate::support::eventually(crate::support::PATIENCE, "the old session has ended", ended).await;
}

#[tokio::test]
async fn forms_share_the_rate_limits_of_the_login() {
    let origin = Origin::answering("hello").await;
    let site = Site::before(&origin).with(with_pages).with(|settings| {
        settings.login.as_mut().unwrap().per_user = Some(Rate::per_minute(2));
    });
    let gateway = site.start().await;
    user(&gateway, "alice").await;
    let mut browser = Browser::default();
    for _ in 0..2 {
        assert_eq!(browser.log_in(&gateway, "alice", "nope").await.status, 200);
    }
    let answer = browser.log_in(&gateway, "ALICE", PASSWORD).await;
    assert_eq!(answer.status, 429);
    assert!(answer.fields.has("retry-after") && answer.text().contains("Too many attempts."), "{answer:?}");
    let body = r#"{"username":"alice","password":"correct horse 9"}"#;
    let token = Ask::post("/gettoken/", body).field("Content-Type", "application/json").to(&gateway).await;
    assert_eq!(token.status, 429, "both ways share one limit");
}

#[tokio::test]
async fn pages_accept_their_methods_and_forms_of_a_limited_size() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    for (method, target, status, allow) in [
        ("OPTIONS", "/auth/login/", 200, "GET, HEAD, POST, OPTIONS"),
        ("PUT", "/auth/login/", 405, "GET, HEAD, POST, OPTIONS"),
        ("HEAD", "/auth/login", 200, "GET, HEAD, POST, OPTIONS"),
        ("GET", "/auth/logout/", 405, "POST, OPTIONS"),
        ("HEAD", "/auth/logout", 405, "POST, OPTIONS"),
        ("DELETE", "/auth/account/", 405, "GET, HEAD, POST, OPTIONS"),
        ("POST", "/auth/logout/", 403, "POST, OPTIONS"),
    ] {
        let answer = Ask::new(method, target).to(&gateway).await;
        assert_eq!((answer.status, answer.fields.get("allow")), (status, Some(allow)), "{method} {target}");
    }
    let long = Ask::post("/auth/login/", "a".repeat(70_000)).to(&gateway).await;
    assert_eq!(long.status, 413);
    let json = Ask::post("/auth/login/", "{}").field("Content-Type", "application/json").to(&gateway).await;
    assert_eq!(json.status, 403);
    assert_eq!(Ask::get("/auth;x/login/").to(&gateway).await.status, 400);
    assert_eq!(Ask::get("/auth/other/").to(&gateway).await.status, 404);
}

#[tokio::test]
async fn without_login_browser_there_are_no_pages_and_no_sessions() {
    let origin = Origin::answering("hello").await;
    let off = Site::before(&origin).with(with_pages).with(|settings| settings.login.as_mut().unwrap().browser = None);
    let gateway = off.start().await;
    assert_eq!(Ask::get("/auth/login/").to(&gateway).await.status, 404);
    let other = Pages { path: "/intern/".to_owned(), ..Pages::default() };
    let moved =
        Site::before(&origin).with(with_pages).with(|settings| settings.login.as_mut().unwrap().browser = Some(other));
    let gateway = moved.start().await;
    assert_eq!(Ask::get("/auth/login/").to(&gateway).await.status, 404);
    assert_eq!(Ask::get("/intern/login/").to(&gateway).await.status, 200);
}
