//! The forms that change a user.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::shell::{Section, Shell, page};
use super::users::{self, GROUPS};
use super::{Answer, Id, status_of, words};
use crate::admin::operations::OperationError;
use crate::admin::visit::{Sent, Visit};
use crate::store::{MIN_PASSWORD, PersonalDetails, TokenQuery, TokenView, User};
use crate::token::SubjectId;

/// Maximum number of live tokens that are counted before a user is deleted.
const MAX_COUNTED: u32 = 200;

#[derive(Template)]
#[template(path = "user_form.html")]
struct Page {
    shell: Shell,
    user: User,
    form: Form,
}

/// The kind of form.
enum Form {
    Edit(PersonalDetails),
    Groups { known: Vec<String> },
    Password { own: bool, revokes: bool },
    Rights,
    Delete { tokens: usize, or_more: bool },
}

async fn show(id: i64, visit: &Visit, form: impl AsyncFnOnce(&User) -> Result<Form, OperationError>) -> Answer {
    visit.caller.needs_superuser()?;
    let user = visit.acting().user(SubjectId(id)).await?;
    let form = form(&user).await?;
    Ok(page(StatusCode::OK, &Page { shell: Shell::of(visit, Section::Users), user, form }))
}

pub(in crate::admin) async fn show_edit(Id(id): Id, visit: Visit) -> Answer {
    show(id, &visit, async |user| {
        Ok(Form::Edit(PersonalDetails {
            name: user.account.name.clone(),
            email: user.account.email.clone(),
            first_name: user.first_name.clone(),
            last_name: user.last_name.clone(),
        }))
    })
    .await
}

pub(in crate::admin) async fn show_groups(Id(id): Id, visit: Visit) -> Answer {
    show(id, &visit, async |_| Ok(Form::Groups { known: visit.acting().groups(GROUPS).await? })).await
}

pub(in crate::admin) async fn show_password(Id(id): Id, visit: Visit) -> Answer {
    let revokes = visit.app.tokens.revoke_on_password_change;
    show(id, &visit, async |user| Ok(Form::Password { own: user.account.id == visit.caller.user.account.id, revokes }))
        .await
}

pub(in crate::admin) async fn show_rights(Id(id): Id, visit: Visit) -> Answer {
    show(id, &visit, async |_| Ok(Form::Rights)).await
}

pub(in crate::admin) async fn show_delete(Id(id): Id, visit: Visit) -> Answer {
    show(id, &visit, async |user| {
        let owner = Some(user.account.id);
        let query = TokenQuery { owner, view: TokenView::Live, limit: MAX_COUNTED, ..TokenQuery::default() };
        let live = visit.acting().tokens(&query).await?;
        Ok(Form::Delete { tokens: live.entries.len(), or_more: live.next != crate::store::PagePosition::Start })
    })
    .await
}

pub(in crate::admin) async fn edit(Id(id): Id, Sent { visit, fields }: Sent) -> Answer {
    let get = |name| fields.get(name).to_owned();
    let details = PersonalDetails {
        name: get("username"),
        email: get("email"),
        first_name: get("first_name"),
        last_name: get("last_name"),
    };
    match visit.acting().edit_user(SubjectId(id), &details).await {
        Ok(changed) => {
            let text = if changed { "The details were changed." } else { "Nothing was changed." };
            Ok(visit.done(&format!("/users/{id}"), text))
        }
        Err(error @ (OperationError::Invalid(_) | OperationError::InvalidField(..) | OperationError::Conflict(_))) => {
            let user = visit.acting().user(SubjectId(id)).await?;
            let shell = Shell::failing(&visit, Section::Users, words(&error));
            Ok(page(status_of(&error), &Page { shell, user, form: Form::Edit(details) }))
        }
        Err(error) => Err(error.into()),
    }
}

pub(in crate::admin) async fn set_groups(Id(id): Id, Sent { visit, fields }: Sent) -> Response {
    let mut groups = users::groups(fields.get("more"));
    groups.extend(fields.all("group").map(str::to_owned));
    match visit.acting().set_groups(SubjectId(id), &groups).await {
        Ok(true) => visit.done(&format!("/users/{id}"), "The groups were changed."),
        Ok(false) => visit.done(&format!("/users/{id}"), "Nothing was changed."),
        Err(error) => visit.refused(&format!("/users/{id}/groups"), error),
    }
}

pub(in crate::admin) async fn set_password(Id(id): Id, sent: Sent) -> Response {
    let visit = &sent.visit;
    let done = async {
        visit.caller.needs_superuser()?;
        let password = users::new_password(&sent.fields)?;
        if password.is_none() && !sent.fields.is_ticked("none") {
            let why = "enter a new password, or tick \"No password\"".to_owned();
            return Err(OperationError::Invalid(why));
        }
        let password = password.filter(|_| !sent.fields.is_ticked("none"));
        sent.confirm().await?;
        let (set, must_change) = (password.is_some(), sent.fields.is_ticked("must_change"));
        visit.acting().set_password(SubjectId(id), password, must_change).await.map(|()| set)
    };
    match done.await {
        Ok(set) => {
            let what = if set { "The password was set." } else { "The password was removed." };
            let revokes = visit.app.tokens.revoke_on_password_change;
            let tokens = if revokes { "All tokens of the user were revoked." } else { "Tokens stay as they are." };
            visit.done(
                &format!("/users/{id}"),
                format!("{what} Sessions that used the old password have ended. {tokens}"),
            )
        }
        Err(error) => visit.refused(&format!("/users/{id}/password"), error),
    }
}

pub(in crate::admin) async fn set_rights(Id(id): Id, sent: Sent) -> Response {
    let (visit, ticked) = (&sent.visit, |name| sent.fields.is_ticked(name));
    let done = async {
        visit.caller.needs_superuser()?;
        sent.confirm().await?;
        visit.acting().set_rights(SubjectId(id), ticked("staff"), ticked("superuser")).await
    };
    match done.await {
        Ok(true) => visit.done(&format!("/users/{id}"), "The permissions were changed."),
        Ok(false) => visit.done(&format!("/users/{id}"), "Nothing was changed."),
        Err(error) => visit.refused(&format!("/users/{id}/rights"), error),
    }
}

pub(in crate::admin) async fn delete(Id(id): Id, sent: Sent) -> Response {
    let visit = &sent.visit;
    let done = async {
        visit.caller.needs_superuser()?;
        sent.confirm().await?;
        let name = visit.acting().user(SubjectId(id)).await?.account.name;
        visit.acting().delete_user(SubjectId(id)).await.map(|()| name)
    };
    match done.await {
        Ok(name) => visit.done("/users", format!("User {name} and all their tokens were deleted.")),
        Err(error) => visit.refused(&format!("/users/{id}/delete"), error),
    }
}
