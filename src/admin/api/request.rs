//! Extractors of body, query and path; input that cannot be parsed becomes a [`Problem`].

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::{Code, Problem};
use crate::token::{SubjectId, TokenId};

/// The JSON body of a request.
pub(super) struct Body<T>(pub T);

/// The query parameters.
pub(super) struct Asked<T>(pub T);

/// The id in the path.
pub(super) struct Id(i64);

impl Id {
    pub(super) fn of_user(&self) -> SubjectId {
        SubjectId(self.0)
    }

    pub(super) fn of_token(&self) -> TokenId {
        TokenId(self.0)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, Problem> {
        let Json(body) = Json::from_request(request, state).await?;
        Ok(Body(body))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Asked<T>, Problem> {
        let Query(asked) = Query::from_request_parts(parts, state).await?;
        Ok(Asked(asked))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Id, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await.map(|Path(text)| text).unwrap_or_default();
        // Only one spelling for each id: no sign, no leading zeros.
        let id = text.parse::<i64>().ok().filter(|id| *id > 0 && id.to_string() == text);
        id.map(Id).ok_or_else(|| Problem::new(Code::NotFound, "an id must be a whole number above zero"))
    }
}
