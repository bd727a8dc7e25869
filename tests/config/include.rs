//! `include`: a configuration in several files.

use std::path::PathBuf;

use super::*;

const UPSTREAM: &str = "[upstreams.a]\nendpoints = [\"http://127.0.0.1:8000\"]\n";
const LISTENER: &str = "[listeners.plain]\naddress = \"127.0.0.1:8080\"\nplaintext = \"serve\"\n";

fn route(name: &str) -> String {
    format!("# A route.\n\n[routes.{name}]\npath_prefix = \"/{name}/\"\nupstream = \"a\"\n")
}

#[test]
fn tables_of_included_files_are_those_of_one_configuration() {
    let folder = Folder::new();
    folder.write("conf.d/10-b.toml", &route("b"), 0o644);
    folder.write("conf.d/20-c.toml", &route("c"), 0o644);
    folder.write("conf.d/20-c.toml~", "nonsense", 0o644);
    folder.write("conf.d/.hidden.toml", "nonsense", 0o644);
    folder.write("conf.d/comments.toml", "# Nothing yet.", 0o644);
    folder.write("more/upstreams.toml", UPSTREAM, 0o644);
    folder.write("empty/README", "", 0o644);
    let include = "include = [\"conf.d/*.toml\", \"more/upstreams.toml\", \"empty/*.toml\"]\n";
    let settings = folder.settings(&format!("{include}{LISTENER}"));
    let names: Vec<_> = settings.routes.iter().map(|route| &*route.name).collect();
    assert_eq!(names, ["b", "c"]);
    let at = |name: &str| folder.path(name);
    let files: Vec<PathBuf> = [
        "gateway.toml",
        "conf.d/10-b.toml",
        "conf.d/20-c.toml",
        "conf.d/comments.toml",
        "more/upstreams.toml",
        "conf.d",
        "empty",
    ]
    .map(at)
    .into();
    assert_eq!(settings.files, files);
    // The command finds the socket wherever it is named.
    folder.write("more/upstreams.toml", &format!("{UPSTREAM}[control]\nsocket = \"here.sock\"\n"), 0o644);
    assert_eq!(config::control_socket(&at("gateway.toml")).unwrap(), Some(at("here.sock")));
}

#[test]
fn a_problem_names_the_file_and_line_that_it_is_in() {
    for (text, errors) in [
        (
            "[routes.b]\nupstraem = \"a\"\n",
            vec![
                "conf.d/b.toml:1: routes.b: this route has no path",
                "conf.d/b.toml:2: routes.b.upstraem: unknown key; did you mean `upstream`?",
            ],
        ),
        ("\n[upstreams.a]\n", vec!["conf.d/b.toml:2: `a` is defined twice; remove one"]),
        (
            "\n[listeners.plain]\naddress = \"127.0.0.1:1\"\n",
            vec![
                "conf.d/b.toml:2: `plain` is defined twice; remove one",
                "conf.d/b.toml:3: `address` is defined twice; remove one",
            ],
        ),
        (
            "# x\nworkers = 3\n",
            vec![
                "conf.d/b.toml:2: begins with a key; an included file has only tables; write it below a table, such as \
             [routes.NAME]",
            ],
        ),
        ("[routes.b]\npath = \"/b\n", vec!["conf.d/b.toml:2: syntax error: invalid basic string"]),
        ("[routes.b]\ninclude = [\"x\"]\n", vec!["conf.d/b.toml:2: routes.b.include: unknown key"]),
    ] {
        let folder = Folder::new();
        folder.write("conf.d/b.toml", text, 0o644);
        let found = folder.errors(&format!("include = [\"conf.d/*.toml\"]\n{LISTENER}{UPSTREAM}"));
        for error in errors {
            assert!(found.iter().any(|found| found.starts_with(error)), "{error}: {found:#?}");
        }
    }
}

#[test]
fn what_cannot_be_included_is_an_error() {
    let folder = Folder::new();
    for (include, error) in [
        ("[\"none/*.toml\"]", "gateway.toml: include: `none/*.toml` cannot be searched"),
        ("[\"*/a.toml\"]", "gateway.toml: include: `*/a.toml` has a `*` in the name of a folder"),
        ("[\"certs\"]", "certs: cannot be read: it is not a regular file"),
        ("[\"missing.toml\"]", "missing.toml: cannot be read"),
        ("\"conf.d\"", "gateway.toml:1: include: must not be a text"),
        ("[7]", "gateway.toml:1: include"),
    ] {
        let found = folder.errors(&format!("include = {include}\n{LISTENER}{UPSTREAM}"));
        assert!(found.iter().any(|found| found.starts_with(error)), "{error}: {found:#?}");
    }
}
