//! The account page: a user's tokens.
//!
//! Showing or creating a key requires the password: an unattended browser or a stolen session must not give access to a
//! token, which would outlive the session.

use std::sync::Arc;

use http::StatusCode;

use super::{Answer, Page, PageForm, Visit, failed, retry_after, told};
use crate::auth::{Accepted, AuthFailure, KeyForm};
use crate::config::settings::Auth;
use crate::gateway::{Exchange, Gateway, Refusal};
use crate::identity::{self, Identity};
use crate::login::html::{self, AccountPage, FormSeal, Notice};
use crate::login::{Confirmed, LoginFailure};
use crate::store::Password;
use crate::token::{AuthMethod, TokenId, TokenKey};

const WRONG: &str = "Wrong password.";

/// The result of a form of the page.
enum Done {
    Key(&'static str, TokenKey),
    Text(&'static str),
}

impl Gateway {
    pub(super) async fn account(&self, visit: &Visit<'_>, exchange: &mut Exchange) -> Result<Answer, Refusal> {
        match self.visitor(visit, exchange).await? {
            Some(user) => visit.account_page(&user, StatusCode::OK, Notice::None).await,
            None => Ok(visit.to_login()),
        }
    }

    pub(super) async fn change_account(
        &self,
        visit: &Visit<'_>,
        form: PageForm,
        exchange: &mut Exchange,
    ) -> Result<Answer, Refusal> {
        let Some(user) = self.visitor(visit, exchange).await? else { return Ok(visit.to_login()) };
        match visit.change(&user, form, exchange).await {
            Ok(Done::Key(what, key)) => {
                visit.account_page(&user, StatusCode::OK, Notice::Key { what, key: key.expose() }).await
            }
            Ok(Done::Text(text)) => visit.account_page(&user, StatusCode::OK, Notice::Done(text)).await,
            Err(failure) => {
                let (status, outcome, text) = told(&failure);
                let text = if failure == LoginFailure::Refused { WRONG } else { &text };
                let answer = visit.account_page(&user, status, Notice::Error(text)).await?;
                Ok(Answer { outcome, retry_after: retry_after(&failure), ..answer })
            }
        }
    }

    /// The user of the browser's session, if the session is valid.
    async fn visitor(&self, visit: &Visit<'_>, exchange: &mut Exchange) -> Result<Option<Arc<Identity>>, AuthFailure> {
        let from = exchange.peer().address.ip();
        let fields = visit.fields();
        let accepted = Accepted { methods: &[AuthMethod::Session], form: KeyForm::Bare };
        let user = match self.authenticate(Auth::Optional, accepted, fields, from).await {
            // A client over its rate limit can still sign in.
            Err(AuthFailure::Throttled(_)) => None,
            user => user?,
        };
        exchange.identified(user.as_ref(), fields);
        Ok(user)
    }
}

impl Visit<'_> {
    fn to_login(&self) -> Answer {
        let (login, account) = (self.endpoint.path(Page::Login), self.endpoint.path(Page::Account));
        Answer::to(format!("{login}?next={}", identity::encode(&account, b"&+#")))
    }

    async fn account_page(&self, user: &Identity, status: StatusCode, notice: Notice<'_>) -> Result<Answer, Refusal> {
        let tokens = match self.endpoint.issuer.tokens_of(user.subject()).await {
            Ok(tokens) => tokens,
            Err(failure) => return Ok(failed(&failure)),
        };
        let csrf = self.secret()?.masked().map_err(|_| Refusal::Internal)?;
        let (account, logout) = (self.endpoint.path(Page::Account), self.endpoint.path(Page::Logout));
        let name = identity::decode(user.values().user_name.to_str().unwrap_or_default());
        let page = AccountPage {
            user: &name,
            tokens: &tokens,
            offers: self.endpoint.offers,
            seal: FormSeal { action: &account, csrf: &csrf },
            logout: FormSeal { action: &logout, csrf: &csrf },
            notice,
        };
        Ok(Answer::new(status, html::render(&page)))
    }

    async fn change(&self, user: &Identity, mut form: PageForm, exchange: &Exchange) -> Result<Done, LoginFailure> {
        let issuer = &self.endpoint.issuer;
        if form.action == "revoke" {
            let token = form.token.parse().map(TokenId);
            let token = token.map_err(|_| LoginFailure::Unfulfilled("You do not have this token.".to_owned()))?;
            issuer.revoke_token(user.subject(), token, exchange.peer().address.ip()).await?;
            return Ok(Done::Text("The token was revoked and no longer works."));
        }
        let confirmed = Confirmed {
            owner: user.subject(),
            encoded_name: user.values().user_name.to_str().unwrap_or_default().to_owned(),
            password: Password::parse(std::mem::take(&mut *form.password)).map_err(|_| LoginFailure::Refused)?,
            from: exchange.peer().address.ip(),
        };
        match form.action.as_str() {
            "reveal" if self.endpoint.offers.recoverable => {
                Ok(Done::Key("Your login token:", issuer.login_token(confirmed, false).await?))
            }
            "reset" => Ok(Done::Key(
                "Your new login token; the old one no longer works:",
                issuer.login_token(confirmed, true).await?,
            )),
            "create" if self.endpoint.offers.named => {
                let name = form.name.trim().to_owned();
                Ok(Done::Key(
                    "Copy your new token now; it is not shown again:",
                    issuer.make_token(confirmed, name).await?,
                ))
            }
            _ => Err(LoginFailure::Unfulfilled("Unknown action.".to_owned())),
        }
    }
}
