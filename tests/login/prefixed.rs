//! `tokens.format = "prefixed"`: keys that secret scanners recognise, and whose typing errors are detected.

use tokengate::token::TokenFormat;

use super::{PASSWORD, login, site, token, user};
use crate::support::client::BOTH;
use crate::support::{Ask, Gateway, Origin};

async fn gateway(origin: &Origin) -> Gateway {
    site(origin).with(|settings| settings.tokens.format = TokenFormat::Prefixed).start().await
}

#[tokio::test]
async fn a_prefixed_key_is_returned_again_and_works() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    let (id, other) = (user(&gateway, "alice").await, user(&gateway, "bob").await);
    let key = token(&login("alice", PASSWORD).to(&gateway).await);
    assert!(key.len() == 39 && key.starts_with("tg_"), "{key}");
    assert_eq!(TokenFormat::of(&key), Some(TokenFormat::Prefixed));
    assert_eq!(token(&login("alice", PASSWORD).to(&gateway).await), key);
    for (user, id) in [("alice", id), ("bob", other)] {
        let key = token(&login(user, PASSWORD).to(&gateway).await);
        for http in BOTH {
            let answer = Ask::get("/api/x").token(&key).over(http, &gateway).await;
            assert_eq!(answer.status, 200);
            assert_eq!(origin.last().fields.get("x-user-id"), Some(id.to_string().as_str()));
        }
    }
}

#[tokio::test]
async fn a_mistyped_key_needs_no_store_lookup() {
    let origin = Origin::answering("hello").await;
    let gateway = gateway(&origin).await;
    user(&gateway, "alice").await;
    let key = token(&login("alice", PASSWORD).to(&gateway).await);
    let before = gateway.metric("tokengate_store_questions_total");
    let mistyped = format!("{}{}", &key[..38], if key.ends_with('x') { "y" } else { "x" });
    for http in BOTH {
        let answer = Ask::get("/api/x").token(&mistyped).over(http, &gateway).await;
        assert_eq!((answer.status, answer.detail().as_str()), (401, "Invalid token."));
        assert_eq!(answer.fields.get("www-authenticate"), Some("Token"));
    }
    assert_eq!(gateway.metric("tokengate_store_questions_total"), before);
}
