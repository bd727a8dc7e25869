//! The operations themselves, without a page or the API.

use tokengate::admin::operations::{Caller, OperationError, Operations, Rights};
use tokengate::config::settings::Login;
use tokengate::login::{Issuer, Login as AuthLogin};
use tokengate::store::{NamedToken, Terms, Via};
use tokengate::token::{ScopeSet, TokenKey};

use super::*;

/// Operations on the store of a gateway.
fn operations(gateway: &Gateway) -> Operations {
    let (issuer, handle) = Issuer::new(gateway.store.clone(), Via::Admin, &Login::default(), gateway.clock());
    tokio::spawn(issuer.run());
    Operations::new(gateway.store.clone(), handle, gateway.clock()).unwrap()
}

async fn caller(gateway: &Gateway, name: &str) -> Caller {
    let user = gateway.store.accounts.find(name).await.unwrap().unwrap();
    let rights = if user.superuser { Rights::Superuser } else { Rights::Staff };
    Caller { user, rights, via: Via::Admin, from: "192.0.2.7".parse().unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_cannot_change_tokens_of_superusers() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let (operations, helper) = (operations(&gateway), caller(&gateway, "helper").await);
    let terms = Terms { scopes: Some(ScopeSet::parse("more").unwrap()), ..Terms::default() };
    for (owner, may) in [("alice", true), ("root", false)] {
        let key = TokenKey::parse(&gateway.issue_named(owner, "", None, &gateway.clock()).await).unwrap();
        let token = gateway.store.tokens.find(&key).await.unwrap().unwrap().id;
        let set = operations.act_for(&helper).set_terms(token, &terms).await;
        let scopes = gateway.store.tokens.find(&key).await.unwrap().unwrap().scopes;
        assert_eq!(Some(scopes) == terms.scopes, may, "{owner}");
        assert!(if may { set.is_ok() } else { matches!(set, Err(OperationError::NotAllowed(_))) }, "{set:?}");
    }
}

/// The issuer of a token has seen its key. With this scope, the key would permit more than the issuer may do, once the
/// owner is promoted.
#[tokio::test(flavor = "multi_thread")]
async fn staff_cannot_grant_the_scope_of_the_api() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let (operations, helper) = (operations(&gateway), caller(&gateway, "helper").await);
    let root = caller(&gateway, "root").await;
    let (alice, scopes) = (gateway.user("alice").await, ScopeSet::parse("read tokengate:admin").unwrap());
    let order = NamedToken { name: "later".to_owned(), expires: None, scopes: scopes.clone(), ..NamedToken::default() };
    let issued = operations.act_for(&helper).issue_named(alice, &order).await;
    assert!(matches!(issued, Err(OperationError::NotAllowed(_))), "{:?}", issued.map(|issued| issued.id));
    let plain = NamedToken { scopes: ScopeSet::parse("read").unwrap(), ..order.clone() };
    let id = operations.act_for(&helper).issue_named(alice, &plain).await.unwrap().id;
    let set = operations.act_for(&helper).set_terms(id, &Terms { scopes: Some(scopes), ..Terms::default() }).await;
    assert!(matches!(set, Err(OperationError::NotAllowed(_))), "{set:?}");
    operations.act_for(&root).issue_named(alice, &order).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_of_a_new_user_with_the_same_name_confirms_nothing() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let (operations, root) = (operations(&gateway), caller(&gateway, "root").await);
    let confirm = async |text: &str| operations.act_for(&root).confirm(Password::parse(text).unwrap()).await;
    confirm(PASSWORD).await.unwrap();
    let accounts = &gateway.store.accounts;
    accounts.rename(root.user.account.id, "former").await.unwrap();
    accounts.create(NewUser { password: Password::parse("other words").ok(), ..NewUser::named("root") }).await.unwrap();
    assert!(matches!(confirm("other words").await, Err(OperationError::WrongPassword)));
}

/// Otherwise a client that knows the name of a superuser could prevent an urgent revocation.
#[tokio::test(flavor = "multi_thread")]
async fn failed_logins_with_the_name_of_a_superuser_do_not_block_confirmations() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let (operations, root) = (operations(&gateway), caller(&gateway, "root").await);
    let words = |text: &str| Password::parse(text).unwrap();
    let stranger =
        |text: &str| AuthLogin { name: "root".to_owned(), password: words(text), from: "192.0.2.8".parse().unwrap() };
    for _ in 0..Login::default().per_user.unwrap().count {
        assert!(matches!(operations.sign_in(stranger("guess"), Via::Admin).await, Err(OperationError::WrongPassword)));
    }
    assert!(matches!(operations.sign_in(stranger(PASSWORD), Via::Admin).await, Err(OperationError::Throttled(_))));
    operations.act_for(&root).confirm(words(PASSWORD)).await.unwrap();
    for _ in 0..Login::default().per_user.unwrap().count {
        assert!(matches!(operations.act_for(&root).confirm(words("guess")).await, Err(OperationError::WrongPassword)));
    }
    let held = operations.act_for(&root).confirm(words(PASSWORD)).await;
    assert!(
        matches!(held, Err(OperationError::Throttled(_))),
        "guesses with a stolen sign-in are limited, too: {held:?}"
    );
}
