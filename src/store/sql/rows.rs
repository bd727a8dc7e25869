//! Rows as the database returns them, and their conversion.
//!
//! Every value is validated: an invalid row makes the query fail, and never makes a token valid.

use super::{Read, Row, row};
use crate::clock::Timestamp;
use crate::store::error::broken;
use crate::store::{Batch, StoreError, TokenDetails, TokenKind, User};
use crate::token::{
    Account, AuthMethod, InvalidRate, Networks, OwnRate, OwnRates, Restrictions, ScopeSet, SubjectId, TokenDigest,
    TokenHint, TokenId, TokenRecord, UseBy,
};

row! {
    /// A row of the view `token_details`.
    pub(super) struct TokenRow {
        id: i64,
        digest: Vec<u8>,
        hint: String,
        kind: String,
        name: String,
        scopes: String,
        created: i64,
        expires: Option<i64>,
        revoked: Option<i64>,
        last_used: Option<i64>,
        exposed: Option<i64>,
        note: String,
        disabled: Option<i64>,
        read_only: bool,
        networks: String,
        unused_days: Option<i64>,
        rate: String,
        device: bool,
        owner_rate: String,
        user_id: i64,
        owner_name: String,
        owner_email: String,
        owner_active: bool,
        owner_groups: String,
    }
}

row! {
    /// A row of the view `user_details`.
    pub(super) struct UserRow {
        id: i64,
        name: String,
        email: String,
        first_name: String,
        last_name: String,
        password: String,
        active: bool,
        staff: bool,
        superuser: bool,
        created: i64,
        last_login: Option<i64>,
        must_change: bool,
        rate: String,
        group_names: String,
    }
}

/// The error for an invalid row.
#[derive(Debug, thiserror::Error)]
#[error("the {what} with the id {id} has an invalid {column}")]
struct ImpossibleRow {
    what: &'static str,
    id: i64,
    column: &'static str,
}

impl TokenKind {
    /// Its value in the column `kind`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            TokenKind::Login => "login",
            TokenKind::Named => "named",
        }
    }
}

impl TokenRow {
    pub(super) fn id(&self) -> i64 {
        self.id
    }

    /// A page of a list.
    pub(super) fn batch(rows: Vec<Read<TokenRow>>) -> Batch<TokenDetails> {
        batch(rows, TokenRow::id, TokenRow::into_details, |token| token.record.id.0)
    }

    pub(super) fn into_record(self) -> Result<TokenRecord, StoreError> {
        Ok(self.into_details()?.record)
    }

    pub(super) fn into_details(self) -> Result<TokenDetails, StoreError> {
        let impossible = |column| broken(ImpossibleRow { what: "token", id: self.id, column });
        let owner = Account {
            id: SubjectId(self.user_id),
            name: self.owner_name,
            email: self.owner_email,
            groups: groups(&self.owner_groups).ok_or_else(|| impossible("owner"))?,
            active: self.owner_active,
        };
        let last = Timestamp::from_micros(self.last_used.unwrap_or(self.created));
        let days = self.unused_days.map(u32::try_from).transpose().map_err(|_| impossible("number of days"))?;
        let restrictions = Restrictions {
            disabled: self.disabled.is_some(),
            read_only: self.read_only,
            networks: Networks::parse(&self.networks).map_err(|_| impossible("list of networks"))?,
            use_by: days.map(|days| UseBy { days, last }),
            rates: OwnRates {
                token: rate(&self.rate).map_err(|_| impossible("rate"))?,
                user: rate(&self.owner_rate).map_err(|_| impossible("rate of its user"))?,
            },
        };
        let record = TokenRecord {
            id: TokenId(self.id),
            method: AuthMethod::Token,
            digest: TokenDigest::from_bytes(&self.digest).ok_or_else(|| impossible("digest"))?,
            owner,
            scopes: ScopeSet::parse(&self.scopes).map_err(|_| impossible("set of scopes"))?,
            created: Timestamp::from_micros(self.created),
            expires: time(self.expires),
            revoked: time(self.revoked),
            restrictions,
        };
        let kind = match self.kind.as_str() {
            "login" => TokenKind::Login,
            "named" => TokenKind::Named,
            _ => return Err(impossible("kind")),
        };
        Ok(TokenDetails {
            record,
            hint: TokenHint::from_store(&self.hint),
            kind,
            name: self.name,
            last_used: time(self.last_used),
            exposed: time(self.exposed),
            note: self.note,
            disabled: time(self.disabled),
            device: self.device,
        })
    }
}

impl UserRow {
    pub(super) fn id(&self) -> i64 {
        self.id
    }

    /// A page of a list.
    pub(super) fn batch(rows: Vec<Read<UserRow>>) -> Batch<User> {
        batch(rows, UserRow::id, UserRow::into_user, |user| user.account.id.0)
    }

    /// The stored password hash.
    pub(super) fn password(&self) -> &str {
        &self.password
    }

    pub(super) fn is_active(&self) -> bool {
        self.active
    }

    pub(super) fn into_user(self) -> Result<User, StoreError> {
        let impossible = |column| broken(ImpossibleRow { what: "user", id: self.id, column });
        let account = Account {
            id: SubjectId(self.id),
            name: self.name,
            email: self.email,
            groups: groups(&self.group_names).ok_or_else(|| impossible("list of groups"))?,
            active: self.active,
        };
        let rate = rate(&self.rate).map_err(|_| impossible("rate"))?;
        Ok(User {
            account,
            first_name: self.first_name,
            last_name: self.last_name,
            staff: self.staff,
            superuser: self.superuser,
            has_password: !(self.password.is_empty() || self.password.starts_with('!')),
            must_change_password: self.must_change,
            created: Timestamp::from_micros(self.created),
            last_login: time(self.last_login),
            rate,
        })
    }
}

/// Reads rows.
fn batch<R: Row, T>(
    rows: Vec<Read<R>>,
    id: impl Fn(&R) -> i64,
    read: impl Fn(R) -> Result<T, StoreError>,
    id_of: impl Fn(&T) -> i64,
) -> Batch<T> {
    let (mut entries, mut unreadable) = (Vec::new(), Vec::new());
    for row in rows {
        match row.and_then(&id, &read) {
            Ok(entry) => entries.push(entry),
            Err(row) => unreadable.push(row),
        }
    }
    unreadable.sort_by_key(|row| row.id);
    Batch::of(entries, unreadable, id_of)
}

/// Sorted, since the database guarantees no order within a group list.
pub(super) fn groups(json: &str) -> Option<Vec<String>> {
    let mut groups: Vec<String> = serde_json::from_str(json).ok()?;
    groups.sort();
    Some(groups)
}

/// The rate in a column; an empty text is none.
pub(super) fn rate(text: &str) -> Result<Option<OwnRate>, InvalidRate> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

fn time(micros: Option<i64>) -> Option<Timestamp> {
    micros.map(Timestamp::from_micros)
}
