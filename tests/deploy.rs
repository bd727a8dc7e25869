//! The files in `deploy/` agree with the program: metrics that rules and dashboard name, options of the commands, keys.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The metrics that a text names.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words.filter(|word| word.starts_with("tokengate_")).map(str::to_owned).collect()
}

#[test]
fn rules_and_dashboard_name_only_metrics_that_the_gateway_has() {
    let known = metrics(&read("src/telemetry/export.golden"));
    for file in ["deploy/prometheus/tokengate.rules.yaml", "deploy/grafana/tokengate.json"] {
        let unknown: Vec<_> = metrics(&read(file)).difference(&known).cloned().collect();
        assert_eq!(unknown, [""; 0], "{file}");
    }
}

#[test]
fn configurations_of_packages_have_only_known_keys() {
    let folders = ["debian", "compose", "kubernetes", "forward-auth", "haproxy", "portals"];
    for file in folders.map(|folder| format!("deploy/{folder}/gateway.toml")) {
        let complaints = crate::config::schema::complaints(&read(&file));
        assert_eq!(complaints, [""; 0], "{file}");
    }
}

#[test]
fn every_test_that_the_security_model_names_exists() {
    let mut sources = String::new();
    for folder in ["src", "tests"] {
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ending| ending == "rs") {
                    sources += &fs::read_to_string(path).unwrap();
                }
            }
        }
    }
    let model = read("docs/SECURITY_MODEL.md");
    let named: Vec<&str> = model.split('`').filter(|word| word.matches('_').count() > 3).collect();
    assert!(named.len() > 20, "{named:?}");
    let missing: Vec<_> = named.iter().filter(|name| !sources.contains(&format!("fn {name}("))).collect();
    assert_eq!(missing, [&""; 0]);
}
