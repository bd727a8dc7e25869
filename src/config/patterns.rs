//! The hosts and paths that a route matches.

use super::reader::Table;
use super::url::host::is_host;
use super::value::Fault;

/// The hosts that a route matches. Names are in lower case, without port and trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// This host.
    Exact(String),
    /// Every host one or more labels below: `*.example.com` is stored as `example.com`.
    Below(String),
    /// Any host.
    Any,
}

/// The paths that a route matches; compared with the percent-decoded path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathPattern {
    /// This path only.
    Exact(String),
    /// This path and everything below it, by whole segments: `/api/` matches `/api/` and `/api/x`; `/api` matches those
    /// and `/api` too; neither matches `/apix`.
    Prefix(String),
}

/// `path` or `path_prefix`.
pub(super) fn path(table: &Table<'_>) -> Option<PathPattern> {
    let (exact, prefix) = (table.key("path"), table.key("path_prefix"));
    table.needs_one_of(&["path_prefix", "path"]);
    let patterns = (exact.parse(plain_path), prefix.parse(plain_path));
    match (exact.is_set(), prefix.is_set()) {
        (true, false) => patterns.0.map(PathPattern::Exact),
        (false, true) => patterns.1.map(PathPattern::Prefix),
        (true, true) => {
            prefix.problem("`path` and `path_prefix` cannot be combined", "remove one");
            None
        }
        (false, false) => {
            let mend = "add `path_prefix = \"/\"` for a whole tree or `path` for exactly one";
            table.problem("this route has no path", mend);
            None
        }
    }
}

/// A path in the form in which requests are compared. Any other form would never match, although the operator may rely
/// on it.
pub(super) fn plain_path(text: &str) -> Result<String, Fault> {
    let is_dots = |segment: &str| segment == "." || segment == "..";
    if !text.starts_with('/') {
        Err(Fault::new("does not begin with `/`", format!("write \"/{text}\"")))
    } else if text.contains('%') {
        Err(Fault::new("contains `%`", "write the path decoded; requests are compared decoded"))
    } else if text.contains("//") {
        Err(Fault::new("contains an empty segment", "write one `/`"))
    } else if text.split('/').any(is_dots) {
        Err(Fault::new("contains a `.` or `..` segment", "write the path without them"))
    } else if text.contains(['?', '#', '\\', '*']) || text.chars().any(char::is_control) {
        Err(Fault::new(
            "contains a character that a path cannot contain",
            "leave out `?`, `#`, `\\`, `*` and control characters",
        ))
    } else {
        Ok(text.to_owned())
    }
}

/// A host name, or `*.` and the domain that it is below.
pub(super) fn host(text: &str) -> Result<HostPattern, Fault> {
    let mend = "write a name without port, such as \"api.example.com\" or \"*.example.com\"";
    let lower = text.to_ascii_lowercase();
    match lower.strip_prefix("*.") {
        Some(below) if is_host(below) && !below.starts_with('[') => Ok(HostPattern::Below(below.to_owned())),
        None if is_host(&lower) => Ok(HostPattern::Exact(lower)),
        _ => Err(Fault::new("is not a valid host", mend)),
    }
}
