//! What lists have in common: filters, totals and heads that sort.

use axum::http::StatusCode;

use super::shell::{Section, Shell};
use super::status_of;
use crate::admin::operations::OperationError;
use crate::admin::visit::Visit;
use crate::store::{BadPosition, Listing, MAX_TOTAL, PagePosition};

/// Status and frame of a list, with the error of its filter or of an action on its entries.
pub(super) fn frame(visit: &Visit, section: Section, failed: Option<&OperationError>) -> (StatusCode, Shell) {
    match failed {
        None => (StatusCode::OK, Shell::of(visit, section)),
        Some(error) => (status_of(error), Shell::failing(visit, section, error)),
    }
}

/// Reads the page of a list in the address.
pub(super) fn position(text: &str) -> Result<PagePosition, OperationError> {
    text.parse().map_err(|_| OperationError::Invalid(BadPosition.to_string()))
}

/// Refuses a text that is longer than any value that it could be a part of.
pub(super) fn bounded(field: &'static str, text: &str, most: usize) -> Result<String, OperationError> {
    if text.chars().count() > most {
        return Err(OperationError::InvalidField(field, format!("a search has at most {most} characters")));
    }
    Ok(text.to_owned())
}

/// Reads a word of a fixed list; `None` for an empty field.
pub(super) fn word<T>(
    field: &'static str,
    written: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, OperationError> {
    if written.is_empty() {
        return Ok(None);
    }
    let unknown = || OperationError::InvalidField(field, format!("`{written}` is not one of the choices"));
    parse(written).map(Some).ok_or_else(unknown)
}

/// Reads the order of a list, which has no field of its own.
pub(super) fn order<T: Copy>(written: &str, orders: &[(&str, T)]) -> Result<Option<T>, OperationError> {
    if written.is_empty() {
        return Ok(None);
    }
    let known = orders.iter().find(|(name, _)| *name == written).map(|(_, order)| Some(*order));
    known.ok_or_else(|| {
        OperationError::Invalid(format!("this list cannot be sorted by `{written}`; select the head of a column"))
    })
}

/// A list with the number of its entries; or an empty one and the error of its filter.
///
/// # Errors
/// Those of another kind.
pub(super) fn or_refused<T>(
    searched: Result<(Listing<T>, u32), OperationError>,
) -> Result<(Listing<T>, u32, Option<OperationError>), OperationError> {
    match searched {
        Ok((list, count)) => Ok((list, count, None)),
        Err(error) if error.is_of_form() => {
            let (previous, next) = (PagePosition::Start, PagePosition::Start);
            Ok((Listing { entries: Vec::new(), unreadable: Vec::new(), previous, next }, 0, Some(error)))
        }
        Err(error) => Err(error),
    }
}

/// A head that sorts a list.
pub(super) struct Sort {
    pub label: &'static str,
    /// The same list in the order that a click selects.
    pub href: String,
    /// `aria-sort`, if the list is sorted by this column.
    pub aria: &'static str,
}

impl Sort {
    /// A head whose first click selects `first`, and the next one `second`. `current` is the order of the list, and
    /// `first_is` the direction of the first one.
    pub(super) fn of(
        label: &'static str,
        (first, second): (&'static str, &'static str),
        first_is: &'static str,
        current: &str,
        href: impl Fn(&str) -> String,
    ) -> Sort {
        let other = if first_is == "ascending" { "descending" } else { "ascending" };
        let (aria, next) = if current == first {
            (first_is, second)
        } else if current == second {
            (other, first)
        } else {
            ("", first)
        };
        Sort { label, href: href(next), aria }
    }
}

/// The number of entries in words: `1 user`, `10,000 users or more`.
pub(super) fn total(count: u32, what: &str) -> String {
    let text = count.to_string();
    let grouped = match text.len().checked_sub(3).filter(|split| *split > 0) {
        Some(split) => format!("{},{}", text.get(..split).unwrap_or_default(), text.get(split..).unwrap_or_default()),
        None => text,
    };
    match count {
        1 => format!("1 {what}"),
        MAX_TOTAL.. => format!("{grouped} {what}s or more"),
        _ => format!("{grouped} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_counted_up_to_a_bound() {
        for (count, text) in [
            (0, "0 users"),
            (1, "1 user"),
            (999, "999 users"),
            (1_000, "1,000 users"),
            (10_000, "10,000 users or more"),
        ] {
            assert_eq!(total(count, "user"), text);
        }
    }

    #[test]
    fn a_head_sorts_in_both_directions() {
        let of = |current: &str| {
            let sort = Sort::of("Created", ("newest", "oldest"), "descending", current, |order| order.to_owned());
            (sort.aria, sort.href)
        };
        assert_eq!(of(""), ("", "newest".to_owned()));
        assert_eq!(of("newest"), ("descending", "oldest".to_owned()));
        assert_eq!(of("oldest"), ("ascending", "newest".to_owned()));
    }
}
