//! What is wrong with a configuration: what, where, and how to mend it.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file that it stands in.
    pub file: PathBuf,
    /// The line, counted from 1, if it has one.
    pub line: Option<usize>,
    /// The path of the key, such as `routes.orders.upstream`, if it has one.
    pub key: Option<String>,
    /// What is wrong.
    pub what: String,
    /// How to mend it, if that can be said.
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

/// Problems as a terminal shows them: each with how to mend it on a line of its own, then how many there are.
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
    fn one_line_says_where_what_and_how_to_mend() {
        let text = "gateway.toml:14: routes.orders.upsteam: unknown key; did you mean `upstream`?";
        assert_eq!(problem().to_string(), text);
    }

    #[test]
    fn a_terminal_gets_errors_before_warnings_and_their_number() {
        let bare = Problem { line: None, key: None, mend: None, ..problem() };
        let text = "error: gateway.toml:14: routes.orders.upsteam: unknown key\n  did you mean `upstream`?\n\
                    warning: gateway.toml: unknown key\nwarning: gateway.toml: unknown key\n1 error, 2 warnings\n";
        assert_eq!(render(&[problem()], &[bare.clone(), bare]), text);
        assert_eq!(render(&[], &[]), "");
    }
}
