//! Counts instructions and allocations of a step, by valgrind.
//!
//! The bench runs itself under valgrind twice for each step: once with the input and the step, once with the input
//! alone. The difference, divided by the number of runs, is the step. Both run the step once beforehand, so that what is
//! made at the first use does not count. Instructions count within [`measured`] only: what is before it takes random keys
//! of hash tables, and so differs from process to process.

use std::collections::HashMap;
use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use super::{Meter, steps};

/// The first argument of a process under valgrind.
const REPEATED: &str = "--repeated";

/// Runs of a step in one process.
const RUNS: u64 = 1_000;

/// A change of instructions that is marked, in percent.
const NOTABLE: f64 = 2.0;

/// Repeats one step, for valgrind.
pub struct Repeated {
    name: String,
    with_step: bool,
}

/// What one run of a step costs.
struct Cost {
    instructions: u64,
    allocations: u64,
    bytes: u64,
}

impl Repeated {
    /// The step that the arguments name, if this process is one under valgrind.
    pub fn of(arguments: &[String]) -> Option<Repeated> {
        match arguments {
            [first, name, what] if first == REPEATED => {
                Some(Repeated { name: name.clone(), with_step: what == "step" })
            }
            _ => None,
        }
    }
}

impl Meter for Repeated {
    fn step<S, I, O>(
        &mut self,
        name: &str,
        build: impl FnOnce() -> S,
        mut input: impl FnMut(&S) -> I,
        mut step: impl FnMut(&S, &mut I) -> O,
    ) {
        if name != self.name {
            return;
        }
        let shared = build();
        black_box(step(&shared, &mut input(&shared)));
        measured(&mut || {
            for _ in 0..RUNS {
                let mut input = black_box(input(&shared));
                if self.with_step {
                    black_box(step(black_box(&shared), &mut input));
                }
            }
        });
    }
}

/// Runs what is counted. valgrind knows it by its name, so it must exist exactly once.
#[inline(never)]
fn measured(run: &mut dyn FnMut()) {
    run();
    // Keeps the call above from becoming a jump, whose end valgrind would not see.
    black_box(());
}

/// Collects the names of all steps.
struct Names(Vec<String>);

impl Meter for Names {
    fn step<S, I, O>(
        &mut self,
        name: &str,
        _: impl FnOnce() -> S,
        _: impl FnMut(&S) -> I,
        _: impl FnMut(&S, &mut I) -> O,
    ) {
        self.0.push(name.to_owned());
    }
}

/// Counts the steps that the arguments choose, and prints a table with the change since the recorded one. `--record`
/// records it.
pub fn report(arguments: &[String]) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/hot.txt");
    let recorded = fs::read_to_string(&file).unwrap_or_default();
    let before: HashMap<&str, u64> = recorded.lines().filter_map(row).collect();
    let record = arguments.iter().any(|argument| argument == "--record");
    let filter = arguments.iter().find(|argument| !argument.starts_with("--"));
    assert!(!(record && filter.is_some()), "--record writes the counts of all steps, so it takes no filter");

    let mut names = Names(Vec::new());
    steps::all(&mut names);
    let mut table = format!("{:<44}{:>14}{:>13}{:>9}\n", "step", "instructions", "allocations", "bytes");
    print!("{table}");
    for name in names.0.iter().filter(|name| filter.is_none_or(|filter| name.contains(filter.as_str()))) {
        let Cost { instructions, allocations, bytes } = cost(name);
        let line = format!("{name:<44}{instructions:>14}{allocations:>13}{bytes:>9}");
        println!("{line}{}", before.get(name.as_str()).map_or(String::new(), |before| change(*before, instructions)));
        writeln!(table, "{line}").expect("a text takes all");
    }
    if record {
        fs::write(&file, table).expect("benches/hot.txt can be written");
    }
}

/// The name and the instructions of a recorded step.
fn row(line: &str) -> Option<(&str, u64)> {
    let mut name = line;
    let mut numbers = [0; 3];
    for number in &mut numbers {
        let (rest, last) = name.rsplit_once(' ')?;
        *number = last.parse().ok()?;
        name = rest.trim_end();
    }
    Some((name, numbers[2]))
}

#[expect(clippy::as_conversions, reason = "counts are far below the precision of a float")]
fn change(before: u64, now: u64) -> String {
    let percent = (now as f64 / before as f64 - 1.0) * 100.0;
    let mark = if percent.abs() > NOTABLE { "  <--" } else { "" };
    format!("{percent:+8.1} %{mark}")
}

fn cost(name: &str) -> Cost {
    let callgrind = ["--tool=callgrind", "--toggle-collect=*count::measured*", "--callgrind-out-file=/dev/null"];
    let instructions = |what| number(&valgrind(&callgrind, name, what), "Collected :");
    let memory = |what| {
        // Total: 1,234 bytes in 56 blocks
        let said = valgrind(&["--tool=dhat", "--dhat-out-file=/dev/null"], name, what);
        let total = said.lines().find(|line| line.contains("Total:")).unwrap_or_else(|| panic!("no total:\n{said}"));
        (number(total, " in "), number(total, "Total:"))
    };
    let each = |step: u64, input: u64| (step.saturating_sub(input) + RUNS / 2) / RUNS;
    let (step, input) = (memory("step"), memory("input"));
    Cost {
        instructions: each(instructions("step"), instructions("input")),
        allocations: each(step.0, input.0),
        bytes: each(step.1, input.1),
    }
}

/// Runs this program under valgrind, in an environment that is always the same. Returns what valgrind printed.
fn valgrind(options: &[&str], name: &str, what: &str) -> String {
    let program = env::current_exe().expect("the program has a path");
    let command = Command::new("valgrind")
        .args(options)
        .arg(program)
        .args([REPEATED, name, what])
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .output()
        .expect("valgrind starts; install it (Debian: valgrind), or measure wall time with --time");
    let said = String::from_utf8_lossy(&command.stderr).into_owned();
    assert!(command.status.success(), "`{name}` fails under valgrind:\n{said}");
    said
}

/// The number after the last `label`.
fn number(said: &str, label: &str) -> u64 {
    let (_, after) = said.rsplit_once(label).unwrap_or_else(|| panic!("valgrind prints no `{label}`:\n{said}"));
    let digits = after.trim_start().chars().take_while(|char| char.is_ascii_digit() || *char == ',');
    digits.filter(char::is_ascii_digit).collect::<String>().parse().expect("a number")
}
