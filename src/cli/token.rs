//! `tokengate token`: replaces Django's `drf_create_token` and adds more commands.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::args::TokenCommand;
use super::{show, store};
use crate::clock::Clock;
use crate::store::{Issued, NamedToken, OnConflict, Page, Store, TokenDetails, TokenFilter, TokenKind, TokenRef, User};
use crate::token::{Scope, ScopeSet, TokenId, TokenKey};
use crate::units::HumanDuration;

/// Number of tokens read from the store per query.
const PAGE: u32 = 500;

/// Runs a subcommand.
pub fn run(config: &Path, command: TokenCommand) -> Result<()> {
    match command {
        TokenCommand::Create { user, reset, name, expires, scopes, json } => {
            let order = name.map(|name| named(name, expires, &scopes)).transpose()?;
            store::with(config, async |store| {
                let owner = owner(&store, &user).await?;
                let id = owner.account.id;
                let issued = match &order {
                    Some(order) => store.ledger.issue_named(id, order).await?,
                    None if reset => store.ledger.reset_login(id).await?,
                    None => store.ledger.issue_login(id).await?,
                };
                print(&issued, &user, json)?;
                if order.is_some() {
                    show::note("This key is not shown again.");
                }
                Ok(())
            })
        }
        TokenCommand::Import { user, key_stdin: _, replace, name, expires, scopes, json } => {
            let key = key_from_stdin()?;
            let order = name.map(|name| named(name, expires, &scopes)).transpose()?;
            store::with(config, async |store| {
                let owner = owner(&store, &user).await?;
                let (id, conflict) = (owner.account.id, if replace { OnConflict::Replace } else { OnConflict::Refuse });
                let issued = match &order {
                    Some(order) => store.ledger.import_named(id, key, order).await?,
                    None => store.ledger.import(id, key, conflict).await?,
                };
                if json {
                    return show::json(&issued_as_json(&issued, &user));
                }
                show::line(format!("Imported token {} for user {user}", issued.id))
            })
        }
        TokenCommand::List { user, json } => store::with(config, async |store| list(&store, user, json).await),
        TokenCommand::Show { id, json } => store::with(config, async |store| {
            let token = store
                .ledger
                .show(TokenRef::Id(TokenId(id)))
                .await?
                .with_context(|| format!("token {id} does not exist"))?;
            if json { show::json(&as_json(&token)) } else { details(&token) }
        }),
        TokenCommand::Revoke { token, key_stdin } => {
            let token = if key_stdin { None } else { token };
            let which = match token.as_deref().map(str::parse::<i64>) {
                // Keys of Django REST Framework have 40 characters; no id has as many digits.
                Some(Ok(id)) => TokenRef::Id(TokenId(id)),
                Some(Err(_)) => TokenRef::Digest(TokenKey::parse(&token.unwrap_or_default())?.digest()),
                None => TokenRef::Digest(key_from_stdin()?.digest()),
            };
            store::with(config, async |store| {
                let met = store.ledger.revoke(which).await?;
                match met.was_live {
                    true => show::line(format!("Revoked token {}", met.id)),
                    false => show::line(format!("Token {} was already revoked or expired", met.id)),
                }
            })
        }
    }
}

/// Formats the line of `drf_create_token` word for word. That command says "Generated" for an existing key too, and
/// scripts parse it.
pub fn show_issued(issued: &Issued, user: &str) -> Result<()> {
    show::line(format!("Generated token {} for user {user}", issued.key.expose()))
}

/// An issued token with its key.
pub fn issued_as_json(issued: &Issued, user: &str) -> Value {
    json!({
        "id": issued.id.0,
        "key": issued.key.expose(),
        "user": user,
        "expires": issued.expires.map(|at| at.to_string()),
        "fresh": issued.fresh,
    })
}

fn print(issued: &Issued, user: &str, json: bool) -> Result<()> {
    if json { show::json(&issued_as_json(issued, user)) } else { show_issued(issued, user) }
}

async fn owner(store: &Store, name: &str) -> Result<User> {
    let found = store.accounts.find(name).await?;
    found.with_context(|| format!("Cannot create the Token: user {name} does not exist"))
}

fn named(name: String, expires: Option<HumanDuration>, scopes: &[String]) -> Result<NamedToken> {
    let scopes = scopes.iter().map(|scope| Scope::parse(scope)).collect::<Result<Vec<_>, _>>()?;
    let expires = expires.map(|HumanDuration(span)| Clock::system().now().after(span));
    Ok(NamedToken { name, expires, scopes: ScopeSet::new(scopes) })
}

fn key_from_stdin() -> Result<TokenKey> {
    Ok(TokenKey::parse(&store::secret_from_stdin("key")?)?)
}

async fn list(store: &Store, user: Option<String>, json: bool) -> Result<()> {
    let owner = match user {
        Some(name) => Some(store::user(store, &name).await?.account.id),
        None => None,
    };
    let mut page = Page::first(PAGE);
    let (mut all, mut unreadable) = (Vec::new(), 0);
    loop {
        let tokens = store.ledger.list(TokenFilter { owner, live: false }, page).await?;
        let Some(end) = tokens.end() else { break };
        page.after = end;
        unreadable += show::unreadable("token", tokens.unreadable());
        if json {
            all.extend(tokens.iter().map(as_json));
            continue;
        }
        for token in &tokens {
            let record = &token.record;
            let (id, hint, name) = (record.id, &token.hint, &record.owner.name);
            show::line(format!("{id}\t{hint}…\t{name}\t{}\t{}\t{}", kind(token), token.name, state(token)))?;
        }
    }
    if json {
        show::json(&Value::Array(all))?;
    }
    show::whole_list(unreadable)
}

fn details(token: &TokenDetails) -> Result<()> {
    let at = |at: Option<crate::clock::Timestamp>| at.map_or_else(|| "never".to_owned(), |at| at.to_string());
    let rows = [
        ("id", token.record.id.to_string()),
        ("key", format!("{}…", token.hint)),
        ("user", token.record.owner.name.clone()),
        ("kind", kind(token).to_owned()),
        ("name", token.name.clone()),
        ("scopes", token.record.scopes.to_string()),
        ("state", state(token).to_owned()),
        ("created", token.record.created.to_string()),
        ("expires", at(token.record.expires)),
        ("revoked", at(token.record.revoked)),
        ("access", if token.record.restrictions.read_only { "read" } else { "read and write" }.to_owned()),
        ("networks", networks(token).unwrap_or_else(|| "any".to_owned())),
        ("last used", at(token.last_used)),
        ("exposed", at(token.exposed)),
    ];
    rows.iter().try_for_each(|(name, value)| show::line(format!("{name:<14}{value}")))
}

fn kind(token: &TokenDetails) -> &'static str {
    match token.kind {
        TokenKind::Login => "login",
        TokenKind::Named => "named",
    }
}

fn state(token: &TokenDetails) -> &'static str {
    match crate::identity::Identity::establish(&token.record, Clock::system().now()) {
        Ok(_) => "live",
        Err(crate::identity::Denied::Revoked) => "revoked",
        Err(crate::identity::Denied::Expired) => "expired",
        Err(crate::identity::Denied::OwnerInactive) => "owner inactive",
        Err(crate::identity::Denied::Unknown) => "unknown",
    }
}

fn networks(token: &TokenDetails) -> Option<String> {
    token.record.restrictions.networks.as_ref().map(ToString::to_string)
}

fn as_json(token: &TokenDetails) -> Value {
    let at = |at: Option<crate::clock::Timestamp>| at.map(|at| at.to_string());
    json!({
        "id": token.record.id.0,
        "hint": token.hint.as_str(),
        "user": token.record.owner.name,
        "user_id": token.record.owner.id.0,
        "kind": kind(token),
        "name": token.name,
        "scopes": token.record.scopes.iter().map(Scope::as_str).collect::<Vec<_>>(),
        "state": state(token),
        "created": token.record.created.to_string(),
        "expires": at(token.record.expires),
        "revoked": at(token.record.revoked),
        "read_only": token.record.restrictions.read_only,
        "networks": networks(token),
        "last_used": at(token.last_used),
        "exposed": at(token.exposed),
    })
}
