//! The text of a configuration: one file, and the files that it includes.
//!
//! Included files are appended to the text of the first one, so that TOML itself reports what is defined twice. Each
//! place in the text knows the file and line that it comes from.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::Problem;

/// The text of a configuration.
pub(super) struct Source {
    text: String,
    /// In the order of the text; never empty.
    parts: Vec<Part>,
    /// Folders in which files were looked for.
    folders: Vec<PathBuf>,
}

/// A file in the text.
struct Part {
    file: PathBuf,
    /// Number of lines before it in the text.
    before: usize,
}

impl Source {
    /// Reads a file and the files that it includes.
    ///
    /// # Errors
    /// Files that cannot be read, and included files that cannot be appended.
    pub(super) fn read(file: &Path) -> Result<Source, Vec<Problem>> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            vec![problem(file, None, None, format!("cannot be read: {error}"), "name another file with --config")]
        })?;
        let mut source = Source::of(file, text);
        let mut problems = Vec::new();
        for pattern in patterns(&source.text) {
            match source.find(&pattern) {
                Ok(files) => files.iter().for_each(|file| problems.extend(source.append(file).err())),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(source) } else { Err(problems) }
    }

    /// A text that includes nothing.
    pub(super) fn of(file: &Path, text: String) -> Source {
        Source { text, parts: vec![Part { file: file.to_owned(), before: 0 }], folders: Vec::new() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The first file; paths in the configuration are relative to it.
    pub(super) fn main(&self) -> &Path {
        self.parts.first().map_or(Path::new(""), |part| &part.file)
    }

    /// The file and line of a line of the text, both counted from 1.
    pub(super) fn place(&self, line: usize) -> (&Path, usize) {
        let part = self.parts.iter().rev().find(|part| part.before < line);
        part.map_or((self.main(), line), |part| (&part.file, line - part.before))
    }

    /// All files and folders that a change of the configuration shows in.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.parts.iter().map(|part| part.file.clone()).chain(self.folders.iter().cloned()).collect()
    }

    /// The files that a pattern names, in the order of their names.
    fn find(&mut self, pattern: &str) -> Result<Vec<PathBuf>, Problem> {
        let wrong = |what: &str, mend| problem(self.main(), None, Some("include"), format!("`{pattern}` {what}"), mend);
        let path = self.main().parent().unwrap_or(Path::new("")).join(pattern);
        let (folder, name) = (path.parent().unwrap_or(Path::new("")), path.file_name().and_then(|name| name.to_str()));
        let Some(name) = name else { return Err(wrong("names no file", "write \"conf.d/*.toml\"")) };
        if folder.to_str().is_none_or(|folder| folder.contains('*')) {
            return Err(wrong("has a `*` in the name of a folder", "name each folder in an element of its own"));
        }
        let Some((begin, end)) = name.split_once('*') else { return Ok(vec![path]) };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let listed = std::fs::read_dir(folder).map_err(|error| {
            let what = format!("cannot be searched: {}: {error}", folder.display());
            wrong(&what, "correct the path, or make the folder")
        })?;
        let is_meant = |file: &Path| {
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.len() >= begin.len() + end.len() && name.starts_with(begin) && name.ends_with(end) && file.is_file()
        };
        let mut files: Vec<PathBuf> = listed.filter_map(|entry| Some(entry.ok()?.path())).collect();
        // Hidden files are often copies that an editor makes.
        files.retain(|file| {
            is_meant(file) && !file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
        });
        files.sort();
        self.folders.push(folder.to_owned());
        Ok(files)
    }

    fn append(&mut self, file: &Path) -> Result<(), Problem> {
        // Another kind of file, such as a named pipe, could block forever.
        if std::fs::metadata(file).is_ok_and(|metadata| !metadata.is_file()) {
            let what = "cannot be read: it is not a regular file".to_owned();
            return Err(problem(file, None, None, what, "correct `include`"));
        }
        let text = std::fs::read_to_string(file).map_err(|error| {
            problem(file, None, None, format!("cannot be read: {error}"), "correct `include`, or the permissions")
        })?;
        // Anything that is not in a table would belong to the last table of the file before it.
        let mut lines = (1..).zip(text.lines());
        let first = lines.find(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
        if let Some((number, line)) = first
            && !line.trim_start().starts_with('[')
        {
            let what = "begins with a key; an included file has only tables".to_owned();
            return Err(problem(file, Some(number), None, what, "write it below a table, such as [routes.NAME]"));
        }
        let (_, errors) = DeTable::parse_recoverable(&text);
        if let Some(error) = errors.iter().find(|error| error.message() != "duplicate key") {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map(|before| 1 + before.matches('\n').count());
            return Err(problem(
                file,
                line,
                None,
                format!("syntax error: {}", error.message()),
                "correct the line; texts need quotes",
            ));
        }
        if !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        let before = self.text.matches('\n').count();
        self.parts.push(Part { file: file.to_owned(), before });
        self.text.push_str(&text);
        Ok(())
    }
}

/// The value of `include`. What is wrong with it is reported where all keys are read.
fn patterns(text: &str) -> Vec<String> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    if errors.iter().any(|error| error.message() != "duplicate key") {
        return Vec::new();
    }
    let list = tree.get_ref().get("include").and_then(|value| value.get_ref().as_array());
    list.into_iter().flatten().filter_map(|value| value.get_ref().as_str().map(str::to_owned)).collect()
}

fn problem(file: &Path, line: Option<usize>, key: Option<&str>, what: String, mend: &str) -> Problem {
    Problem { file: file.to_owned(), line, key: key.map(str::to_owned), what, mend: Some(mend.to_owned()) }
}
