//! A real portal, LemonLDAP::NG, with the files of `deploy/portals`: from the first request of a browser to the sign-out.

use std::fs;
use std::process::Child;
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::client::{Tls, connect};
use crate::support::redis::{free_port, start};
use crate::support::{Answer, Ask, Gateway, Origin, PATIENCE, Wire, eventually, shipped};

const WIKI: &str = "wiki.example.com";
const PORTAL: &str = "auth.example.com";

/// The portal, with its demo users: the password of each is its name.
struct Lemonldap {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Drop for Lemonldap {
    fn drop(&mut self) {
        self.end();
    }
}

impl Lemonldap {
    async fn start() -> Lemonldap {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let at = |name: &str| folder.path().join(name).display().to_string();
        for name in ["conf", "sessions/lock", "persistent/lock"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        let ini = format!(
            "[all]\nlogLevel = info\n[configuration]\ntype = File\ndirName = {}\n[portal]\nlanguages = en\n\
             templateDir = /usr/share/lemonldap-ng/portal/templates\n[handler]\nuseRedirectOnError = 0\n",
            at("conf")
        );
        fs::write(at("lemonldap-ng.ini"), ini).unwrap();
        let storage = |name: &str| json!({"Directory": at(name), "LockDirectory": at(&format!("{name}/lock"))});
        let conf = json!({
            "cfgNum": 1, "cfgAuthor": "test", "cfgDate": "1627287638",
            "authentication": "Demo", "userDB": "Same", "passwordDB": "Demo", "registerDB": "Null", "captcha": "NoCaptcha",
            "demoExportedVars": {"mail": "mail", "uid": "uid"},
            "portal": format!("https://{PORTAL}/"), "domain": "example.com",
            "cookieName": "lemonldap", "securedCookie": 1, "key": "0123456789abcdef", "handlerInternalCache": 0,
            "macros": {"_whatToTrace": "lc($_user)"}, "whatToTrace": "_whatToTrace",
            "vhostOptions": {WIKI: {"vhostHttps": 1, "vhostPort": 443}},
            "exportedHeaders": {WIKI: {"Auth-User": "$uid", "Auth-Mail": "$mail", "Auth-Secret": "$uid"}},
            "locationRules": {PORTAL: {"default": "accept"}, WIKI: {"^/closed/": "deny", "default": "accept"}},
            "globalStorage": "Apache::Session::File", "globalStorageOptions": storage("sessions"),
            "persistentStorage": "Apache::Session::File", "persistentStorageOptions": storage("persistent"),
        });
        fs::write(at("conf/lmConf-1.json"), conf.to_string()).unwrap();
        // Its images of letters need large libraries.
        let captcha = "package NoCaptcha; use Mouse; extends 'Lemonldap::NG::Portal::Main::Plugin'; sub init { 1 } 1;";
        fs::write(at("NoCaptcha.pm"), captcha).unwrap();
        fs::write(at("lemonldap.psgi"), shipped::file("portals/lemonldap.psgi", &[])).unwrap();
        let args = [
            format!("LLNG_DEFAULTCONFFILE={}", at("lemonldap-ng.ini")),
            "plackup".to_owned(),
            format!("-I{}", folder.path().display()),
            "-E".to_owned(),
            "deployment".to_owned(),
            "--host".to_owned(),
            "127.0.0.1".to_owned(),
            "--port".to_owned(),
            port.to_string(),
            at("lemonldap.psgi"),
        ];
        let child = start("env", &args, &folder.path().join("log"));
        let portal = Lemonldap { child, port, folder };
        let is_up = || async {
            let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await else { return false };
            Wire::over(stream).ask_raw("GET / HTTP/1.0\r\nHost: auth.example.com\r\n\r\n").await.contains(" 200 ")
        };
        if tokio::time::timeout(PATIENCE, eventually(PATIENCE, "the portal serves", is_up)).await.is_err() {
            panic!("{}", portal.log());
        }
        portal
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// A gateway with the shipped file.
async fn gateway(origin: &Origin, portal: &Lemonldap) -> Gateway {
    let (app, at) = (format!(":{}", origin.address().port()), format!(":{}", portal.port));
    let replaced = [("0.0.0.0:443", "127.0.0.1:0"), (":8000", app.as_str()), (":9092", at.as_str())];
    let text = shipped::file("portals/gateway.toml", &replaced);
    shipped::site(origin, &text, &[WIKI, PORTAL]).start().await
}

/// Sends a request to a host of the site.
async fn ask(gateway: &Gateway, host: &'static str, ask: Ask) -> Answer {
    let config = Tls::default().trusting(&Arc::clone(&gateway.roots));
    let mut wire = Wire::over(connect(gateway.address(), &config, host).await.unwrap());
    let text = ask.bytes();
    let begin = text.windows(15).position(|window| window == b"Host: localhost").unwrap();
    let bytes = [&text[..begin], format!("Host: {host}").as_bytes(), &text[begin + 15..]].concat();
    wire.ask(bytes).await
}

/// What a browser sends to open a page.
fn navigation(target: &str) -> Ask {
    Ask::get(target).field("Accept", "text/html").field("Sec-Fetch-Mode", "navigate")
}

/// The path with its query, of a URL at this host.
fn below(url: Option<&str>, host: &str) -> String {
    let url = url.unwrap();
    url.strip_prefix(&format!("https://{host}")).unwrap_or_else(|| panic!("{url}")).to_owned()
}

/// What comes between two texts.
fn between<'t>(text: &'t str, begin: &str, end: &str) -> &'t str {
    text.split(begin).nth(1).unwrap_or_else(|| panic!("{text}")).split(end).next().unwrap()
}

#[tokio::test]
async fn lemonldap_signs_browsers_in_and_tokens_pass_without_it() {
    let origin = Origin::answering("wiki").await;
    let mut portal = Lemonldap::start().await;
    let gateway = gateway(&origin, &portal).await;
    let key = gateway.issue("alice").await;

    // A browser is sent to the login, and from there back to its page.
    let sent = ask(&gateway, WIKI, navigation("/page?x=%2F&y")).await;
    assert_eq!((sent.status, origin.count()), (302, 0), "{sent:?} {}", portal.log());
    let login = below(sent.fields.get("location"), PORTAL);
    let page = ask(&gateway, PORTAL, navigation(&login)).await;
    assert_eq!(page.status, 200, "{page:?}");
    let form = [("url", between(page.text(), "name=\"url\" value=\"", "\"")), ("user", "dwho"), ("password", "dwho")]
        .map(|(name, value)| format!("{name}={}", value.replace('+', "%2B").replace('=', "%3D")));
    let secret = between(page.text(), "name=\"token\" value=\"", "\"");
    let form = Ask::post("/", format!("{}&token={secret}", form.join("&")))
        .field("Content-Type", "application/x-www-form-urlencoded");
    let back = ask(&gateway, PORTAL, form.field("Accept", "text/html")).await;
    assert_eq!(back.status, 302, "{back:?} {}", portal.log());
    let cookie = back.fields.all("set-cookie").into_iter().find(|line| line.starts_with("lemonldap=")).unwrap();
    assert!(cookie.to_ascii_lowercase().contains("secure"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let target = below(back.fields.get("location"), WIKI);
    assert_eq!(target, "/page?x=%2F&y");

    // With the cookie of the portal, the page opens. The application learns what gateway.toml names, and from the portal only.
    let with_cookie = |ask: Ask| ask.field("Cookie", format!("a=b; {cookie}"));
    let forged = |ask: Ask| ask.field("Auth-User", "root").field("Auth_Mail", "root").field("Auth-Mail", "root");
    for request in [navigation(&target), Ask::post(&target, "text")] {
        let opened = ask(&gateway, WIKI, forged(with_cookie(request.clone()))).await;
        assert_eq!((opened.status, opened.text()), (200, "wiki"), "{}", portal.log());
        let seen = origin.last();
        assert_eq!((seen.method.as_str(), seen.target.as_str()), (request.method.as_str(), "/page?x=%2F&y"));
        for (name, value) in [
            ("auth-user", Some("dwho")),
            ("auth-mail", Some("dwho@badwolf.org")),
            ("auth_mail", None),
            ("auth-secret", None),
            ("lm-remote-user", None),
            ("x-auth-method", Some("portal")),
            ("x-user-name", None),
        ] {
            assert_eq!(seen.fields.get(name), value, "{name}");
        }
    }

    // The rules of the portal hold.
    let seen = origin.count();
    let closed = ask(&gateway, WIKI, with_cookie(navigation("/closed/page"))).await;
    assert_eq!(closed.status, 403, "{closed:?}");
    let unknown = "lemonldap=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    assert_eq!(ask(&gateway, WIKI, navigation("/page").field("Cookie", unknown)).await.status, 302);

    // A token passes on its own, also where the portal would refuse; a wrong one does not, whatever the cookie.
    assert_eq!(ask(&gateway, WIKI, with_cookie(Ask::get("/page").token("wrong"))).await.status, 401);
    assert_eq!(origin.count(), seen);
    let passed = ask(&gateway, WIKI, forged(Ask::get("/closed/page").token(&key))).await;
    let told = origin.last().fields;
    assert_eq!(
        (passed.status, told.get("x-user-name"), told.get("x-auth-method")),
        (200, Some("alice"), Some("token"))
    );
    assert!(!told.has("auth-user") && !told.has("auth-mail") && !told.has("auth_mail"));

    // A question of a client to the portal, and a description of another request, let no request pass.
    let described = navigation("/forward-auth").field("X-Forwarded-Host", WIKI).field("X-Forwarded-Uri", "/page");
    let asked = ask(&gateway, PORTAL, described).await;
    assert_ne!(asked.status, 200, "{asked:?}");
    let other = navigation("/closed/page").field("X-Forwarded-Uri", "/page").field("X-Forwarded-Host", WIKI);
    assert_eq!(ask(&gateway, WIKI, with_cookie(other)).await.status, 403);

    // After the sign-out at the portal, the next request is sent to the login.
    let out = ask(&gateway, PORTAL, with_cookie(navigation("/?logout=1"))).await;
    assert_eq!(out.status, 200, "{out:?}");
    assert_eq!(ask(&gateway, WIKI, with_cookie(navigation("/page"))).await.status, 302, "{}", portal.log());

    // Without the portal, browsers get a 503, and tokens pass.
    portal.end();
    let seen = origin.count();
    let away = ask(&gateway, WIKI, with_cookie(navigation("/page"))).await;
    assert_eq!((away.status, away.fields.get("retry-after")), (503, Some("1")));
    assert_eq!(origin.count(), seen);
    assert_eq!(ask(&gateway, WIKI, Ask::get("/page").token(&key)).await.status, 200);
}
