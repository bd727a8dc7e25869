//! Keys of other systems: which texts are accepted as keys, and which are refused without a store lookup.

use std::sync::Arc;

use tokengate::config::Settings;
use tokengate::config::settings::{Auth, ExposedToken, Plaintext, Route};
use tokengate::store::{OnConflict, TokenRef};
use tokengate::token::TokenKey;

use crate::support::client::BOTH;
use crate::support::gateway::{plain, route};
use crate::support::origin::Gate;
use crate::support::{Ask, Gateway, Origin, PATIENCE, Site, Step, Wire, eventually};

/// Keys in the formats of other systems.
fn keys_of_others() -> Vec<String> {
    let fitted = |key: &str, length: usize| key.repeat(length)[..length].to_owned();
    vec![
        fitted("0123456789abcdef", 41),
        // Knox, Laravel and GitLab create keys longer than Django's 40 characters.
        fitted("0123456789abcdef", 64),
        "7|pJ9Zq".to_owned(),
        format!("nbt_{}.{}", fitted("aB3", 12), fitted("Zy9", 40)),
        format!("glpat-{}", fitted("Xy_-", 20)),
        fitted("A-._~+/9z", 86),
        format!("{}==", fitted("Q+/d", 86)),
        "YWxpY2U6a2V5=".to_owned(),
        "+/leading-and-trailing-marks/+~.-_".to_owned(),
        "t\u{f6}ken-密钥".to_owned(),
        fitted("abcdefghij", 255),
        format!("{}====", fitted("b", 251)),
    ]
}

#[tokio::test]
async fn foreign_keys_have_up_to_255_characters_of_the_bearer_alphabet() {
    let origin = Origin::answering("hello").await;
    let gateway =
        Site::before(&origin).with(|all| all.tokens.schemes = vec!["Token".into(), "Bearer".into()]).start().await;
    for (n, key) in keys_of_others().iter().enumerate() {
        let user = gateway.user(&format!("user{n}")).await;
        gateway.store.ledger.import(user, TokenKey::parse(key).unwrap(), OnConflict::Refuse).await.unwrap();
        for http in BOTH {
            for scheme in ["Token", "token", "TOKEN", "Bearer", "bearer", "BEARER", "bEaReR"] {
                let ask = Ask::get("/api/x").field("Authorization", format!("{scheme} {key}"));
                let answer = ask.over(http, &gateway).await;
                assert_eq!((answer.status, answer.text()), (200, "hello"), "{http:?} {scheme} {key}");
                let seen = origin.last();
                assert_eq!(seen.fields.get("x-user-id"), Some(user.0.to_string().as_str()), "{key}");
                assert_eq!(seen.fields.get("authorization"), None);
            }
        }
    }
    let before = origin.count();
    for http in BOTH {
        for key in keys_of_others() {
            // One character too many or too few, at either end.
            let near = [format!("{key}x"), format!("x{key}"), key.chars().skip(1).collect()];
            for near in near.iter().filter(|near| !keys_of_others().contains(near)) {
                let answer = Ask::get("/api/x").token(near).over(http, &gateway).await;
                assert_eq!((answer.status, answer.detail().as_str()), (401, "Invalid token."), "{near}");
            }
        }
    }
    assert_eq!(origin.count(), before, "nothing of it reached the endpoint");
}

#[tokio::test]
async fn a_malformed_key_is_refused_without_a_store_lookup() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    gateway.issue("alice").await;
    let long = "a".repeat(41);
    let mut texts: Vec<String> = vec!["a".repeat(256), "a".repeat(7_000), format!("{}=", "a".repeat(255))];
    // Beyond 40 characters only the bearer alphabet is allowed, with `=` only at the end.
    texts.extend("!\"#$%&'()*,:;<>?@[\\]^`{|}ö".chars().map(|odd| format!("{long}{odd}")));
    texts.extend([format!("={long}"), format!("a={long}"), format!("{long}=a"), "=".repeat(41)]);
    let asked = || gateway.metric("tokengate_store_questions_total");
    let before = asked();
    for http in BOTH {
        for text in &texts {
            let answer = Ask::get("/api/x").token(text).over(http, &gateway).await;
            assert_eq!((answer.status, answer.detail().as_str()), (401, "Invalid token."), "{text}");
        }
    }
    assert_eq!(asked(), before, "no store was asked");
    assert_eq!(origin.count(), 0);
}

/// `/rails/` and `/some/` (where credentials are optional) accept the parameter, the other routes do not.
async fn with_parameters(origin: &Origin) -> Gateway {
    let add = |all: &mut Settings| {
        for (name, auth) in [("rails", Auth::Required), ("some", Auth::Optional)] {
            all.routes.push(Route { token_parameter: true, ..route(name, &format!("/{name}/"), auth) });
        }
    };
    Site::before(origin).with(add).start().await
}

#[tokio::test]
async fn a_key_in_the_token_parameter_is_accepted_where_a_route_allows_it() {
    let origin = Origin::answering("hello").await;
    let gateway = with_parameters(&origin).await;
    let user = gateway.user("alice").await;
    let long = format!("{}==", "ab/c+d.e".repeat(20));
    let short = "0123456789abcdef0123456789abcdef01234567";
    for key in [short, &long] {
        gateway.store.ledger.import(user, TokenKey::parse(key).unwrap(), OnConflict::Replace).await.unwrap();
        let mut lines = vec![
            format!("Token token=\"{key}\""),
            format!("token TOKEN=\"{key}\""),
            format!("Token  token = \"{key}\" "),
            format!("Token token=\"{key}\", nonce=\"a, token=b\""),
            format!("Token nonce=1 ,token=\"{key}\""),
            format!("Token {key}"),
        ];
        lines.extend((key == short).then(|| format!("Token token={key}")));
        for http in BOTH {
            for line in &lines {
                for path in ["/rails/x", "/some/x"] {
                    let answer = Ask::get(path).field("Authorization", line).over(http, &gateway).await;
                    assert_eq!((answer.status, answer.text()), (200, "hello"), "{http:?} {path} {line}");
                    assert_eq!(origin.last().fields.get("x-user-id"), Some(user.0.to_string().as_str()), "{line}");
                }
                if line.contains('"') || line.contains("token=") {
                    let before = origin.count();
                    for path in ["/api/x", "/optional/x"] {
                        let answer = Ask::get(path).field("Authorization", line).over(http, &gateway).await;
                        assert_eq!(answer.status, 401, "{http:?} {path} {line}");
                    }
                    assert_eq!(origin.count(), before);
                }
            }
        }
    }
}

#[tokio::test]
async fn an_ambiguous_parameter_is_refused_without_a_store_lookup() {
    let origin = Origin::answering("hello").await;
    let gateway = with_parameters(&origin).await;
    let key = gateway.issue("alice").await;
    let asked = || gateway.metric("tokengate_store_questions_total");
    let before = asked();
    for http in BOTH {
        for line in [
            "Token token=KEY,token=KEY",
            "Token token=KEY, Token=\"KEY\"",
            "Token token=KEY token=KEY",
            "Token token=KEY;nonce=1",
            "Token token=\"KEY",
            "Token token=\"KE\\Y\"",
            "Token token=\"KEY \"",
            "Token token=\"KEY,x\"",
            "Token token='KEY'",
            "Token token=KEY,",
            "Token ,token=KEY",
            "Token KEY, nonce=1",
            "Token xtoken=KEY",
            "Token token*=KEY",
            "Token token=\"\"",
            "Token nonce=1",
        ] {
            let line = line.replace("KEY", &key);
            for path in ["/rails/x", "/some/x"] {
                let answer = Ask::get(path).field("Authorization", &line).over(http, &gateway).await;
                assert_eq!((answer.status, answer.detail().as_str()), (401, "Invalid token."), "{path} {line}");
            }
        }
        let twice = Ask::get("/rails/x").token(&key).field("Authorization", format!("Token token={key}"));
        assert_eq!(twice.over(http, &gateway).await.status, 400);
        let other = Ask::get("/rails/x").field("Authorization", format!("Basic token={key}"));
        assert_eq!(other.over(http, &gateway).await.detail(), "Authentication credentials were not provided.");
    }
    assert_eq!(asked(), before, "no store was asked");
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_stream_of_a_key_in_a_parameter_ends_when_it_is_revoked() {
    let gate = Gate::closed();
    let begun = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun".to_vec();
    let origin = Origin::doing(vec![Step::Send(begun), Step::Wait(Arc::clone(&gate))]).await;
    let gateway = with_parameters(&origin).await;
    let key = gateway.issue("alice").await;
    let mut wire = Wire::open(&gateway).await;
    wire.send(Ask::get("/rails/x").field("Authorization", format!("Token token=\"{key}\"")).bytes()).await;
    origin.has_seen(1).await;
    gateway.revoke(&key).await;
    let rest = wire.rest().await;
    assert!(!rest.windows(3).any(|bytes| bytes == b"401"), "it had begun");
    gate.open();
}

#[tokio::test]
async fn a_key_in_a_parameter_that_was_sent_unencrypted_is_marked() {
    let origin = Origin::answering("hello").await;
    let refuse = |all: &mut Settings| all.listeners[1].role = plain(Plaintext::Refuse, ExposedToken::Mark);
    let gateway = Site::before(&origin).with(refuse).start().await;
    let key = gateway.issue("alice").await;
    let ask = Ask::get("/api/x").field("Authorization", format!("Token token=\"{key}\", nonce=1"));
    assert_eq!(Wire::plain(&gateway).await.ask(ask.bytes()).await.status, 403);
    let digest = TokenKey::parse(&key).unwrap().digest();
    eventually(PATIENCE, "it is marked", || async {
        let details = gateway.store.ledger.show(TokenRef::Digest(digest)).await.unwrap().unwrap();
        details.exposed.is_some()
    })
    .await;
}
