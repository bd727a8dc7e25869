//! Static assets of the pages: a style sheet, a script, an icon. They are part of the binary.
//!
//! The paths of style sheet and script contain a digest of the content, so browsers may cache them indefinitely.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use base64ct::{Base64UrlUnpadded, Encoding};

const STYLE: &str = include_str!("assets/style.css");
const SCRIPT: &str = include_str!("assets/script.js");
const ICON_SVG: &str = include_str!("assets/icon.svg");

/// The path of the icon.
pub(super) const ICON: &str = "/assets/icon.svg";

static STYLE_PATH: LazyLock<String> = LazyLock::new(|| path("style", STYLE, "css"));
static SCRIPT_PATH: LazyLock<String> = LazyLock::new(|| path("script", SCRIPT, "js"));

const IMMUTABLE: (HeaderName, &str) = (header::CACHE_CONTROL, "public, max-age=31536000, immutable");

/// The path of the style sheet.
pub(super) fn style() -> &'static str {
    &STYLE_PATH
}

/// The path of the script.
pub(super) fn script() -> &'static str {
    &SCRIPT_PATH
}

fn path(name: &str, text: &str, ending: &str) -> String {
    let digest = Base64UrlUnpadded::encode_string(digest(&SHA256, text.as_bytes()).as_ref());
    format!("/assets/{name}-{}.{ending}", digest.get(..16).unwrap_or(&digest))
}

pub(super) async fn answer_style() -> Response {
    ([IMMUTABLE, (header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response()
}

pub(super) async fn answer_script() -> Response {
    ([IMMUTABLE, (header::CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT).into_response()
}

pub(super) async fn answer_icon() -> Response {
    ([(header::CONTENT_TYPE, "image/svg+xml")], ICON_SVG).into_response()
}
