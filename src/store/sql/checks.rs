//! Checks of the terms of tokens.

use crate::clock::Timestamp;
use crate::identity::MAX_VALUE;
use crate::store::user::{is_label, is_plain};
use crate::store::{End, LedgerError, NamedToken, Terms, TokenLimits};
use crate::token::ScopeSet;

/// Maximum length of a token name.
const MAX_NAME: usize = 100;

/// Maximum length of the note about a token.
const MAX_NOTE: usize = 1_000;

/// Maximum length of the networks of a token as a text. All are compared for each request.
const MAX_NETWORKS: usize = 1_024;

/// Maximum number of days without a use.
const MAX_UNUSED_DAYS: u32 = 3_650;

pub(super) fn check_order(order: &NamedToken) -> Result<(), LedgerError> {
    if !is_label(&order.name, MAX_NAME) {
        return Err(LedgerError::InvalidName);
    }
    check_end(order.expires)?;
    check_limits(&order.limits)?;
    check_scopes(&order.scopes)
}

/// RFC 3339 cannot express a later time, so programs could not read it.
fn check_end(end: Option<Timestamp>) -> Result<(), LedgerError> {
    if end.is_some_and(|end| end > Timestamp::END_OF_YEAR_9999) { Err(LedgerError::InvalidEnd) } else { Ok(()) }
}

/// Upstreams receive all scopes in one header.
fn check_scopes(scopes: &ScopeSet) -> Result<(), LedgerError> {
    if scopes.to_string().len() > MAX_VALUE { Err(LedgerError::ScopesTooLong) } else { Ok(()) }
}

/// An empty text in the store means every network, so an empty list must not be written.
pub(super) fn check_limits(limits: &TokenLimits) -> Result<(), LedgerError> {
    let networks = limits.networks.as_ref().map(ToString::to_string);
    if networks.is_some_and(|text| text.is_empty() || text.len() > MAX_NETWORKS) {
        return Err(LedgerError::InvalidNetworks);
    }
    let days = limits.unused_days;
    if days.is_some_and(|days| !(1..=MAX_UNUSED_DAYS).contains(&days)) { Err(LedgerError::InvalidDays) } else { Ok(()) }
}

pub(super) fn check_terms(terms: &Terms) -> Result<(), LedgerError> {
    check_end(if let Some(End::At(end)) = terms.end { Some(end) } else { None })?;
    // A login token has no name.
    if terms.name.as_ref().is_some_and(|name| !name.is_empty() && !is_label(name, MAX_NAME)) {
        return Err(LedgerError::InvalidName);
    }
    if terms.note.as_ref().is_some_and(|note| !is_plain(note, MAX_NOTE)) {
        return Err(LedgerError::InvalidNote);
    }
    terms.scopes.as_ref().map_or(Ok(()), check_scopes)
}
