//! JSON shapes of requests and responses, and their conversion from and to types of the store.

mod audit;
mod look_up;
mod quota;
mod rate;
mod texts;
mod token;
mod token_query;
mod traffic;
mod user;
mod word;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::schema::{KnownFormat, SchemaFormat, Type};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::problem::Problem;
use crate::clock::Timestamp;
use crate::store::{self, PagePosition};

pub(super) use audit::{AuditList, AuditParameters, ExportParameters};
pub(super) use look_up::{Found, Pasted};
pub(super) use quota::QuotaList;
pub(super) use token::{Issued, NewToken, Revoked, Rotation, Terms, Token, TokenList};
pub(super) use token_query::{TokenParameters, TokensOfUser};
pub(super) use traffic::TrafficParameters;
pub(super) use user::{
    Active, CreatedUser, Details, GroupList, Groups, NewPassword, NewUser, Rights, User, UserList, UserParameters,
};

/// Maximum page size.
pub(super) const MAX_LIMIT: u32 = 200;
/// Default page size.
const USUAL: u32 = 50;

/// A time in RFC 3339 format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time(pub Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        String::deserialize(deserializer)?.parse().map(Time).map_err(serde::de::Error::custom)
    }
}

impl ToSchema for Time {}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("A time in RFC 3339 format."))
            .into()
    }
}

/// A row of a list that cannot be read.
#[derive(Serialize, ToSchema)]
pub(super) struct Unreadable {
    /// Id of the entry, if it can be read.
    id: Option<i64>,
    /// What is wrong with the row. Does not show the value.
    cause: String,
}

impl From<store::Unreadable> for Unreadable {
    fn from(row: store::Unreadable) -> Unreadable {
        Unreadable { id: row.id, cause: row.cause }
    }
}

/// Reads an optional field: absent stays `None`, `null` becomes `Some(None)`.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Reads a field that may be absent but not `null`.
fn some<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Page size and position.
fn part(limit: Option<u32>, page_token: Option<&str>) -> Result<(u32, PagePosition), Problem> {
    let limit = limit.unwrap_or(USUAL);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::invalid("limit", format!("must be between 1 and {MAX_LIMIT}")));
    }
    let position = page_token.unwrap_or_default().parse().map_err(|error| Problem::invalid("page_token", error))?;
    Ok((limit, position))
}

/// Token of another page; `None`: there is none.
fn page_token(position: &PagePosition) -> Option<String> {
    (*position != PagePosition::Start).then(|| position.to_string())
}

/// Refuses an id below one.
fn id(name: &str, id: Option<i64>) -> Result<Option<i64>, Problem> {
    if id.is_some_and(|id| id < 1) { Err(Problem::invalid(name, "a number above zero")) } else { Ok(id) }
}

/// Refuses a search text that is longer than any value it could match.
fn bounded(name: &str, text: Option<String>, longest: usize) -> Result<Option<String>, Problem> {
    if text.as_ref().is_some_and(|text| text.chars().count() > longest) {
        return Err(Problem::invalid(name, format!("must have at most {longest} characters")));
    }
    Ok(text)
}
