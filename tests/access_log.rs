//! The access log in a file: opened again on request and by a reload; samples and hidden facts.

use std::fs;

use tokengate::config::settings::{AccessTarget, Redacted};
use tokengate::telemetry::{LogFormat, LogTemplate};

use crate::support::{Ask, Origin, PATIENCE, Site, eventually};

/// Waits until the file has `count` lines, and returns them.
async fn lines(file: &std::path::Path, count: usize) -> Vec<String> {
    let read = || fs::read_to_string(file).unwrap_or_default();
    let what = format!("{} has {count} lines", file.display());
    eventually(PATIENCE, &what, || async { read().lines().count() >= count }).await;
    let lines: Vec<_> = read().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), count, "{lines:?}");
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_renamed_is_opened_again_by_a_reload_and_on_request() {
    let origin = Origin::answering("hello").await;
    let folder = tempfile::tempdir().unwrap();
    let (file, renamed) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let target = AccessTarget::File(file.clone());
    let gateway = Site::before(&origin).with(|settings| settings.log.access_to = target.clone()).start().await;
    let ask = async |path: &str| assert_eq!(Ask::get(path).to(&gateway).await.status, 200);

    ask("/public/1").await;
    assert!(lines(&file, 1).await[0].contains(" path=/public/1 "));
    fs::rename(&file, &renamed).unwrap();
    gateway.reopen_logs();
    ask("/public/2").await;
    assert!(lines(&file, 1).await[0].contains(" path=/public/2 "));
    fs::rename(&file, &renamed).unwrap();
    gateway.reload(|_| ()).await.unwrap();
    ask("/public/3").await;
    assert!(lines(&file, 1).await[0].contains(" path=/public/3 "));
    assert!(!gateway.log.text().contains("/public/"), "nothing on standard output");

    // A destination that cannot be opened changes nothing.
    let missing = AccessTarget::File(folder.path().join("missing/access.log"));
    let refused = gateway.reload(|settings| settings.log.access_to = missing).await.unwrap_err().to_string();
    assert!(refused.contains("log.access_to: file:") && refused.contains("cannot be opened"), "{refused}");
    ask("/public/4").await;
    lines(&file, 2).await;
    gateway.reload(|settings| settings.log.access_to = AccessTarget::Stdout).await.unwrap();
    ask("/public/5").await;
    eventually(PATIENCE, "a line on standard output", || async { gateway.log.text().contains("/public/5") }).await;
    lines(&file, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_and_hidden_facts_apply_from_a_reload_on() {
    let origin = Origin::answering("hello").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let target = AccessTarget::File(file.clone());
    let gateway = Site::before(&origin).with(|settings| settings.log.access_to = target.clone()).start().await;
    let change = |settings: &mut tokengate::config::Settings| {
        settings.log.sample = 3;
        settings.log.redact = vec![Redacted::Peer, Redacted::Path, Redacted::User];
    };
    gateway.reload(change).await.unwrap();
    for _ in 0..9 {
        Ask::get("/public/secret").to(&gateway).await;
    }
    for _ in 0..2 {
        assert_eq!(Ask::get("/api/secret").to(&gateway).await.status, 401);
    }
    for line in lines(&file, 3 + 2).await {
        assert!(line.contains(" peer=127.0.0.0 ") && !line.contains("secret"), "{line}");
    }
}

#[tokio::test]
async fn lines_have_the_form_that_is_configured_and_a_reload_changes_it() {
    let origin = Origin::answering("hello").await;
    let template = |text: &str| LogFormat::Template(LogTemplate::parse(text).unwrap());
    let site =
        Site::before(&origin).with(|settings| settings.log.access_format = template("{method} {status} {user} {path}"));
    let gateway = site.start().await;
    let key = gateway.issue("alice").await;
    let mut shown = 0;
    for (format, begin) in [
        (None, "GET 200 alice /api/x?\n"),
        (Some(template("[{status}] {route} {ip}")), "[200] api 127.0.0.1\n"),
        (Some(LogFormat::Ecs), "{\"ecs.version\":"),
        (Some(LogFormat::Otel), "{\"event.name\":\"tokengate.access\",\"timestamp\":"),
        (Some(LogFormat::Text), "time="),
    ] {
        if let Some(format) = format {
            gateway.reload(|settings| settings.log.access_format = format).await.unwrap();
        }
        assert_eq!(Ask::get("/api/x?secret=1").token(&key).to(&gateway).await.status, 200);
        let rest = || gateway.log.text().split_off(shown);
        eventually(PATIENCE, "the line is written", || async { rest().ends_with('\n') }).await;
        assert!(rest().starts_with(begin) && !rest().contains("secret"), "{begin}: {}", rest());
        shown = gateway.log.text().len();
    }
}
