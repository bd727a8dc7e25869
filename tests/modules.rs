//! The order of the modules, and the crates that each may use (docs/ARCHITECTURE.md, "Rules").
//!
//! Reads the sources as text. Comments and literals are blanked, so that they may name what code may not. A violation is
//! reported with file and line; [`violations_are_found`] has one of each kind.

use std::fs;
use std::path::Path;

/// Crates that only some files may use, and these files.
const CONFINED: [(&str, &[&str]); 8] = [
    ("hyper", &["admin/server.rs", "demo/live.rs", "https.rs"]),
    ("hyper_util", &["admin/server.rs", "demo/live.rs", "https.rs"]),
    ("h2", &["client/", "upstream/", "listener/"]),
    ("axum", &["admin/", "demo/"]),
    ("sqlx", &["store/", "demo/"]),
    ("redis", &["cache/shared/"]),
    ("instant_acme", &["acme/"]),
    ("rustls", &["tls/", "https.rs", "listener/tls.rs", "upstream/tls.rs", "upstream/stream.rs"]),
];

/// Code without I/O and clock: its result depends only on its arguments.
const PURE: [&str; 6] = ["token/", "identity.rs", "route/", "auth/permit.rs", "login/form/", "http1/"];

/// The names that such code may not use: modules of `std`, then types and crates.
const IMPURE_STD: [&str; 5] = ["fs", "io", "env", "process", "thread"];
const IMPURE: [&str; 8] =
    ["tokio", "Clock", "SystemTime", "Instant", "TcpStream", "TcpListener", "UdpSocket", "UnixStream"];

const MAX_FILE: usize = 400;

/// A file under `src/`: its path from there, and its text.
struct Source {
    path: String,
    text: String,
}

#[test]
fn modules_import_only_from_earlier_modules_and_allowed_crates() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    read_sources(&root, &root, &mut sources);
    let order = order(&fs::read_to_string(root.join("lib.rs")).unwrap());
    assert!(order.len() > 10 && sources.len() > order.len(), "too little was read: {order:?}");
    let broken = violations(&order, &sources);
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn violations_are_found() {
    let order = ["clock", "token", "store", "route", "gateway", "listener", "admin", "cli"].map(str::to_owned);
    let table = [
        ("token/mod.rs", "use crate::store::Store;", "token imports store, which comes later"),
        ("token/key.rs", "fn f() {\n    crate::route::find();\n}", "token imports route, which comes later"),
        ("clock.rs", "use crate::{clock::Hand, token::Key};", "clock imports token, which comes later"),
        ("token/key.rs", "use super::super::store::Store;", "token imports store, which comes later"),
        ("clock.rs", "use super::token;", "clock imports token, which comes later"),
        ("clock.rs", "#[cfg(test)]\nmod tests {\n    use crate::token::Key;\n}", "clock imports token"),
        ("admin/mod.rs", "use crate::listener::Peer;", "admin and listener never import one another"),
        ("cli/mod.rs", "use crate::missing::X;", "crate::missing is not in the list of modules"),
        ("extra.rs", "", "not in the list of modules"),
        ("store/mod.rs", "use hyper::Request;", "hyper may only be used in"),
        ("gateway/mod.rs", "use tokio_rustls::rustls::ServerConfig;", "rustls may only be used in"),
        ("listener/accept.rs", "use rustls::ServerConfig;", "rustls may only be used in"),
        ("gateway/mod.rs", "use axum;", "axum may only be used in"),
        ("store/mod.rs", "use redis::Client;", "redis may only be used in"),
        ("route/mod.rs", "use std::{cmp, fs::File};", "uses fs: this code"),
        ("route/mod.rs", "fn f(c: &Clock) {}", "uses Clock: this code"),
        ("token/key.rs", "fn f() { std::io::stdin(); }", "uses io: this code"),
        ("store/mod.rs", "fn f() { x.unwrap() }", "unwrap outside tests"),
        ("store/mod.rs", "#[expect(clippy::expect_used)]\nfn f() {\n}\nfn g() {\n    x.expect(\"\")\n}", "5: expect"),
        ("store/mod.rs", &"\n".repeat(401), "401 lines"),
    ];
    for (path, text, wanted) in table {
        let sources = [Source { path: path.to_owned(), text: text.to_owned() }];
        let broken = violations(&order, &sources);
        assert!(broken.len() == 1 && broken[0].contains(wanted), "{path}: {text:?}\n{broken:?}");
    }
}

#[test]
fn allowed_code_is_not_reported() {
    let order = ["clock", "tls", "token", "config", "store", "cli"].map(str::to_owned);
    let table = [
        (
            "token/mod.rs",
            "//! Not crate::store, nor tokio.\n/* hyper::x */ use crate::{clock::Timestamp, token::{self}};",
        ),
        ("token/key.rs", "use super::digest::Digest;\npub(in crate::token) fn f<'a>(x: &'a str) -> char { '\"' }"),
        ("token/key.rs", "#[cfg(test)]\nmod tests {\n    use std::io;\n    fn f() { x.unwrap(); rustls::y() }\n}"),
        ("store/tests.rs", "use hyper::Request;\nfn f() { x.unwrap() }"),
        ("tls/certificate.rs", "use rustls::sign::CertifiedKey;"),
        ("store/mod.rs", "fn f() -> &'static str { r#\"crate::cli::x \" .unwrap()\"# }"),
        ("store/mod.rs", "#[expect(clippy::expect_used, reason = \"\")]\nfn f() {\n    x.expect(\"\")\n}"),
        ("main.rs", "fn main() { tokengate::cli::run() }"),
    ];
    for (path, text) in table {
        let sources = [Source { path: path.to_owned(), text: text.to_owned() }];
        assert_eq!(violations(&order, &sources), Vec::<String>::new(), "{path}: {text}");
    }
}

#[test]
fn the_files_of_the_configuration_import_one_another_in_one_direction() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config");
    let mut sources = Vec::new();
    read_sources(&root, &root, &mut sources);
    // Names of `settings` are those of the tables, and `mod` puts all parts together.
    sources.retain(|source| !matches!(source.path.as_str(), "mod.rs" | "settings.rs"));
    let mut imports: Vec<(String, Vec<String>)> = Vec::new();
    for source in &sources {
        let code = without_tests(&blank(&source.text));
        let depth = source.path.split('/').count() - usize::from(source.path.ends_with("/mod.rs"));
        let names = [heads(&code, &"super::".repeat(depth)), heads(&code, "crate::config::")].concat();
        let part = source.path.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
        imports.push((part.clone(), names.into_iter().map(|(_, name)| name).filter(|name| *name != part).collect()));
    }
    assert!(imports.len() > 30, "too little was read");
    // What imports only what was taken away before is taken away; a circle stays.
    while let Some(at) =
        imports.iter().position(|(_, names)| names.iter().all(|name| imports.iter().all(|(part, _)| part != name)))
    {
        imports.remove(at);
    }
    assert!(imports.is_empty(), "these import one another in a circle: {imports:#?}");
}

fn read_sources(root: &Path, folder: &Path, into: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_sources(root, &path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            into.push(Source { path: name, text: fs::read_to_string(&path).unwrap() });
        }
    }
    into.sort_by(|a, b| a.path.cmp(&b.path));
}

/// The modules in the order of `src/lib.rs`.
fn order(library: &str) -> Vec<String> {
    let names = library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    names.map(str::to_owned).collect()
}

/// All violations, with their places.
fn violations(order: &[String], sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources {
        let mut tell = |line: usize, what: String| broken.push(format!("src/{}:{line}: {what}", source.path));
        let lines = source.text.lines().count();
        if lines > MAX_FILE {
            tell(MAX_FILE, format!("{lines} lines; at most {MAX_FILE}: split by topic"));
        }
        let all = blank(&source.text);
        // `mod tests;` under `#[cfg(test)]` is a file by this name.
        let code = if source.path.ends_with("/tests.rs") { String::new() } else { without_tests(&all) };
        check_panics(&code, &mut tell);
        if matches!(source.path.as_str(), "lib.rs" | "main.rs") {
            continue;
        }
        check_imports(order, &source.path, &all, &code, &mut tell);
        check_tools(&source.path, &code, &mut tell);
    }
    broken
}

fn check_panics(code: &str, tell: &mut impl FnMut(usize, String)) {
    let mut excused = false;
    for (line, text) in (1..).zip(code.lines()) {
        excused = (excused || text.contains("clippy::expect_used")) && text != "}";
        if text.contains(".unwrap()") {
            tell(line, "unwrap outside tests".to_owned());
        }
        if text.contains(".expect(") && !excused {
            tell(line, "expect outside tests without #[expect(clippy::expect_used, reason = …)]".to_owned());
        }
    }
}

fn check_imports(order: &[String], path: &str, all: &str, code: &str, tell: &mut impl FnMut(usize, String)) {
    let module = path.split('/').next().unwrap_or(path).trim_end_matches(".rs");
    let place = |name: &str| order.iter().position(|other| other == name);
    let Some(own_place) = place(module) else {
        return tell(1, "not in the list of modules in src/lib.rs".to_owned());
    };
    // `super`, repeated by the depth of the file, is the crate. Tests are one module deeper and use it for their file only.
    let depth = path.split('/').count() - usize::from(path.ends_with("/mod.rs"));
    let by_crate = heads(all, "crate::");
    let by_super = heads(code, &"super::".repeat(depth));
    for (line, name) in by_crate.into_iter().chain(by_super) {
        match place(&name) {
            None if name == "super" => tell(line, "leaves the crate".to_owned()),
            // A macro or constant of the crate root would have no place; there are none.
            None => tell(line, format!("crate::{name} is not in the list of modules in src/lib.rs")),
            Some(_) if (module, name.as_str()) == ("admin", "listener") => {
                tell(line, "admin and listener never import one another".to_owned());
            }
            // No module imports `cli`, since it is the last one.
            Some(other) if other > own_place => tell(line, format!("{module} imports {name}, which comes later")),
            Some(_) => {}
        }
    }
}

fn check_tools(path: &str, code: &str, tell: &mut impl FnMut(usize, String)) {
    let is_in = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
    for (name, places) in CONFINED.iter().filter(|(_, places)| !is_in(places)) {
        let uses = words(code, name);
        for (line, _) in uses.filter(|(_, rest)| rest.starts_with("::") || rest.starts_with(';')) {
            tell(line, format!("{name} may only be used in {}", places.join(", ")));
        }
    }
    if is_in(&PURE) {
        let std = heads(code, "std::").into_iter().filter(|(_, name)| IMPURE_STD.contains(&name.as_str()));
        let named = IMPURE.iter().flat_map(|name| words(code, name).map(|(line, _)| (line, (*name).to_owned())));
        for (line, name) in std.chain(named) {
            tell(line, format!("uses {name}: this code must have no I/O and no clock"));
        }
    }
}

/// Each whole-word occurrence of `word`: the line, and the text after it.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let is_letter = |char: char| char.is_alphanumeric() || char == '_';
    code.match_indices(word).filter_map(move |(at, _)| {
        let (before, rest) = (&code[..at], &code[at + word.len()..]);
        let whole = !before.ends_with(is_letter) && (word.ends_with(':') || !rest.starts_with(is_letter));
        whole.then(|| (before.matches('\n').count() + 1, rest))
    })
}

/// The names that follow `prefix`, also those in braces: `crate::a::b` gives `a`, `crate::{a::b, c}` gives `a` and `c`.
fn heads(code: &str, prefix: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, rest) in words(code, prefix) {
        let Some(group) = rest.strip_prefix('{') else {
            found.push((line, first_name(rest)));
            continue;
        };
        let mut depth = 1;
        let mut start = 0;
        for (at, char) in group.char_indices() {
            depth += i32::from(char == '{') - i32::from(char == '}');
            if (char == ',' && depth == 1) || depth == 0 {
                found.push((line, first_name(group[start..at].trim())));
                start = at + 1;
            }
            if depth == 0 {
                break;
            }
        }
    }
    found.retain(|(_, name)| !name.is_empty());
    found
}

fn first_name(text: &str) -> String {
    text.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect()
}

/// The code with every item under `#[cfg(test)]` blanked.
fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        let (before, item) = rest.split_at(at);
        out.push_str(before);
        let mut depth = 0;
        let end = item.char_indices().find_map(|(at, char)| {
            depth += i32::from(char == '{') - i32::from(char == '}');
            (depth == 0 && matches!(char, '}' | ';')).then_some(at + 1)
        });
        let (item, after) = item.split_at(end.unwrap_or(item.len()));
        out.extend(item.chars().filter(|char| *char == '\n'));
        rest = after;
    }
    out + rest
}

/// The text with comments and literals blanked; lines stay where they are.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(char) = rest.chars().next() {
        let length = blank_length(&out, rest);
        let (head, tail) = rest.split_at(length.unwrap_or(char.len_utf8()));
        match length {
            None => out.push_str(head),
            Some(_) => out.extend(head.chars().map(|char| if char == '\n' { '\n' } else { ' ' })),
        }
        rest = tail;
    }
    out
}

/// The length of the comment or literal at the beginning of `rest`, if there is one.
fn blank_length(before: &str, rest: &str) -> Option<usize> {
    let up_to = |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(up_to("*/", 2));
    }
    let in_word = before.ends_with(|char: char| char.is_alphanumeric() && char != 'b' || char == '_');
    if let Some(raw) = rest.strip_prefix('r').filter(|_| !in_word) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            return Some(up_to(&format!("\"{}", "#".repeat(hashes)), hashes + 2));
        }
    }
    if rest.starts_with('"') {
        return Some(quoted_length(rest, '"'));
    }
    // A character, not a lifetime: escaped, or followed by a closing quote.
    let is_char = rest.starts_with('\'') && (rest[1..].starts_with('\\') || rest.chars().nth(2) == Some('\''));
    is_char.then(|| quoted_length(rest, '\''))
}

fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, char) in text.char_indices().skip(1) {
        if char == quote && !escaped {
            return at + 1;
        }
        escaped = char == '\\' && !escaped;
    }
    text.len()
}
