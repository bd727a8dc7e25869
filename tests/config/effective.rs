//! What `tokengate config` prints: every value that holds, where it comes from, and no secret.

use std::fs;

use serde_json::json;
use tokengate::config::Settings;

use super::Folder;
use super::refused::BASE;

/// What is printed for the file can be loaded again, and means the same. `Debug` hides secrets.
pub(super) fn means_the_same(folder: &Folder, settings: &Settings) {
    let text = folder.effective().to_toml();
    folder.write("effective.toml", &text, 0o644);
    let again = folder.load_file("effective.toml").unwrap_or_else(|bad| panic!("{:#?}\n{text}", folder.texts(&bad)));
    fs::remove_file(folder.path("effective.toml")).unwrap();
    let bare = |settings: &Settings| {
        let mut settings = Settings { files: Vec::new(), ..settings.clone() };
        settings.tests.iter_mut().for_each(|test| (test.file, test.line) = Default::default());
        format!("{settings:#?}")
    };
    assert_eq!(bare(&again.settings), bare(settings), "{text}");
}

#[test]
fn every_value_has_its_origin() {
    let folder = Folder::new();
    let text = "include = [\"conf.d/*.toml\"]\n[listeners.\"a b\"]\naddress = \"${LISTEN}\"\nplaintext = \"serve\"\n\
                [upstreams.base]\nendpoints = [\"http://127.0.0.1:8000\"]\n[routes.base]\npath = \"/\"\n\
                upstream = \"base\"\nlimits.body = \"1KiB\"\n[defaults.timeouts]\nconnect = \"2s\"\n";
    folder.write("conf.d/a.toml", "[upstreams.more]\nendpoints = [\"unix:more.sock\"]\n", 0o644);
    folder.load(text).unwrap();
    let printed = folder.effective().to_toml().replace(&format!("{}/", folder.0.path().display()), "");
    for line in [
        "version = 1       # default",
        "[listeners.\"a b\"]",
        "address = \"127.0.0.1:0\"  # from ${LISTEN}, gateway.toml:3",
        "plaintext = \"serve\"      # gateway.toml:4",
        "exposed_token = \"mark\"   # default",
        "endpoints = [\"unix:more.sock\"]  # conf.d/a.toml:2",
        "connect_timeout = \"2s\"          # as defaults.timeouts.connect",
        "connect = \"2s\"            # gateway.toml:12",
        "[routes.base.limits]",
        "body = \"1KiB\"        # gateway.toml:10",
        "body_rate = \"50B/s\"  # as defaults.limits.body_rate",
    ] {
        assert!(printed.lines().any(|other| other == line), "{line}\n{printed}");
    }
    for absent in ["[cache]", "[cache.redis]", "[login]", "[admin]", "[store.django]", "hsts", "include", "[control]"] {
        assert!(!printed.contains(absent), "{absent}\n{printed}");
    }
    let tables = serde_json::to_value(folder.effective()).unwrap();
    let values = tables["tables"].as_array().unwrap().iter().find(|table| table["name"] == "routes.base").unwrap();
    let file = folder.path("gateway.toml");
    assert_eq!(
        values["values"][1],
        json!({"key": "upstream", "value": "base", "hidden": false, "origin": {"from": "file", "file": file, "line": 9}})
    );
}

#[test]
fn no_secret_is_printed() {
    let folder = Folder::new();
    folder.write("redis.password", "hunter2\n", 0o600);
    for (secret, hidden) in [
        ("[store]\nurl = \"${DATABASE}\"", "url = \"${DATABASE}\""),
        ("[store]\nurl = \"postgres://gw:hunter2@db/a\"", "url = \"postgres://***@db/a\""),
        ("[store]\nurl = \"postgres://hunter2@db/a\"", "url = \"postgres://***@db/a\""),
        ("[store]\nurl = \"postgres://hunter2:a%40b@db:1/a\"", "url = \"postgres://***@db:1/a\""),
        (
            "[store]\nurl = \"postgresql://db/a?user=hunter2&options=-chunter2&sslmode=require&application_name=hunter2\"",
            "url = \"postgresql://db/a?user=***&options=***&sslmode=require&application_name=***\"",
        ),
        ("[store]\nurl = \"django+postgres://gw:hunter2@db/a\"", "url = \"django+postgres://***@db/a\""),
        (
            "[store]\nurl = \"django+mysql://gw:hunter2@db/a?ssl-mode=REQUIRED\"",
            "url = \"django+mysql://***@db/a?ssl-mode=REQUIRED\"",
        ),
        ("[cache.redis]\nurl = \"${CACHE}\"", "url = \"${CACHE}\""),
        ("[cache.redis]\nurl = \"redis://hunter2@cache\"", "url = \"redis://***@cache\""),
        ("[cache.redis]\nurl = \"rediss://:hunter2@[::1]:1/3\"", "url = \"rediss://***@[::1]:1/3\""),
        ("[cache.redis]\nurl = \"redis-sentinel://u:hunter2@a,b/c\"", "url = \"redis-sentinel://***@a,b/c\""),
        ("[cache.redis]\nurl = \"redis-cluster://u:hunter2@a,b\"", "url = \"redis-cluster://***@a,b\""),
        ("[cache.redis]\nurl = \"redis://a\"\nusername = \"hunter2\"", "username = \"***\""),
        ("[cache.redis]\nurl = \"redis://a\"\nusername = \"${SECRET}\"", "username = \"${SECRET}\""),
        (
            "[cache.redis]\nurl = \"redis://a\"\npassword_file = \"redis.password\"",
            "password_file = \"redis.password\"",
        ),
        (
            "[[tests]]\nname = \"a\"\nrequest = \"GET http://a.test/base/?a=1&api_key=hunter2\"\n\
             headers = [\"Authorization: Token hunter2\", \"cookie: sessionid=hunter2\", \"Accept: */*\", \
             \"X-Api-Key:hunter2\"]\nexpect = { status = 403 }",
            "request = \"GET http://a.test/base/?a=1&api_key=***\"",
        ),
    ] {
        let text = format!("{secret}\n{BASE}");
        folder.write("gateway.toml", &text, 0o644);
        folder.load_file("gateway.toml").unwrap_or_else(|bad| panic!("{:#?}", folder.texts(&bad)));
        let effective = folder.effective();
        let printed = effective.to_toml();
        assert!(printed.contains(hidden), "{secret}\n{printed}");
        for text in [&printed, &serde_json::to_string(&effective).unwrap(), &format!("{effective:?}")] {
            assert!(!text.contains("hunter2"), "{secret}\n{text}");
        }
        folder.write("effective.toml", &printed, 0o644);
        assert!(folder.load_file("effective.toml").is_ok(), "{printed}");
    }
}
