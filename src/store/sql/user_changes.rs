//! Changes of existing users, and their audit entries.
//!
//! Each reads what it changes within the same transaction, so no concurrent change is lost.

use super::accounts::{account_error, get, id_of, join_groups};
use super::ledger::count_live;
use super::{Change, Database, SqlStore, Statement, detail, search};
use crate::store::{AccountError, Act, DetailsChange, PersonalDetails, Via};
use crate::token::SubjectId;

/// What a new password is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NewPassword {
    /// It lasts until it is changed.
    Lasting,
    /// The user has to change it before the next sign-in.
    Temporary,
    /// There is none from now on.
    Removed,
}

impl<D: Database> SqlStore<D> {
    /// Runs one statement that changes exactly this user, and records it.
    async fn write(
        &self,
        change: &mut D::Change,
        user: SubjectId,
        statement: Statement,
        (act, told): (Act, &str),
    ) -> Result<(), AccountError> {
        if change.execute(statement).await? == 0 {
            return Err(AccountError::UnknownUser(user));
        }
        self.note_user(change, act, user, told).await?;
        Ok(())
    }

    /// Ensures that a superuser remains who can sign in to the admin application. The check is part of the transaction,
    /// so two superusers cannot remove each other at the same moment. The command line needs no superuser.
    async fn check_last_superuser(&self, change: &mut D::Change, leaving: SubjectId) -> Result<(), AccountError> {
        if !matches!(self.actor.via, Via::Admin | Via::Api) {
            return Ok(());
        }
        // The first condition matches the index `users_privileged`; the last one excludes users without a password.
        let statement = Statement::new(
            "SELECT id FROM users WHERE (staff OR superuser) AND superuser AND active AND substr(password, 1, 1) <> '!' LIMIT 2",
        );
        let staying: Vec<(i64,)> = change.rows(statement).await?;
        if staying == [(leaving.0,)] { Err(AccountError::LastSuperuser) } else { Ok(()) }
    }

    pub(super) async fn write_sign_in(&self, change: &mut D::Change, user: SubjectId) -> Result<(), AccountError> {
        let now = self.clock.now().as_micros();
        let statement = Statement::new("UPDATE users SET last_login = $1 WHERE id = $2").bind(now).bind(user.0);
        self.write(change, user, statement, (Act::SignedIn, "")).await
    }

    pub(super) async fn write_password(
        &self,
        change: &mut D::Change,
        user: SubjectId,
        hash: &str,
        kind: NewPassword,
    ) -> Result<(), AccountError> {
        let told = match kind {
            NewPassword::Removed => "no password",
            NewPassword::Temporary => "to be changed at the next sign-in",
            NewPassword::Lasting => "",
        };
        if kind == NewPassword::Removed {
            self.check_last_superuser(change, user).await?;
        }
        let statement = Statement::new("UPDATE users SET password = $1, must_change = $2 WHERE id = $3")
            .bind(hash)
            .bind(kind == NewPassword::Temporary)
            .bind(user.0);
        self.write(change, user, statement, (Act::PasswordSet, told)).await?;
        if self.tokens.revoke_on_password_change {
            self.revoke_all_noted(change, user, self.clock.now()).await.map_err(account_error)?;
        }
        Ok(())
    }

    pub(super) async fn write_active(
        &self,
        change: &mut D::Change,
        user: SubjectId,
        active: bool,
    ) -> Result<bool, AccountError> {
        if get(change, user).await?.account.active == active {
            return Ok(false);
        }
        if !active {
            self.check_last_superuser(change, user).await?;
        }
        let statement = Statement::new("UPDATE users SET active = $1 WHERE id = $2").bind(active).bind(user.0);
        let act = if active { Act::UserActivated } else { Act::UserDeactivated };
        self.write(change, user, statement, (act, "")).await?;
        Ok(true)
    }

    pub(super) async fn write_rights(
        &self,
        change: &mut D::Change,
        user: SubjectId,
        staff: bool,
        superuser: bool,
    ) -> Result<bool, AccountError> {
        let former = get(change, user).await?;
        if (former.staff, former.superuser) == (staff, superuser) {
            return Ok(false);
        }
        if !superuser {
            self.check_last_superuser(change, user).await?;
        }
        let statement = Statement::new("UPDATE users SET staff = $1, superuser = $2 WHERE id = $3");
        let told = detail::rights((former.staff, former.superuser), (staff, superuser));
        self.write(change, user, statement.bind(staff).bind(superuser).bind(user.0), (Act::RightsSet, &told)).await?;
        Ok(true)
    }

    pub(super) async fn write_details(
        &self,
        change: &mut D::Change,
        user: SubjectId,
        asked: &DetailsChange,
    ) -> Result<bool, AccountError> {
        let former = PersonalDetails::of(&get(change, user).await?);
        let details = asked.applied_to(&former);
        let told = detail::edited(&former, &details);
        if told.is_empty() {
            return Ok(false);
        }
        let PersonalDetails { name, email, first_name, last_name, rate } = &details;
        if id_of(change, name).await?.is_some_and(|holder| holder != user) {
            return Err(AccountError::NameTaken(name.clone()));
        }
        let statement = Statement::new(
            "UPDATE users SET name = $1, email = $2, first_name = $3, last_name = $4, rate = $5 WHERE id = $6",
        );
        let statement = statement
            .bind(name.as_str())
            .bind(email.as_str())
            .bind(first_name.as_str())
            .bind(last_name.as_str())
            .bind(rate.as_ref().map(ToString::to_string).unwrap_or_default())
            .bind(user.0);
        self.write(change, user, statement, (Act::UserEdited, &told)).await?;
        search::write(change, user, &details).await?;
        Ok(true)
    }

    pub(super) async fn write_groups(
        &self,
        change: &mut D::Change,
        user: SubjectId,
        groups: &[String],
    ) -> Result<bool, AccountError> {
        let groups = detail::sorted(groups);
        let former = get(change, user).await?.account.groups;
        if former == groups {
            return Ok(false);
        }
        change.execute(Statement::new("DELETE FROM user_groups WHERE user_id = $1").bind(user.0)).await?;
        join_groups(change, user, &groups).await?;
        self.note_user(change, Act::GroupsSet, user, &detail::groups(&former, &groups)).await?;
        Ok(true)
    }

    /// Recorded before the deletion, because the entry needs the name.
    pub(super) async fn write_deletion(&self, change: &mut D::Change, user: SubjectId) -> Result<(), AccountError> {
        self.check_last_superuser(change, user).await?;
        let live = count_live(change, user, self.clock.now()).await?;
        let all = self.note_tokens_of(change, user, "deleted with the user").await?;
        self.note_user(change, Act::UserDeleted, user, &format!("with {}", detail::tokens(all, live))).await?;
        let statement = Statement::new("DELETE FROM users WHERE id = $1").bind(user.0);
        if change.execute(statement).await? == 0 { Err(AccountError::UnknownUser(user)) } else { Ok(()) }
    }
}
