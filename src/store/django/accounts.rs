//! Users: lookup and password verification. Django manages them.

use async_trait::async_trait;

use super::database::DjangoDatabase;
use super::rows::{Person, UserRow};
use super::{DjangoStore, statement};
use crate::store::{
    AccountError, AccountStore, Arrival, Batch, DeletedUser, DetailsChange, Import, Issued, NewUser, Origin, Page,
    Password, StoreError, Taken, User,
};
use crate::token::SubjectId;

#[async_trait]
impl<D: DjangoDatabase> AccountStore for DjangoStore<D> {
    async fn find(&self, name: &str) -> Result<Option<User>, StoreError> {
        Ok(self.named(name).await?.map(|person| person.user))
    }

    async fn list(&self, page: Page) -> Result<Batch<User>, StoreError> {
        let asked = statement(&self.texts.users).bind(page.after).bind(i64::from(page.limit));
        Ok(self.person_batch(self.rows(asked).await?).map(|person| person.user))
    }

    async fn verify_password(&self, name: &str, password: Password) -> Result<Option<User>, AccountError> {
        Ok(self.compare(name, password).await?.map(|person| person.user))
    }

    async fn note_sign_in(&self, user: SubjectId) -> Result<(), AccountError> {
        self.note_login(user, self.clock.now()).await;
        Ok(())
    }

    async fn create(&self, _user: NewUser) -> Result<(User, Option<Issued>), AccountError> {
        Err(AccountError::InDjango)
    }

    async fn set_password(&self, _user: SubjectId, _password: Option<Password>) -> Result<(), AccountError> {
        Err(AccountError::InDjango)
    }

    async fn set_temporary_password(&self, _user: SubjectId, _password: Password) -> Result<(), AccountError> {
        Err(AccountError::InDjango)
    }

    async fn edit(&self, _user: SubjectId, _asked: &DetailsChange) -> Result<bool, AccountError> {
        Err(AccountError::InDjango)
    }

    async fn set_rights(&self, _user: SubjectId, _staff: bool, _superuser: bool) -> Result<bool, AccountError> {
        Err(AccountError::InDjango)
    }

    async fn activate(&self, _user: SubjectId) -> Result<bool, AccountError> {
        Err(AccountError::InDjango)
    }

    async fn deactivate(&self, _user: SubjectId) -> Result<bool, AccountError> {
        Err(AccountError::InDjango)
    }

    async fn set_groups(&self, _user: SubjectId, _groups: &[String]) -> Result<bool, AccountError> {
        Err(AccountError::InDjango)
    }

    async fn take_in(&self, _arrival: &Arrival, _import: &Import) -> Result<Taken, AccountError> {
        Err(AccountError::InDjango)
    }

    async fn imported(&self, _import: &Import, _page: Page) -> Result<Vec<SubjectId>, StoreError> {
        Ok(Vec::new())
    }

    async fn sources(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    async fn rename_sources(&self, _from: &[String], _to: &str) -> Result<(), AccountError> {
        Err(AccountError::InDjango)
    }

    async fn origins(&self, _arrival: &Arrival, _import: &Import) -> Result<Vec<Origin>, StoreError> {
        Ok(Vec::new())
    }

    async fn miss(&self, _user: SubjectId, _import: &Import) -> Result<DeletedUser, AccountError> {
        Err(AccountError::InDjango)
    }

    async fn delete(&self, _user: SubjectId) -> Result<(), AccountError> {
        Err(AccountError::InDjango)
    }
}

impl<D: DjangoDatabase> DjangoStore<D> {
    /// The active user with this name, if the password is right. Takes the same time for all others.
    pub(super) async fn compare(&self, name: &str, password: Password) -> Result<Option<Person>, AccountError> {
        let person = self.named(name).await?.filter(|person| person.user.account.active);
        let kept = person.as_ref().map(|person| person.password.clone());
        let fits = self.hasher.fits(password, kept).await?;
        Ok(person.filter(|_| fits))
    }

    /// The user with exactly this name, whatever the collation treats as equal.
    pub(super) async fn named(&self, name: &str) -> Result<Option<Person>, StoreError> {
        // No user has such a name, and PostgreSQL would reject the query with an error.
        if name.contains('\0') {
            return Ok(None);
        }
        let rows: Vec<UserRow> = self.rows(statement(&self.texts.user_named).bind(name)).await?;
        Ok(self.people(rows).into_iter().find(|person| person.user.account.name == name))
    }

    pub(super) async fn person(&self, user: SubjectId) -> Result<Option<Person>, StoreError> {
        let rows: Vec<UserRow> = self.rows(statement(&self.texts.user).bind(user.0)).await?;
        Ok(self.people(rows).pop())
    }
}
