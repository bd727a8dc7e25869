//! `gateway.toml`: what may be written ([`raw`]), what it means ([`settings`]), and everything that is wrong with it at
//! once ([`Problem`]).
//!
//! Data goes one way: file → raw → check → [`Settings`]. Nobody outside this module reads configuration text.

pub mod certificate;
pub mod settings;

pub use settings::Settings;
