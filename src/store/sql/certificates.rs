//! The users of client certificates.

use super::rows::{groups, rate};
use super::{Database, SqlStore, Statement, row};
use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::store::error::broken;
use crate::token::{
    Account, AuthMethod, OwnRates, Restrictions, ScopeSet, SubjectId, TokenDigest, TokenId, TokenKey, TokenRecord,
};

row! {
    struct OwnerRow {
        id: i64,
        name: String,
        email: String,
        active: bool,
        rate: String,
        group_names: String,
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the row of user {0} is invalid")]
struct ImpossibleUser(i64);

impl<D: Database> SqlStore<D> {
    /// What a client certificate of the user with this name authenticates. It depends on the user alone.
    pub(super) async fn find_certificate(&self, user: &TokenKey) -> Result<Option<TokenRecord>, StoreError> {
        let name = user.expose();
        if name.contains('\0') {
            return Ok(None);
        }
        let statement =
            Statement::new("SELECT id, name, email, active, rate, group_names FROM user_details WHERE name = $1");
        let row: Option<OwnerRow> = self.row(statement.bind(name)).await?;
        row.filter(|row| row.name == name).map(|row| row.into_record(user.digest())).transpose()
    }
}

impl OwnerRow {
    fn into_record(self, digest: TokenDigest) -> Result<TokenRecord, StoreError> {
        let impossible = || broken(ImpossibleUser(self.id));
        let rates = OwnRates { user: rate(&self.rate).map_err(|_| impossible())?, token: None };
        let groups = groups(&self.group_names).ok_or_else(impossible)?;
        let owner = Account { id: SubjectId(self.id), name: self.name, email: self.email, groups, active: self.active };
        Ok(TokenRecord {
            // It has none, and none is shown.
            id: TokenId(0),
            method: AuthMethod::Certificate,
            digest,
            owner,
            scopes: ScopeSet::default(),
            created: Timestamp::from_micros(0),
            expires: None,
            revoked: None,
            restrictions: Restrictions { rates, ..Restrictions::default() },
        })
    }
}
