//! The list of users, and the form for a new one.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::shell::{Section, Shell, page};
use super::{Answer, ENTRIES, Failure, status_of, text, told, words};
use crate::admin::fields::Fields;
use crate::admin::operations::{MIN_PASSWORD, OperationError};
use crate::admin::visit::{Sent, Visit};
use crate::clock::Timestamp;
use crate::store::{Listing, NewUser, PagePosition, User, UserOrder, UserQuery};

/// Maximum number of groups in the filter's menu.
pub(super) const GROUPS: u32 = 200;

#[derive(Template)]
#[template(path = "users.html")]
struct Page {
    shell: Shell,
    ask: Ask,
    groups: Vec<String>,
    users: Vec<User>,
    /// Link to the previous page; empty: there is none.
    previous: String,
    /// Link to the next page; empty: there is none.
    next: String,
    now: Timestamp,
}

/// The filter, as the fields of the form.
struct Ask {
    search: String,
    active: String,
    role: String,
    group: String,
    order: String,
    is_first: bool,
}

#[derive(Template)]
#[template(path = "user_add.html")]
struct AddPage<'a> {
    shell: Shell,
    fields: &'a Fields,
    issues_token: bool,
}

impl Ask {
    fn of(fields: &Fields) -> Ask {
        let get = |name| fields.get(name).to_owned();
        Ask {
            search: get("q"),
            active: get("active"),
            role: get("role"),
            group: get("group"),
            order: get("order"),
            is_first: fields.get("page").is_empty(),
        }
    }

    /// Returns true if a filter is set.
    fn is_filtered(&self) -> bool {
        [&self.search, &self.active, &self.role, &self.group].iter().any(|field| !field.is_empty())
    }

    fn query(&self, page: &str) -> Result<UserQuery, OperationError> {
        let position: PagePosition =
            page.parse().map_err(|_| OperationError::Invalid(crate::store::BadPosition.to_string()))?;
        Ok(UserQuery {
            search: self.search.clone(),
            active: choice(&self.active, "yes", "no"),
            staff: choice(&self.role, "staff", "ordinary"),
            group: Some(self.group.clone()).filter(|group| !group.is_empty()),
            order: match self.order.as_str() {
                "newest" => UserOrder::Newest,
                "last_login" => UserOrder::LastLogin,
                _ => UserOrder::Name,
            },
            position,
            limit: ENTRIES,
        })
    }

    /// The query of this list, without the page.
    fn to_query(&self) -> String {
        let fields = [
            ("q", &self.search),
            ("active", &self.active),
            ("role", &self.role),
            ("group", &self.group),
            ("order", &self.order),
        ];
        let set = fields.iter().filter(|(_, value)| !value.is_empty());
        set.map(|(name, value)| format!("{name}={}&", text::escaped(value))).collect()
    }
}

fn choice(text: &str, yes: &str, no: &str) -> Option<bool> {
    if text == yes { Some(true) } else { (text == no).then_some(false) }
}

pub(in crate::admin) async fn list(visit: Visit) -> Answer {
    let ask = Ask::of(&visit.query);
    let acting = visit.acting();
    let Listing { entries, previous, next } = acting.users(&ask.query(visit.query.get("page"))?).await?;
    let groups = acting.groups(GROUPS).await?;
    let shell = Shell::of(&visit, Section::Users);
    let [previous, next] = [previous, next].map(|position| position.to_string());
    Ok(page(StatusCode::OK, &Page { shell, ask, groups, users: entries, previous, next, now: visit.now() }))
}

pub(in crate::admin) async fn show_add(visit: Visit) -> Answer {
    visit.caller.needs_superuser()?;
    Ok(add_page(&visit, Shell::of(&visit, Section::Users), &Fields::read(b"active=on"), StatusCode::OK))
}

pub(in crate::admin) async fn add(sent: Sent) -> Answer {
    let Sent { visit, fields } = &sent;
    visit.caller.needs_superuser().map_err(Failure::from)?;
    match create(&sent).await {
        Ok(response) => Ok(response),
        Err(error @ (OperationError::NotAllowed(_) | OperationError::Unavailable)) => Err(error.into()),
        Err(error) => {
            let shell = Shell::failing(visit, Section::Users, words(&error));
            Ok(told(&error, add_page(visit, shell, fields, status_of(&error))))
        }
    }
}

fn add_page(visit: &Visit, shell: Shell, fields: &Fields, status: StatusCode) -> Response {
    page(status, &AddPage { shell, fields, issues_token: visit.app.tokens.issue_on_user_create })
}

async fn create(sent: &Sent) -> Result<Response, OperationError> {
    let Sent { visit, fields } = sent;
    let password = new_password(fields)?;
    sent.confirm().await?;
    let new = NewUser {
        email: fields.get("email").to_owned(),
        first_name: fields.get("first_name").to_owned(),
        last_name: fields.get("last_name").to_owned(),
        password,
        active: fields.is_ticked("active"),
        staff: fields.is_ticked("staff"),
        superuser: fields.is_ticked("superuser"),
        groups: groups(fields.get("groups")),
        ..NewUser::named(fields.get("username"))
    };
    let (user, issued) = visit.acting().create_user(new).await?;
    let told = format!("User {} was created.", user.account.name);
    Ok(match issued {
        Some(issued) => visit.show_key(issued.id, issued.key, &told),
        None => visit.done(&format!("/users/{}", user.account.id), told),
    })
}

/// Returns a password that was typed twice; `None`: remove the password.
pub(super) fn new_password(fields: &Fields) -> Result<Option<crate::store::Password>, OperationError> {
    let typed = |name| fields.all(name).next().unwrap_or_default();
    if typed("password") != typed("password_again") {
        return Err(OperationError::Invalid("the passwords do not match; enter them again".to_owned()));
    }
    Ok(fields.password("password"))
}

/// Parses groups, one per line.
pub(super) fn groups(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}
