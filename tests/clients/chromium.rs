//! Headless Chromium on the pages. `SCREENSHOTS=FOLDER` in the environment puts pictures of them there.

use std::path::Path;
use std::process::Stdio;

use super::{PASSWORD, Shop, USER};
use crate::support::{Gateway, python};

/// Lets a script play a scenario before a gateway whose authority Chromium trusts: what it does stands there.
pub async fn play(script: &str, scenario: &str, gateway: &Gateway, more: &[&str]) {
    let home = tempfile::tempdir().unwrap();
    let mut browser = python::CLIENTS.command().await;
    browser.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script));
    browser.args([scenario, &format!("https://localhost:{}", gateway.address().port())]);
    browser.arg(gateway.authority()).args(more);
    browser.env("HOME", home.path()).stdin(Stdio::null());
    let output = python::output(browser).await;
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success() && out == "done\n", "{scenario}: {out}{err}");
}

async fn plays(scenario: &str) {
    let shop = Shop::open().await;
    play("chromium.py", scenario, &shop.gateway, &[USER, PASSWORD]).await;
}

#[tokio::test]
async fn a_user_looks_after_tokens_and_leaves() {
    plays("account").await;
}

#[tokio::test]
async fn all_works_without_scripts() {
    plays("without_scripts").await;
}

#[tokio::test]
async fn a_wrong_password_is_told() {
    plays("wrong_password").await;
}

#[tokio::test]
async fn all_is_done_by_keyboard() {
    plays("keyboard").await;
}

#[tokio::test]
async fn pages_are_for_everybody_in_light_and_dark_and_on_a_phone() {
    plays("looks").await;
}
