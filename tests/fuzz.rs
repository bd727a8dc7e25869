//! Runs every fuzz target on its seeds: inputs of other tests, and past findings.

use std::path::Path;
use std::{fs, panic};

#[path = "../fuzz/src/lib.rs"]
pub mod targets;

#[test]
fn every_seed_passes() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut failed = Vec::new();
    for (name, run) in targets::TARGETS {
        let seeds: Vec<_> =
            fs::read_dir(fuzz.join("seeds").join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in seeds {
            let bytes = fs::read(&seed).unwrap();
            if panic::catch_unwind(|| run(&bytes)).is_err() {
                failed.push(seed);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_fuzz_target_has_its_program() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let programs: Vec<_> =
        manifest.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).skip(1).collect();
    assert_eq!(programs, targets::TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for program in programs {
        assert!(fuzz.join(format!("src/bin/{program}.rs")).is_file(), "{program}");
    }
}
