//! The account page: a user's tokens.
//!
//! Showing or creating a key requires the password: an unattended browser or a stolen session must not give access to a
//! token, which would outlive the session.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::shown::{self, Act};
use super::{Answer, Page, PageForm, Visit, failed, retry_after, told};
use crate::auth::{Accepted, AuthFailure, KeyForm, ShownCertificate};
use crate::config::settings::Auth;
use crate::gateway::sign_in::encoded;
use crate::gateway::{Exchange, Gateway, Refusal};
use crate::identity::{self, Identity};
use crate::login::html::{self, AccountPage, EXPIRES, FormSeal, Notice};
use crate::login::typed::{Typed, Wrong};
use crate::login::{AccountField, Confirmed, Login, LoginFailure};
use crate::store::Password;
use crate::token::{AuthMethod, TokenId, TokenKey};

const WRONG: &str = "Wrong password.";

/// The field of the query with the name that the form for a new token begins with.
const NAME: &str = "name";

/// The result of a form of the page.
struct Done {
    act: Act,
    key: Option<TokenKey>,
    cookies: Vec<String>,
}

impl Done {
    fn act(act: Act) -> Done {
        Done { act, key: None, cookies: Vec::new() }
    }

    fn key(act: Act, key: TokenKey) -> Done {
        Done { key: Some(key), ..Done::act(act) }
    }
}

impl Gateway {
    pub(super) async fn account(&self, visit: &Visit<'_>, exchange: &mut Exchange) -> Result<Answer, Refusal> {
        match self.visitor(visit, exchange).await? {
            Some(user) => {
                let shown = shown::notice(visit.fields());
                let was_shown = shown.is_some();
                let name = visit.asked(NAME).unwrap_or_default();
                let typed = Typed::new_token(name);
                let notice = shown.unwrap_or(Notice::None);
                let mut answer = visit.account_page(&user, StatusCode::OK, notice, (&typed, None)).await?;
                if was_shown {
                    answer.cookies.push(shown::removed(&visit.endpoint.path(Page::Account)));
                }
                Ok(answer)
            }
            None => Ok(Answer::to(visit.login_for(""))),
        }
    }

    pub(super) async fn change_account(
        &self,
        visit: &Visit<'_>,
        form: PageForm,
        exchange: &mut Exchange,
    ) -> Result<Answer, Refusal> {
        let typed = form.typed();
        let Some(user) = self.visitor(visit, exchange).await? else {
            return Ok(Answer::to(visit.login_for(typed.new_token_name())));
        };
        match visit.change(&user, form, exchange).await {
            Ok(Done { act, key, cookies }) => {
                // Redirected, so that a reload does not repeat the act.
                let account = visit.endpoint.path(Page::Account);
                let mut answer = Answer::to(account.clone());
                answer.status = StatusCode::SEE_OTHER;
                answer.cookies = cookies;
                answer.cookies.push(shown::cookie(act, key.as_ref().map_or("", TokenKey::expose), &account));
                Ok(answer)
            }
            Err(failure) => {
                let (status, outcome, text) = told(&failure);
                let text = if failure == LoginFailure::Refused { WRONG } else { &text };
                let wrong = match failure {
                    LoginFailure::Refused => Some(AccountField::Password),
                    LoginFailure::InvalidField(field, _) => Some(field),
                    _ => None,
                };
                let wrong = wrong.map(|field| typed.wrong(field, text));
                let answer = visit.account_page(&user, status, Notice::Error(text), (&typed, wrong)).await?;
                Ok(Answer { outcome, retry_after: retry_after(&failure), ..answer })
            }
        }
    }

    /// The user of the browser's session, if the session is valid.
    async fn visitor(&self, visit: &Visit<'_>, exchange: &mut Exchange) -> Result<Option<Arc<Identity>>, AuthFailure> {
        let from = exchange.peer().address.ip();
        let fields = visit.fields();
        let accepted =
            Accepted { methods: &[AuthMethod::Session], form: KeyForm::Bare, certificate: ShownCertificate::None };
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
    /// The login page, which leads back to this page. The name that was typed for a new token survives.
    pub(super) fn login_for(&self, token_name: &str) -> String {
        let (login, mut account) = (self.endpoint.path(Page::Login), self.endpoint.path(Page::Account));
        if !token_name.is_empty() {
            account = format!("{account}?{NAME}={}", encoded(token_name));
        }
        format!("{login}?next={}", encoded(&account))
    }

    async fn account_page(
        &self,
        user: &Identity,
        status: StatusCode,
        notice: Notice<'_>,
        (typed, wrong): (&Typed, Option<Wrong>),
    ) -> Result<Answer, Refusal> {
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
            typed,
            wrong,
        };
        Ok(Answer::new(status, html::render(&page)))
    }

    async fn change(&self, user: &Identity, mut form: PageForm, exchange: &Exchange) -> Result<Done, LoginFailure> {
        let issuer = &self.endpoint.issuer;
        let from = exchange.peer().address.ip();
        let token = form.token.parse().map(TokenId);
        let token = token.map_err(|_| LoginFailure::Unfulfilled("You do not have this token.".to_owned()));
        if form.action == "revoke" {
            issuer.revoke_token(user.subject(), token?, from).await?;
            return Ok(Done::act(Act::Revoked));
        }
        let encoded_name = user.values().user_name.to_str().unwrap_or_default().to_owned();
        let password = Password::parse(std::mem::take(&mut *form.password)).map_err(|_| LoginFailure::Refused)?;
        if form.action == "password" && self.endpoint.offers.passwords {
            let login = Login { name: identity::decode(&encoded_name), password, from };
            return self.change_password(login, form).await;
        }
        let confirmed = Confirmed { owner: user.subject(), encoded_name, password, from };
        match form.action.as_str() {
            "reveal" if self.endpoint.offers.recoverable => {
                Ok(Done::key(Act::Revealed, issuer.login_token(confirmed, false).await?))
            }
            "reset" => Ok(Done::key(Act::Reset, issuer.login_token(confirmed, true).await?)),
            "create" if self.endpoint.offers.named => {
                let name = form.name.trim().to_owned();
                Ok(Done::key(Act::Created, issuer.make_token(confirmed, name).await?))
            }
            "change" if self.endpoint.offers.named => {
                let end = lifetime(&form.expires)?;
                let changed = issuer.change_token(confirmed, token?, form.name.trim().to_owned(), end).await?;
                Ok(Done::act(if changed { Act::Changed } else { Act::Unchanged }))
            }
            _ => Err(LoginFailure::Unfulfilled("Unknown action.".to_owned())),
        }
    }

    /// Changes the password, and opens a session for the new one: all sessions have ended.
    async fn change_password(&self, login: Login, form: PageForm) -> Result<Done, LoginFailure> {
        let (name, from) = (login.name.clone(), login.from);
        let (new, again) = form.new_passwords()?;
        self.endpoint.issuer.change_password(login, new).await?;
        let key = self.endpoint.issuer.open_session(Login { name, password: again, from }, None).await?;
        Ok(Done { cookies: self.welcome(&key, None).cookies, ..Done::act(Act::Password) })
    }
}

/// The lifetime that the form selects, from now on: `None` keeps the expiry, and `Some(None)` removes it.
fn lifetime(text: &str) -> Result<Option<Option<Duration>>, LoginFailure> {
    let known = EXPIRES.iter().any(|(value, _)| *value == text);
    match (text, text.parse::<u64>()) {
        ("", _) => Ok(None),
        ("never", _) => Ok(Some(None)),
        (_, Ok(days)) if known => Ok(Some(Some(Duration::from_secs(days * 86_400)))),
        _ => Err(LoginFailure::InvalidField(AccountField::Expires, "Choose when the token expires.".to_owned())),
    }
}
