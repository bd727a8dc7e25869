//! The `tokengate` command: hands the arguments to the library and its exit code to the shell.

/// Measured against the C library's: docs/PERFORMANCE.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    tokengate::cli::run()
}
