//! tokengate: a reverse-proxy authentication gateway.
//!
//! It terminates TLS, checks `Authorization: Token <key>` as Django REST Framework does, refuses all other requests,
//! and forwards authenticated requests to upstreams with headers that identify the caller.
//!
//! # Modules
//!
//! The modules have one fixed order. A module imports only from modules that come *earlier* in this list
//! (`tests/modules.rs` enforces that):
//!
//! | layer | modules |
//! |---|---|
//! | base, independent of tokens | [`units`], [`clock`], [`limits`], [`secret_file`], [`tls`], [`https`], [`telemetry`] |
//! | common types and settings | [`token`], [`identity`], [`config`] |
//! | certificates from a CA | [`acme`] |
//! | users and tokens | [`store`], [`cache`] |
//! | decisions, without sockets | [`route`], [`auth`], [`rates`] |
//! | logins | [`login`] |
//! | connections of clients, without sockets | [`client`] |
//! | HTTP/1.1, and connections to endpoints | [`http1`], [`upstream`] |
//! | requests | [`gateway`]: start reading at `gateway/decision.rs` |
//! | sockets of clients | [`listener`], [`admin`] |
//! | process and commands | [`app`], [`demo`], [`cli`] |
//!
//! The process has two halves. *Workers* serve requests: one single-threaded runtime per core, with almost no shared
//! state. *Control* is one small runtime for everything that waits or writes. See `docs/ARCHITECTURE.md`.

pub mod units;
pub mod clock;
pub mod limits;
pub mod secret_file;
pub mod tls;
pub mod https;
pub mod telemetry;

pub mod token;
pub mod identity;
pub mod config;

pub mod acme;

pub mod store;
pub mod cache;

pub mod route;
pub mod auth;
pub mod rates;
pub mod login;
pub mod client;

pub mod http1;
pub mod upstream;

pub mod gateway;

pub mod listener;
pub mod admin;

pub mod app;
pub mod demo;
pub mod cli;
