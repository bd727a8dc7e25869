//! The account store.
//!
//! Names and ids are checked in the same transaction that takes them, so no concurrent writer can take them in between.

use async_trait::async_trait;

use super::ledger::written_id;
use super::rows::UserRow;
use super::user_changes::NewPassword;
use super::{Change, Database, SqlStore, Statement, detail, origins, search};
use crate::clock::Timestamp;
use crate::store::error::broken;
use crate::store::user::check_groups;
use crate::store::{
    AccountError, AccountStore, Act, Arrival, Batch, DeletedUser, DetailsChange, Import, Issued, LedgerError, NewUser,
    Origin, Page, Password, PersonalDetails, StoreError, Taken, User,
};
use crate::token::SubjectId;

/// The stored text of a user without a password, as in Django.
pub(super) const UNUSABLE: &str = "!";

#[async_trait]
impl<D: Database> AccountStore for SqlStore<D> {
    async fn create(&self, mut user: NewUser) -> Result<(User, Option<Issued>), AccountError> {
        user.check()?;
        let password = self.hash(user.password.take()).await?;
        self.within(async {
            let mut change = self.database.begin().await?;
            let created = self.write_user(&mut change, &user, &password, self.clock.now()).await;
            change.finish(created).await
        })
        .await
    }

    async fn find(&self, name: &str) -> Result<Option<User>, StoreError> {
        self.row_of(name).await?.map(UserRow::into_user).transpose()
    }

    async fn list(&self, page: Page) -> Result<Batch<User>, StoreError> {
        let statement = Statement::new("SELECT * FROM user_details WHERE id > $1 ORDER BY id LIMIT $2");
        Ok(UserRow::batch(self.rows(statement.bind(page.after).bind(i64::from(page.limit))).await?))
    }

    async fn verify_password(&self, name: &str, password: Password) -> Result<Option<User>, AccountError> {
        let user = self.compare_row(name, password).await?.map(UserRow::into_user).transpose()?;
        Ok(user.filter(|user| user.account.active))
    }

    async fn note_sign_in(&self, user: SubjectId) -> Result<(), AccountError> {
        self.within(async {
            let mut change = self.database.begin().await?;
            let noted = self.write_sign_in(&mut change, user).await;
            change.finish(noted).await
        })
        .await
    }

    async fn set_password(&self, user: SubjectId, password: Option<Password>) -> Result<(), AccountError> {
        let kind = if password.is_some() { NewPassword::Lasting } else { NewPassword::Removed };
        self.replace_password(user, password, kind).await
    }

    async fn set_temporary_password(&self, user: SubjectId, password: Password) -> Result<(), AccountError> {
        self.replace_password(user, Some(password), NewPassword::Temporary).await
    }

    async fn edit(&self, user: SubjectId, asked: &DetailsChange) -> Result<bool, AccountError> {
        asked.check()?;
        self.within(async {
            let mut change = self.database.begin().await?;
            let edited = self.write_details(&mut change, user, asked).await;
            change.finish(edited).await
        })
        .await
    }

    async fn set_rights(&self, user: SubjectId, staff: bool, superuser: bool) -> Result<bool, AccountError> {
        self.within(async {
            let mut change = self.database.begin().await?;
            let set = self.write_rights(&mut change, user, staff, superuser).await;
            change.finish(set).await
        })
        .await
    }

    async fn activate(&self, user: SubjectId) -> Result<bool, AccountError> {
        self.set_active(user, true).await
    }

    async fn deactivate(&self, user: SubjectId) -> Result<bool, AccountError> {
        self.set_active(user, false).await
    }

    async fn set_groups(&self, user: SubjectId, groups: &[String]) -> Result<bool, AccountError> {
        check_groups(groups)?;
        self.within(async {
            let mut change = self.database.begin().await?;
            let set = self.write_groups(&mut change, user, groups).await;
            change.finish(set).await
        })
        .await
    }

    async fn take_in(&self, arrival: &Arrival, import: &Import) -> Result<Taken, AccountError> {
        self.within(async {
            let mut change = self.database.begin().await?;
            let taken = self.take_over_user(&mut change, arrival, import).await;
            change.finish_unless(import.dry_run, taken).await
        })
        .await
    }

    async fn imported(&self, import: &Import, page: Page) -> Result<Vec<SubjectId>, StoreError> {
        self.imported_users(import, page).await
    }

    async fn sources(&self) -> Result<Vec<String>, StoreError> {
        self.known_sources().await
    }

    async fn rename_sources(&self, from: &[String], to: &str) -> Result<(), AccountError> {
        if from.is_empty() {
            return Ok(());
        }
        self.within(async {
            let mut change = self.database.begin().await?;
            let renamed = origins::rename(&mut change, from, to).await;
            Ok(change.finish(renamed).await?)
        })
        .await
    }

    async fn origins(&self, arrival: &Arrival, import: &Import) -> Result<Vec<Origin>, StoreError> {
        self.foreign_origins(arrival, import).await
    }

    async fn miss(&self, user: SubjectId, import: &Import) -> Result<DeletedUser, AccountError> {
        self.within(async {
            let mut change = self.database.begin().await?;
            let gone = self.end_gone(&mut change, user, import).await;
            change.finish_unless(import.dry_run, gone).await
        })
        .await
    }

    async fn delete(&self, user: SubjectId) -> Result<(), AccountError> {
        self.within(async {
            let mut change = self.database.begin().await?;
            let deleted = self.write_deletion(&mut change, user).await;
            change.finish(deleted).await
        })
        .await
    }
}

impl<D: Database> SqlStore<D> {
    /// Returns the text to store for a password.
    async fn hash(&self, password: Option<Password>) -> Result<String, AccountError> {
        match password {
            Some(password) => Ok(self.hasher.hash(password).await?),
            None => Ok(UNUSABLE.to_owned()),
        }
    }

    async fn replace_password(
        &self,
        user: SubjectId,
        password: Option<Password>,
        kind: NewPassword,
    ) -> Result<(), AccountError> {
        let hash = self.hash(password).await?;
        self.within(async {
            let mut change = self.database.begin().await?;
            let set = self.write_password(&mut change, user, &hash, kind).await;
            change.finish(set).await
        })
        .await
    }

    /// Returns the active user of this name with the hash that the password matched.
    pub(super) async fn compare(
        &self,
        name: &str,
        password: Password,
    ) -> Result<Option<(SubjectId, String)>, AccountError> {
        let row = self.compare_row(name, password).await?;
        Ok(row.map(|row| (SubjectId(row.id()), row.password().to_owned())))
    }

    async fn compare_row(&self, name: &str, password: Password) -> Result<Option<UserRow>, AccountError> {
        let row = self.row_of(name).await?;
        // The password of an inactive user is never compared: the time would reveal that it was right.
        let kept = row.as_ref().filter(|row| row.is_active()).map(|row| row.password().to_owned());
        let fits = self.hasher.fits(password, kept).await?;
        Ok(row.filter(|row| fits && row.is_active()))
    }

    async fn set_active(&self, user: SubjectId, active: bool) -> Result<bool, AccountError> {
        self.within(async {
            let mut change = self.database.begin().await?;
            let set = self.write_active(&mut change, user, active).await;
            change.finish(set).await
        })
        .await
    }

    async fn row_of(&self, name: &str) -> Result<Option<UserRow>, StoreError> {
        // No user has such a name, and PostgreSQL would reject the query with an error.
        if name.contains('\0') {
            return Ok(None);
        }
        self.row(Statement::new("SELECT * FROM user_details WHERE name = $1").bind(name)).await
    }

    async fn write_user(
        &self,
        change: &mut D::Change,
        user: &NewUser,
        password: &str,
        now: Timestamp,
    ) -> Result<(User, Option<Issued>), AccountError> {
        let id = insert(change, user, password, now).await?;
        join_groups(change, id, &user.groups).await?;
        self.note_user(change, Act::UserCreated, id, &detail::created(user)).await?;
        let issued = if self.tokens.issue_on_user_create {
            Some(self.first_login(change, id, now).await.map_err(account_error)?)
        } else {
            None
        };
        Ok((get(change, id).await?, issued))
    }
}

/// Inserts a user whose id and name are free.
pub(super) async fn insert<C: Change>(
    change: &mut C,
    user: &NewUser,
    password: &str,
    now: Timestamp,
) -> Result<SubjectId, AccountError> {
    if id_of(change, &user.name).await?.is_some() {
        return Err(AccountError::NameTaken(user.name.clone()));
    }
    if let Some(id) = user.id
        && row(change, id).await?.is_some()
    {
        return Err(AccountError::IdTaken(id));
    }
    let statement = match user.id {
        None => Statement::new(
            "INSERT INTO users (name, email, first_name, last_name, password, active, staff, superuser, created) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id",
        ),
        Some(_) => Statement::new(
            "INSERT INTO users (name, email, first_name, last_name, password, active, staff, superuser, created, id) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id",
        ),
    };
    let statement = statement
        .bind(user.name.as_str())
        .bind(user.email.as_str())
        .bind(user.first_name.as_str())
        .bind(user.last_name.as_str())
        .bind(password)
        .bind(user.active)
        .bind(user.staff)
        .bind(user.superuser)
        .bind(now.as_micros());
    let statement = match user.id {
        None => statement,
        Some(id) => statement.bind(id.0),
    };
    let id = SubjectId(written_id(change, statement).await?);
    let names = PersonalDetails {
        name: user.name.clone(),
        email: user.email.clone(),
        first_name: user.first_name.clone(),
        last_name: user.last_name.clone(),
        ..PersonalDetails::default()
    };
    search::write(change, id, &names).await?;
    Ok(id)
}

pub(super) async fn join_groups<C: Change>(
    change: &mut C,
    user: SubjectId,
    groups: &[String],
) -> Result<(), StoreError> {
    for group in groups {
        let make = Statement::new("INSERT INTO groups (name) VALUES ($1) ON CONFLICT DO NOTHING");
        change.execute(make.bind(group.as_str())).await?;
        let join = Statement::new(
            "INSERT INTO user_groups (user_id, group_id) SELECT $1, id FROM groups WHERE name = $2 \
             ON CONFLICT DO NOTHING",
        );
        change.execute(join.bind(user.0).bind(group.as_str())).await?;
    }
    Ok(())
}

pub(super) async fn id_of<C: Change>(change: &mut C, name: &str) -> Result<Option<SubjectId>, StoreError> {
    let row: Option<(i64,)> = change.row(Statement::new("SELECT id FROM users WHERE name = $1").bind(name)).await?;
    Ok(row.map(|(id,)| SubjectId(id)))
}

pub(super) async fn row<C: Change>(change: &mut C, user: SubjectId) -> Result<Option<UserRow>, StoreError> {
    change.row(Statement::new("SELECT * FROM user_details WHERE id = $1").bind(user.0)).await
}

pub(super) async fn get<C: Change>(change: &mut C, user: SubjectId) -> Result<User, AccountError> {
    let row = row(change, user).await?.ok_or(AccountError::UnknownUser(user))?;
    Ok(row.into_user()?)
}

/// Converts an error about the tokens of a user who was just inserted: only store errors are possible.
pub(super) fn account_error(error: LedgerError) -> AccountError {
    match error {
        LedgerError::Store(error) => AccountError::Store(error),
        other => AccountError::Store(broken(other)),
    }
}
