//! The desk itself, where neither a page nor the API stands before it.

use tokengate::admin::desk::{Caller, Desk, DeskError, Rights};
use tokengate::auth::Issuer;
use tokengate::config::settings::Login;
use tokengate::store::{Terms, Via};
use tokengate::token::{ScopeSet, TokenKey};

use super::*;

/// A desk at the store of a gateway.
fn desk(gateway: &Gateway) -> Desk {
    let (issuer, handle) = Issuer::new(gateway.store.clone(), Via::Admin, &Login::default(), gateway.clock());
    tokio::spawn(issuer.run());
    Desk::new(gateway.store.clone(), handle, gateway.clock()).unwrap()
}

async fn caller(gateway: &Gateway, name: &str) -> Caller {
    let user = gateway.store.accounts.find(name).await.unwrap().unwrap();
    let rights = if user.superuser { Rights::Superuser } else { Rights::Staff };
    Caller { user, rights, via: Via::Admin, from: "192.0.2.7".parse().unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_gives_no_other_terms_to_what_a_superuser_has() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let (desk, helper) = (desk(&gateway), caller(&gateway, "helper").await);
    let terms = Terms { scopes: Some(ScopeSet::parse("more").unwrap()), ..Terms::default() };
    for (owner, may) in [("alice", true), ("root", false)] {
        let key = TokenKey::parse(&gateway.issue_named(owner, "", None, &gateway.clock()).await).unwrap();
        let token = gateway.store.tokens.find(&key).await.unwrap().unwrap().id;
        let set = desk.act_for(&helper).set_terms(token, &terms).await;
        let scopes = gateway.store.tokens.find(&key).await.unwrap().unwrap().scopes;
        assert_eq!(Some(scopes) == terms.scopes, may, "{owner}");
        assert!(if may { set.is_ok() } else { matches!(set, Err(DeskError::NotAllowed(_))) }, "{set:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_of_somebody_who_took_the_name_confirms_nothing() {
    let origin = Origin::answering("fine").await;
    let gateway = gateway(&origin).await;
    let (desk, root) = (desk(&gateway), caller(&gateway, "root").await);
    let confirm = async |text: &str| desk.act_for(&root).confirm(Password::parse(text).unwrap()).await;
    confirm(PASSWORD).await.unwrap();
    let accounts = &gateway.store.accounts;
    accounts.rename(root.user.account.id, "former").await.unwrap();
    accounts.create(NewUser { password: Password::parse("other words").ok(), ..NewUser::named("root") }).await.unwrap();
    assert!(matches!(confirm("other words").await, Err(DeskError::WrongPassword)));
}
