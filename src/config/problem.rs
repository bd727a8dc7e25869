//! Errors of a configuration: what is wrong, where, and how to fix it.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// One error or warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The configuration file.
    pub file: PathBuf,
    /// The line, counted from 1, if known.
    pub line: Option<usize>,
    /// The path of the key, such as `routes.orders.upstream`, if known.
    pub key: Option<String>,
    /// What is wrong.
    pub what: String,
    /// How to fix it, if known.
    pub mend: Option<String>,
}

/// `gateway.toml:14: routes.orders.upsteam: unknown key; did you mean `upstream`?`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        write!(f, ": {}", self.what)?;
        if let Some(mend) = &self.mend {
            write!(f, "; {mend}")?;
        }
        Ok(())
    }
}

/// Renders problems for a terminal: each with its fix on a line of its own, then the totals.
pub fn render(errors: &[Problem], warnings: &[Problem]) -> String {
    let mut out = String::new();
    let kinds = errors.iter().map(|error| ("error", error)).chain(warnings.iter().map(|warning| ("warning", warning)));
    for (kind, problem) in kinds {
        let mend = problem.mend.as_ref().map(|mend| format!("\n  {mend}")).unwrap_or_default();
        let bare = Problem { mend: None, ..problem.clone() };
        out.push_str(&format!("{kind}: {bare}{mend}\n"));
    }
    let count = |number: usize, what: &str| match number {
        0 => None,
        1 => Some(format!("1 {what}")),
        _ => Some(format!("{number} {what}s")),
    };
    let counts: Vec<String> =
        [count(errors.len(), "error"), count(warnings.len(), "warning")].into_iter().flatten().collect();
    if !counts.is_empty() {
        out.push_str(&counts.join(", "));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> Problem {
        Problem {
            file: PathBuf::from("gateway.toml"),
            line: Some(14),
            key: Some("routes.orders.upsteam".to_owned()),
            what: "unknown key".to_owned(),
            mend: Some("did you mean `upstream`?".to_owned()),
        }
    }

    #[test]
    fn one_line_has_the_place_the_problem_and_the_fix() {
        let text = "gateway.toml:14: routes.orders.upsteam: unknown key; did you mean `upstream`?";
        assert_eq!(problem().to_string(), text);
    }

    #[test]
    fn a_terminal_gets_errors_before_warnings_and_the_totals() {
        let bare = Problem { line: None, key: None, mend: None, ..problem() };
        let text = "error: gateway.toml:14: routes.orders.upsteam: unknown key\n  did you mean `upstream`?\n\
                    warning: gateway.toml: unknown key\nwarning: gateway.toml: unknown key\n1 error, 2 warnings\n";
        assert_eq!(render(&[problem()], &[bare.clone(), bare]), text);
        assert_eq!(render(&[], &[]), "");
    }
}
