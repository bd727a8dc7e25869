//! The rate of a token or of a user, as a text.

use serde::{Deserialize, Serialize, Serializer};
use utoipa::openapi::schema::Type;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::token::{InvalidRate, OwnRate};

/// A rate such as `600/min burst 100`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(in crate::admin::api) struct RateText(pub OwnRate);

impl TryFrom<String> for RateText {
    type Error = InvalidRate;

    fn try_from(text: String) -> Result<RateText, InvalidRate> {
        text.parse().map(RateText)
    }
}

impl Serialize for RateText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl ToSchema for RateText {}

impl PartialSchema for RateText {
    fn schema() -> RefOr<Schema> {
        let described =
            "Requests per period, and those that may come at once if that is another number: `600/min burst 100`.";
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[1-9][0-9]{0,4}/(s|min|h|d)( burst [1-9][0-9]{0,8})?$"))
            .description(Some(described))
            .into()
    }
}
