//! The pages in headless Chromium. With `SCREENSHOTS=FOLDER` in the environment, screenshots are saved there.

use std::path::Path;
use std::process::Stdio;

use super::{PASSWORD, Shop, USER};
use crate::support::{Gateway, python};

/// Runs a scenario of a script against a gateway whose CA Chromium trusts. The script has the details.
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
async fn a_user_manages_tokens_and_signs_out() {
    plays("account").await;
}

#[tokio::test]
async fn a_user_renames_tokens_and_changes_the_password() {
    plays("changes").await;
}

#[tokio::test]
async fn everything_works_without_scripts() {
    plays("without_scripts").await;
}

#[tokio::test]
async fn a_wrong_password_is_reported() {
    plays("wrong_password").await;
}

#[tokio::test]
async fn everything_works_by_keyboard() {
    plays("keyboard").await;
}

#[tokio::test]
async fn pages_are_accessible_in_light_and_dark_and_on_a_phone() {
    plays("looks").await;
}
