//! `[identity]`: the headers that tell an upstream the caller's identity.

use http::HeaderName;

use super::reader::Table;
use super::settings::{ForwardAuthorization, IdentityFields};
use super::value::{Fault, Key};

/// Headers that have another meaning for upstreams or in HTTP, in lower case.
const RESERVED: [&str; 33] = [
    "accept",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "origin",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "referer",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-original-url",
    "x-real-ip",
    "x-request-id",
];

/// Reads `[identity]`, and its key `forward_authorization` for all routes.
pub(super) fn read(root: &Table<'_>) -> (IdentityFields, Option<ForwardAuthorization>) {
    root.table("identity", |table| {
        let forward = table.key("forward_authorization");
        let forwards_all = forward.bool().unwrap_or(false);
        if forwards_all {
            let mend =
                "write `forward_authorization = \"always\"` in the routes of upstreams that check tokens themselves";
            forward.warning("every upstream sees the callers' tokens", mend);
        }
        (table.table("headers", fields), forwards_all.then_some(ForwardAuthorization::Always))
    })
}

fn fields(table: &Table<'_>) -> IdentityFields {
    let default = IdentityFields::default();
    let mut taken: Vec<(Key<'_>, HeaderName)> = Vec::new();
    let mut field = |name: &'static str, default: Option<HeaderName>| {
        let key = table.key(name);
        let written = if key.is_text("") { Some(None) } else { key.parse(field_name).map(Some) };
        let chosen = written.unwrap_or(default)?;
        if let Some((other, _)) = taken.iter().find(|(_, other)| *other == chosen) {
            // At least one of two equal names was written, since the defaults differ.
            let (at, other) = if key.is_set() { (&key, other) } else { (other, &key) };
            at.problem(format!("`{chosen}` is also {}", other.path()), "give each its own name");
        }
        taken.push((key, chosen.clone()));
        Some(chosen)
    };
    let names = IdentityFields {
        user_id: field("user_id", default.user_id),
        user_name: field("user_name", default.user_name),
        user_email: field("user_email", default.user_email),
        user_groups: field("user_groups", default.user_groups),
        token_id: field("token_id", default.token_id),
        scopes: field("scopes", default.scopes),
        method: field("method", Some(default.method.clone())).unwrap_or(default.method),
    };
    let method = table.key("method");
    if method.is_text("") {
        method.problem(
            "cannot be switched off",
            "name a header: upstreams need it to distinguish anonymous from forged requests",
        );
    }
    names
}

fn field_name(text: &str) -> Result<HeaderName, Fault> {
    let lower = text.to_ascii_lowercase();
    // `_` is not allowed: servers that turn headers into variables cannot tell `X_User` from `X-User`.
    if !lower.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(Fault::new("is not a valid header name", "use letters, digits and `-`"));
    }
    if RESERVED.contains(&lower.as_str()) {
        return Err(Fault::new("has another meaning", "choose a name of your own, such as \"X-User-Name\""));
    }
    HeaderName::try_from(lower).map_err(|_| Fault::new("is not a valid header name", "use letters, digits and `-`"))
}
