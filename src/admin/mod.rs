//! Interfaces for operators: health and metrics ([`internal_router`]), and the admin application.
//!
//! Runs in the control half. Never handles requests meant for an upstream.
//!
//! The [`server`] (TLS, HTTP/1.1) accepts a request, and [`record`] gives it an id and an access log line. It passes
//! the [`guard`] (host, origin) and is authenticated by a sign-in ([`session`], read by [`visit`]). One of the
//! [`pages`] handles it: it runs operations of the [`operations`] and shows data of the [`monitor`]. The [`api`] runs
//! the same operations, for programs.

pub mod api;
pub mod operations;
pub mod server;
mod again;
mod assets;
pub(crate) mod export;
mod fields;
mod guard;
mod internal;
pub mod monitor;
mod pages;
mod record;
mod reply;
mod session;
mod text;
mod visit;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};

use crate::config::settings;
use api::Api;
use guard::Guard;
pub use internal::{AskHealth, Health, WriteMetrics, internal_router, serve};
use monitor::Monitor;
use operations::Operations;
pub use record::Records;
use session::SignIns;

/// Maximum size of a request body in bytes.
const MAX_BODY: usize = 64 << 10;

/// Shared state of the application.
pub struct Application {
    settings: settings::Admin,
    tokens: settings::Tokens,
    operations: Operations,
    sign_ins: SignIns,
    monitor: Arc<Monitor>,
    /// URL behind the gateway, to try a token with.
    example: String,
}

impl Application {
    /// Creates the application without sign-ins. `example` is a URL behind the gateway, to try a token with.
    pub fn new(
        settings: settings::Admin,
        tokens: settings::Tokens,
        operations: Operations,
        monitor: Arc<Monitor>,
        example: String,
    ) -> Application {
        let sign_ins = SignIns::new(settings.session_ttl);
        Application { settings, tokens, operations, sign_ins, monitor, example }
    }

    /// Builds the router of the pages and the API.
    pub fn router(self, api: Api, records: Records) -> Router {
        let settings = Arc::new(self.settings.clone());
        let guard = Guard {
            settings: Arc::clone(&settings),
            not_found: reply::not_found,
            forbidden: reply::forbidden,
            too_slow: reply::too_slow,
        };
        let of_api =
            Guard { settings, not_found: api::no_such_path, forbidden: api::forbidden, too_slow: api::too_slow };
        let app = Arc::new(self);
        let pages = pages::routes()
            .fallback(async || reply::not_found())
            .method_not_allowed_fallback(reply::not_allowed)
            .layer(from_fn(guard::own_pages_only))
            .layer(from_fn_with_state(Arc::clone(&app), pages::framed))
            .with_state(app);
        let api = api.router(|router| router.layer(from_fn_with_state(of_api, guard::every_request)));
        pages
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .layer(from_fn_with_state(guard, guard::every_request))
            .nest(api::PREFIX, api)
            .layer(from_fn_with_state(Arc::new(records), record::record))
    }
}
