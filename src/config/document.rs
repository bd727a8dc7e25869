//! One configuration file while it is read: its text, what surrounds it, and what was found wrong so far.
//!
//! Reading goes on after a problem; whoever reports one goes on with any value, since nothing is used in the end. Used
//! through [`super::reader`]. It never prints anything.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::Problem;
use crate::clock::Timestamp;

/// What a file means depends on: the time, for certificates, and the environment, for `"${NAME}"`.
pub struct Surroundings<'a> {
    /// The time.
    pub now: Timestamp,
    /// Looks a variable up.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

/// One file while it is read.
pub(super) struct Document<'a> {
    file: &'a Path,
    text: &'a str,
    surroundings: &'a Surroundings<'a>,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> Document<'a> {
    /// Begins to read `text`.
    pub(super) fn new(file: &'a Path, text: &'a str, surroundings: &'a Surroundings<'a>) -> Document<'a> {
        let (problems, warnings, asked) = Default::default();
        Document { file, text, surroundings, problems, warnings, asked }
    }

    /// Parses the text; reports what is no TOML. `None` if the rest makes no sense without it.
    pub(super) fn parse(&self) -> Option<DeTable<'a>> {
        let (tree, errors) = DeTable::parse_recoverable(self.text);
        // A name defined twice leaves a whole tree behind. After any other error the parser guesses, and so would we.
        let (twice, broken): (Vec<_>, Vec<_>) = errors.iter().partition(|error| error.message() == "duplicate key");
        if let Some(error) = broken.first() {
            let line = error.span().map(|span| self.line_at(span.start));
            self.problem(line, None, format!("not TOML: {}", error.message()), None);
            return None;
        }
        for error in twice {
            let name = error.span().and_then(|span| self.text.get(span)).unwrap_or("a name");
            let line = error.span().map(|span| self.line_at(span.start));
            self.problem(line, None, format!("`{name}` is defined twice"), Some("remove one".to_owned()));
        }
        Some(tree.into_inner())
    }

    /// The line of a place in the text, counted from 1.
    pub(super) fn line_at(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        1 + memchr::memchr_iter(b'\n', before).count()
    }

    /// Reports what makes the file unusable.
    pub(super) fn problem(&self, line: Option<usize>, key: Option<&str>, what: String, mend: Option<String>) {
        self.problems.borrow_mut().push(self.note(line, key, what, mend));
    }

    /// Reports what works but is probably not meant.
    pub(super) fn warning(&self, line: Option<usize>, key: Option<&str>, what: String, mend: Option<String>) {
        self.warnings.borrow_mut().push(self.note(line, key, what, mend));
    }

    fn note(&self, line: Option<usize>, key: Option<&str>, what: String, mend: Option<String>) -> Problem {
        Problem { file: self.file.to_owned(), line, key: key.map(str::to_owned), what, mend }
    }

    /// Remembers that a key exists, whether it was written or not.
    pub(super) fn ask(&self, pattern: String) {
        self.asked.borrow_mut().insert(pattern);
    }

    /// A path in the file is relative to the file.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }

    /// The time.
    pub(super) fn now(&self) -> Timestamp {
        self.surroundings.now
    }

    /// A variable of the environment.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.surroundings.variable)(name)
    }

    /// Everything that was asked for, problems and warnings in the order of the file.
    pub(super) fn finish(self) -> (BTreeSet<String>, Vec<Problem>, Vec<Problem>) {
        let (mut problems, mut warnings) = (self.problems.into_inner(), self.warnings.into_inner());
        problems.sort_by_key(|problem| problem.line);
        warnings.sort_by_key(|problem| problem.line);
        (self.asked.into_inner(), problems, warnings)
    }
}
