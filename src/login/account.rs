//! Account actions of browser users: sign in, sign out, manage tokens.
//!
//! Runs in the control half, like the rest of the [`Issuer`](super::Issuer).

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use unicode_normalization::{UnicodeNormalization, is_nfkc};

use super::attempts::AttemptedUser;
use super::issuer::{
    AccountField, IssuerHandle, Login, LoginFailure, LoginService, account_failure, ledger_failure, unavailable,
};
use crate::identity;
use crate::store::{
    AccountError, Actor, End, LedgerError, NamedToken, Page, Password, PasswordMark, Store, Terms, TokenDetails,
    TokenFilter, TokenRef, User, WeakPassword,
};
use crate::token::{SubjectId, TokenDigest, TokenId, TokenKey};

/// Maximum number of tokens on the account page.
const MAX_SHOWN: u32 = 200;

/// A signed-in user who confirms an action with the password.
pub struct Confirmed {
    /// The user of the session.
    pub owner: SubjectId,
    /// The username in its encoded form, as upstreams receive it.
    pub encoded_name: String,
    /// The password from the form.
    pub password: Password,
    /// The address of the client.
    pub from: IpAddr,
}

impl IssuerHandle {
    /// Opens a session and returns its key. Ends `former`, the previous session of the browser.
    /// # Errors
    /// [`LoginFailure`].
    pub async fn open_session(&self, login: Login, former: Option<TokenDigest>) -> Result<TokenKey, LoginFailure> {
        self.ask(move |service| async move { service.open_session(login, former).await }).await
    }

    /// Signs a staff user or superuser in to the admin application. Other users fail as if they did not exist. The
    /// returned mark belongs to the password and changes with it.
    ///
    /// # Errors
    /// [`LoginFailure`].
    pub async fn sign_in(&self, login: Login) -> Result<(User, PasswordMark), LoginFailure> {
        self.ask(move |service| async move { service.sign_in(login).await }).await
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`LoginFailure`]; the session may still be open.
    pub async fn end_session(&self, session: TokenDigest) -> Result<(), LoginFailure> {
        self.ask(move |service| async move { service.end_session(session).await }).await
    }

    /// The live tokens of a user.
    ///
    /// # Errors
    /// [`LoginFailure`].
    pub async fn tokens_of(&self, owner: SubjectId) -> Result<Vec<TokenDetails>, LoginFailure> {
        self.ask(move |service| async move { service.tokens_of(owner).await }).await
    }

    /// Returns the login token. `fresh`: revokes it and issues a new one.
    ///
    /// # Errors
    /// [`LoginFailure`].
    pub async fn login_token(&self, user: Confirmed, fresh: bool) -> Result<TokenKey, LoginFailure> {
        self.ask(move |service| async move { service.login_token(user, fresh).await }).await
    }

    /// Issues a named token. Requires the password, because a token outlives the session that created it.
    ///
    /// # Errors
    /// [`LoginFailure`]; `Unfulfilled` if the user has too many tokens, `InvalidField` if the name is invalid.
    pub async fn make_token(&self, user: Confirmed, name: String) -> Result<TokenKey, LoginFailure> {
        self.ask(move |service| async move { service.make_token(user, name).await }).await
    }

    /// Changes the password of a user who knows the former one. All sessions end.
    ///
    /// # Errors
    /// [`LoginFailure`]; `InvalidField` if the new password is weak.
    pub async fn change_password(&self, login: Login, new: Password) -> Result<(), LoginFailure> {
        self.ask(move |service| async move { service.change_password(login, new).await }).await
    }

    /// Changes the name and the expiry of a named token of this user. `lifetime` begins now; `None` keeps the expiry,
    /// and
    /// `Some(None)` removes it.
    ///
    /// # Errors
    /// [`LoginFailure`]; `Unfulfilled` if the user has no such token, `InvalidField` if the name or the expiry is
    /// invalid.
    pub async fn change_token(
        &self,
        user: Confirmed,
        token: TokenId,
        name: String,
        lifetime: Option<Option<Duration>>,
    ) -> Result<bool, LoginFailure> {
        self.ask(move |service| async move { service.change_token(user, token, name, lifetime).await }).await
    }

    /// Revokes a token of this user. A token of another user counts as unknown.
    ///
    /// # Errors
    /// [`LoginFailure`].
    pub async fn revoke_token(&self, owner: SubjectId, token: TokenId, from: IpAddr) -> Result<(), LoginFailure> {
        self.ask(move |service| async move { service.revoke_token(owner, token, from).await }).await
    }
}

/// With a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}.", chars.as_str())
}

impl LoginService {
    async fn open_session(&self, login: Login, former: Option<TokenDigest>) -> Result<TokenKey, LoginFailure> {
        let Login { name, password, from } = login;
        let store = self.store.acting_as(Actor { from: Some(from), ..Actor::gateway() });
        let sessions = store.sessions.as_ref().map_err(|none| unavailable(none))?;
        self.attempt(AttemptedUser { name: &name, signed_in: None }, from, async {
            let name = self.meant_by(&name).await?;
            let known = self.store.accounts.find(&name).await.map_err(|error| unavailable(&error))?;
            if known.is_some_and(|user| user.must_change_password) {
                self.user(&name, password).await?;
                return Err(LoginFailure::MustChange);
            }
            let opened =
                sessions.open(&name, password, self.session_ttl).await.map_err(|error| account_failure(&error))?;
            let key = opened.ok_or(LoginFailure::Refused)?;
            if let Some(former) = former {
                sessions.end(former).await.map_err(|error| unavailable(&error))?;
            }
            Ok(key)
        })
        .await
    }

    /// Returns the entered username if a user has exactly this name, otherwise its NFKC normal form. Django's login
    /// form always normalises: keyboards and operating systems produce full-width and decomposed characters.
    async fn meant_by<'n>(&self, typed: &'n str) -> Result<Cow<'n, str>, LoginFailure> {
        if is_nfkc(typed) || self.store.accounts.find(typed).await.map_err(|error| unavailable(&error))?.is_some() {
            return Ok(typed.into());
        }
        Ok(typed.nfkc().collect())
    }

    async fn sign_in(&self, login: Login) -> Result<(User, PasswordMark), LoginFailure> {
        let Login { name, password, from } = login;
        let directory = self.store.directory.as_ref().ok_or(LoginFailure::Unavailable)?;
        self.attempt(AttemptedUser { name: &name, signed_in: None }, from, async {
            let found = self.store.accounts.find(&name).await.map_err(|error| unavailable(&error))?;
            // Runs for unknown users too, so that timing does not reveal them. The mark is read before the password is
            // compared: if the password changes meanwhile, the mark is outdated and the session ends.
            let id = found.map_or(SubjectId(0), |user| user.account.id);
            let standing = directory.standing(id).await.map_err(|error| unavailable(&error))?;
            let staff = standing.filter(|(user, _)| user.staff || user.superuser);
            // No user has the empty name. The comparison takes as long as for a wrong password, so timing reveals
            // nothing.
            let name = staff.as_ref().map_or("", |(user, _)| &user.account.name);
            self.user(name, password).await?;
            staff.ok_or(LoginFailure::Refused)
        })
        .await
    }

    async fn end_session(&self, session: TokenDigest) -> Result<(), LoginFailure> {
        let sessions = self.store.sessions.as_ref().map_err(|none| unavailable(none))?;
        sessions.end(session).await.map_err(|error| unavailable(&error))
    }

    async fn tokens_of(&self, owner: SubjectId) -> Result<Vec<TokenDetails>, LoginFailure> {
        let filter = TokenFilter { owner: Some(owner), live: true };
        let tokens =
            self.store.ledger.list(filter, Page::first(MAX_SHOWN)).await.map_err(|error| unavailable(&error))?;
        Ok(tokens.into_iter().collect())
    }

    async fn login_token(&self, user: Confirmed, fresh: bool) -> Result<TokenKey, LoginFailure> {
        let (owner, store) = self.confirm(user).await?;
        let ledger = &store.ledger;
        let issued = if fresh { ledger.reset_login(owner).await } else { ledger.issue_login(owner).await };
        issued.map(|issued| issued.key).map_err(|error| ledger_failure(&error))
    }

    /// Checks the password; returns the user's id and the store acting on the user's behalf.
    async fn confirm(&self, user: Confirmed) -> Result<(SubjectId, Store), LoginFailure> {
        let Confirmed { owner, encoded_name, password, from } = user;
        let name = identity::decode(&encoded_name);
        self.is_password_of(owner, Login { name: name.clone(), password, from }).await?;
        Ok((owner, self.on_behalf_of(owner, name, from)))
    }

    async fn make_token(&self, user: Confirmed, name: String) -> Result<TokenKey, LoginFailure> {
        let (owner, store) = self.confirm(user).await?;
        let order = NamedToken { name, ..NamedToken::default() };
        match store.ledger.issue_named(owner, &order).await {
            Ok(issued) => Ok(issued.key),
            Err(LedgerError::InvalidName) => {
                let text = "A token name has 1 to 100 characters.".to_owned();
                Err(LoginFailure::InvalidField(AccountField::Name, text))
            }
            Err(error) => Err(ledger_failure(&error)),
        }
    }

    async fn change_password(&self, login: Login, new: Password) -> Result<(), LoginFailure> {
        let Login { name, password, from } = login;
        self.attempt(AttemptedUser { name: &name, signed_in: None }, from, async {
            let name = self.meant_by(&name).await?;
            let is_same = password.is_same_as(&new);
            let found = self.store.accounts.verify_password(&name, password).await;
            let user = found.map_err(|error| account_failure(&error))?.ok_or(LoginFailure::Refused)?;
            if is_same {
                // Otherwise a password that must be changed could stay.
                let text = "The new password must differ from the present one.";
                return Err(LoginFailure::InvalidField(AccountField::NewPassword, text.to_owned()));
            }
            let weak =
                |weak: WeakPassword| LoginFailure::InvalidField(AccountField::NewPassword, sentence(&weak.to_string()));
            new.check_new(user.names()).map_err(weak)?;
            let id = user.account.id;
            let accounts = self.on_behalf_of(id, user.account.name, from).accounts;
            accounts.set_password(id, Some(new)).await.map_err(|error| match error {
                AccountError::InDjango => LoginFailure::Unfulfilled(sentence(&AccountError::InDjango.to_string())),
                error => account_failure(&error),
            })
        })
        .await
    }

    async fn change_token(
        &self,
        user: Confirmed,
        token: TokenId,
        name: String,
        lifetime: Option<Option<Duration>>,
    ) -> Result<bool, LoginFailure> {
        let (owner, store) = self.confirm(user).await?;
        let found = store.ledger.show(TokenRef::Id(token)).await.map_err(|error| unavailable(&error))?;
        if !found.is_some_and(|found| found.record.owner.id == owner && found.record.revoked.is_none()) {
            return Err(LoginFailure::Unfulfilled("You do not have this token.".to_owned()));
        }
        let end = lifetime.map(|span| span.map_or(End::Never, |span| End::At(self.clock.now().after(span))));
        let terms = Terms { name: Some(name), end, ..Terms::default() };
        match store.ledger.set_terms(token, &terms).await {
            Ok(changed) => Ok(changed),
            Err(error @ (LedgerError::InvalidName | LedgerError::Nameless)) => {
                Err(LoginFailure::InvalidField(AccountField::Name, sentence(&error.to_string())))
            }
            Err(error @ LedgerError::InvalidEnd) => {
                Err(LoginFailure::InvalidField(AccountField::Expires, sentence(&error.to_string())))
            }
            Err(error) => Err(ledger_failure(&error)),
        }
    }

    async fn revoke_token(&self, owner: SubjectId, token: TokenId, from: IpAddr) -> Result<(), LoginFailure> {
        let ledger = &self.store.ledger;
        let found = ledger.show(TokenRef::Id(token)).await.map_err(|error| unavailable(&error))?;
        let Some(found) = found.filter(|found| found.record.owner.id == owner) else {
            return Err(LoginFailure::Unfulfilled("You do not have this token.".to_owned()));
        };
        let ledger = self.on_behalf_of(owner, found.record.owner.name, from).ledger;
        ledger.revoke(TokenRef::Id(token)).await.map(|_| ()).map_err(|error| ledger_failure(&error))
    }
}
