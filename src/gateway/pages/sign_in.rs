//! Signs users in, and lets them change a password that has to be changed first.

use http::StatusCode;

use super::{Answer, Page, PageForm, Visit, WRONG, csrf_cookie, retry_after, session_cookie, told};
use crate::auth::CsrfSecret;
use crate::gateway::{Exchange, Refusal};
use crate::login::html::Notice;
use crate::login::typed::Typed;
use crate::login::{AccountField, Login, LoginFailure};
use crate::telemetry::Outcome;
use crate::token::{ShownKey, TokenDigest, TokenKey};

impl Visit<'_> {
    /// Why the browser is at the sign-in page, if it was sent there.
    pub(super) fn reason(&self) -> Notice<'static> {
        match self.next(None) {
            Some(_) => Notice::Done("Sign in to continue. Your session has ended, or you have not signed in yet."),
            None => Notice::None,
        }
    }

    pub(super) async fn log_in(&self, mut form: PageForm, exchange: &Exchange) -> Result<Answer, Refusal> {
        let next = self.next(form.next.as_deref());
        let typed = form.login.name().to_owned();
        let must_change = !form.new_password.is_empty() || !form.new_password_again.is_empty();
        let Ok((name, password)) = std::mem::take(&mut form.login).check() else {
            let mut answer =
                self.login_page(StatusCode::OK, &Notice::Error(WRONG), (&typed, must_change, None), next)?;
            answer.outcome = Outcome::LoginInvalid;
            return Ok(answer);
        };
        let login = Login { name, password, from: exchange.peer().address.ip() };
        let former = self.session().map(ShownKey::digest);
        let opened = if must_change {
            self.change_and_open(login, form, former).await
        } else {
            self.endpoint.issuer.open_session(login, former).await
        };
        match opened {
            Ok(key) => Ok(self.welcome(&key, next)),
            Err(failure) => {
                let (status, outcome, text) = told(&failure);
                let must_change = must_change || failure == LoginFailure::MustChange;
                let wrong = match &failure {
                    LoginFailure::InvalidField(field, text) => Some(Typed::default().wrong(*field, text)),
                    // The new password is the one to be entered.
                    LoginFailure::MustChange => Some(Typed::default().wrong(AccountField::NewPassword, &text)),
                    _ => None,
                };
                let mut answer = self.login_page(status, &Notice::Error(&text), (&typed, must_change, wrong), next)?;
                (answer.outcome, answer.retry_after) = (outcome, retry_after(&failure));
                Ok(answer)
            }
        }
    }

    /// Changes a password that has to be changed, and signs in with the new one.
    async fn change_and_open(
        &self,
        login: Login,
        form: PageForm,
        former: Option<TokenDigest>,
    ) -> Result<TokenKey, LoginFailure> {
        let (name, from) = (login.name.clone(), login.from);
        let (new, again) = form.new_passwords()?;
        self.endpoint.issuer.change_password(login, new).await?;
        self.endpoint.issuer.open_session(Login { name, password: again, from }, former).await
    }

    pub(super) fn welcome(&self, key: &TokenKey, next: Option<String>) -> Answer {
        let mut answer = Answer::to(next.unwrap_or_else(|| self.endpoint.path(Page::Account)));
        answer.outcome = Outcome::LoggedIn;
        let age = self.endpoint.settings.session_ttl.as_secs();
        answer.cookies.push(session_cookie(key.expose(), age));
        answer.cookies.extend(ShownKey::parse(key.expose()).map(|key| csrf_cookie(&CsrfSecret::of_session(key))));
        answer
    }
}
