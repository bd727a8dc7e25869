//! Tests that cross a socket or a process, in one binary so that they link once.

mod cli;
mod demo_products;
mod internal;
