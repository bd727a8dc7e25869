//! What lists have in common: totals and heads that sort.

use crate::store::MAX_TOTAL;

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
