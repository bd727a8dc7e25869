//! User operations: find, create, change, delete.

use super::{Acting, OperationError, Rights, check_position};
use crate::store::{DetailsChange, Issued, Listing, Names, NewUser, Password, User, UserQuery};
use crate::token::SubjectId;

impl Acting<'_> {
    /// Lists users. Staff sees only users who are neither staff nor superusers.
    ///
    /// # Errors
    /// [`OperationError::Invalid`] for a page token of another sort order, [`OperationError::Unavailable`].
    pub async fn users(&self, query: &UserQuery) -> Result<Listing<User>, OperationError> {
        check_position(&query.position, query.order.list())?;
        let mut query = query.clone();
        if self.caller.rights == Rights::Staff {
            if query.staff == Some(true) {
                return Ok(Listing::empty());
            }
            query.staff = Some(false);
        }
        Ok(self.operations.directory.users(&query).await?)
    }

    /// Returns the number of users that match, at most [`MAX_TOTAL`](crate::store::MAX_TOTAL).
    ///
    /// # Errors
    /// [`OperationError::Unavailable`].
    pub async fn count_users(&self, query: &UserQuery) -> Result<u32, OperationError> {
        let mut query = query.clone();
        if self.caller.rights == Rights::Staff {
            if query.staff == Some(true) {
                return Ok(0);
            }
            query.staff = Some(false);
        }
        Ok(self.operations.directory.count_users(&query).await?)
    }

    /// Returns one user.
    ///
    /// # Errors
    /// [`OperationError::UnknownUser`], [`OperationError::NotAllowed`], [`OperationError::Unavailable`].
    pub async fn user(&self, id: SubjectId) -> Result<User, OperationError> {
        let user = self.operations.directory.user(id).await?.ok_or(OperationError::UnknownUser(id))?;
        self.may_look_after(&user)?;
        Ok(user)
    }

    /// Finds the user with exactly this name.
    ///
    /// # Errors
    /// [`OperationError::NotAllowed`], [`OperationError::Unavailable`].
    pub async fn user_named(&self, name: &str) -> Result<Option<User>, OperationError> {
        let user = self.store.accounts.find(name).await?;
        user.as_ref().map_or(Ok(()), |user| self.may_look_after(user))?;
        Ok(user)
    }

    /// Returns group names, up to a limit.
    ///
    /// # Errors
    /// [`OperationError::Unavailable`].
    pub async fn groups(&self, limit: u32) -> Result<Vec<String>, OperationError> {
        Ok(self.operations.directory.groups(limit).await?)
    }

    /// Returns groups with the number of their members, up to a limit.
    ///
    /// # Errors
    /// [`OperationError::NotAllowed`], [`OperationError::Unavailable`].
    pub async fn group_sizes(&self, limit: u32) -> Result<Vec<(String, u32)>, OperationError> {
        self.caller.needs_superuser()?;
        Ok(self.operations.directory.group_sizes(limit).await?)
    }

    /// Checks whether the caller may create users.
    ///
    /// # Errors
    /// [`OperationError::NotAllowed`].
    pub fn may_create_users(&self) -> Result<(), OperationError> {
        self.caller.needs_superuser()
    }

    /// Creates a user, with a login token if the settings say so.
    ///
    /// # Errors
    /// [`OperationError::NotAllowed`], [`OperationError::Conflict`] if the name or id is taken,
    /// [`OperationError::Invalid`], [`OperationError::Throttled`], [`OperationError::Unavailable`].
    pub async fn create_user(&self, user: NewUser) -> Result<(User, Option<Issued>), OperationError> {
        self.may_create_users()?;
        user.password.as_ref().map_or(Ok(()), |password| check_new_password(password, user.names()))?;
        Ok(self.store.accounts.create(user).await?)
    }

    /// Changes a user's name, e-mail address or personal names; returns whether that changed anything, as the following
    /// operations do.
    ///
    /// # Errors
    /// [`OperationError::NotAllowed`], [`OperationError::UnknownUser`], [`OperationError::Conflict`],
    /// [`OperationError::Invalid`], [`OperationError::Unavailable`].
    pub async fn edit_user(&self, id: SubjectId, asked: impl Into<DetailsChange>) -> Result<bool, OperationError> {
        self.caller.needs_superuser()?;
        Ok(self.store.accounts.edit(id, &asked.into()).await?)
    }

    /// Replaces the groups of a user.
    ///
    /// # Errors
    /// As [`Acting::edit_user`].
    pub async fn set_groups(&self, id: SubjectId, groups: &[String]) -> Result<bool, OperationError> {
        self.caller.needs_superuser()?;
        Ok(self.store.accounts.set_groups(id, groups).await?)
    }

    /// Sets or removes another user's staff and superuser permissions.
    ///
    /// # Errors
    /// As [`Acting::edit_user`], and [`OperationError::LastSuperuser`].
    pub async fn set_rights(&self, id: SubjectId, staff: bool, superuser: bool) -> Result<bool, OperationError> {
        self.needs_another_user(id, "you cannot change your own permissions; ask another superuser")?;
        Ok(self.store.accounts.set_rights(id, staff, superuser).await?)
    }

    /// Activates or deactivates a user. Callers cannot deactivate themselves.
    ///
    /// # Errors
    /// As [`Acting::edit_user`], and [`OperationError::LastSuperuser`].
    pub async fn set_active(&self, id: SubjectId, active: bool) -> Result<bool, OperationError> {
        self.needs_another_user(id, "you cannot deactivate yourself; ask another superuser")?;
        let accounts = &self.store.accounts;
        Ok(if active { accounts.activate(id).await } else { accounts.deactivate(id).await }?)
    }

    /// Sets a password; `None` removes it. `must_change`: the user has to change it before the next sign-in.
    ///
    /// # Errors
    /// As [`Acting::edit_user`], [`OperationError::Invalid`] for a weak password, and [`OperationError::Throttled`].
    pub async fn set_password(
        &self,
        id: SubjectId,
        password: Option<Password>,
        must_change: bool,
    ) -> Result<(), OperationError> {
        self.caller.needs_superuser()?;
        let user = self.user(id).await?;
        password.as_ref().map_or(Ok(()), |password| check_new_password(password, user.names()))?;
        let accounts = &self.store.accounts;
        Ok(match password {
            Some(password) if must_change => accounts.set_temporary_password(id, password).await,
            password => accounts.set_password(id, password).await,
        }?)
    }

    /// Sets the password of the callers themselves, who have confirmed the former one.
    ///
    /// # Errors
    /// [`OperationError::Invalid`] for a weak password, [`OperationError::Throttled`], [`OperationError::Unavailable`].
    pub async fn set_own_password(&self, password: Password) -> Result<(), OperationError> {
        check_new_password(&password, self.caller.user.names())?;
        Ok(self.store.accounts.set_password(self.caller.user.account.id, Some(password)).await?)
    }

    /// Deletes another user and all their tokens.
    ///
    /// # Errors
    /// As [`Acting::edit_user`], and [`OperationError::LastSuperuser`].
    pub async fn delete_user(&self, id: SubjectId) -> Result<(), OperationError> {
        self.needs_another_user(id, "you cannot delete yourself; ask another superuser")?;
        Ok(self.store.accounts.delete(id).await?)
    }

    pub(super) fn may_look_after(&self, user: &User) -> Result<(), OperationError> {
        if self.caller.rights == Rights::Superuser || !(user.staff || user.superuser) {
            return Ok(());
        }
        Err(OperationError::NotAllowed("staff cannot manage staff or superusers"))
    }

    fn needs_another_user(&self, id: SubjectId, why: &'static str) -> Result<(), OperationError> {
        self.caller.needs_superuser()?;
        if self.caller.user.account.id == id { Err(OperationError::NotAllowed(why)) } else { Ok(()) }
    }
}

fn check_new_password(password: &Password, names: Names<'_>) -> Result<(), OperationError> {
    password.check_new(names).map_err(|weak| OperationError::InvalidField("password", weak.to_string()))
}
