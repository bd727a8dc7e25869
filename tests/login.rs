//! `POST /gettoken/`: returns tokens for passwords as Django REST Framework does, except where that is unsafe.

mod answers;
mod devices;
mod passwords;
mod pending;
mod prefixed;
mod requests;
mod throttles;
mod wrong_keys;

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokengate::config::settings::{Hashing, Login};
use tokengate::store::{NewUser, Password};
use tokengate::token::SubjectId;

use crate::support::{Answer, Ask, Gateway, Origin, Site};

const PASSWORD: &str = "correct horse 9";
const REFUSED: &str = r#"{"non_field_errors":["Unable to log in with provided credentials."]}"#;

/// A site without login rate limits and delays.
fn site(origin: &Origin) -> Site {
    Site::before(origin).with(|settings| {
        settings.login = Some(Login { per_user: None, per_address: None, ..Login::default() });
        settings.store.hashing = Hashing { at_once: 4, failed_after: Duration::from_millis(1) };
    })
}

async fn gateway(origin: &Origin) -> Gateway {
    site(origin).start().await
}

/// A user with the password [`PASSWORD`].
async fn user(gateway: &Gateway, name: &str) -> SubjectId {
    let password = Some(Password::parse(PASSWORD).unwrap());
    gateway.store.accounts.create(NewUser { password, ..NewUser::named(name) }).await.unwrap().0.account.id
}

/// A user with exactly this password hash.
async fn user_with_hash(gateway: &Gateway, name: &str, hash: &str) {
    let id = gateway.user(name).await;
    let mut database = SqliteConnectOptions::new().filename(&gateway.database).connect().await.unwrap();
    let query = sqlx::query("UPDATE users SET password = ? WHERE id = ?").bind(hash).bind(id.0);
    query.execute(&mut database).await.unwrap();
    database.close().await.unwrap();
}

/// A login as JSON.
fn login(name: &str, password: &str) -> Ask {
    typed("application/json", json!({"username": name, "password": password}).to_string())
}

fn typed(content_type: &str, body: impl AsRef<[u8]>) -> Ask {
    Ask::post("/gettoken/", body).field("Content-Type", content_type)
}

/// The token in a response.
fn token(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    let object: Value = serde_json::from_slice(&answer.body).unwrap();
    object["token"].as_str().unwrap().to_owned()
}
