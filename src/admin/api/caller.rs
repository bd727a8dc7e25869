//! Authentication of API requests: the caller is the owner of the token, read from the store on each request.
//!
//! Cookies are ignored, which rules out cross-site request forgery. No cache is used: a revoked token stops working at
//! once.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::problem::{Code, Problem};
use crate::admin::operations::{Acting, Caller, OperationError, SCOPE};
use crate::admin::record::CallerSlot;
use crate::admin::server::Client;
use crate::auth::{Credentials, KeyForm};
use crate::identity::Identity;
use crate::store::Via;
use crate::token::{Scope, TokenId, TokenRecord};

/// Authentication schemes before a key.
static SCHEMES: LazyLock<[Box<str>; 2]> = LazyLock::new(|| ["Token".into(), "Bearer".into()]);

/// A request whose caller may use the API.
pub(super) struct Call {
    /// Shared state of the API.
    pub api: Arc<Api>,
    known: Known,
}

/// Caller identified by a token.
#[derive(Clone)]
struct Known {
    caller: Caller,
    /// The token that authenticated the request.
    token: TokenId,
}

impl Call {
    /// The caller, who can run operations.
    pub(super) fn acting(&self) -> Acting<'_> {
        self.api.operations.act_for(self.caller())
    }

    /// The calling user.
    pub(super) fn caller(&self) -> &Caller {
        &self.known.caller
    }

    /// The token of the request.
    pub(super) fn token(&self) -> TokenId {
        self.known.token
    }
}

impl FromRequestParts<Arc<Api>> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Call, Problem> {
        // Only [`authenticate`] inserts one.
        let known = parts.extensions.get::<Known>().cloned().ok_or_else(unauthenticated)?;
        Ok(Call { api: Arc::clone(api), known })
    }
}

/// Refuses requests whose token does not allow its owner to use the API.
pub(super) async fn authenticate(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    // The server inserts the client address; it is missing only in tests without a server.
    let from = request.extensions().get::<Client>().map_or(Ipv4Addr::UNSPECIFIED.into(), |client| client.0.ip());
    match api.recognise(request.headers(), from).await {
        Ok(known) => {
            CallerSlot::note(request.extensions(), &known.caller, Some(known.token));
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
        let key = shown.ok_or_else(unauthenticated)?.to_key();
        let now = self.operations.clock().now();
        self.wrong_keys.check(from, now).map_err(Problem::throttled)?;
        let found = self.operations.store().tokens.find(&key).await.map_err(OperationError::from)?;
        // Restricted tokens are refused: each restriction would have to be checked for each operation.
        let unrestricted = |caller: &Identity| caller.may_come_from(from) && !caller.is_read_only();
        let counts = |record: &TokenRecord| Identity::establish(record, now).is_ok_and(|caller| unrestricted(&caller));
        let Some(record) = found.filter(counts) else {
            self.wrong_keys.count(from, now);
            return Err(Problem::new(Code::Unauthenticated, "this token is not valid"));
        };
        if !Scope::parse(SCOPE).is_ok_and(|scope| record.scopes.contains(&scope)) {
            return Err(Problem::new(Code::NotAllowed, format!("the token needs the scope {SCOPE}")));
        }
        let standing = self.operations.known(record.owner.id, Via::Api, from).await?;
        let (caller, _) =
            standing.ok_or(Problem::new(Code::NotAllowed, "only staff and superusers can manage users and tokens"))?;
        self.uses.note_token(record.id, now);
        Ok(Known { caller, token: record.id })
    }
}

fn unauthenticated() -> Problem {
    Problem::new(Code::Unauthenticated, "send a token: `Authorization: Token <key>`")
}
