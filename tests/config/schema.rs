//! The schema of the file, for editors: it accepts what the reader accepts, and refuses what it can of the rest.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;
use tokengate::config;

use super::Folder;
use super::refused::BASE;
use crate::support::python::{CLIENTS, output};

static SCHEMA: LazyLock<Value> = LazyLock::new(config::schema);

/// What the schema finds wrong with a file.
pub(super) fn complaints(text: &str) -> Vec<String> {
    let table: toml::Table = text.parse().unwrap();
    let mut found = Vec::new();
    check(&SCHEMA, &serde_json::to_value(table).unwrap(), "", &mut found);
    found
}

/// The keywords that the schema uses; any other is an error.
fn check(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let fails = |schema: &Value| {
        let mut found = Vec::new();
        check(schema, value, path, &mut found);
        !found.is_empty()
    };
    for (keyword, rule) in schema.as_object().unwrap() {
        let fine = match keyword.as_str() {
            "$schema" | "title" | "description" | "default" => true,
            "type" => match rule.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64(),
                other => panic!("type {other}"),
            },
            "enum" => rule.as_array().unwrap().contains(value),
            "pattern" => value.as_str().is_none_or(|text| Regex::new(rule.as_str().unwrap()).unwrap().is_match(text)),
            "minimum" => value.as_i64().is_none_or(|number| number >= rule.as_i64().unwrap()),
            "maximum" => value.as_i64().is_none_or(|number| number <= rule.as_i64().unwrap()),
            "minItems" => value.as_array().is_none_or(|list| !list.is_empty()),
            "uniqueItems" => value
                .as_array()
                .is_none_or(|list| list.iter().enumerate().all(|(index, member)| !list[..index].contains(member))),
            "anyOf" => rule.as_array().unwrap().iter().any(|schema| !fails(schema)),
            "oneOf" => rule.as_array().unwrap().iter().filter(|schema| !fails(schema)).count() == 1,
            "required" => value.as_object().is_none_or(|table| {
                rule.as_array().unwrap().iter().all(|key| table.contains_key(key.as_str().unwrap()))
            }),
            "items" => {
                for member in value.as_array().into_iter().flatten() {
                    check(rule, member, path, found);
                }
                true
            }
            "properties" => {
                for (name, schema) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        check(schema, value, &format!("{path}.{name}"), found);
                    }
                }
                true
            }
            "additionalProperties" => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    if schema.get("properties").is_some_and(|known| known.get(name).is_some()) {
                        continue;
                    }
                    match rule {
                        Value::Bool(false) => found.push(format!("{path}.{name}: unknown")),
                        rule => check(rule, value, &format!("{path}.{name}"), found),
                    }
                }
                true
            }
            other => panic!("the schema uses {other}"),
        };
        if !fine {
            found.push(format!("{path}: {keyword}"));
        }
    }
}

/// Fragments that the reader and the schema refuse.
const MISTAKES: [&str; 34] = [
    "workres = 2",
    "workers = \"two\"",
    "workers = 0",
    "workers = true",
    "version = 2",
    "include = []",
    "include = [\"a\", \"a\"]",
    "[log]\nlevel = \"loud\"",
    "[log]\naccess = \"yes\"",
    "[limits]\nheader_bytes = 65536",
    "[limits]\nheader_bytes = \"64KB\"",
    "[limits]\nheader_count = 101",
    "[limits]\nh2_streams = 1.5",
    "[limits]\nwrong_keys = \"5/week\"",
    "[limits]\nwrong_keys = \"off\"",
    "[limits]\nhandshake_timeout = \"10\"",
    "[shutdown]\ngrace = \"1s1h\"",
    "[shutdown]\ndelay = \"never\"",
    "[defaults]\nlimits = { body_rate = \"50B\" }",
    "[defaults]\ntimeouts = { total = \"none\" }",
    "[defaults.timeout]\nidle = \"1s\"",
    "[tokens]\nschemes = \"Token\"",
    "[tokens]\nformat = \"jwt\"",
    "[store]\non_outage = \"pass\"",
    "[store.django]\nmode = \"write\"",
    "[cache.redis]\nttl = 5",
    "[admin]\naddress = \"127.0.0.1:8444\"",
    "[login.browser]\nsession_ttl = \"14 days\"",
    "[upstreams.a]\nretries = 1",
    "[routes.a]\nupstream = \"base\"",
    "[routes.a]\nupstream = \"base\"\npath = \"/a\"\npath_prefix = \"/a\"",
    "[routes.a]\nupstream = \"base\"\npath = \"/a\"\nauth = \"maybe\"",
    "[listeners.a]\naddress = \"127.0.0.1:0\"",
    "[[tests]]\nname = \"a\"\nexpect = { status = 1000 }",
];

#[test]
fn the_schema_refuses_mistakes_that_the_reader_refuses() {
    let folder = Folder::new();
    for mistake in MISTAKES {
        let text = format!("{mistake}\n{BASE}");
        assert_ne!(complaints(&text), [""; 0], "the schema accepts {mistake}");
        assert_ne!(folder.errors(&text), [""; 0], "the reader accepts {mistake}");
    }
}

#[test]
fn the_schema_describes_every_key_with_the_words_of_the_page() {
    let limits = &SCHEMA["properties"]["limits"]["properties"];
    assert_eq!(limits["header_count"]["default"], 100);
    let route = &SCHEMA["properties"]["routes"]["additionalProperties"]["properties"];
    let said = |value: &Value| value["description"].as_str().unwrap().to_owned();
    assert_eq!(said(&route["upstream"]), "a name of `[upstreams]`.");
    assert!(said(&route["request_body"]).contains("see `[spool]`. Default: `\"stream\"`."), "{route}");
    assert!(said(&route["timeouts"]["properties"]["total"]).starts_with("the whole exchange"));
    let mut missing = Vec::new();
    each_key(&SCHEMA, "", &mut |path, schema| {
        if schema["type"] != "object" && schema["type"] != "array" && schema.get("description").is_none() {
            missing.push(path.to_owned());
        }
    });
    assert_eq!(missing, [""; 0]);
}

fn each_key(schema: &Value, path: &str, seen: &mut impl FnMut(&str, &Value)) {
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        seen(&path, inner);
        each_key(inner, &path, seen);
        each_key(&inner["additionalProperties"], &path, seen);
        each_key(&inner["items"], &path, seen);
    }
}

#[tokio::test]
async fn a_validator_of_others_says_the_same() {
    let folder = Folder::new();
    folder.write("schema.json", &SCHEMA.to_string(), 0o644);
    let example = super::repository_file("gateway.toml");
    let valid = [example.as_str(), &super::without_marks(&example, false), BASE];
    let as_json = |text: &str| serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap();
    let valid: Vec<Value> = valid.into_iter().map(as_json).collect();
    let mistakes: Vec<Value> = MISTAKES.iter().map(|text| as_json(&format!("{text}\n{BASE}"))).collect();
    folder.write("files.json", &Value::from(vec![valid, mistakes]).to_string(), 0o644);
    let program = r#"
import json, sys
from jsonschema import Draft7Validator
schema = json.load(open(sys.argv[1] + "/schema.json"))
Draft7Validator.check_schema(schema)
validator = Draft7Validator(schema)
valid, mistakes = json.load(open(sys.argv[1] + "/files.json"))
for one in valid:
    for error in validator.iter_errors(one):
        print("refused:", error.json_path, error.message)
for number, one in enumerate(mistakes):
    if validator.is_valid(one):
        print("accepted:", number)
"#;
    let mut command = CLIENTS.command().await;
    command.args(["-c", program]).arg(folder.0.path());
    let ended = output(command).await;
    let said = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    assert_eq!((said(ended.stdout), said(ended.stderr)), (String::new(), String::new()));
}
