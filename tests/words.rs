//! Checks texts: messages and pages use plain words, and comments cite only documents in the repository.

use std::fs;
use std::path::{Path, PathBuf};

/// Phrases that are hard to understand, in lower case, and what to write in their place.
const BANNED: [(&str, &str); 30] = [
    ("count no more", "stop working"),
    ("counts no more", "no longer works"),
    ("counts here", "is valid here"),
    ("for good", "permanently"),
    ("for ever", "forever"),
    ("in clear", "unencrypted"),
    ("nobody is", "no user is"),
    ("that nobody", "that no user"),
    ("whoever", "a client that"),
    ("none fits", "not set"),
    ("shall not be", "must not be"),
    ("look after", "manage"),
    ("looks after", "manages"),
    ("is no scope", "is not a valid scope"),
    ("is no address", "is not an address"),
    ("is no name", "is not a name"),
    ("is gone", "was deleted, was removed"),
    ("are gone", "were deleted, were removed"),
    ("anew", "again"),
    ("see that", "check that"),
    ("cannot be made", "cannot be created"),
    ("cannot be had", "cannot be built"),
    ("cannot be told", "cannot be notified"),
    ("tell of", "report"),
    ("tells of", "reports"),
    ("under way", "in progress"),
    ("user name", "username"),
    ("user names", "usernames"),
    ("the most that", "the maximum"),
    ("beyond what is", "above the limit"),
];

/// Phrases that no comment of the program contains, and what to write in their place: they leave out the subject, or are
/// pictures where the field has a term.
const BANNED_IN_COMMENTS: [(&str, &str); 16] = [
    ("nobody", "no client"),
    ("somebody", "a client, another process"),
    ("anybody", "any client"),
    ("whoever", "a client that"),
    ("for good", "permanently"),
    ("for ever", "forever"),
    ("in clear", "unencrypted"),
    ("anew", "again"),
    ("farewell", "close, close notify"),
    ("let in", "admitted"),
    ("lets in", "admits"),
    ("as it came", "unchanged"),
    ("as they came", "unchanged"),
    ("without a word", "silently, without a response"),
    ("so many in so long", "N per period"),
    ("counts no more", "is no longer valid"),
];

/// Documents outside of the repository, by the names with which comments could cite them.
const ELSEWHERE: [&str; 9] =
    ["HARDENING", "DRF_CONTRACT", "ATTACKS", "WORDING", "CONVENTIONS", "PEERS", "MODELS", "IDENTITY", "PERFORMANCE"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The files below `folder` with one of these extensions: their paths from the root, and their texts.
fn files(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted)) {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The string literals of Rust code, each with its line. Skips comments and tests.
fn literals(code: &str) -> Vec<(usize, String)> {
    let code = code.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let (mut found, mut line, mut chars) = (Vec::new(), 1, code.chars().peekable());
    while let Some(char) = chars.next() {
        match char {
            '\n' => line += 1,
            '/' if chars.peek() == Some(&'/') => while chars.next_if(|char| *char != '\n').is_some() {},
            '\'' => {
                // A character, such as '"'; a lifetime has no closing quote after its first letter.
                let mut ahead = chars.clone();
                let escaped = ahead.next() == Some('\\');
                if escaped {
                    ahead.next();
                }
                if ahead.next() == Some('\'') {
                    chars = ahead;
                }
            }
            '"' => {
                let (begun, mut text) = (line, String::new());
                while let Some(char) = chars.next() {
                    match char {
                        '"' => break,
                        '\\' => drop(chars.next()),
                        '\n' => {
                            line += 1;
                            text.push(' ');
                        }
                        char => text.push(char),
                    }
                }
                found.push((begun, text));
            }
            _ => {}
        }
    }
    found
}

/// Whether `text` contains `phrase` as whole words.
fn has(text: &str, phrase: &str) -> bool {
    let is_letter = |char: char| char.is_alphanumeric() || char == '_';
    text.to_lowercase().match_indices(phrase).any(|(at, _)| {
        let lower = text.to_lowercase();
        !lower[..at].ends_with(is_letter) && !lower[at + phrase.len()..].starts_with(is_letter)
    })
}

/// Longest cell of a table in the documents, in characters. What is longer is a paragraph below the table.
const MAX_CELL: usize = 160;

/// The documents of the project: their paths from the root, and their texts.
fn documents() -> Vec<(String, String)> {
    let mut found = files("docs", &["md"]);
    for name in ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "bench/README.md", "fuzz/README.md"] {
        found.push((name.to_owned(), fs::read_to_string(root().join(name)).unwrap()));
    }
    found
}

/// The name by which links lead to a heading, as hosts of repositories make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
    kept.map(|char| if char == ' ' { '-' } else { char }).collect()
}

/// The targets of the links in a document, each with its line.
fn links(text: &str) -> Vec<(usize, &str)> {
    (1..)
        .zip(text.lines())
        .flat_map(|(line, text)| text.split("](").skip(1).filter_map(move |rest| Some((line, rest.split_once(')')?.0))))
        .collect()
}

fn banned(text: &str) -> Option<&'static str> {
    BANNED.iter().find(|(phrase, _)| has(text, phrase)).map(|(phrase, _)| *phrase)
}

/// The comment in a line of code, if the line is one.
fn comment(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix("//")
}

#[test]
fn messages_and_pages_use_plain_words() {
    let mut wrong = Vec::new();
    for (name, code) in files("src", &["rs"]).into_iter().filter(|(name, _)| !name.ends_with("/tests.rs")) {
        for (line, text) in literals(&code) {
            wrong.extend(banned(&text).map(|phrase| format!("{name}:{line}: `{phrase}` in {text:?}")));
        }
    }
    let mut pages = files("src", &["html"]);
    pages.extend(documents());
    for (name, text) in pages {
        // The glossary lists what to avoid in its last column.
        for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.starts_with("| unencrypted |")) {
            wrong.extend(banned(text).map(|phrase| format!("{name}:{line}: `{phrase}`")));
        }
    }
    assert!(wrong.is_empty(), "say it plainly (the table in tests/words.rs):\n{}", wrong.join("\n"));
}

#[test]
fn comments_use_plain_words() {
    let mut wrong = Vec::new();
    for (name, code) in files("src", &["rs"]) {
        for (line, text) in (1..).zip(code.lines()).filter_map(|(line, text)| Some((line, comment(text)?))) {
            let found = BANNED_IN_COMMENTS.iter().find(|(phrase, _)| has(text, phrase));
            wrong.extend(found.map(|(phrase, better)| format!("{name}:{line}: `{phrase}`; say: {better}")));
        }
    }
    assert!(wrong.is_empty(), "say it plainly (the table in tests/words.rs):\n{}", wrong.join("\n"));
}

#[test]
fn banned_phrases_are_found() {
    for (text, phrase) in [("It counts no more, for good.", "counts no more"), ("Whoever asks", "whoever")] {
        assert_eq!(banned(text), Some(phrase));
    }
    assert_eq!(banned("a clear message, good for all"), None);
    let code = "fn f() -> &'static str {\n    // \"whoever\"\n    let c = '\"';\n    \"in \\\n     clear\"\n}\n";
    assert_eq!(literals(code).iter().map(|(line, _)| *line).collect::<Vec<_>>(), [4]);
}

#[test]
fn cells_of_tables_are_short() {
    let mut wrong = Vec::new();
    for (name, text) in documents() {
        for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| text.starts_with('|')) {
            for cell in text.replace("\\|", "/").split('|').filter(|cell| cell.trim().chars().count() > MAX_CELL) {
                wrong.push(format!("{name}:{line}: {}", cell.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "write a paragraph below the table:\n{}", wrong.join("\n"));
}

#[test]
fn links_between_documents_lead_to_a_file_and_a_heading() {
    let mut wrong = Vec::new();
    for (name, text) in documents() {
        let from = root().join(&name);
        for (line, link) in links(&text).into_iter().filter(|(_, link)| !link.starts_with("http")) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let to = if path.is_empty() { from.clone() } else { from.parent().unwrap().join(path) };
            if !to.exists() {
                wrong.push(format!("{name}:{line}: {path} does not exist"));
            } else if !heading.is_empty() {
                let headings = fs::read_to_string(&to).unwrap();
                let mut headings = headings.lines().filter(|text| text.starts_with('#'));
                if !headings.any(|text| anchor(text.trim_start_matches('#')) == heading) {
                    wrong.push(format!("{name}:{line}: {link} has no such heading"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_document_that_is_cited_is_in_the_repository() {
    let mut wrong = Vec::new();
    let mut all = files("src", &["rs", "html", "sql"]);
    for folder in ["tests", "benches"] {
        all.extend(files(folder, &["rs", "py"]));
    }
    for (name, text) in all.iter().filter(|(name, _)| name != "tests/words.rs") {
        for (line, text) in (1..).zip(text.lines()) {
            for elsewhere in ELSEWHERE {
                let cites = text.match_indices(elsewhere).any(|(at, _)| {
                    let rest = text[at + elsewhere.len()..].trim_start();
                    rest.starts_with('§')
                        || (rest.starts_with('D') && rest[1..].starts_with(|c: char| c.is_ascii_digit()))
                });
                if cites {
                    wrong.push(format!("{name}:{line}: {elsewhere} is not in the repository"));
                }
            }
            for (at, _) in text.match_indices("docs/") {
                let path: String =
                    text[at..].chars().take_while(|c| c.is_alphanumeric() || "/._-".contains(*c)).collect();
                let path = path.trim_end_matches('.');
                if path.ends_with(".md") && !root().join(path).exists() {
                    wrong.push(format!("{name}:{line}: {path} does not exist"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
