//! Takes users over from elsewhere: each within one change, with all that belongs to it.

use super::accounts::{id_of, insert, join_groups, row};
use super::ledger::{Draft, counts, find, login_of};
use super::rows::UserRow;
use super::{Change, Database, SqlStore, Statement, detail};
use crate::clock::Timestamp;
use crate::store::{
    AccountError, Act, Arrival, ArrivingToken, LedgerError, StoreError, Taken, TokenKind, TokenRef, TokenTaken,
    UserTaken,
};
use crate::token::{ScopeSet, SubjectId, TokenKey};

impl<D: Database> SqlStore<D> {
    pub(super) async fn take_over_user(
        &self,
        change: &mut D::Change,
        arrival: &Arrival,
    ) -> Result<Taken, AccountError> {
        let user = self.settle(change, arrival).await?;
        let token = match (&user, &arrival.token) {
            (UserTaken::Skipped(_), Some(_)) => TokenTaken::Skipped("its user is not here".to_owned()),
            (_, None) => TokenTaken::Missing,
            (_, Some(token)) => self.take_over_token(change, arrival.user.account.id, token).await?,
        };
        Ok(Taken { user, token })
    }

    async fn settle(&self, change: &mut D::Change, arrival: &Arrival) -> Result<UserTaken, AccountError> {
        let new = match arrival.to_new_user() {
            Ok(new) => new,
            Err(invalid) => return Ok(UserTaken::Skipped(invalid.to_string())),
        };
        let id = arrival.user.account.id;
        if let Some(row) = row(change, id).await? {
            return judged(row, arrival);
        }
        if let Some(other) = id_of(change, &new.name).await? {
            return Ok(UserTaken::Skipped(format!("its name is here that of the user with the id {other}")));
        }
        insert(change, &new, &arrival.password, arrival.user.created).await?;
        join_groups(change, id, &new.groups).await?;
        if let Some(at) = arrival.user.last_login {
            let statement = Statement::new("UPDATE users SET last_login = $1 WHERE id = $2");
            change.execute(statement.bind(at.as_micros()).bind(id.0)).await?;
        }
        self.note_user(change, Act::UserImported, id, &detail::created(&new)).await?;
        Ok(UserTaken::New)
    }

    async fn take_over_token(
        &self,
        change: &mut D::Change,
        owner: SubjectId,
        token: &ArrivingToken,
    ) -> Result<TokenTaken, StoreError> {
        let skipped = |why: &str| Ok(TokenTaken::Skipped(why.to_owned()));
        let Ok(key) = TokenKey::parse(&token.key) else { return skipped("no request can show such a key") };
        let now = self.clock.now();
        if let Some(same) = find(change, TokenRef::Digest(key.digest())).await? {
            return match (same.record.owner.id == owner, counts(&same.record, now)) {
                (true, true) if token.withheld.is_some() || ends_later(same.record.expires, token.expires) => {
                    let why =
                        token.withheld.map_or_else(|| "it expires earlier there".to_owned(), |why| why.to_string());
                    let id = same.record.id;
                    Ok(TokenTaken::Refused(format!("{why}, and counts here as token {id}; change or revoke that")))
                }
                (true, true) => Ok(TokenTaken::There),
                (true, false) => skipped("it was revoked here, or has expired"),
                (false, _) => skipped("another user has this key here"),
            };
        }
        match token.withheld {
            Some(why) if why.is_live() => return Ok(TokenTaken::Refused(why.to_string())),
            Some(why) => return skipped(&why.to_string()),
            None => {}
        }
        if login_of(change, owner).await?.is_some() {
            return skipped("the user has another login token here");
        }
        let scopes = ScopeSet::default();
        // It counts from now on for as long as a new one would, and no longer than there; when it was made stays known.
        let expires = [self.default_end(now), token.expires].into_iter().flatten().min();
        let draft = Draft { key, kind: TokenKind::Login, name: "", scopes: &scopes, expires };
        match self.write_down(change, owner, draft, token.created).await {
            Ok(issued) => {
                self.note_token(change, Act::TokenImported, issued.id, &detail::issued(issued.expires, &scopes))
                    .await?;
                Ok(TokenTaken::New)
            }
            Err(LedgerError::Store(error)) => Err(error),
            Err(refused) => Ok(TokenTaken::Skipped(refused.to_string())),
        }
    }
}

/// Does a token that ends at `here` count for longer than one that ends at `there`?
fn ends_later(here: Option<Timestamp>, there: Option<Timestamp>) -> bool {
    there.is_some_and(|there| here.is_none_or(|here| here > there))
}

/// What differs from the user who has this id already.
fn judged(row: UserRow, arrival: &Arrival) -> Result<UserTaken, AccountError> {
    let same_password = row.password() == arrival.password.as_str();
    let (here, there) = (row.into_user()?, &arrival.user);
    if here.account.name != there.account.name {
        let name = here.account.name;
        return Ok(UserTaken::Skipped(format!("its id is here that of the user {name}")));
    }
    let parts = [
        ("active", here.account.active == there.account.active),
        ("password", same_password),
        ("e-mail", here.account.email == there.account.email),
        ("groups", here.account.groups == there.account.groups),
        ("first name", here.first_name == there.first_name),
        ("last name", here.last_name == there.last_name),
        ("staff", here.staff == there.staff),
        ("superuser", here.superuser == there.superuser),
    ];
    let differs = parts.into_iter().filter(|(_, same)| !same).map(|(part, _)| part).collect();
    Ok(UserTaken::There { differs })
}
