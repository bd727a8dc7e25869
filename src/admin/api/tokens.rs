//! Token operations. Revoked tokens stay in the lists, so revoking is an action and not a DELETE.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Call;
use super::once::{Creation, Made, Name, Said};
use super::problem::Problem;
use super::request::{Asked, Body, Id};
use super::shapes::{
    Found, Issued, NewToken, Pasted, QuotaList, Revoked, Rotation, Terms, Token, TokenList, TokenParameters,
    TokensOfUser,
};
use super::{Shared, at};
use crate::admin::operations::{Acting, OperationError};
use crate::clock::Timestamp;
use crate::store::NamedToken;
use crate::token::{SubjectId, TokenId};

/// A named token of a user.
struct Named(SubjectId, NamedToken);

/// A token in place of another one.
struct Rotated(TokenId, Duration);

impl Creation for Rotated {
    async fn may(&self, acting: &Acting<'_>) -> Result<(), OperationError> {
        acting.token(self.0).await.map(drop)
    }

    async fn make(self, acting: &Acting<'_>) -> Result<Made, OperationError> {
        let issued = acting.rotate(self.0, self.1).await?;
        Ok(Made::token(issued.id, &Issued::from(issued)))
    }
}

/// A new login token that replaces the current one of a user.
struct Reset(SubjectId);

impl Creation for Named {
    async fn may(&self, acting: &Acting<'_>) -> Result<(), OperationError> {
        acting.may_issue_named(self.0, &self.1).await
    }

    async fn make(self, acting: &Acting<'_>) -> Result<Made, OperationError> {
        let issued = acting.issue_named(self.0, &self.1).await?;
        Ok(Made::token(issued.id, &Issued::from(issued)))
    }
}

impl Creation for Reset {
    async fn may(&self, acting: &Acting<'_>) -> Result<(), OperationError> {
        acting.user(self.0).await.map(drop)
    }

    async fn make(self, acting: &Acting<'_>) -> Result<Made, OperationError> {
        let issued = acting.reset_login(self.0).await?;
        Ok(Made::token(issued.id, &Issued::from(issued)))
    }
}

/// Idempotent creations of this module.
pub(super) fn creations() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(create)).routes(routes!(reset_login)).routes(routes!(rotate))
}

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(look_up))
        .routes(routes!(show, set_terms))
        .routes(routes!(quotas))
        .routes(routes!(revoke))
        .routes(routes!(list_of_user))
        .routes(routes!(revoke_all))
        .routes(routes!(login))
}

/// Tokens
///
/// Staff sees tokens of users who are neither staff nor superusers.
#[utoipa::path(get, path = "/tokens", operation_id = "list_tokens", tag = "tokens", params(TokenParameters),
    responses((status = 200, description = "A page of the list.", body = TokenList)))]
async fn list(call: Call, Asked(asked): Asked<TokenParameters>) -> Result<Json<TokenList>, Problem> {
    let now = now(&call);
    Ok(Json(TokenList::of(call.acting().tokens(&asked.query(now)?).await?, now)))
}

/// Finds the owners of keys in a text
///
/// For leak reports. The text is sent in the body, where no log keeps it.
#[utoipa::path(post, path = "/tokens/lookup", operation_id = "look_up_token", tag = "tokens", request_body = Pasted,
    responses((status = 200, description = "The tokens whose keys the text contains.", body = Found)))]
async fn look_up(call: Call, Body(pasted): Body<Pasted>) -> Result<Json<Found>, Problem> {
    Ok(Json(Found::of(call.acting().look_up(pasted.text()?).await?, now(&call))))
}

/// A token
#[utoipa::path(get, path = "/tokens/{id}", operation_id = "get_token", tag = "tokens",
    params(("id" = i64, Path, minimum = 1, description = "The token.")),
    responses((status = 200, description = "The token.", body = Token)))]
async fn show(call: Call, id: Id) -> Result<Json<Token>, Problem> {
    found(&call, id.of_token()).await
}

/// Changes a token: expiry, scopes, limits, name, note, or whether it is disabled
///
/// Absent fields stay as they are. A revoked token stays revoked.
#[utoipa::path(patch, path = "/tokens/{id}", operation_id = "set_token_terms", tag = "tokens", request_body = Terms,
    params(("id" = i64, Path, minimum = 1, description = "The token.")),
    responses((status = 200, description = "Done.", body = Token)))]
async fn set_terms(call: Call, id: Id, Body(terms): Body<Terms>) -> Result<Json<Token>, Problem> {
    call.acting().set_terms(id.of_token(), &terms.into()).await?;
    found(&call, id.of_token()).await
}

/// Replaces a token by one with a new key
///
/// The new token has the same kind, name, scopes, limits, note and lifetime. The old key works on for the overlap; the
/// old login token then is a named token.
#[utoipa::path(post, path = "/tokens/{id}/rotate", operation_id = "rotate_token", tag = "tokens", request_body = Rotation,
    params(("id" = i64, Path, minimum = 1, description = "The token.")),
    responses((status = 201, description = "Done.", body = Issued,
        headers(("Location" = String, description = "The path of the new token.")))))]
async fn rotate(call: Call, id: Id, Said(name, rotation): Said<Rotation>) -> Result<Response, Problem> {
    call.once(name, Rotated(id.of_token(), rotation.overlap()?)).await
}

/// Revokes a token
///
/// Safe to repeat: the second call returns zero.
#[utoipa::path(post, path = "/tokens/{id}/revoke", operation_id = "revoke_token", tag = "tokens",
    params(("id" = i64, Path, minimum = 1, description = "The token.")),
    responses((status = 200, description = "Done.", body = Revoked)))]
async fn revoke(call: Call, id: Id) -> Result<Json<Revoked>, Problem> {
    Ok(Json(call.acting().revoke(id.of_token()).await?.into()))
}

/// The tokens of a user
#[utoipa::path(get, path = "/users/{id}/tokens", operation_id = "list_tokens_of_user", tag = "tokens",
    params(("id" = i64, Path, minimum = 1, description = "The user."), TokensOfUser),
    responses((status = 200, description = "A page of the list.", body = TokenList)))]
async fn list_of_user(call: Call, id: Id, Asked(asked): Asked<TokensOfUser>) -> Result<Json<TokenList>, Problem> {
    let (acting, owner, now) = (call.acting(), id.of_user(), now(&call));
    let query = asked.query(owner, now)?;
    acting.user(owner).await?;
    Ok(Json(TokenList::of(acting.tokens(&query).await?, now)))
}

/// Issues a named token
///
/// Its key is shown only once.
#[utoipa::path(post, path = "/users/{id}/tokens", operation_id = "create_token", tag = "tokens", request_body = NewToken,
    params(("id" = i64, Path, minimum = 1, description = "The user.")),
    responses((status = 201, description = "Done.", body = Issued,
        headers(("Location" = String, description = "The path of the token.")))))]
async fn create(call: Call, id: Id, Said(name, token): Said<NewToken>) -> Result<Response, Problem> {
    call.once(name, Named(id.of_user(), token.into())).await
}

/// Revokes all tokens of a user
#[utoipa::path(post, path = "/users/{id}/tokens/revoke", operation_id = "revoke_tokens_of_user", tag = "tokens",
    params(("id" = i64, Path, minimum = 1, description = "The user.")),
    responses((status = 200, description = "Done.", body = Revoked)))]
async fn revoke_all(call: Call, id: Id) -> Result<Json<Revoked>, Problem> {
    let revoked = call.acting().revoke_all(id.of_user()).await?;
    Ok(Json(Revoked { revoked: u64::try_from(revoked).unwrap_or(u64::MAX) }))
}

/// Shows the login token of a user, creating it if missing
///
/// This is the token that a login returns. The audit trail records that it was shown.
#[utoipa::path(post, path = "/users/{id}/login-token", operation_id = "show_login_token", tag = "tokens",
    params(("id" = i64, Path, minimum = 1, description = "The user.")),
    responses(
        (status = 200, description = "The token already existed.", body = Issued),
        (status = 201, description = "The token was created.", body = Issued,
            headers(("Location" = String, description = "The path of the token.")))))]
async fn login(call: Call, id: Id) -> Result<(StatusCode, [(HeaderName, String); 1], Json<Issued>), Problem> {
    let issued = call.acting().login_token(id.of_user()).await?;
    let location = at(&format!("/tokens/{}", issued.id));
    let status = if issued.fresh { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, [(header::LOCATION, location)], Json(issued.into())))
}

/// Replaces the login token of a user
///
/// The old one is revoked.
#[utoipa::path(post, path = "/users/{id}/login-token/reset", operation_id = "reset_login_token", tag = "tokens",
    params(("id" = i64, Path, minimum = 1, description = "The user.")),
    responses((status = 201, description = "Done.", body = Issued,
        headers(("Location" = String, description = "The path of the token.")))))]
async fn reset_login(call: Call, id: Id, name: Name) -> Result<Response, Problem> {
    call.once(name, Reset(id.of_user())).await
}

/// What a token has left of the quotas
///
/// The numbers are those of the store: they lag a second behind.
#[utoipa::path(get, path = "/tokens/{id}/quotas", operation_id = "get_token_quotas", tag = "tokens",
    params(("id" = i64, Path, minimum = 1, description = "The token.")),
    responses((status = 200, description = "The quotas.", body = QuotaList)))]
async fn quotas(call: Call, id: Id) -> Result<Json<QuotaList>, Problem> {
    let acting = call.acting();
    let token = acting.token(id.of_token()).await?;
    Ok(Json(acting.left_for_token(&token, &call.api.monitor.quotas()).await?.into()))
}

async fn found(call: &Call, id: TokenId) -> Result<Json<Token>, Problem> {
    Ok(Json(Token::of(call.acting().token(id).await?, now(call))))
}

fn now(call: &Call) -> Timestamp {
    call.api.operations.clock().now()
}
