//! tokengate: a reverse-proxy authentication gateway.
//!
//! It terminates TLS, checks `Authorization: Token <key>` as Django REST Framework does, refuses the rest, and forwards
//! authenticated requests to upstreams with fields that say who is calling.
//!
//! # Map
//!
//! The modules stand in one fixed order, ground first. A module imports only from modules *above* it in this list
//! (`tests/modules.rs` enforces that), so the way of a request reads downwards:
//!
//! | floor | modules |
//! |---|---|
//! | ground: know nothing of tokens | [`units`], [`clock`], [`telemetry`], [`limits`], [`secret_file`], [`tls`] |
//! | vocabulary: words everybody uses | [`token`], [`identity`], [`config`] |
//! | knowledge: what we can find out | [`store`], [`cache`] |
//! | decision: rules, no sockets | [`route`], [`auth`] |
//! | transport | [`http1`], [`upstream`] |
//! | the request | [`gateway`]: start reading at `gateway/answer.rs` |
//! | doors | [`listener`], [`admin`] |
//! | the house | [`app`], [`demo`], [`cli`] |
//!
//! Two halves run side by side: *workers* (one single-threaded runtime per core; they serve requests and share almost
//! nothing) and *control* (one small runtime for everything that waits or writes). See `docs/ARCHITECTURE.md`.

pub mod units;
pub mod clock;
pub mod limits;
pub mod secret_file;
pub mod tls;
pub mod telemetry;

pub mod token;
pub mod identity;
pub mod config;

pub mod store;
pub mod cache;

pub mod route;
pub mod auth;

pub mod http1;
pub mod upstream;

pub mod gateway;

pub mod listener;
pub mod admin;

pub mod app;
pub mod demo;
pub mod cli;
