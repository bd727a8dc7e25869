//! Imports users, each in one transaction with all tokens.

use std::cmp::Reverse;

use super::accounts::{UNUSABLE, id_of, insert, join_groups, row};
use super::checks::check_limits;
use super::issue::{Draft, login_of};
use super::ledger::find;
use super::rows::UserRow;
use super::{Change, Database, SqlStore, Statement, detail, stale};
use crate::clock::Timestamp;
use crate::store::password::unverifiable;
use crate::store::{
    AccountError, Act, Arrival, ArrivingToken, Import, LedgerError, StoreError, Taken, TokenKind, TokenLabel,
    TokenLimits, TokenRef, TokenTaken, UserTaken,
};
use crate::token::{ScopeSet, SubjectId, TokenId, TokenKey};

impl<D: Database> SqlStore<D> {
    pub(super) async fn take_over_user(
        &self,
        change: &mut D::Change,
        arrival: &Arrival,
        import: &Import,
    ) -> Result<Taken, AccountError> {
        let (mut id, is_mapped) = match self.mapped(change, arrival, import).await? {
            Some(id) => (id, true),
            None => (arrival.user.account.id, false),
        };
        // First, so that a token which replaced another one there becomes the login token here too.
        let stale = self.end_stale(change, id, arrival, import).await?;
        let lost = unverifiable(&arrival.password);
        let kept = if lost.is_some() { UNUSABLE } else { arrival.password.as_str() };
        let here = row(change, id).await?;
        let user = self.settle(change, (&mut id, is_mapped), (arrival, kept), import).await?;
        let password_lost = match user {
            UserTaken::Skipped(_) => None,
            _ => lost.filter(|_| here.is_none_or(|row| is_unusable(row.password()))),
        };
        let mut ordered: Vec<&ArrivingToken> = arrival.tokens.iter().collect();
        ordered.sort_by_key(|token| Reverse(token.created));
        let mut tokens = Vec::new();
        for token in ordered {
            let taken = match &user {
                UserTaken::Skipped(_) => TokenTaken::Skipped("the user was skipped".to_owned()),
                _ => self.take_over_token(change, id, token, import).await?,
            };
            tokens.push((stale::label(token), taken));
        }
        Ok(Taken { id, user, tokens, password_lost, stale })
    }

    /// The id under which a user is imported whose own id belongs to another user here: that of an earlier import, or 0
    /// for a new one. `None`: the own id.
    async fn mapped(
        &self,
        change: &mut D::Change,
        arrival: &Arrival,
        import: &Import,
    ) -> Result<Option<SubjectId>, AccountError> {
        let account = &arrival.user.account;
        let holder = if import.map_ids { row(change, account.id).await? } else { None };
        let Some(holder) = holder else { return Ok(None) };
        if holder.into_user()?.account.name == account.name {
            return Ok(None);
        }
        match id_of(change, &account.name).await? {
            None => Ok(Some(SubjectId(0))),
            Some(known) => Ok(stale::is_imported(change, known, import).await?.then_some(known)),
        }
    }

    async fn settle(
        &self,
        change: &mut D::Change,
        (id, is_mapped): (&mut SubjectId, bool),
        (arrival, password): (&Arrival, &str),
        import: &Import,
    ) -> Result<UserTaken, AccountError> {
        let mut new = match arrival.to_new_user() {
            Ok(new) => new,
            Err(invalid) => return Ok(UserTaken::Skipped(invalid.to_string())),
        };
        if let Some(row) = row(change, *id).await? {
            let judged = judged(row, arrival, password)?;
            if matches!(judged, UserTaken::There { .. }) {
                stale::claim_user(change, *id, import).await?;
            }
            return Ok(judged);
        }
        if let Some(other) = id_of(change, &new.name).await? {
            return Ok(UserTaken::Skipped(format!("the name belongs to user {other} here")));
        }
        if is_mapped {
            new.id = None;
        }
        *id = insert(change, &new, password, arrival.user.created).await?;
        let id = *id;
        join_groups(change, id, &new.groups).await?;
        if let Some(at) = arrival.user.last_login {
            let statement = Statement::new("UPDATE users SET last_login = $1 WHERE id = $2");
            change.execute(statement.bind(at.as_micros()).bind(id.0)).await?;
        }
        stale::note_user(change, id, import).await?;
        self.note_user(change, Act::UserImported, id, &detail::created(&new)).await?;
        Ok(if is_mapped { UserTaken::Mapped(id) } else { UserTaken::New })
    }

    async fn take_over_token(
        &self,
        change: &mut D::Change,
        owner: SubjectId,
        token: &ArrivingToken,
        import: &Import,
    ) -> Result<TokenTaken, StoreError> {
        let skipped = |why: &str| Ok(TokenTaken::Skipped(why.to_owned()));
        let now = self.clock.now();
        if let Some(why) = stale::not_importable(token, now) {
            return match self.counting(change, owner, &token.key, now).await? {
                Some(id) => {
                    Ok(TokenTaken::Refused(format!("{why}, but is valid here as token {id}; revoke that token")))
                }
                None => Ok(TokenTaken::Dead(why)),
            };
        }
        let Ok(key) = TokenKey::parse(&token.key) else {
            return skipped("the key contains characters that cannot be sent in a header, or is too long");
        };
        if let Some(same) = find(change, TokenRef::Digest(key.digest())).await? {
            return match (same.record.owner.id == owner, same.record.is_live(now)) {
                (true, true) => {
                    stale::claim_token(change, same.record.id, import).await?;
                    if let Some(why) = looser(&TokenLimits::of(&same.record.restrictions), &token.limits) {
                        let id = same.record.id;
                        return Ok(TokenTaken::Refused(format!(
                            "{why}, but not here as token {id}; limit or revoke it"
                        )));
                    }
                    let outlived = token.expires.filter(|end| same.record.expires.is_none_or(|here| here > *end));
                    Ok(outlived.map_or(TokenTaken::There, TokenTaken::Outlives))
                }
                (true, false) => skipped("it was revoked here, or it expired here"),
                (false, _) => skipped("the key belongs to another user here"),
            };
        }
        let name = login_of(change, owner).await?.map(|_| name_of(token.created));
        let scopes = ScopeSet::default();
        // The expiry is that of a new token, but not later than in the other system; the creation time is kept.
        let expires = self.default_end(now).into_iter().chain(token.expires).min();
        let kind = if name.is_some() { TokenKind::Named } else { TokenKind::Login };
        let limits = &token.limits;
        if let Err(refused) = check_limits(limits) {
            return Ok(TokenTaken::Skipped(refused.to_string()));
        }
        let draft =
            Draft { key, kind, name: name.as_deref().unwrap_or(""), scopes: &scopes, expires, limits, device: false };
        match self.write_down(change, owner, draft, token.created).await {
            Ok(issued) => {
                stale::note_token(change, issued.id, import).await?;
                let told = detail::issued(issued.expires, &scopes, limits);
                self.note_token(change, Act::TokenImported, issued.id, &told).await?;
                Ok(name.map_or(TokenTaken::Login, TokenTaken::Named))
            }
            Err(LedgerError::Store(error)) => Err(error),
            Err(refused) => Ok(TokenTaken::Skipped(refused.to_string())),
        }
    }
}

impl<D: Database> SqlStore<D> {
    /// The valid token of this user with this key.
    async fn counting(
        &self,
        change: &mut D::Change,
        owner: SubjectId,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<TokenId>, StoreError> {
        let Ok(key) = TokenKey::parse(key) else { return Ok(None) };
        let same = find(change, TokenRef::Digest(key.digest())).await?;
        let same = same.filter(|same| same.record.owner.id == owner && same.record.is_live(now));
        Ok(same.map(|same| same.record.id))
    }
}

/// Which limit of the other system a token lacks here.
fn looser(here: &TokenLimits, there: &TokenLimits) -> Option<&'static str> {
    if there.read_only && !here.read_only {
        Some("it is read-only there")
    } else if there.networks.is_some() && here.networks != there.networks {
        Some("it is limited to other networks there")
    } else {
        None
    }
}

/// The name of an additional token of a user.
fn name_of(created: Timestamp) -> String {
    format!("imported, made {}", TokenLabel::day(created))
}

fn is_unusable(hash: &str) -> bool {
    hash.is_empty() || hash.starts_with(UNUSABLE)
}

/// Compares an imported user with the existing user of the same id. `password` is the imported hash as it would be
/// stored.
fn judged(row: UserRow, arrival: &Arrival, password: &str) -> Result<UserTaken, AccountError> {
    let same_password = row.password() == password || (is_unusable(row.password()) && is_unusable(password));
    let (here, there) = (row.into_user()?, &arrival.user);
    if here.account.name != there.account.name {
        let (id, name) = (here.account.id, here.account.name);
        return Ok(UserTaken::Skipped(format!(
            "its id {id} belongs to user {name} here; if that user was renamed there, rename it here and import again; \
             otherwise --map-ids gives a new id"
        )));
    }
    let told = |part: &str, here: &str, there: &str| format!("{part} (here: {here}; there: {there})");
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    let text = |text: &str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
    let groups = |groups: &[String]| text(&groups.join(", "));
    let (mine, theirs) = (&here.account, &there.account);
    let parts = [
        (mine.active != theirs.active).then(|| told("active", yes(mine.active), yes(theirs.active))),
        (!same_password).then(|| "password".to_owned()),
        (mine.email != theirs.email).then(|| told("e-mail", &text(&mine.email), &text(&theirs.email))),
        (mine.groups != theirs.groups).then(|| told("groups", &groups(&mine.groups), &groups(&theirs.groups))),
        (here.first_name != there.first_name).then(|| "first name".to_owned()),
        (here.last_name != there.last_name).then(|| "last name".to_owned()),
        (here.staff != there.staff).then(|| told("staff", yes(here.staff), yes(there.staff))),
        (here.superuser != there.superuser).then(|| told("superuser", yes(here.superuser), yes(there.superuser))),
    ];
    Ok(UserTaken::There { differs: parts.into_iter().flatten().collect() })
}
