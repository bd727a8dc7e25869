//! Password hashes created by Django, in `passwords.json`.

use serde::Deserialize;

use super::{PASSWORD, gateway, login, token, user_with_hash};
use crate::support::{Origin, soon};

#[derive(Deserialize)]
struct Vectors {
    #[serde(rename = "match")]
    good: Vec<Good>,
    never: Vec<Never>,
}

#[derive(Deserialize)]
struct Good {
    name: String,
    encoded: String,
    password: String,
    wrong: Vec<String>,
}

#[derive(Deserialize)]
struct Never {
    encoded: String,
    password: String,
    why: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("passwords.json")).unwrap()
}

#[tokio::test]
async fn hashes_of_django_are_supported() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let good = vectors().good;
    assert_eq!(good.len(), 29);
    for Good { name, encoded, password, wrong } in good {
        user_with_hash(&gateway, &name, &encoded).await;
        token(&login(&name, &password).to(&gateway).await);
        // A cheap hash is tried with all of them, an expensive one with the likeliest mistake.
        let tries =
            if name.ends_with("current") || encoded.contains("00000$") || encoded.contains("$12$") { 1 } else { 9 };
        for wrong in wrong.iter().take(tries) {
            assert_eq!(login(&name, wrong).to(&gateway).await.status, 400, "{name}: {wrong:?}");
        }
    }
}

#[tokio::test]
async fn invalid_and_too_expensive_hashes_match_no_password() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let argon2 = "WGszYlY5cUxtMlRh$kJV1pvDvxjeqzCCbV3Q1qODWot9diSiEEvlw2V7pGMU";
    let scrypt = "Qo9n84RVkOLRU+fMRwJhMVysqf1vzxOoZq9xjE2PdjY54R/fc7K6AJWuyVUjX9S+Pk5VBgHR5nb85iaw6s11MQ==";
    let dear = [
        format!("argon2$argon2id$v=19$m=4000000,t=1,p=1${argon2}"),
        format!("$argon2id$v=19$m=64,t=4000000000,p=1${argon2}"),
        format!("scrypt$1048576$salt$8$1${scrypt}"),
        "bcrypt_sha256$$2b$31$VbmZoXH/PXSBoX1kEKmyi.QrxxJM8caeAh159OLGbG1hlJ51BGYke".to_owned(),
    ];
    let dear = dear.into_iter().map(|encoded| Never { encoded, password: PASSWORD.to_owned(), why: "dear".to_owned() });
    // All together take much less time than one of the expensive hashes would.
    let all = async {
        for Never { encoded, password, why } in vectors().never.into_iter().chain(dear) {
            user_with_hash(&gateway, "uma", &encoded).await;
            assert_eq!(login("uma", &password).to(&gateway).await.status, 400, "{why}: {encoded}");
        }
    };
    soon("nothing is computed for long", all).await;
}
