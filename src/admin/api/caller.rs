//! Whose request it is: the owner of the token that it shows, as the store has both at this moment.
//!
//! Cookies are ignored, so that no page of another site can act for a user, and no cache is asked: a revoked token stops
//! working at once.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::problem::{Code, Problem};
use crate::admin::desk::{Acting, Caller, DeskError, SCOPE};
use crate::admin::door::Client;
use crate::admin::record::Whose;
use crate::auth::{Credentials, KeyForm};
use crate::identity::Identity;
use crate::store::Via;
use crate::token::{Scope, TokenId, TokenRecord};

/// Words before a key.
static SCHEMES: LazyLock<[Box<str>; 2]> = LazyLock::new(|| ["Token".into(), "Bearer".into()]);

/// A request of somebody who may act here.
pub(super) struct Call {
    /// What the API works with.
    pub api: Arc<Api>,
    known: Known,
}

/// Somebody, by a token.
#[derive(Clone)]
struct Known {
    caller: Caller,
    /// Which token said so.
    token: TokenId,
}

impl Call {
    /// The caller at the desk.
    pub(super) fn acting(&self) -> Acting<'_> {
        self.api.desk.act_for(self.caller())
    }

    /// Who calls.
    pub(super) fn caller(&self) -> &Caller {
        &self.known.caller
    }

    /// The token that the request shows.
    pub(super) fn token(&self) -> TokenId {
        self.known.token
    }
}

impl FromRequestParts<Arc<Api>> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Call, Problem> {
        // Only [`authenticate`] leaves one.
        let known = parts.extensions.get::<Known>().cloned().ok_or_else(nobody)?;
        Ok(Call { api: Arc::clone(api), known })
    }
}

/// Refuses requests whose token does not let its owner act here.
pub(super) async fn authenticate(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    // The door notes it; only without a door there is none.
    let from = request.extensions().get::<Client>().map_or(Ipv4Addr::UNSPECIFIED.into(), |client| client.0.ip());
    match api.recognise(request.headers(), from).await {
        Ok(known) => {
            Whose::note(request.extensions(), &known.caller, Some(known.token));
            request.extensions_mut().insert(known);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

impl Api {
    async fn recognise(&self, fields: &HeaderMap, from: IpAddr) -> Result<Known, Problem> {
        let shown = Credentials::read(fields, SCHEMES.as_slice(), KeyForm::Bare).map_err(|bad| {
            let twice = bad.status() == StatusCode::BAD_REQUEST;
            Problem::new(if twice { Code::Malformed } else { Code::Unauthenticated }, bad.to_string())
        })?;
        let key = shown.ok_or_else(nobody)?.to_key();
        let now = self.desk.clock().now();
        self.wrong_keys.check(from, now).map_err(Problem::throttled)?;
        let found = self.desk.store().tokens.find(&key).await.map_err(DeskError::from)?;
        // No token that is restricted counts here: what it may do would have to be weighed for each operation.
        let unrestricted = |caller: &Identity| caller.may_come_from(from) && !caller.is_read_only();
        let counts = |record: &TokenRecord| Identity::establish(record, now).is_ok_and(|caller| unrestricted(&caller));
        let Some(record) = found.filter(counts) else {
            self.wrong_keys.count(from, now);
            return Err(Problem::new(Code::Unauthenticated, "this token is not valid"));
        };
        if !Scope::parse(SCOPE).is_ok_and(|scope| record.scopes.contains(&scope)) {
            return Err(Problem::new(Code::NotAllowed, format!("the token needs the scope {SCOPE}")));
        }
        let standing = self.desk.known(record.owner.id, Via::Api, from).await?;
        let (caller, _) =
            standing.ok_or(Problem::new(Code::NotAllowed, "only staff and superusers can manage users and tokens"))?;
        self.uses.note_token(record.id, now);
        Ok(Known { caller, token: record.id })
    }
}

fn nobody() -> Problem {
    Problem::new(Code::Unauthenticated, "send a token: `Authorization: Token <key>`")
}
