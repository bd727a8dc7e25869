//! Doors for those who run the gateway: health and metrics ([`internal_router`]), and the admin application.
//!
//! All of it runs in the control half and never sees a request that is meant for an upstream.
//!
//! A request to the application comes in by the [`door`] (TLS, HTTP/1.1), passes the [`guard`] (is it for us, from our own
//! pages), is somebody's by a sign-in ([`session`], read by [`visit`]), and ends in one of the [`pages`].

pub mod door;
mod fields;
mod guard;
mod internal;
mod pages;
mod session;
mod visit;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;

use crate::auth::IssuerHandle;
use crate::clock::Clock;
use crate::config::settings;
use crate::store::{Directory, Store};
pub use internal::{AskHealth, Health, WriteMetrics, internal_router, serve};
use session::SignIns;

/// Longest request body in bytes.
const LONGEST_BODY: usize = 64 << 10;

/// What the application works with.
pub struct Application {
    settings: settings::Admin,
    tokens: settings::Tokens,
    clock: Clock,
    store: Store,
    /// Compares passwords, with a throttle of its own.
    issuer: IssuerHandle,
    sign_ins: SignIns,
}

impl Application {
    /// Nobody is signed in.
    pub fn new(
        settings: settings::Admin,
        tokens: settings::Tokens,
        clock: Clock,
        store: Store,
        issuer: IssuerHandle,
    ) -> Application {
        let sign_ins = SignIns::new(settings.session_ttl);
        Application { settings, tokens, clock, store, issuer, sign_ins }
    }

    fn directory(&self) -> Result<&dyn Directory, Response> {
        // A store without one has no admin application: the configuration sees to that.
        self.store.directory.as_deref().ok_or_else(pages::no_directory)
    }

    /// Everything that it answers.
    pub fn router(self) -> Router {
        let app = Arc::new(self);
        let pages = pages::routes().layer(from_fn(guard::own_pages_only)).with_state(Arc::clone(&app));
        pages
            .fallback(pages::not_found)
            .method_not_allowed_fallback(pages::not_allowed)
            .layer(DefaultBodyLimit::max(LONGEST_BODY))
            .layer(from_fn_with_state(app, guard::every_request))
    }
}
