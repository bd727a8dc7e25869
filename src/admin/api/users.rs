//! User and group operations. Each request makes one change: it is atomic and one entry in the audit trail.

use axum::Json;
use axum::http::StatusCode;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::caller::Call;
use super::once::{Creation, Made, Said};
use super::problem::Problem;
use super::request::{Asked, Body, Id};
use super::shapes::{
    Active, CreatedUser, Details, GroupList, Groups, Issued, NewPassword, NewUser, QuotaList, Rights, User, UserList,
    UserParameters,
};
use crate::admin::operations::{Acting, OperationError};
use crate::store;
use crate::token::SubjectId;

/// Maximum number of listed groups.
const GROUPS: u32 = 10_000;

/// A user to be created.
struct Created(store::NewUser);

impl Creation for Created {
    async fn may(&self, acting: &Acting<'_>) -> Result<(), OperationError> {
        acting.may_create_users()
    }

    async fn make(self, acting: &Acting<'_>) -> Result<Made, OperationError> {
        let (user, token) = acting.create_user(self.0).await?;
        let (id, token_id) = (user.account.id, token.as_ref().map(|token| token.id));
        let created = CreatedUser { user: user.into(), token: token.map(Issued::from) };
        Ok(Made::user(id, token_id, &created))
    }
}

/// Idempotent creations of this module.
pub(super) fn creations() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(create))
}

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, edit, delete))
        .routes(routes!(quotas))
        .routes(routes!(set_active))
        .routes(routes!(set_rights))
        .routes(routes!(set_groups))
        .routes(routes!(set_password))
        .routes(routes!(groups))
}

/// Users
///
/// Staff sees users who are neither staff nor superusers.
#[utoipa::path(get, path = "/users", operation_id = "list_users", tag = "users", params(UserParameters),
    responses((status = 200, description = "A page of the list.", body = UserList)))]
async fn list(call: Call, Asked(asked): Asked<UserParameters>) -> Result<Json<UserList>, Problem> {
    Ok(Json(call.acting().users(&asked.try_into()?).await?.into()))
}

/// Creates a user
///
/// For superusers.
#[utoipa::path(post, path = "/users", operation_id = "create_user", tag = "users", request_body = NewUser,
    responses((status = 201, description = "Done.", body = CreatedUser,
        headers(("Location" = String, description = "The path of the user.")))))]
async fn create(call: Call, Said(name, user): Said<NewUser>) -> Result<Response, Problem> {
    call.once(name, Created(user.into())).await
}

/// A user
#[utoipa::path(get, path = "/users/{id}", operation_id = "get_user", tag = "users",
    params(("id" = i64, Path, minimum = 1, description = "The user.")),
    responses((status = 200, description = "The user.", body = User)))]
async fn show(call: Call, id: Id) -> Result<Json<User>, Problem> {
    found(&call, id.of_user()).await
}

/// What a user has left of the quotas
///
/// Quotas with `token` in their key count a user's sessions and certificates here; each token has a count of its own.
/// The numbers are those of the store: they lag a second behind.
#[utoipa::path(get, path = "/users/{id}/quotas", operation_id = "get_user_quotas", tag = "users",
    params(("id" = i64, Path, minimum = 1, description = "The user.")),
    responses((status = 200, description = "The quotas.", body = QuotaList)))]
async fn quotas(call: Call, id: Id) -> Result<Json<QuotaList>, Problem> {
    let acting = call.acting();
    let user = acting.user(id.of_user()).await?;
    Ok(Json(acting.left_for_user(&user, &call.api.monitor.quotas()).await?.into()))
}

/// Changes a user's name, e-mail address, personal names or rate
///
/// Absent fields stay as they are. Tokens stay valid. For superusers.
#[utoipa::path(patch, path = "/users/{id}", operation_id = "edit_user", tag = "users", request_body = Details,
    params(("id" = i64, Path, minimum = 1, description = "The user.")),
    responses((status = 200, description = "Done.", body = User)))]
async fn edit(call: Call, id: Id, Body(details): Body<Details>) -> Result<Json<User>, Problem> {
    call.acting().edit_user(id.of_user(), details).await?;
    found(&call, id.of_user()).await
}

/// Deletes a user and all their tokens
///
/// For superusers. Callers cannot delete themselves.
#[utoipa::path(delete, path = "/users/{id}", operation_id = "delete_user", tag = "users",
    params(("id" = i64, Path, minimum = 1, description = "The user.")),
    responses((status = 204, description = "Done.")))]
async fn delete(call: Call, id: Id) -> Result<StatusCode, Problem> {
    call.acting().delete_user(id.of_user()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Activates or deactivates a user
///
/// An inactive user's tokens and password do not work. For superusers. Callers cannot change themselves.
#[utoipa::path(put, path = "/users/{id}/active", operation_id = "set_user_active", tag = "users", request_body = Active,
    params(("id" = i64, Path, minimum = 1, description = "The user.")),
    responses((status = 200, description = "Done.", body = User)))]
async fn set_active(call: Call, id: Id, Body(Active { active }): Body<Active>) -> Result<Json<User>, Problem> {
    call.acting().set_active(id.of_user(), active).await?;
    found(&call, id.of_user()).await
}

/// Sets or removes staff and superuser permissions
///
/// For superusers. Callers cannot change themselves.
#[utoipa::path(put, path = "/users/{id}/rights", operation_id = "set_user_rights", tag = "users", request_body = Rights,
    params(("id" = i64, Path, minimum = 1, description = "The user.")),
    responses((status = 200, description = "Done.", body = User)))]
async fn set_rights(call: Call, id: Id, Body(rights): Body<Rights>) -> Result<Json<User>, Problem> {
    call.acting().set_rights(id.of_user(), rights.staff, rights.superuser).await?;
    found(&call, id.of_user()).await
}

/// Replaces the groups of a user
///
/// For superusers.
#[utoipa::path(put, path = "/users/{id}/groups", operation_id = "set_user_groups", tag = "users", request_body = Groups,
    params(("id" = i64, Path, minimum = 1, description = "The user.")),
    responses((status = 200, description = "Done.", body = User)))]
async fn set_groups(call: Call, id: Id, Body(Groups { groups }): Body<Groups>) -> Result<Json<User>, Problem> {
    call.acting().set_groups(id.of_user(), &groups).await?;
    found(&call, id.of_user()).await
}

/// Sets or removes a user's password
///
/// Sessions end, tokens stay valid. For superusers.
#[utoipa::path(put, path = "/users/{id}/password", operation_id = "set_user_password", tag = "users",
    request_body = NewPassword,
    params(("id" = i64, Path, minimum = 1, description = "The user.")),
    responses((status = 200, description = "Done.", body = User)))]
async fn set_password(call: Call, id: Id, Body(new): Body<NewPassword>) -> Result<Json<User>, Problem> {
    call.acting().set_password(id.of_user(), new.password, new.must_change).await?;
    found(&call, id.of_user()).await
}

/// The names of groups
#[utoipa::path(get, path = "/groups", operation_id = "list_groups", tag = "users",
    responses((status = 200, description = "The first 10,000 groups, ordered by name.", body = GroupList)))]
async fn groups(call: Call) -> Result<Json<GroupList>, Problem> {
    Ok(Json(GroupList { groups: call.acting().groups(GROUPS).await? }))
}

async fn found(call: &Call, id: SubjectId) -> Result<Json<User>, Problem> {
    Ok(Json(call.acting().user(id).await?.into()))
}
