//! Numbers among the arguments, with errors that say what to write.

/// Reads the id of a user, a token or an entry.
pub fn id(text: &str) -> Result<i64, String> {
    text.parse()
        .ok()
        .filter(|id| *id >= 0)
        .ok_or_else(|| "not an id; an id is a number, as the lists show it".to_owned())
}

/// Reads how many entries are printed.
pub fn count(text: &str) -> Result<u32, String> {
    within(text, 1, u32::MAX).ok_or_else(|| "write a whole number above zero".to_owned())
}

/// Reads how many entries of the audit trail are printed.
pub fn entries(text: &str) -> Result<u32, String> {
    within(text, 1, 1_000).ok_or_else(|| "write a whole number from 1 to 1000".to_owned())
}

/// Reads a number of days; the store knows its bounds.
pub fn days(text: &str) -> Result<u32, String> {
    within(text, 0, u32::MAX).ok_or_else(|| "not a whole number of days".to_owned())
}

fn within(text: &str, least: u32, most: u32) -> Option<u32> {
    text.parse().ok().filter(|number| (least..=most).contains(number))
}
