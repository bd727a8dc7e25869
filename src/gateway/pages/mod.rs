//! Pages for browsers: sign in, sign out, manage tokens.
//!
//! Like the login, they take precedence over all routes. They follow Django's rules and work without scripts. Every
//! form must contain a secret that other sites do not know (`auth/csrf.rs`); otherwise it is not read. A login always
//! creates a new session, so that an attacker cannot plant one in a browser beforehand (session fixation).

mod account;
mod form;
mod shown;
mod sign_in;

use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, RETRY_AFTER, SET_COOKIE,
    VARY, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, request};

use self::form::PageForm;
use super::refusal::whole_seconds;
use super::{Body, Exchange, Gateway, Refusal, reply};
use crate::auth::cookies::{CSRF_COOKIE, SESSION_COOKIE};
use crate::auth::{CsrfFault, CsrfSecret, cookies, csrf};
use crate::client::ClientBody;
use crate::config::settings;
use crate::login::form::urlencoded;
use crate::login::html::{self, FormSeal, LoginPage, MessagePage, Notice, Offers};
use crate::login::typed::Wrong;
use crate::login::{IssuerHandle, LoginFailure, next};
use crate::route::{NoRoute, Target};
use crate::telemetry::Outcome;
use crate::token::ShownKey;

/// As in Django: a year.
const CSRF_AGE: u64 = 31_449_600;
const WRONG: &str = "Please enter a correct username and password. Note that both fields may be case-sensitive.";
const MUST_CHANGE: &str = "Choose a new password. The one that you were given works only for this.";
const UNAVAILABLE: &str = "Passwords and tokens cannot be checked at the moment. Please try again.";

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The dependencies of the pages.
pub struct PagesEndpoint {
    settings: settings::Browser,
    login: settings::Login,
    issuer: IssuerHandle,
    offers: Offers,
    policy: HeaderValue,
}

/// One of the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Login,
    Logout,
    Account,
}

/// A request for a page.
struct Visit<'r> {
    endpoint: &'r PagesEndpoint,
    head: &'r request::Parts,
    target: &'r Target<'r>,
    secure: bool,
}

/// The parts of a response.
struct Answer {
    status: StatusCode,
    outcome: Outcome,
    /// The page; empty for a redirect.
    html: String,
    to: Option<String>,
    cookies: Vec<String>,
    retry_after: Option<u64>,
}

impl PagesEndpoint {
    /// Creates the dependencies for these settings.
    pub fn new(
        settings: settings::Browser,
        login: settings::Login,
        issuer: IssuerHandle,
        offers: Offers,
    ) -> PagesEndpoint {
        let policy = HeaderValue::try_from(html::policy());
        let policy = policy.unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"));
        PagesEndpoint { settings, login, issuer, offers, policy }
    }

    /// The path of the login page.
    pub(super) fn login_path(&self) -> String {
        self.path(Page::Login)
    }

    fn path(&self, page: Page) -> String {
        let [login, logout, account] = settings::Browser::PAGES;
        let page = match page {
            Page::Login => login,
            Page::Logout => logout,
            Page::Account => account,
        };
        format!("{}{page}/", self.settings.path)
    }

    fn page(&self, path: &str) -> Option<Page> {
        let [login, logout, account] = settings::Browser::PAGES;
        match self.settings.page(path)? {
            page if page == login => Some(Page::Login),
            page if page == logout => Some(Page::Logout),
            page if page == account => Some(Page::Account),
            _ => None,
        }
    }
}

impl Gateway {
    /// The page at this target, if there is one.
    ///
    /// # Errors
    /// Only some servers would read the target as the path of a page.
    pub(super) fn page_at(&self, target: &Target<'_>) -> Result<Option<(&PagesEndpoint, Page)>, NoRoute> {
        let Some(endpoint) = &self.generation.pages else { return Ok(None) };
        if let Some(page) = endpoint.page(target.decoded_path()) {
            return Ok(Some((endpoint, page)));
        }
        match target.other_readings().any(|path| endpoint.page(path).is_some()) {
            true => Err(NoRoute::TwoReadings),
            false => Ok(None),
        }
    }

    /// Handles a request for a page.
    pub(super) async fn show(
        &self,
        endpoint: &PagesEndpoint,
        page: Page,
        head: &request::Parts,
        body: ClientBody,
        target: &Target<'_>,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Refusal> {
        let visit = Visit { endpoint, head, target, secure: exchange.peer().secure };
        let methods = if page == Page::Logout { "POST, OPTIONS" } else { "GET, HEAD, POST, OPTIONS" };
        let unread = !http_body::Body::is_end_stream(&body);
        let was_read = head.method == Method::POST;
        let answer = match (&head.method, page) {
            (&Method::OPTIONS, _) => {
                body.discard().await;
                Answer::new(StatusCode::OK, String::new())
            }
            (&Method::GET | &Method::HEAD, Page::Login) => {
                body.discard().await;
                visit.login_page(StatusCode::OK, &visit.reason(), ("", false, None), visit.next(None))?
            }
            (&Method::GET | &Method::HEAD, Page::Account) => {
                body.discard().await;
                self.account(&visit, exchange).await?
            }
            (&Method::POST, page) => {
                let form = PageForm::read(
                    self.generation.forms.begin(exchange.sender())?,
                    body,
                    &head.headers,
                    &endpoint.login,
                )
                .await?;
                match csrf::check_form(&head.headers, target, visit.secure, &form.csrf) {
                    Err(fault) => visit.forged(&fault, form.new_token_name()),
                    Ok(()) => match page {
                        Page::Login => visit.log_in(form, exchange).await?,
                        Page::Logout => visit.log_out(&form).await,
                        Page::Account => self.change_account(&visit, form, exchange).await?,
                    },
                }
            }
            _ => {
                let mut answer = message(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "Method not allowed",
                    "This page does not accept this method.",
                    None,
                );
                answer.outcome = Outcome::Method;
                answer
            }
        };
        exchange.ends(answer.outcome, answer.status);
        let mut response = answer.into_response(endpoint, exchange);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
        if unread && !was_read {
            reply::ends_connection(&mut response, exchange);
        }
        Ok(response)
    }
}

impl<'r> Visit<'r> {
    fn fields(&self) -> &'r HeaderMap {
        &self.head.headers
    }

    fn session(&self) -> Option<ShownKey<'r>> {
        cookies::session(self.fields())
    }

    /// The browser's CSRF secret; a new one if it has none.
    fn secret(&self) -> Result<CsrfSecret, Refusal> {
        CsrfSecret::of_fields(self.fields()).map_or_else(|| CsrfSecret::draw().map_err(|_| Refusal::Internal), Ok)
    }

    /// The path to redirect to, if it is safe: from the form, or if the form has no such field, from the query.
    fn next(&self, form: Option<&str>) -> Option<String> {
        if let Some(next) = form {
            return next::safe(next, self.target, self.secure);
        }
        self.asked("next").and_then(|asked| next::safe(&asked, self.target, self.secure))
    }

    /// The last value of this name in the query.
    fn asked(&self, wanted: &str) -> Option<String> {
        let mut asked = None;
        // Too many fields count as none.
        let _ = urlencoded::each(self.target.query().unwrap_or_default().as_bytes(), |name, value| {
            if name == wanted.as_bytes() {
                asked = Some(String::from_utf8_lossy(&urlencoded::decode(value)).into_owned());
            }
        });
        asked
    }

    fn login_page(
        &self,
        status: StatusCode,
        notice: &Notice<'_>,
        (user, must_change, wrong): (&str, bool, Option<Wrong>),
        next: Option<String>,
    ) -> Result<Answer, Refusal> {
        let secret = self.secret()?;
        let csrf = secret.masked().map_err(|_| Refusal::Internal)?;
        let action = self.endpoint.path(Page::Login);
        let (seal, next) = (FormSeal { action: &action, csrf: &csrf }, next.as_deref().unwrap_or_default());
        let mut answer = Answer::new(status, html::render(&LoginPage { seal, next, user, must_change, notice, wrong }));
        answer.cookies.push(csrf_cookie(&secret));
        Ok(answer)
    }

    async fn log_out(&self, form: &PageForm) -> Answer {
        if let Some(session) = self.session()
            && let Err(failure) = self.endpoint.issuer.end_session(session.digest()).await
        {
            return failed(&failure);
        }
        let (login, here) = (self.endpoint.path(Page::Login), self.endpoint.path(Page::Logout));
        let mut answer = match self.next(form.next.as_deref()) {
            Some(next) if next != here => Answer::to(next),
            _ => message(StatusCode::OK, "Signed out", "Your session has ended.", Some((&login, "Sign in again"))),
        };
        answer
            .cookies
            .extend([session_cookie("", 0), format!("{CSRF_COOKIE}=; Max-Age=0; Path=/; Secure; SameSite=Lax")]);
        answer
    }

    fn forged(&self, fault: &CsrfFault, token_name: &str) -> Answer {
        // A browser drops the cookie of a session that has ended, and the secret with it.
        let login = match fault {
            CsrfFault::NoCookie | CsrfFault::Form => self.login_for(token_name),
            _ => self.endpoint.path(Page::Login),
        };
        let text = format!(
            "This form has expired, or was sent from another site. Go back, reload the page and try again. ({fault})"
        );
        let mut answer = message(StatusCode::FORBIDDEN, "Forbidden", &text, Some((&login, "Sign in")));
        answer.outcome = Outcome::Csrf;
        answer
    }
}

impl Answer {
    fn new(status: StatusCode, html: String) -> Answer {
        Answer { status, outcome: Outcome::Answered, html, to: None, cookies: Vec::new(), retry_after: None }
    }

    fn to(path: String) -> Answer {
        Answer { to: Some(path), ..Answer::new(StatusCode::FOUND, String::new()) }
    }

    fn into_response(self, endpoint: &PagesEndpoint, exchange: &Exchange) -> Response<Body> {
        let mut response = reply::text(self.status, self.html, exchange);
        let fields = response.headers_mut();
        for (name, value) in [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CACHE_CONTROL, "max-age=0, no-cache, no-store, must-revalidate, private"),
            (VARY, "Cookie"),
            (X_FRAME_OPTIONS, "DENY"),
            // With a stricter policy, browsers would send `Origin: null` with forms.
            (REFERRER_POLICY, "same-origin"),
            (OPENER_POLICY, "same-origin"),
            (RESOURCE_POLICY, "same-origin"),
        ] {
            fields.insert(name, HeaderValue::from_static(value));
        }
        fields.insert(CONTENT_SECURITY_POLICY, endpoint.policy.clone());
        for cookie in self.cookies {
            if let Ok(mut cookie) = HeaderValue::try_from(cookie) {
                cookie.set_sensitive(true);
                fields.append(SET_COOKIE, cookie);
            }
        }
        if let Some(to) = self.to.and_then(|to| HeaderValue::try_from(to).ok()) {
            fields.insert(LOCATION, to);
        }
        if let Some(seconds) = self.retry_after {
            fields.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

fn message(status: StatusCode, title: &str, text: &str, link: Option<(&str, &str)>) -> Answer {
    Answer::new(status, html::render(&MessagePage { title, text, link }))
}

/// A failure with a page of its own.
fn failed(failure: &LoginFailure) -> Answer {
    let (status, outcome, text) = told(failure);
    Answer { outcome, retry_after: retry_after(failure), ..message(status, "Error", &text, None) }
}

fn told(failure: &LoginFailure) -> (StatusCode, Outcome, String) {
    match failure {
        LoginFailure::Refused => (StatusCode::OK, Outcome::LoginFailed, WRONG.to_owned()),
        LoginFailure::Throttled(wait) => {
            let text = format!("Too many attempts. Please try again in {} seconds.", whole_seconds(*wait));
            (StatusCode::TOO_MANY_REQUESTS, Outcome::TooManyRequests, text)
        }
        LoginFailure::Unavailable => {
            (StatusCode::SERVICE_UNAVAILABLE, Outcome::StoreUnavailable, UNAVAILABLE.to_owned())
        }
        LoginFailure::MustChange => (StatusCode::OK, Outcome::Answered, MUST_CHANGE.to_owned()),
        LoginFailure::Unfulfilled(why) | LoginFailure::InvalidField(_, why) => {
            (StatusCode::OK, Outcome::Answered, why.clone())
        }
    }
}

fn retry_after(failure: &LoginFailure) -> Option<u64> {
    match failure {
        LoginFailure::Throttled(wait) => Some(whole_seconds(*wait)),
        LoginFailure::Unavailable => Some(1),
        _ => None,
    }
}

fn session_cookie(value: &str, age: u64) -> String {
    format!("{SESSION_COOKIE}={value}; Max-Age={age}; Path=/; Secure; HttpOnly; SameSite=Lax")
}

fn csrf_cookie(secret: &CsrfSecret) -> String {
    format!("{CSRF_COOKIE}={}; Max-Age={CSRF_AGE}; Path=/; Secure; SameSite=Lax", secret.expose())
}
