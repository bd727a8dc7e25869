//! `tokengate token`: replaces Django's `drf_create_token` and adds more commands.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::args::{LimitOptions, Paging, TokenCommand, TokenEdit};
use super::quotas::{self, Quotas};
use super::show::{Colour, Table};
use super::{show, store};
use crate::clock::{Clock, Timestamp};
use crate::rates::Holder;
use crate::store::{
    End, Issued, LimitChanges, NamedToken, OnConflict, Store, Terms, TokenDetails, TokenFilter, TokenKind, TokenLimits,
    TokenRef, User,
};
use crate::token::{Network, Networks, Scope, ScopeSet, TokenId, TokenKey};
use crate::units::HumanDuration;

/// Runs a subcommand.
pub fn run(config: &Path, command: TokenCommand) -> Result<()> {
    match command {
        TokenCommand::Create { user, reset, yes, name, expires, scopes, limits, json } => {
            let order = name.map(|name| named(name, expires, &scopes, limits.read()?)).transpose()?;
            store::with(config, async |store| {
                let owner = owner(&store, &user).await?;
                let id = owner.account.id;
                if reset {
                    let what = format!(
                        "Revoke the login token of user {user} and issue a new one? The old key stops at once."
                    );
                    show::confirm(yes, &what)?;
                }
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
        TokenCommand::Import { user, key_stdin: _, replace, name, expires, scopes, limits, json } => {
            let key = key_from_stdin()?;
            let order = name.map(|name| named(name, expires, &scopes, limits.read()?)).transpose()?;
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
        TokenCommand::List { user, paging } => store::with(config, async |store| list(&store, user, &paging).await),
        TokenCommand::Show { id, json } => {
            let quotas = Quotas::of(config)?;
            store::with(config, async |store| {
                let token = found(&store, TokenRef::Id(TokenId(id))).await?;
                let holder = Holder { token: Some(token.record.digest), user: token.record.owner.id };
                let remaining = quotas.left(&store, holder).await?;
                if json {
                    return show::json(&quotas::with(as_json(&token), &remaining));
                }
                details(&token)?;
                quotas::tell(&remaining)
            })
        }
        TokenCommand::Rotate { id, overlap, at_once, yes, json } => store::with(config, async |store| {
            rotate(&store, TokenId(id), (!at_once).then_some(overlap), yes, json).await
        }),
        TokenCommand::Edit(order) => store::with(config, async |store| edit(&store, order).await),
        TokenCommand::Revoke { token, key_stdin, yes, json } => {
            let token = if key_stdin { None } else { token };
            let which = match token.as_deref().map(str::parse::<i64>) {
                // Keys of Django REST Framework have 40 characters; no id has as many digits.
                Some(Ok(id)) => TokenRef::Id(TokenId(id)),
                Some(Err(_)) => TokenRef::Digest(TokenKey::parse(&token.unwrap_or_default())?.digest()),
                None => TokenRef::Digest(key_from_stdin()?.digest()),
            };
            store::with(config, async |store| revoke(&store, which, yes, json).await)
        }
    }
}

/// `overlap`: how long the old key works on; `None`: it is revoked at once.
async fn rotate(store: &Store, id: TokenId, overlap: Option<HumanDuration>, yes: bool, json: bool) -> Result<()> {
    let token = found(store, TokenRef::Id(id)).await?;
    let user = &token.record.owner.name;
    if overlap.is_none() {
        show::confirm(yes, &format!("Replace token {id} of user {user}? The old key stops at once."))?;
    }
    let span = overlap.as_ref().map_or(Duration::ZERO, |HumanDuration(span)| *span);
    let issued = store.ledger.rotate(id, span).await?;
    print(&issued, user, json)?;
    let old = overlap.map_or_else(|| "was revoked".to_owned(), |overlap| format!("works for another {overlap}"));
    show::note(format_args!("Token {} replaces token {id}, whose key {old}.", issued.id));
    Ok(())
}

async fn revoke(store: &Store, which: TokenRef, yes: bool, json: bool) -> Result<()> {
    if let Some(token) = store.ledger.show(which).await? {
        let (id, user) = (token.record.id, &token.record.owner.name);
        let name = if token.name.is_empty() { String::new() } else { format!(" \"{}\"", token.name) };
        let what = format!("Revoke the {} token {id}{name} of user {user}? This cannot be undone.", kind(&token));
        show::confirm(yes, &what)?;
    }
    let met = store.ledger.revoke(which).await?;
    if json {
        return show::json(&json!({ "id": met.id.0, "was_live": met.was_live }));
    }
    match met.was_live {
        true => show::line(format!("Revoked token {}", met.id)),
        false => show::line(format!("Token {} was already revoked or expired", met.id)),
    }
}

async fn edit(store: &Store, order: TokenEdit) -> Result<()> {
    let limits = order.limits()?;
    let TokenEdit { id, name, note, expires, never_expires, scopes, no_scopes, disable, enable, json, .. } = order;
    let scopes = scopes.iter().map(|scope| Scope::parse(scope)).collect::<Result<Vec<_>, _>>()?;
    let end = expires.map(|HumanDuration(span)| End::At(Clock::system().now().after(span)));
    let terms = Terms {
        end: if never_expires { Some(End::Never) } else { end },
        scopes: (no_scopes || !scopes.is_empty()).then(|| ScopeSet::new(scopes)),
        name,
        note,
        disabled: (disable || enable).then_some(disable),
        limits,
    };
    if terms == Terms::default() {
        bail!("nothing to change; `tokengate token edit --help` lists what can be changed");
    }
    let changed = store.ledger.set_terms(TokenId(id), &terms).await?;
    if json {
        let now = found(store, TokenRef::Id(TokenId(id))).await?;
        return show::json(&json!({ "changed": changed, "token": as_json(&now) }));
    }
    show::line(if changed { format!("Changed token {id}") } else { format!("Token {id} is unchanged") })
}

async fn found(store: &Store, token: TokenRef) -> Result<TokenDetails> {
    let missing = || match token {
        TokenRef::Id(id) => format!("token {id} does not exist"),
        TokenRef::Digest(_) => "no token has this key".to_owned(),
    };
    store.ledger.show(token).await?.with_context(missing)
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

impl LimitOptions {
    fn read(&self) -> Result<TokenLimits> {
        let networks = networks_of(&self.networks)?;
        Ok(TokenLimits { read_only: self.read_only, networks, unused_days: self.unused_days, rate: self.rate })
    }
}

impl TokenEdit {
    fn limits(&self) -> Result<LimitChanges> {
        let networks = if self.any_network { Some(None) } else { networks_of(&self.networks)?.map(Some) };
        let unused_days = if self.unused_forever { Some(None) } else { self.unused_days.map(Some) };
        let read_only = (self.read_only || self.read_write).then_some(self.read_only);
        let rate = if self.no_rate { Some(None) } else { self.rate.map(Some) };
        Ok(LimitChanges { read_only, networks, unused_days, rate })
    }
}

/// `None`: no network is named.
fn networks_of(texts: &[String]) -> Result<Option<Networks>> {
    let read = |text: &String| Network::parse(text).with_context(|| format!("`{text}`"));
    let networks = texts.iter().map(read).collect::<Result<Vec<_>>>()?;
    Ok((!networks.is_empty()).then(|| Networks::of(networks)))
}

fn named(name: String, expires: Option<HumanDuration>, scopes: &[String], limits: TokenLimits) -> Result<NamedToken> {
    let scopes = scopes.iter().map(|scope| Scope::parse(scope)).collect::<Result<Vec<_>, _>>()?;
    let expires = expires.map(|HumanDuration(span)| Clock::system().now().after(span));
    Ok(NamedToken { name, expires, scopes: ScopeSet::new(scopes), limits })
}

fn key_from_stdin() -> Result<TokenKey> {
    Ok(TokenKey::parse(&store::secret_from_stdin("key")?)?)
}

async fn list(store: &Store, user: Option<String>, paging: &Paging) -> Result<()> {
    let owner = match user {
        Some(name) => Some(store::user(store, &name).await?.account.id),
        None => None,
    };
    let read = async |page| store.ledger.list(TokenFilter { owner, live: false }, page).await;
    let mut table = Table::new(&["ID", "KEY", "USER", "KIND", "NAME", "STATE", "EXPIRES", "LAST USED"]);
    super::list::print(paging, "token", &mut table, read, |token| (token.record.id.0, row(token)), as_json).await
}

fn row(token: &TokenDetails) -> Vec<(String, Option<Colour>)> {
    let at = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    let state = state(token);
    let colour = if state == "live" { Colour::Green } else { Colour::Yellow };
    vec![
        (token.record.id.to_string(), None),
        (format!("{}…", token.hint), None),
        (token.record.owner.name.clone(), None),
        (kind(token).to_owned(), None),
        (token.name.clone(), None),
        (state.to_owned(), Some(colour)),
        (at(token.record.expires), None),
        (at(token.last_used), None),
    ]
}

fn details(token: &TokenDetails) -> Result<()> {
    let at = |at: Option<Timestamp>| at.map_or_else(|| "never".to_owned(), |at| at.to_string());
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
        ("ends unused", unused_days(token).map_or_else(|| "never".to_owned(), |days| format!("after {days} days"))),
        ("rate", rate(token).unwrap_or_else(|| "that of the route".to_owned())),
        ("exposed", at(token.exposed)),
        ("note", token.note.clone()),
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
    if token.disabled.is_some() && token.record.revoked.is_none() {
        return "disabled";
    }
    match crate::identity::Identity::establish(&token.record, Clock::system().now()) {
        Ok(_) => "live",
        Err(crate::identity::Denied::Revoked) => "revoked",
        Err(crate::identity::Denied::Expired | crate::identity::Denied::Unused) => "expired",
        Err(crate::identity::Denied::OwnerInactive) => "owner inactive",
        Err(crate::identity::Denied::Unknown) => "unknown",
    }
}

fn networks(token: &TokenDetails) -> Option<String> {
    token.record.restrictions.networks.as_ref().map(ToString::to_string)
}

fn rate(token: &TokenDetails) -> Option<String> {
    token.record.restrictions.rates.token.map(|rate| rate.to_string())
}

fn unused_days(token: &TokenDetails) -> Option<u32> {
    token.record.restrictions.use_by.map(|use_by| use_by.days)
}

fn as_json(token: &TokenDetails) -> Value {
    let at = |at: Option<Timestamp>| at.map(|at| at.to_string());
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
        "unused_days": unused_days(token),
        "rate": rate(token),
        "device": token.device,
        "last_used": at(token.last_used),
        "exposed": at(token.exposed),
        "disabled": at(token.disabled),
        "note": token.note,
    })
}
