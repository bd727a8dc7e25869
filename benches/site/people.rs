//! Users for the login benches: one for each kind of password hash, with Django's current parameters.

use serde::Deserialize;
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokengate::config::Settings;
use tokengate::config::settings::Login;
use tokengate::store::{NewUser, Password};

use crate::as_it_comes;
use crate::support::{Ask, Fleet, Gateway};

/// The password of all users.
pub const PASSWORD: &str = "correct horse 9";
/// The user with a hash by tokengate.
pub const OURS: &str = "argon2id of tokengate";
/// Users with hashes by Django, and the name of each in the tests' file.
pub const DJANGOS: [(&str, &str); 5] = [
    ("pbkdf2_sha256, 1,500,000 rounds", "pbkdf2-sha256-current"),
    ("pbkdf2_sha1, 10,000 rounds", "pbkdf2-sha1"),
    ("argon2 of Django", "argon2id-current"),
    ("bcrypt_sha256, cost 12", "bcrypt-sha256-12"),
    ("scrypt", "scrypt-current"),
];
pub const INACTIVE: &str = "inactive user";
pub const UNUSABLE: &str = "unusable password";

#[derive(Deserialize)]
struct Vectors {
    #[serde(rename = "match")]
    good: Vec<Good>,
}

#[derive(Deserialize)]
struct Good {
    name: String,
    encoded: String,
    password: String,
}

/// A gateway without login rate limits, otherwise with defaults, and with two workers.
pub async fn fleet(change: impl Fn(&mut Settings)) -> Fleet {
    let fleet = Fleet::over_sqlite(1, |settings| {
        as_it_comes(settings);
        settings.workers = 2;
        settings.login = Some(Login { per_user: None, per_address: None, ..Login::default() });
        change(settings);
    })
    .await;
    let gateway = fleet.first();
    for name in [OURS, INACTIVE] {
        let password = Some(Password::parse(PASSWORD).unwrap());
        let user = NewUser { password, ..NewUser::named(name) };
        let id = gateway.store.accounts.create(user).await.unwrap().0.account.id;
        if name == INACTIVE {
            gateway.store.accounts.deactivate(id).await.unwrap();
        }
    }
    let vectors: Vectors = serde_json::from_str(include_str!("../../tests/login/passwords.json")).unwrap();
    for (name, vector) in DJANGOS {
        let made = vectors.good.iter().find(|good| good.name == vector).unwrap();
        assert_eq!(made.password, PASSWORD);
        with_hash(gateway, name, &made.encoded).await;
    }
    with_hash(gateway, UNUSABLE, "!fYkWYwPCgW8vTaMY8RpBZ9YvuDBdmtxB1DXSzQa2").await;
    fleet
}

async fn with_hash(gateway: &Gateway, name: &str, hash: &str) {
    let id = gateway.user(name).await;
    let mut database = SqliteConnectOptions::new().filename(&gateway.database).connect().await.unwrap();
    let query = sqlx::query("UPDATE users SET password = ? WHERE id = ?").bind(hash).bind(id.0);
    query.execute(&mut database).await.unwrap();
    database.close().await.unwrap();
}

pub fn login(name: &str, password: &str) -> Ask {
    let body = json!({"username": name, "password": password}).to_string();
    Ask::post("/gettoken/", body).field("Content-Type", "application/json")
}
