//! The cost of a whole page of the admin application among a million users: from the request to the last byte of the
//! response, over TLS.

use tokio::sync::Mutex;

use crate::lists::{measure, tell};
use crate::million::{Filled, Million};
use crate::operator::{Operator, admin};
use crate::support::{Gateway, Site};

const PATHS: [&str; 22] = [
    "/users",
    "/users?order=newest",
    "/users?order=last_login",
    "/users?q=user",
    "/users?q=user&order=newest",
    "/users?q=user9999",
    "/users?q=nobody",
    "/users?active=no&role=staff",
    "/users?group=half",
    "/users?group=few&order=newest",
    "/users?q=user9&active=no&group=half",
    "/users/7777",
    "/tokens",
    "/tokens?view=live&kind=named",
    "/tokens?view=unused",
    "/tokens?view=ending",
    "/tokens?view=revoked",
    "/tokens?owner=user",
    "/tokens?owner=user99&view=expired",
    "/tokens?hint=0001",
    "/audit",
    "/audit?act=login_failed",
];

pub async fn run(million: &Million) {
    println!("\n| whole page | SQLite p50 | max | PostgreSQL p50 | max |");
    println!("|---|---|---|---|---|");
    let (here, there) = (gateway(&million.sqlite).await, gateway(&million.postgres).await);
    let (here, there) = (Operator::new(&here, 0).await, Operator::new(&there, 0).await);
    let (here, there) = (Mutex::new(here), Mutex::new(there));
    for path in PATHS {
        let page = async |operator: &Mutex<Operator>| drop(operator.lock().await.page(path).await);
        tell(
            &format!("`{path}`"),
            measure(async || page(&here).await).await,
            measure(async || page(&there).await).await,
        );
    }
}

async fn gateway(filled: &Filled) -> Gateway {
    let store = filled.settings();
    let site = Site::before_all(&["127.0.0.1:1".parse().unwrap()]);
    site.with(|settings| (settings.store, settings.admin) = (store, Some(admin()))).start().await
}
