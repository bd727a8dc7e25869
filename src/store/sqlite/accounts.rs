//! Keeps users.
//!
//! Names and ids are looked up within the transaction that takes them, so no other writer comes in between.

use async_trait::async_trait;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Sqlite, SqliteConnection};

use super::SqliteStore;
use super::database::broken;
use super::rows::UserRow;
use crate::clock::Timestamp;
use crate::store::user::{check_groups, check_name};
use crate::store::{AccountError, AccountStore, Issued, LedgerError, NewUser, Page, Password, StoreError, User};
use crate::token::SubjectId;

/// What stands in place of a hash when no password fits, as in Django.
const UNUSABLE: &str = "!";

#[async_trait]
impl AccountStore for SqliteStore {
    async fn create(&self, mut user: NewUser) -> Result<(User, Option<Issued>), AccountError> {
        user.check()?;
        let password = self.hash(user.password.take()).await?;
        let now = self.clock.now();
        self.database
            .within(async {
                let mut change = self.database.write().await?;
                let id = insert(&mut change, &user, &password, now).await?;
                join_groups(&mut change, id, &user.groups).await?;
                let issued = if self.tokens.issue_on_user_create {
                    let login = self.new_login(&mut change, id, self.new_key(), now).await;
                    Some(login.map_err(account_error)?)
                } else {
                    None
                };
                let created = get(&mut change, id).await?;
                change.commit().await?;
                Ok((created, issued))
            })
            .await
    }

    async fn find(&self, name: &str) -> Result<Option<User>, StoreError> {
        self.row_of(name).await?.map(UserRow::into_user).transpose()
    }

    async fn list(&self, page: Page) -> Result<Vec<User>, StoreError> {
        let rows: Vec<UserRow> = self
            .database
            .within(async {
                let mut connection = self.database.read().await?;
                let query = sqlx::query_as("SELECT * FROM user_details WHERE id > ? ORDER BY id LIMIT ?");
                let query = query.bind(page.after).bind(page.limit);
                Ok::<_, StoreError>(query.fetch_all(&mut *connection).await?)
            })
            .await?;
        rows.into_iter().map(UserRow::into_user).collect()
    }

    async fn verify_password(&self, name: &str, password: Password) -> Result<Option<User>, AccountError> {
        let row = self.row_of(name).await?;
        // Of a user who is switched off nothing is compared: the right password would be told from a wrong one by the time.
        let kept = row.as_ref().filter(|row| row.is_active()).map(|row| row.password().to_owned());
        let fits = self.hasher.fits(password, kept).await?;
        let user = row.map(UserRow::into_user).transpose()?;
        Ok(user.filter(|user| fits && user.account.active))
    }

    async fn set_password(&self, user: SubjectId, password: Option<Password>) -> Result<(), AccountError> {
        let hash = self.hash(password).await?;
        self.alter(user, sqlx::query("UPDATE users SET password = ? WHERE id = ?").bind(hash).bind(user.0)).await
    }

    async fn rename(&self, user: SubjectId, name: &str) -> Result<(), AccountError> {
        check_name(name)?;
        self.database
            .within(async {
                let mut change = self.database.write().await?;
                get(&mut change, user).await?;
                if id_of(&mut change, name).await?.is_some_and(|holder| holder != user) {
                    return Err(AccountError::NameTaken(name.to_owned()));
                }
                let query = sqlx::query("UPDATE users SET name = ? WHERE id = ?").bind(name).bind(user.0);
                query.execute(&mut *change).await?;
                Ok(change.commit().await?)
            })
            .await
    }

    async fn activate(&self, user: SubjectId) -> Result<(), AccountError> {
        self.alter(user, sqlx::query("UPDATE users SET active = 1 WHERE id = ?").bind(user.0)).await
    }

    async fn deactivate(&self, user: SubjectId) -> Result<(), AccountError> {
        self.alter(user, sqlx::query("UPDATE users SET active = 0 WHERE id = ?").bind(user.0)).await
    }

    async fn set_groups(&self, user: SubjectId, groups: &[String]) -> Result<(), AccountError> {
        check_groups(groups)?;
        self.database
            .within(async {
                let mut change = self.database.write().await?;
                get(&mut change, user).await?;
                let query = sqlx::query("DELETE FROM user_groups WHERE user_id = ?").bind(user.0);
                query.execute(&mut *change).await?;
                join_groups(&mut change, user, groups).await?;
                Ok(change.commit().await?)
            })
            .await
    }

    async fn delete(&self, user: SubjectId) -> Result<(), AccountError> {
        self.alter(user, sqlx::query("DELETE FROM users WHERE id = ?").bind(user.0)).await
    }
}

impl SqliteStore {
    /// What to keep for a password.
    async fn hash(&self, password: Option<Password>) -> Result<String, AccountError> {
        match password {
            Some(password) => Ok(self.hasher.hash(password).await?),
            None => Ok(UNUSABLE.to_owned()),
        }
    }

    /// Runs one statement that touches exactly this user.
    async fn alter(&self, user: SubjectId, statement: Query<'_, Sqlite, SqliteArguments>) -> Result<(), AccountError> {
        self.database
            .within(async {
                let mut change = self.database.write().await?;
                if statement.execute(&mut *change).await?.rows_affected() == 0 {
                    return Err(AccountError::UnknownUser(user));
                }
                Ok(change.commit().await?)
            })
            .await
    }

    async fn row_of(&self, name: &str) -> Result<Option<UserRow>, StoreError> {
        self.database
            .within(async {
                let mut connection = self.database.read().await?;
                let query = sqlx::query_as("SELECT * FROM user_details WHERE name = ?").bind(name);
                Ok(query.fetch_optional(&mut *connection).await?)
            })
            .await
    }
}

/// Writes down a user whose id and name are free.
async fn insert(
    connection: &mut SqliteConnection,
    user: &NewUser,
    password: &str,
    now: Timestamp,
) -> Result<SubjectId, AccountError> {
    if id_of(connection, &user.name).await?.is_some() {
        return Err(AccountError::NameTaken(user.name.clone()));
    }
    if let Some(id) = user.id
        && row(connection, id).await?.is_some()
    {
        return Err(AccountError::IdTaken(id));
    }
    let done = sqlx::query(
        "INSERT INTO users (id, name, email, first_name, last_name, password, active, staff, superuser, created) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(user.id.map(|id| id.0))
    .bind(&user.name)
    .bind(&user.email)
    .bind(&user.first_name)
    .bind(&user.last_name)
    .bind(password)
    .bind(user.active)
    .bind(user.staff)
    .bind(user.superuser)
    .bind(now.as_micros())
    .execute(connection)
    .await?;
    Ok(SubjectId(done.last_insert_rowid()))
}

async fn join_groups(
    connection: &mut SqliteConnection,
    user: SubjectId,
    groups: &[String],
) -> Result<(), AccountError> {
    for group in groups {
        let query = sqlx::query("INSERT INTO groups (name) VALUES (?) ON CONFLICT DO NOTHING").bind(group);
        query.execute(&mut *connection).await?;
        let join = "INSERT INTO user_groups (user_id, group_id) SELECT ?, id FROM groups WHERE name = ? \
                    ON CONFLICT DO NOTHING";
        sqlx::query(join).bind(user.0).bind(group).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn id_of(connection: &mut SqliteConnection, name: &str) -> Result<Option<SubjectId>, AccountError> {
    let query = sqlx::query_scalar("SELECT id FROM users WHERE name = ?").bind(name);
    Ok(query.fetch_optional(connection).await?.map(SubjectId))
}

async fn row(connection: &mut SqliteConnection, user: SubjectId) -> Result<Option<UserRow>, AccountError> {
    let query = sqlx::query_as("SELECT * FROM user_details WHERE id = ?").bind(user.0);
    Ok(query.fetch_optional(connection).await?)
}

async fn get(connection: &mut SqliteConnection, user: SubjectId) -> Result<User, AccountError> {
    let row = row(connection, user).await?.ok_or(AccountError::UnknownUser(user))?;
    Ok(row.into_user()?)
}

/// Issuing to a user who was just written down fails only together with the store.
fn account_error(error: LedgerError) -> AccountError {
    match error {
        LedgerError::Store(error) => AccountError::Store(error),
        other => AccountError::Store(broken(other)),
    }
}
