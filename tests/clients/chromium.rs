//! Headless Chromium on the pages. `SCREENSHOTS=FOLDER` in the environment puts pictures of them there.

use std::path::Path;
use std::process::Stdio;

use super::{PASSWORD, Shop, USER};
use crate::support::python;

/// Lets `chromium.py` play a scenario: what it does stands there.
async fn plays(scenario: &str) {
    let shop = Shop::open().await;
    let home = tempfile::tempdir().unwrap();
    let mut browser = python::CLIENTS.command().await;
    browser.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/chromium.py"));
    browser.args([scenario, &shop.https("")]).arg(shop.gateway.authority()).args([USER, PASSWORD]);
    browser.env("HOME", home.path()).stdin(Stdio::null());
    let output = python::output(browser).await;
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success() && out == "done\n", "{scenario}: {out}{err}");
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
