//! Tests that cross a socket or a process, in one binary so that they link once.

// Marked as tests for clippy: a panic in their helpers is a failed test.
#[cfg(test)]
mod auth;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod config;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod demo_products;
#[cfg(test)]
mod floors;
#[cfg(test)]
mod internal;
#[cfg(test)]
mod serve;
#[cfg(test)]
mod stores;
#[cfg(test)]
mod support;
#[cfg(test)]
mod targets;
#[cfg(test)]
mod wire;
