//! tokengate: a reverse-proxy authentication gateway.
//!
//! It terminates TLS, checks `Authorization: Token <key>` as Django REST Framework does, refuses the rest, and forwards
//! authenticated requests to upstreams with fields that say who is calling.
//!
//! # Map
//!
//! The modules stand in one fixed order, ground first. A module imports only from modules *above* it in this list
//! (`tests/floors.rs` enforces that), so the way of a request reads downwards:
//!
//! | floor | modules |
//! |---|---|
//! | ground: know nothing of tokens | [`units`], [`clock`], [`telemetry`] |
//! | vocabulary: words everybody uses | [`token`], [`identity`], [`config`] |
//! | knowledge: what we can find out | [`store`], [`cache`] |
//! | decision: rules, no sockets | [`route`], [`auth`] |
//! | transport | [`upstream`] |
//! | the request | [`gateway`]: start reading at `gateway/answer.rs` |
//! | doors | [`listener`], [`admin`] |
//! | the house | [`app`], [`demo`], [`cli`] |
//!
//! Two halves run side by side: *workers* (one single-threaded runtime per core; they serve requests and share almost
//! nothing) and *control* (one small runtime for everything that waits or writes). See `docs/ARCHITECTURE.md`.

macro_rules! floors { ($($(#[$doc:meta])* $name:ident)+) => { $($(#[$doc])* pub mod $name;)+ } }

// A macro, since rustfmt would sort a plain list of `mod` lines, and their order is the point.
floors! {
    units clock telemetry
    token identity config
    store cache
    route auth
    upstream
    gateway
    listener admin
    app demo cli
}
