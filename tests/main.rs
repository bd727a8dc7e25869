//! Tests that cross a socket or a process, in one binary so that they link once.

// Marked as tests for clippy: a panic in their helpers is a failed test.
#[cfg(test)]
mod access_log;
#[cfg(test)]
mod acme;
#[cfg(test)]
mod admin;
#[cfg(test)]
mod answers;
#[cfg(test)]
mod api;
#[cfg(test)]
mod auth;
#[cfg(test)]
mod backup;
#[cfg(test)]
mod bodies;
#[cfg(test)]
mod browser;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod client_certificates;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod config;
#[cfg(test)]
mod crowd;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod demo_products;
#[cfg(test)]
mod deploy;
#[cfg(test)]
mod django;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fields;
#[cfg(test)]
mod forward_auth;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod init;
#[cfg(test)]
mod internal;
#[cfg(test)]
mod key_rotation;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod leaks;
#[cfg(test)]
mod listener;
#[cfg(test)]
mod login;
#[cfg(test)]
mod modules;
#[cfg(test)]
mod names;
#[cfg(test)]
mod origins;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod pool;
#[cfg(test)]
mod portals;
#[cfg(test)]
mod race;
#[cfg(test)]
mod quotas;
#[cfg(test)]
mod rates;
#[cfg(test)]
mod reload;
mod requests;
#[cfg(test)]
mod retry;
#[cfg(test)]
mod revocation;
#[cfg(test)]
mod serve;
#[cfg(test)]
mod shared_cache;
#[cfg(test)]
mod slow;
#[cfg(test)]
mod spool;
#[cfg(test)]
mod stores;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod support;
#[cfg(test)]
mod targets;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod told;
#[cfg(test)]
mod traces;
#[cfg(test)]
mod unread;
#[cfg(test)]
mod upgrade;
#[cfg(test)]
mod upstreams;
#[cfg(test)]
mod uses;
#[cfg(test)]
mod wire;
#[cfg(test)]
mod words;
