//! Users.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::token::Issued;
use super::{Time, bounded, page_token, part, some, texts};
use crate::admin::api::problem::Problem;
use crate::store::{self, DetailsChange, Listing, Password, UserOrder, UserQuery};

/// Longest search: an e-mail address.
const LONGEST_SEARCH: usize = 254;
/// Longest name of a group.
const LONGEST_GROUP: usize = 150;

/// A user.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct User {
    /// What upstreams know the user by; never used again.
    #[schema(minimum = 1)]
    id: i64,
    /// User name.
    name: String,
    /// E-mail address; may be empty.
    email: String,
    /// May be empty.
    first_name: String,
    /// May be empty.
    last_name: String,
    /// May this user do anything at all?
    active: bool,
    /// May this user look after others?
    staff: bool,
    /// May this user do everything?
    superuser: bool,
    /// Names of the groups, sorted.
    groups: Vec<String>,
    /// Can any password fit?
    has_password: bool,
    /// When the user was created.
    created: Time,
    /// When the user last signed in with a browser, to the account pages or to the admin application; `null`: never. A
    /// token that is given for a password (`POST /gettoken/`) does not count, nor does a password that is asked for
    /// again.
    last_login: Option<Time>,
}

/// A part of the list of users.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct UserList {
    users: Vec<User>,
    /// What to ask for the part before with; `null`: this is the first one.
    previous_page_token: Option<String>,
    /// What to ask for the next part with; `null`: this is the last one.
    next_page_token: Option<String>,
}

/// Which users are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::admin::api) struct UserParameters {
    /// How the user name or the e-mail address begins, whatever its case. Where more than 2,000 addresses begin so,
    /// they are left out unless an `@` is among it.
    #[param(nullable = false, max_length = 254)]
    search: Option<String>,
    /// Only those who are active, or only those who are not.
    #[param(nullable = false)]
    active: Option<bool>,
    /// Only staff and superusers, or only those who are neither.
    #[param(nullable = false)]
    staff: Option<bool>,
    /// Only those in the group of exactly this name.
    #[param(nullable = false, max_length = 150)]
    group: Option<String>,
    /// In which order; by name if nothing is said.
    #[param(nullable = false, inline)]
    order: Option<Order>,
    /// Most entries; 50 if nothing is said.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_page_token` or `previous_page_token` of another part, with the same other parameters.
    #[param(nullable = false)]
    page_token: Option<String>,
}

/// In which order users are listed.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Order {
    /// By user name, whatever its case.
    Name,
    /// Who was created last comes first.
    Newest,
    /// Who logged in last comes first.
    LastLogin,
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
    /// At least 8 characters. Without one, no password fits.
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

/// A user who was just created.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct CreatedUser {
    pub user: User,
    /// The login token, where `tokens.issue_on_user_create` is set.
    pub token: Option<Issued>,
}

/// What changes of a user; what is absent stays.
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
}

/// Whether the tokens of a user count.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin::api) struct Active {
    pub active: bool,
}

/// What a user may do here.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin::api) struct Rights {
    /// Looks after the tokens of ordinary users.
    pub staff: bool,
    /// Does everything.
    pub superuser: bool,
}

/// The groups of a user, all of them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin::api) struct Groups {
    #[schema(schema_with = texts::groups)]
    pub groups: Vec<String>,
}

/// The names of groups in their order.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct GroupList {
    pub groups: Vec<String>,
}

/// Another password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin::api) struct NewPassword {
    /// At least 8 characters. `null`: no password fits from now on.
    #[serde(deserialize_with = "password")]
    #[schema(value_type = Option<String>, required, min_length = 8, write_only)]
    pub password: Option<Password>,
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
            created: Time(user.created),
            last_login: user.last_login.map(Time),
        }
    }
}

impl From<Listing<store::User>> for UserList {
    fn from(listing: Listing<store::User>) -> UserList {
        let [previous_page_token, next_page_token] = [&listing.previous, &listing.next].map(page_token);
        UserList { users: listing.entries.into_iter().map(User::from).collect(), previous_page_token, next_page_token }
    }
}

impl TryFrom<UserParameters> for UserQuery {
    type Error = Problem;

    fn try_from(asked: UserParameters) -> Result<UserQuery, Problem> {
        let order = match asked.order {
            None | Some(Order::Name) => UserOrder::Name,
            Some(Order::Newest) => UserOrder::Newest,
            Some(Order::LastLogin) => UserOrder::LastLogin,
        };
        let (limit, place) = part(asked.limit, asked.page_token.as_deref())?;
        Ok(UserQuery {
            search: bounded("search", asked.search, LONGEST_SEARCH)?.unwrap_or_default(),
            active: asked.active,
            staff: asked.staff,
            group: bounded("group", asked.group, LONGEST_GROUP)?,
            order,
            place,
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
        let Details { name, email, first_name, last_name } = details;
        DetailsChange { name, email, first_name, last_name }
    }
}

const fn yes() -> bool {
    true
}

fn password<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Password>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(Password::parse).transpose().map_err(serde::de::Error::custom)
}
