//! The cost of the single steps of a request: how many instructions each takes, how often and how much it allocates.
//!
//! cargo bench --bench hot                      # counts, beside those in benches/hot.txt
//! cargo bench --bench hot -- --record          # writes them there
//! cargo bench --bench hot -- --time            # wall time, by criterion
//! cargo bench --bench hot -- [--time] FILTER   # the steps whose name contains FILTER
//!
//! valgrind counts (Debian: valgrind). Counts are the same in each run, whatever else the machine does, but another
//! compiler or another version of a dependency changes them. The processor that valgrind presents has no SHA
//! instructions, so a digest costs more here than it does. Memory comes from the allocator of the C library, which takes
//! a few more instructions than the allocator of the program.
//!
//! `bench/compare` measures whole requests.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong ends the bench: there is no measurement then"
)]

#[path = "hot/count.rs"]
mod count;
#[path = "hot/refused.rs"]
mod refused;
#[path = "hot/steps.rs"]
mod steps;

use std::hint::black_box;

use criterion::{BatchSize, Criterion};

/// What is done with the steps: they are named, counted or timed.
trait Meter {
    /// One step. `build` makes what all runs share, `input` what one run changes, and `step` is what is measured. `build`
    /// is called only for a step that is chosen.
    fn step<S, I, O>(
        &mut self,
        name: &str,
        build: impl FnOnce() -> S,
        input: impl FnMut(&S) -> I,
        step: impl FnMut(&S, &mut I) -> O,
    );
}

/// Wall time.
struct Timed(Criterion);

impl Meter for Timed {
    fn step<S, I, O>(
        &mut self,
        name: &str,
        build: impl FnOnce() -> S,
        mut input: impl FnMut(&S) -> I,
        mut step: impl FnMut(&S, &mut I) -> O,
    ) {
        let mut build = Some(build);
        self.0.bench_function(name, |bench| {
            // Criterion calls this only for steps that the filter chooses.
            let shared = build.take().expect("criterion calls it once")();
            // Few enough to stay in the CPU cache, like a request that has just arrived.
            bench.iter_batched_ref(|| input(&shared), |input| step(&shared, input), BatchSize::NumIterations(32));
        });
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let Some(one) = count::Repeated::of(&arguments) {
        return steps::all(&mut black_box(one));
    }
    if arguments.iter().any(|argument| argument == "--time") {
        let filter = arguments.iter().find(|argument| !argument.starts_with("--"));
        let criterion = filter.into_iter().fold(Criterion::default(), Criterion::with_filter);
        let mut timed = Timed(criterion);
        steps::all(&mut timed);
        return timed.0.final_summary();
    }
    count::report(&arguments);
}
