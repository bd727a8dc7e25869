//! The list of users, and the form for a new one.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::lists::{self, Sort, bounded, total, word};
use super::shell::{Section, Shell, page};
use super::{Answer, ENTRIES, Failure, status_of, text, told};
use crate::admin::fields::Fields;
use crate::admin::operations::OperationError;
use crate::admin::visit::{Sent, Visit};
use crate::clock::Timestamp;
use crate::store::{Listing, MIN_PASSWORD, NewUser, Unreadable, User, UserOrder, UserQuery};
use crate::token::SubjectId;

/// Maximum number of groups in the filter's menu.
pub(super) const GROUPS: u32 = 200;

/// Maximum length of a search: an e-mail address.
const MAX_SEARCH: usize = 254;

/// Maximum length of the name of a group.
const MAX_GROUP: usize = 150;

/// The orders that the heads select.
const ORDERS: [(&str, UserOrder); 5] = [
    ("name_reversed", UserOrder::NameReversed),
    ("newest", UserOrder::Newest),
    ("oldest", UserOrder::Oldest),
    ("last_login", UserOrder::LastLogin),
    ("last_login_reversed", UserOrder::LastLoginReversed),
];

#[derive(Template)]
#[template(path = "users.html")]
struct Page {
    shell: Shell,
    ask: Ask,
    /// Whether the filter is valid.
    is_valid: bool,
    groups: Vec<String>,
    users: Vec<User>,
    unreadable: Vec<Unreadable>,
    total: String,
    /// The heads that sort the list: username, created, last sign-in.
    sorts: [Sort; 3],
    /// Ticked users.
    ticked: Vec<i64>,
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
    /// Whether the next page need not show a key.
    offers_another: bool,
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
        Ok(UserQuery {
            search: bounded("q", &self.search, MAX_SEARCH)?,
            active: word("active", &self.active, |text| choice(text, "yes", "no"))?,
            staff: word("role", &self.role, |text| choice(text, "staff", "ordinary"))?,
            group: Some(bounded("group", &self.group, MAX_GROUP)?).filter(|group| !group.is_empty()),
            order: lists::order(&self.order, &ORDERS)?.unwrap_or(UserOrder::Name),
            position: lists::position(page)?,
            limit: ENTRIES,
            ..UserQuery::default()
        })
    }

    fn sorts(&self) -> [Sort; 3] {
        let href = |order: &str| format!("/users?{}", self.in_order(order));
        [
            Sort::of("Username", ("", "name_reversed"), "ascending", &self.order, href),
            Sort::of("Created", ("newest", "oldest"), "descending", &self.order, href),
            Sort::of("Last sign-in", ("last_login", "last_login_reversed"), "descending", &self.order, href),
        ]
    }

    /// The query of this list, without the page.
    fn to_query(&self) -> String {
        self.in_order(&self.order)
    }

    fn in_order(&self, order: &str) -> String {
        let fields = [
            ("q", &*self.search),
            ("active", &*self.active),
            ("role", &*self.role),
            ("group", &*self.group),
            ("order", order),
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
    show(&visit, ask, visit.query.get("page"), Vec::new(), None).await
}

/// Renders the list, with the error of an action on several users that failed, or of the filter.
async fn show(visit: &Visit, ask: Ask, position: &str, ticked: Vec<i64>, failed: Option<&OperationError>) -> Answer {
    let acting = visit.acting();
    let search = async {
        let query = ask.query(position)?;
        Ok((acting.users(&query).await?, acting.count_users(&query).await?))
    };
    let (list, count, wrong) = lists::or_refused(search.await)?;
    let (is_valid, failed) = (wrong.is_none(), wrong.as_ref().or(failed));
    let Listing { entries, unreadable, previous, next } = list;
    let total = total(count, "user");
    let groups = acting.groups(GROUPS).await?;
    let (status, shell) = lists::frame(visit, Section::Users, failed);
    let [previous, next] = [previous, next].map(|position| position.to_string());
    let (sorts, now) = (ask.sorts(), visit.now());
    let list =
        Page { shell, ask, is_valid, groups, users: entries, unreadable, total, sorts, ticked, previous, next, now };
    Ok(page(status, &list))
}

/// Activates or deactivates several users, or revokes all their tokens.
pub(in crate::admin) async fn act(sent: Sent) -> Answer {
    let (visit, fields) = (&sent.visit, &sent.fields);
    let back = Fields::read(fields.get("back").as_bytes());
    let (ask, path) = (Ask::of(&back), format!("/users?{}", fields.get("back")));
    let ids: Vec<i64> = fields.all("user").filter_map(|id| id.parse().ok()).collect();
    if ids.is_empty() {
        return Ok(visit.failed(&path, "No user was selected."));
    }
    let action = fields.get("action");
    let done = match action {
        "activate" => "activated",
        "deactivate" => "deactivated",
        "revoke" => "left without tokens",
        _ => return Ok(visit.failed(&path, "Unknown action.")),
    };
    match sent.confirm().await {
        Ok(()) => {}
        // Ticked boxes stay ticked.
        Err(error) if error.is_of_password() => {
            return Ok(told(&error, show(visit, ask, back.get("page"), ids, Some(&error)).await?));
        }
        Err(error) => return Err(error.into()),
    }
    let (mut changed, mut refused) = (0_usize, Vec::new());
    for id in ids {
        let (id, acting) = (SubjectId(id), visit.acting());
        let answer = match action {
            "activate" => acting.set_active(id, true).await,
            "deactivate" => acting.set_active(id, false).await,
            _ => acting.revoke_all(id).await.map(|ended| ended > 0),
        };
        match answer {
            Ok(is_new) => changed += usize::from(is_new),
            Err(OperationError::Unavailable) => {
                let so_far = format!("{changed} users were {done}; then the store did not answer.");
                return Ok(visit.failed(&path, so_far));
            }
            // The other users are still changed.
            Err(error) => refused.push(format!("User {id}: {error}.")),
        }
    }
    let word = if changed == 1 { "user was" } else { "users were" };
    let text = format!("{changed} {word} {done}. {}", refused.join(" "));
    Ok(if refused.is_empty() { visit.done(&path, text.trim_end()) } else { visit.failed(&path, text) })
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
            let shell = Shell::failing(visit, Section::Users, &error);
            Ok(told(&error, add_page(visit, shell, fields, status_of(&error))))
        }
    }
}

fn add_page(visit: &Visit, shell: Shell, fields: &Fields, status: StatusCode) -> Response {
    let (issues_token, recoverable) = (visit.app.tokens.issue_on_user_create, visit.app.tokens.recoverable);
    let offers_another = recoverable || !issues_token;
    page(status, &AddPage { shell, fields, issues_token, offers_another })
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
        // Keys of login tokens can be shown again where this is offered.
        _ if fields.get("then") == "another" => visit.done("/users/add", format!("{told} Add the next one.")),
        Some(issued) => visit.show_key(issued.id, issued.key, &told),
        None => visit.done(&format!("/users/{}", user.account.id), told),
    })
}

/// Returns a password that was typed twice; `None`: remove the password.
pub(super) fn new_password(fields: &Fields) -> Result<Option<crate::store::Password>, OperationError> {
    let typed = |name| fields.all(name).next().unwrap_or_default();
    if typed("password") != typed("password_again") {
        let text = "the passwords do not match; enter them again".to_owned();
        return Err(OperationError::InvalidField("password", text));
    }
    Ok(fields.password("password"))
}

/// Parses groups, one per line.
pub(super) fn groups(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}
