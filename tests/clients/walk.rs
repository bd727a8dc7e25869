//! Walks through all pages as people with a large font, without a mouse and without scripts do, and while the store is
//! away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokengate::config::settings::{Browser, Hashing, Login};

use super::admin::furnish;
use super::chromium::play;
use crate::admin::outage::unsteady;
use crate::admin::{PASSWORD, add_users, site, started};
use crate::support::origin::ok;
use crate::support::{Gateway, Origin, Site, Step};

async fn plays(scenario: &str, gateway: &Gateway, more: &[&str]) {
    let admin = format!("https://localhost:{}", gateway.admin_address().port());
    play("walk.py", scenario, gateway, &[&[admin.as_str(), "root", PASSWORD], more].concat()).await;
}

/// The admin application beside the public pages.
fn both(origin: &Origin) -> Site {
    site(origin, |_| {}).with(|settings| {
        settings.login = Some(Login {
            per_user: None,
            per_address: None,
            browser: Some(Browser::default()),
            ..settings.login.take().unwrap_or_default()
        });
        settings.store.hashing = Hashing { at_once: 4, failed_after: std::time::Duration::from_millis(1) };
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn at_two_hundred_per_cent_nothing_is_cut_and_no_page_is_wider_than_the_screen() {
    let origin = Origin::answering("fine").await;
    let gateway = started(both(&origin)).await;
    let key = furnish(&gateway).await;
    plays("zoom", &gateway, &[&key]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_and_users_do_everything_by_keyboard_and_see_the_focus() {
    let origin = Origin::answering("fine").await;
    plays("keyboard", &started(both(&origin)).await, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_does_everything_without_scripts() {
    let origin = Origin::answering("fine").await;
    plays("without_scripts", &started(both(&origin)).await, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_away_pages_say_so_and_stay_accessible() {
    let away = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&away);
    let origin = Origin::scripted(move |request| {
        switch.store(request.target.contains("store-away"), Ordering::SeqCst);
        vec![Step::Read, Step::Send(ok("fine"))]
    })
    .await;
    let gateway = site(&origin, |_| {}).start_with(unsteady(&away)).await;
    add_users(&gateway).await;
    plays("outage", &gateway, &[]).await;
}
