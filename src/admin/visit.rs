//! Authentication of page requests.
//!
//! [`Visit`] is a request of a signed-in user, [`Sent`] a form that such a user sent from one of the pages. Handlers
//! that take neither are public; only the sign-in is.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;

use super::again::{self, Opened};
use super::fields::Fields;
use super::operations::{Acting, Caller, OperationError, Rights};
use super::record::CallerSlot;
use super::server::Client;
use super::session::Notice;
use super::{Application, reply};
use crate::auth::{CsrfSecret, cookies};
use crate::clock::Timestamp;
use crate::store::Via;
use crate::token::{ShownKey, TokenDigest, TokenId, TokenKey};

/// The sign-in cookie: this host only, TLS only, hidden from scripts, never sent across sites.
pub(super) const COOKIE: &str = "__Host-tokengate-admin";

/// Form field of the CSRF secret.
pub(super) const CSRF_FIELD: &str = "csrf";

/// Form field of the password that confirms a dangerous action.
pub(super) const OWN_PASSWORD: &str = "own_password";

/// The pages that work while the store does not answer.
const OUTAGE_PAGES: [&str; 4] = ["/status", "/traffic", "/traffic/live", "/traffic/errors"];

/// How long they work for a user whom the store has confirmed.
const WITHOUT_STORE: Duration = Duration::from_secs(3_600);

/// How long after the own password was entered tokens can be issued without it.
const LATELY: Duration = Duration::from_secs(300);

const STORE_AWAY: &str =
    "The store does not answer. This page works without it; the others return when it answers again.";

/// A request of a signed-in user.
pub(super) struct Visit {
    /// The application.
    pub app: Arc<Application>,
    /// The user, as stored now.
    pub caller: Caller,
    /// The query of the request.
    pub query: Fields,
    sign_in: TokenDigest,
    secret: CsrfSecret,
    /// Whether this request has opened the sign-in, so that it contains the password.
    fresh: bool,
}

/// A submitted form.
pub(super) struct Sent {
    /// The request of the signed-in user.
    pub visit: Visit,
    /// The fields of the form.
    pub fields: Fields,
}

/// Why a request is not that of a signed-in user.
pub(super) enum Absent {
    /// There is no sign-in, or it has ended.
    SignIn,
    /// Anything else.
    Failed(Response),
}

impl Visit {
    /// Returns the CSRF secret for the forms of a page.
    pub(super) fn csrf(&self) -> String {
        // Without random numbers the forms get an empty secret, which is never accepted.
        self.secret.masked().unwrap_or_default()
    }

    /// Redirects to another page, which shows a success message.
    pub(super) fn done(&self, path: &str, text: impl Into<String>) -> Response {
        self.app.sign_ins.leave(self.sign_in, Notice::Done(text.into()));
        reply::see_other(path)
    }

    /// Redirects to another page, which shows an error message.
    pub(super) fn failed(&self, path: &str, text: impl Into<String>) -> Response {
        self.app.sign_ins.leave(self.sign_in, Notice::Failed(text.into()));
        reply::see_other(path)
    }

    /// Takes the message for this page.
    pub(super) fn notice(&self) -> Option<Notice> {
        self.app.sign_ins.take(self.sign_in)
    }

    /// Redirects to the page of a token, which shows its key once.
    pub(super) fn show_key(&self, token: TokenId, key: TokenKey, text: &str) -> Response {
        self.app.sign_ins.leave_key(self.sign_in, token, key);
        self.done(&format!("/tokens/{token}"), text)
    }

    /// Takes the key for this page.
    pub(super) fn take_key(&self, token: TokenId) -> Option<TokenKey> {
        self.app.sign_ins.take_key(self.sign_in, token)
    }

    /// Returns the current time.
    pub(super) fn now(&self) -> Timestamp {
        self.app.operations.clock().now()
    }

    /// Returns the caller, who can run operations.
    pub(super) fn acting(&self) -> Acting<'_> {
        self.app.operations.act_for(&self.caller)
    }

    /// Whether the user is a superuser.
    pub(super) fn is_superuser(&self) -> bool {
        self.caller.rights == Rights::Superuser
    }

    /// Whether a form is from a page of this sign-in.
    pub(super) fn wrote(&self, fields: &Fields) -> bool {
        self.secret.is_shown_by(fields.get(CSRF_FIELD))
    }

    /// Whether the user has entered the password in the last minutes.
    pub(super) fn is_confirmed(&self) -> bool {
        self.app.sign_ins.confirmed_since(self.sign_in, self.now().before(LATELY))
    }

    /// Ends the sign-in.
    pub(super) fn sign_out(&self) {
        self.app.sign_ins.end(self.sign_in);
    }
}

impl Sent {
    /// Checks the caller's own password, which irreversible or privileged actions require.
    ///
    /// # Errors
    /// [`OperationError::Unconfirmed`], [`OperationError::WrongPassword`], [`OperationError::Throttled`],
    /// [`OperationError::Unavailable`].
    pub(super) async fn confirm(&self) -> Result<(), OperationError> {
        if self.visit.fresh {
            return Ok(());
        }
        let password = self.fields.password(OWN_PASSWORD).ok_or(OperationError::Unconfirmed)?;
        self.visit.acting().confirm(password).await?;
        self.visit.app.sign_ins.confirm(self.visit.sign_in, self.visit.now());
        Ok(())
    }

    /// As [`Sent::confirm`], for issuing and changing tokens: a password that was entered in the last minutes is enough.
    ///
    /// # Errors
    /// As [`Sent::confirm`].
    pub(super) async fn confirm_lately(&self) -> Result<(), OperationError> {
        let is_typed = self.fields.all(OWN_PASSWORD).any(|typed| !typed.is_empty());
        if !is_typed && self.visit.is_confirmed() { Ok(()) } else { self.confirm().await }
    }
}

impl FromRequestParts<Arc<Application>> for Visit {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<Application>) -> Result<Visit, Response> {
        Visit::read(parts, app).await.map_err(|absent| match absent {
            Absent::SignIn if parts.method == Method::GET => {
                reply::to_sign_in(parts.uri.path_and_query().map_or("/", |path| path.as_str()))
            }
            Absent::SignIn => reply::to_sign_in("/"),
            Absent::Failed(response) => response,
        })
    }
}

impl Visit {
    async fn read(parts: &mut Parts, app: &Arc<Application>) -> Result<Visit, Absent> {
        let key = shown(&parts.headers).ok_or(Absent::SignIn)?;
        let (digest, now) = (key.digest(), app.operations.clock().now());
        let sign_in = app.sign_ins.find(digest, now).ok_or(Absent::SignIn)?;
        let caller = match app.operations.known(sign_in.user, Via::Admin, client(parts)).await {
            Ok(known) => match known.filter(|(_, password)| *password == sign_in.password) {
                Some((caller, _)) => {
                    app.sign_ins.saw(digest, &caller, now);
                    caller
                }
                None => {
                    app.sign_ins.end(digest);
                    return Err(Absent::SignIn);
                }
            },
            // The pages that show an outage work during one. They show no user and no token, and change nothing.
            Err(error @ OperationError::Unavailable) => {
                let seen = app.sign_ins.seen_since(digest, now.before(WITHOUT_STORE));
                let seen = seen.filter(|_| parts.method == Method::GET && OUTAGE_PAGES.contains(&parts.uri.path()));
                let caller = seen.ok_or_else(|| Absent::Failed(reply::failed(error)))?;
                app.sign_ins.leave(digest, Notice::Failed(STORE_AWAY.to_owned()));
                caller
            }
            Err(error) => return Err(Absent::Failed(reply::failed(error))),
        };
        Ok(Visit::of(parts, app, caller, (key, false)))
    }

    fn of(parts: &Parts, app: &Arc<Application>, caller: Caller, (key, fresh): (ShownKey<'_>, bool)) -> Visit {
        CallerSlot::note(&parts.extensions, &caller, None);
        let query = Fields::read(parts.uri.query().unwrap_or_default().as_bytes());
        let (sign_in, secret) = (key.digest(), CsrfSecret::of_session(key));
        Visit { app: Arc::clone(app), caller, query, sign_in, secret, fresh }
    }
}

impl FromRequest<Arc<Application>> for Sent {
    type Rejection = Response;

    async fn from_request(request: Request, app: &Arc<Application>) -> Result<Sent, Response> {
        let (mut parts, body) = request.into_parts();
        let visit = match Visit::read(&mut parts, app).await {
            Ok(visit) => Some(visit),
            Err(Absent::SignIn) => None,
            Err(Absent::Failed(response)) => return Err(response),
        };
        let fields = read_form(Request::from_parts(parts.clone(), body), app).await?;
        let name = match visit {
            Some(visit) if visit.wrote(&fields) => {
                return Ok(Sent { visit, fields });
            }
            Some(visit) => visit.caller.user.account.name,
            None => String::new(),
        };
        let Opened { caller, key, .. } = again::sign_in_again(app, &parts, &fields, &name).await?;
        let key = ShownKey::parse_session(key.expose()).map_err(|_| reply::failed(OperationError::Unavailable))?;
        Ok(Sent { visit: Visit::of(&parts, app, caller, (key, true)), fields })
    }
}

/// A form of any sender.
pub(super) async fn read_form(request: Request, app: &Arc<Application>) -> Result<Fields, Response> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        let text = "Only forms of this application are accepted here.";
        return Err(reply::message(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Not a form", text));
    }
    let body = Bytes::from_request(request, app).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => reply::too_large(),
        _ => {
            reply::message(StatusCode::BAD_REQUEST, "Incomplete form", "The form was cut off. Please submit it again.")
        }
    })?;
    Ok(Fields::read(&body))
}

/// Returns the value of the sign-in cookie.
pub(super) fn shown(fields: &HeaderMap) -> Option<ShownKey<'_>> {
    cookies::cookie(fields, COOKIE).and_then(|text| ShownKey::parse_session(text).ok())
}

/// Returns the client's address.
pub(super) fn client(parts: &Parts) -> IpAddr {
    // The server inserts it; it is missing only in tests without a server.
    parts.extensions.get::<Client>().map_or(Ipv4Addr::UNSPECIFIED.into(), |client| client.0.ip())
}
