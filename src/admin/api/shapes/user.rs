//! Users.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::rate::RateText;
use super::token::Issued;
use super::{Time, Unreadable, bounded, page_token, part, present, some, texts};
use crate::admin::api::problem::Problem;
use crate::store::{self, DetailsChange, Listing, Password, UserOrder, UserQuery};

/// Maximum length of a search: an e-mail address.
const MAX_SEARCH: usize = 254;
/// Maximum length of a username.
const MAX_NAME: usize = 150;
/// Maximum length of a group name.
const MAX_GROUP: usize = 150;

/// A user.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct User {
    /// Id that upstreams see; never reused.
    #[schema(minimum = 1)]
    id: i64,
    /// Username.
    name: String,
    /// E-mail address; may be empty.
    email: String,
    /// May be empty.
    first_name: String,
    /// May be empty.
    last_name: String,
    /// True if the user is active: tokens and password work.
    active: bool,
    /// True if the user may manage tokens of ordinary users.
    staff: bool,
    /// True if the user has all permissions.
    superuser: bool,
    /// Names of the groups, sorted.
    groups: Vec<String>,
    /// True if a password is set.
    has_password: bool,
    /// True if the user has to change the password before the next sign-in.
    must_change_password: bool,
    /// When the user was created.
    created: Time,
    /// When the user last signed in with a browser, to the account pages or to the admin application; `null`: never.
    /// Logins at `POST /gettoken/` and confirmations of the password are not included.
    last_login: Option<Time>,
    /// How often the user can send requests; `null`: only the rates of routes and tokens apply.
    rate: Option<RateText>,
}

/// A page of the list of users.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct UserList {
    users: Vec<User>,
    /// Rows of this page that cannot be read, and are not among the users.
    unreadable: Vec<Unreadable>,
    /// Token of the previous page; `null`: this is the first one.
    previous_page_token: Option<String>,
    /// Token of the next page; `null`: this is the last one.
    next_page_token: Option<String>,
}

/// Filter of the list of users.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::admin::api) struct UserParameters {
    /// Part of the username, the e-mail address or the real name, case-insensitive.
    #[param(nullable = false, max_length = 254)]
    search: Option<String>,
    /// Only the user with exactly this name.
    #[param(nullable = false, max_length = 150)]
    username: Option<String>,
    /// Only users with exactly this e-mail address.
    #[param(nullable = false, max_length = 254)]
    email: Option<String>,
    /// Only active users, or only inactive ones.
    #[param(nullable = false)]
    active: Option<bool>,
    /// Only staff and superusers, or only ordinary users.
    #[param(nullable = false)]
    staff: Option<bool>,
    /// Only members of the group with exactly this name.
    #[param(nullable = false, max_length = 150)]
    group: Option<String>,
    /// Sort order; default: by name.
    #[param(nullable = false, inline)]
    order: Option<Order>,
    /// Page size; default: 50.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_page_token` or `previous_page_token` of another page with the same filters.
    #[param(nullable = false)]
    page_token: Option<String>,
}

/// Sort order of users.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Order {
    /// By username, case-insensitive.
    Name,
    /// By username, from Z to A.
    NameReversed,
    /// By creation time, newest first.
    Newest,
    /// By creation time, oldest first.
    Oldest,
    /// By last sign-in, latest first.
    LastLogin,
    /// By last sign-in, earliest first; users who never signed in come before all others.
    LastLoginReversed,
}

/// A user to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin::api) struct NewUser {
    #[schema(schema_with = texts::user_name)]
    name: String,
    #[serde(default)]
    #[schema(schema_with = texts::email)]
    email: String,
    #[serde(default)]
    #[schema(schema_with = texts::personal_name)]
    first_name: String,
    #[serde(default)]
    #[schema(schema_with = texts::personal_name)]
    last_name: String,
    /// At least 8 characters. If absent, the user can only use tokens.
    #[serde(default, deserialize_with = "password")]
    #[schema(value_type = Option<String>, min_length = 8, write_only)]
    password: Option<Password>,
    #[serde(default = "yes")]
    #[schema(default = true)]
    active: bool,
    #[serde(default)]
    staff: bool,
    #[serde(default)]
    superuser: bool,
    #[serde(default)]
    #[schema(schema_with = texts::groups)]
    groups: Vec<String>,
}

/// A newly created user.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct CreatedUser {
    pub user: User,
    /// The login token, where `tokens.issue_on_user_create` is set.
    pub token: Option<Issued>,
}

/// Changes of a user; absent fields stay as they are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin::api) struct Details {
    #[serde(default, deserialize_with = "some")]
    #[schema(schema_with = texts::user_name)]
    name: Option<String>,
    #[serde(default, deserialize_with = "some")]
    #[schema(schema_with = texts::email)]
    email: Option<String>,
    #[serde(default, deserialize_with = "some")]
    #[schema(schema_with = texts::personal_name)]
    first_name: Option<String>,
    #[serde(default, deserialize_with = "some")]
    #[schema(schema_with = texts::personal_name)]
    last_name: Option<String>,
    /// How often the user can send requests; `null`: only the rates of routes and tokens apply.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<RateText>)]
    rate: Option<Option<RateText>>,
}

/// Whether the user is active: tokens and password work.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin::api) struct Active {
    pub active: bool,
}

/// Permissions of a user in the admin application.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin::api) struct Rights {
    /// Manages tokens of ordinary users.
    pub staff: bool,
    /// Has all permissions.
    pub superuser: bool,
}

/// Complete list of a user's groups.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin::api) struct Groups {
    #[schema(schema_with = texts::groups)]
    pub groups: Vec<String>,
}

/// Group names, sorted.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct GroupList {
    pub groups: Vec<String>,
}

/// New password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin::api) struct NewPassword {
    /// At least 8 characters. `null`: removes the password.
    #[serde(deserialize_with = "password")]
    #[schema(value_type = Option<String>, required, min_length = 8, write_only)]
    pub password: Option<Password>,
    /// `true`: the user has to change the password before the next sign-in. Until then it works nowhere else.
    #[serde(default)]
    pub must_change: bool,
}

impl From<store::User> for User {
    fn from(user: store::User) -> User {
        User {
            id: user.account.id.0,
            name: user.account.name,
            email: user.account.email,
            first_name: user.first_name,
            last_name: user.last_name,
            active: user.account.active,
            staff: user.staff,
            superuser: user.superuser,
            groups: user.account.groups,
            has_password: user.has_password,
            must_change_password: user.must_change_password,
            created: Time(user.created),
            last_login: user.last_login.map(Time),
            rate: user.rate.map(RateText),
        }
    }
}

impl From<Listing<store::User>> for UserList {
    fn from(listing: Listing<store::User>) -> UserList {
        let [previous_page_token, next_page_token] = [&listing.previous, &listing.next].map(page_token);
        UserList {
            users: listing.entries.into_iter().map(User::from).collect(),
            unreadable: listing.unreadable.into_iter().map(Unreadable::from).collect(),
            previous_page_token,
            next_page_token,
        }
    }
}

impl TryFrom<UserParameters> for UserQuery {
    type Error = Problem;

    fn try_from(asked: UserParameters) -> Result<UserQuery, Problem> {
        let order = match asked.order {
            None | Some(Order::Name) => UserOrder::Name,
            Some(Order::NameReversed) => UserOrder::NameReversed,
            Some(Order::Newest) => UserOrder::Newest,
            Some(Order::Oldest) => UserOrder::Oldest,
            Some(Order::LastLogin) => UserOrder::LastLogin,
            Some(Order::LastLoginReversed) => UserOrder::LastLoginReversed,
        };
        let (limit, position) = part(asked.limit, asked.page_token.as_deref())?;
        Ok(UserQuery {
            search: bounded("search", asked.search, MAX_SEARCH)?.unwrap_or_default(),
            name: bounded("username", asked.username, MAX_NAME)?,
            email: bounded("email", asked.email, MAX_SEARCH)?,
            active: asked.active,
            staff: asked.staff,
            group: bounded("group", asked.group, MAX_GROUP)?,
            order,
            position,
            limit,
        })
    }
}

impl From<NewUser> for store::NewUser {
    fn from(user: NewUser) -> store::NewUser {
        store::NewUser {
            id: None,
            name: user.name,
            email: user.email,
            first_name: user.first_name,
            last_name: user.last_name,
            password: user.password,
            active: user.active,
            staff: user.staff,
            superuser: user.superuser,
            groups: user.groups,
        }
    }
}

impl From<Details> for DetailsChange {
    fn from(details: Details) -> DetailsChange {
        let Details { name, email, first_name, last_name, rate } = details;
        let rate = rate.map(|rate| rate.map(|RateText(rate)| rate));
        DetailsChange { name, email, first_name, last_name, rate }
    }
}

const fn yes() -> bool {
    true
}

fn password<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Password>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(Password::parse).transpose().map_err(serde::de::Error::custom)
}
