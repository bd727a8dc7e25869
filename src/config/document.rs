//! One configuration file during reading: its text, its environment, and the problems found so far.
//!
//! Reading continues after a problem, with any value in place of the wrong one, since the settings are then not used.
//! Used through [`super::reader`]. Never prints.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::record::Record;
use super::source::Source;
use super::variables::{self, NoValue};
use super::{Problem, syntax};
use crate::clock::Timestamp;

/// The external inputs of reading: the time, for certificates, and environment variables, for `"${NAME}"`.
pub struct Environment<'a> {
    /// The time.
    pub now: Timestamp,
    /// Looks up an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

/// What is wrong with a required key that is missing.
pub(super) const MISSING: &str = "missing";

/// A configuration during reading.
pub(super) struct Document<'a> {
    source: &'a Source,
    environment: &'a Environment<'a>,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
    record: Option<Record>,
}

impl<'a> Document<'a> {
    /// A document with this text.
    pub(super) fn new(source: &'a Source, environment: &'a Environment<'a>) -> Document<'a> {
        let (problems, warnings) = Default::default();
        Document { source, environment, problems, warnings, record: None }
    }

    /// Notes what reading tells about the configuration.
    pub(super) fn recorded(self) -> Document<'a> {
        Document { record: Some(Record::default()), ..self }
    }

    /// The notes, if they are wanted.
    pub(super) fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// Parses the text, and reports syntax errors. `None` if the rest cannot be read.
    pub(super) fn parse(&self) -> Option<DeTable<'a>> {
        let (tree, errors) = DeTable::parse_recoverable(self.source.text());
        // A key that is defined twice leaves a complete tree. After any other error the parser guesses values.
        let (twice, broken): (Vec<_>, Vec<_>) = errors.iter().partition(|error| error.message() == "duplicate key");
        if let Some(error) = broken.first() {
            let line = error.span().map(|span| self.line_at(span.start));
            let (text, at) = error.span().map(|span| self.line_around(span.start)).unwrap_or_default();
            self.problem(line, None, syntax::cause(text, error.message()), Some(syntax::mend(text, at)));
            return None;
        }
        for error in twice {
            let name = error.span().and_then(|span| self.source.text().get(span)).unwrap_or("a name");
            let line = error.span().map(|span| self.line_at(span.start));
            self.problem(line, None, format!("`{name}` is defined twice"), Some("remove one".to_owned()));
        }
        Some(tree.into_inner())
    }

    /// The line around an offset, and the offset in it. At the end of a line it is that line.
    fn line_around(&self, offset: usize) -> (&str, usize) {
        let text = self.source.text();
        let before = text.get(..offset).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let rest = text.get(start..).unwrap_or_default();
        (rest.lines().next().unwrap_or_default(), offset.saturating_sub(start))
    }

    /// Drops the report of a missing key: the file has it under a misspelt name, which is reported.
    pub(super) fn found_misspelt(&self, path: &str) {
        self.problems.borrow_mut().retain(|problem| problem.what != MISSING || problem.key.as_deref() != Some(path));
    }

    /// The line of an offset in the text, counted from 1 through all files.
    pub(super) fn line_at(&self, offset: usize) -> usize {
        let before = self.source.text().as_bytes().get(..offset).unwrap_or_default();
        1 + memchr::memchr_iter(b'\n', before).count()
    }

    /// The file of a line of the whole text, and its line there.
    pub(super) fn place(&self, line: usize) -> (PathBuf, usize) {
        let (file, line) = self.source.place(line);
        (file.to_owned(), line)
    }

    /// Reports an error: the file cannot be used.
    pub(super) fn problem(&self, line: Option<usize>, key: Option<&str>, what: String, mend: Option<String>) {
        self.problems.borrow_mut().push(self.note(line, key, what, mend));
    }

    /// Reports a warning: the file works, but is probably not as intended.
    pub(super) fn warning(&self, line: Option<usize>, key: Option<&str>, what: String, mend: Option<String>) {
        self.warnings.borrow_mut().push(self.note(line, key, what, mend));
    }

    fn note(&self, line: Option<usize>, key: Option<&str>, what: String, mend: Option<String>) -> Problem {
        // Lines are those of the whole text until all problems are sorted.
        Problem { file: self.source.main().to_owned(), line, key: key.map(str::to_owned), what, mend }
    }

    /// Resolves a path relative to the configuration file.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.source.main().parent().unwrap_or(Path::new("")).join(path)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.environment.now
    }

    /// Looks up the variable of a `"${NAME}"`.
    pub(super) fn variable(&self, name: &str) -> Result<String, NoValue> {
        variables::look_up(name, self.environment.variable)
    }

    /// The notes, and errors and warnings in the order of the file.
    pub(super) fn finish(self) -> (Record, Vec<Problem>, Vec<Problem>) {
        let placed = |mut problems: Vec<Problem>| {
            problems.sort_by_key(|problem| problem.line);
            for problem in &mut problems {
                if let Some(line) = problem.line {
                    let (file, line) = self.source.place(line);
                    (problem.file, problem.line) = (file.to_owned(), Some(line));
                }
            }
            problems
        };
        (self.record.unwrap_or_default(), placed(self.problems.into_inner()), placed(self.warnings.into_inner()))
    }
}
