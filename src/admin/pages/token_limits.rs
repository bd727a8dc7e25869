//! The form fields for the limits of a token: read-only, networks, days without a use, rate.

use std::borrow::Cow;

use crate::admin::fields::Fields;
use crate::admin::operations::OperationError;
use crate::store::TokenLimits;
use crate::token::{Networks, OwnRate};

/// The values of the fields.
pub(super) struct LimitFields<'a> {
    pub(super) read_only: bool,
    pub(super) networks: Cow<'a, str>,
    pub(super) unused_days: Cow<'a, str>,
    pub(super) rate: Cow<'a, str>,
}

impl<'a> LimitFields<'a> {
    /// The fields as they were sent.
    pub(super) fn sent(fields: &'a Fields) -> LimitFields<'a> {
        LimitFields {
            read_only: fields.is_ticked("read_only"),
            networks: fields.get("networks").into(),
            unused_days: fields.get("unused_days").into(),
            rate: fields.get("rate").into(),
        }
    }

    /// The fields for these limits.
    pub(super) fn of(limits: &TokenLimits) -> LimitFields<'a> {
        LimitFields {
            read_only: limits.read_only,
            networks: limits.networks.as_ref().map(|all| all.to_string().replace(',', ", ")).unwrap_or_default().into(),
            unused_days: limits.unused_days.map(|days| days.to_string()).unwrap_or_default().into(),
            rate: limits.rate.map(|rate| rate.to_string()).unwrap_or_default().into(),
        }
    }
}

/// Reads the limits from a form.
pub(super) fn read(fields: &Fields) -> Result<TokenLimits, OperationError> {
    let sent = LimitFields::sent(fields);
    let networks = Networks::parse(&sent.networks);
    let networks = networks.map_err(|error| OperationError::InvalidField("networks", error.to_string()))?;
    let days = Some(&*sent.unused_days).filter(|days| !days.is_empty());
    let unused_days = days.map(str::parse).transpose();
    let unused_days = unused_days.map_err(|_| OperationError::InvalidField("unused_days", NOT_DAYS.to_owned()))?;
    Ok(TokenLimits { read_only: sent.read_only, networks, unused_days, rate: read_rate(&sent.rate)? })
}

/// Reads the rate of a token or of a user; an empty text is none.
pub(super) fn read_rate(text: &str) -> Result<Option<OwnRate>, OperationError> {
    let rate = Some(text).filter(|text| !text.is_empty()).map(str::parse::<OwnRate>).transpose();
    rate.map_err(|error| OperationError::InvalidField("rate", error.to_string()))
}

const NOT_DAYS: &str = "write a number of days between 1 and 3650, or leave the field empty";
