//! Looking up the owners of keys that were found somewhere.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::token::Token;
use crate::admin::api::problem::Problem;
use crate::admin::operations;
use crate::clock::Timestamp;

/// Maximum length of a look-up text: a line of a log.
const MAX_PASTED: usize = 4_096;

/// A text that may contain keys, such as a leak report: a key, or lines that contain some.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin::api) struct Pasted {
    #[serde(deserialize_with = "secret")]
    #[schema(value_type = String, max_length = 4096, write_only)]
    text: Zeroizing<String>,
}

/// Owners of the keys that were found.
#[derive(Serialize, ToSchema)]
pub(in crate::admin::api) struct Found {
    /// Empty: no word that was looked up is a key of this store.
    tokens: Vec<Token>,
    /// True if the text also contains keys of users whom only superusers can manage. Tell a superuser at once.
    others: bool,
    /// True if the text was too long and only the likeliest words were checked. Send the rest separately.
    cut: bool,
}

impl Pasted {
    pub(in crate::admin::api) fn text(&self) -> Result<&str, Problem> {
        let fits = self.text.chars().count() <= MAX_PASTED;
        if fits {
            Ok(&self.text)
        } else {
            Err(Problem::invalid_field("text", format!("must have at most {MAX_PASTED} characters")))
        }
    }
}

impl Found {
    pub(in crate::admin::api) fn of(found: operations::Found, now: Timestamp) -> Found {
        let tokens = found.tokens.into_iter().map(|token| Token::of(token, now)).collect();
        Found { tokens, others: found.others, cut: found.cut }
    }
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}
