//! The forms that change a user.

use askama::Template;
use axum::http::StatusCode;

use super::shell::{Section, Shell, page};
use super::token_limits::read_rate;
use super::users::{self, GROUPS};
use super::{Answer, Id, status_of, told};
use crate::admin::fields::Fields;
use crate::admin::operations::OperationError;
use crate::admin::visit::{Sent, Visit};
use crate::store::{DetailsChange, MIN_PASSWORD, PersonalDetails, TokenQuery, TokenView, User};
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

/// The kind of form, with what it contains: what is stored, or after an error, what was sent.
enum Form {
    Edit { details: PersonalDetails, rate: String },
    Groups { known: Vec<String>, member: Vec<String>, more: String },
    Password { own: bool, revokes: bool, must_change: bool, none: bool },
    Rights { staff: bool, superuser: bool },
    Delete { tokens: usize, or_more: bool },
}

impl Form {
    async fn groups(visit: &Visit, member: Vec<String>, more: &str) -> Result<Form, OperationError> {
        let mut known = visit.acting().groups(GROUPS).await?;
        let others: Vec<_> = member.iter().filter(|group| !known.contains(group)).cloned().collect();
        known.extend(others);
        Ok(Form::Groups { known, member, more: more.to_owned() })
    }

    fn password(visit: &Visit, user: &User, fields: &Fields) -> Form {
        let own = user.account.id == visit.caller.user.account.id;
        let (must_change, none) = (fields.is_ticked("must_change"), fields.is_ticked("none"));
        Form::Password { own, revokes: visit.app.tokens.revoke_on_password_change, must_change, none }
    }

    async fn delete(visit: &Visit, user: &User) -> Result<Form, OperationError> {
        let owner = Some(user.account.id);
        let query = TokenQuery { owner, view: TokenView::Live, limit: MAX_COUNTED, ..TokenQuery::default() };
        let live = visit.acting().tokens(&query).await?;
        let or_more = live.next != crate::store::PagePosition::Start;
        Ok(Form::Delete { tokens: live.entries.len(), or_more })
    }
}

/// Renders a form of a user, with the error of the one that was sent.
async fn show(
    id: i64,
    visit: &Visit,
    failed: Option<OperationError>,
    form: impl AsyncFnOnce(&User) -> Result<Form, OperationError>,
) -> Answer {
    visit.caller.needs_superuser()?;
    let user = visit.acting().user(SubjectId(id)).await?;
    let form = form(&user).await?;
    let Some(error) = failed else {
        return Ok(page(StatusCode::OK, &Page { shell: Shell::of(visit, Section::Users), user, form }));
    };
    if !error.is_of_form() {
        return Err(error.into());
    }
    let shell = Shell::failing(visit, Section::Users, &error);
    Ok(told(&error, page(status_of(&error), &Page { shell, user, form })))
}

pub(in crate::admin) async fn show_edit(Id(id): Id, visit: Visit) -> Answer {
    show(id, &visit, None, async |user| {
        let rate = user.rate.map(|rate| rate.to_string()).unwrap_or_default();
        Ok(Form::Edit { details: PersonalDetails::of(user), rate })
    })
    .await
}

pub(in crate::admin) async fn show_groups(Id(id): Id, visit: Visit) -> Answer {
    show(id, &visit, None, async |user| Form::groups(&visit, user.account.groups.clone(), "").await).await
}

pub(in crate::admin) async fn show_password(Id(id): Id, visit: Visit) -> Answer {
    show(id, &visit, None, async |user| Ok(Form::password(&visit, user, &Fields::read(b"")))).await
}

pub(in crate::admin) async fn show_rights(Id(id): Id, visit: Visit) -> Answer {
    show(id, &visit, None, async |user| Ok(Form::Rights { staff: user.staff, superuser: user.superuser })).await
}

pub(in crate::admin) async fn show_delete(Id(id): Id, visit: Visit) -> Answer {
    show(id, &visit, None, async |user| Form::delete(&visit, user).await).await
}

/// Redirects to the page of a user, which says whether anything was changed.
fn changed(visit: &Visit, id: i64, is_new: bool, text: &str) -> Answer {
    Ok(visit.done(&format!("/users/{id}"), if is_new { text } else { "Nothing was changed." }))
}

pub(in crate::admin) async fn edit(Id(id): Id, Sent { visit, fields }: Sent) -> Answer {
    let get = |name| fields.get(name).to_owned();
    let details = PersonalDetails {
        name: get("username"),
        email: get("email"),
        first_name: get("first_name"),
        last_name: get("last_name"),
        rate: None,
    };
    // A form that was opened before an update of the gateway has no such field.
    let rate = fields.all("rate").next().map(|text| read_rate(text.trim())).transpose();
    let edited = match rate {
        Ok(rate) => visit.acting().edit_user(SubjectId(id), DetailsChange { rate, ..(&details).into() }).await,
        Err(error) => Err(error),
    };
    match edited {
        Ok(is_new) => changed(&visit, id, is_new, "The details were changed."),
        Err(error) => show(id, &visit, Some(error), async |_| Ok(Form::Edit { details, rate: get("rate") })).await,
    }
}

pub(in crate::admin) async fn set_groups(Id(id): Id, Sent { visit, fields }: Sent) -> Answer {
    let member: Vec<String> = fields.all("group").map(str::to_owned).collect();
    let mut groups = users::groups(fields.get("more"));
    groups.extend(member.iter().cloned());
    match visit.acting().set_groups(SubjectId(id), &groups).await {
        Ok(is_new) => changed(&visit, id, is_new, "The groups were changed."),
        Err(error) => {
            show(id, &visit, Some(error), async |_| Form::groups(&visit, member, fields.get("more")).await).await
        }
    }
}

pub(in crate::admin) async fn set_password(Id(id): Id, sent: Sent) -> Answer {
    let visit = &sent.visit;
    let done = async {
        visit.caller.needs_superuser()?;
        let password = users::new_password(&sent.fields)?;
        if password.is_none() && !sent.fields.is_ticked("none") {
            let why = "enter a new password, or tick \"No password\"".to_owned();
            return Err(OperationError::InvalidField("password", why));
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
            let text = format!("{what} Sessions that used the old password have ended. {tokens}");
            Ok(visit.done(&format!("/users/{id}"), text))
        }
        Err(error) => show(id, visit, Some(error), async |user| Ok(Form::password(visit, user, &sent.fields))).await,
    }
}

pub(in crate::admin) async fn set_rights(Id(id): Id, sent: Sent) -> Answer {
    let visit = &sent.visit;
    let [staff, superuser] = ["staff", "superuser"].map(|name| sent.fields.is_ticked(name));
    let done = async {
        visit.caller.needs_superuser()?;
        sent.confirm().await?;
        visit.acting().set_rights(SubjectId(id), staff, superuser).await
    };
    match done.await {
        Ok(is_new) => changed(visit, id, is_new, "The permissions were changed."),
        Err(error) => show(id, visit, Some(error), async |_| Ok(Form::Rights { staff, superuser })).await,
    }
}

pub(in crate::admin) async fn delete(Id(id): Id, sent: Sent) -> Answer {
    let visit = &sent.visit;
    let done = async {
        visit.caller.needs_superuser()?;
        sent.confirm().await?;
        let name = visit.acting().user(SubjectId(id)).await?.account.name;
        visit.acting().delete_user(SubjectId(id)).await.map(|()| name)
    };
    match done.await {
        Ok(name) => Ok(visit.done("/users", format!("User {name} and all their tokens were deleted."))),
        Err(error) => show(id, visit, Some(error), async |user| Form::delete(visit, user).await).await,
    }
}
