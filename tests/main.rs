//! Tests that cross a socket or a process, in one binary so that they link once.

// Marked as tests for clippy: a panic in their helpers is a failed test.
#[cfg(test)]
mod config;
