//! The tables `[cache.memory]`, `[tokens]`, `[spool]`, `[limits]`, `[log]`, `[shutdown]`, and the keys outside of
//! tables.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Table;
use super::settings::{Limits, Log, MemoryCache, Reload, Route, Spool, Tokens};
use super::value::{Fault, Key};
use crate::token::TokenFormat;
use crate::units::ByteSize;

/// No known machine has more cores; a larger number is a typing error.
const MOST_WORKERS: u64 = 1_024;

/// Upper bound for counts; far from overflow everywhere.
pub(super) const MANY: u64 = 100_000_000;

/// `workers`; `auto` is one per core.
pub(super) fn read_workers(root: &Table<'_>) -> usize {
    let workers = root.key("workers").or_word("auto");
    let written = if workers.is_word() { None } else { workers.count(1..=MOST_WORKERS) };
    written.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// `[cache.memory]`
pub(super) fn read_memory(cache: &Table<'_>) -> MemoryCache {
    cache.table("memory", |table| {
        let default = MemoryCache::default();
        MemoryCache {
            max_entries: table.key("max_entries").count(1..=MANY).unwrap_or(default.max_entries),
            ttl: table.key("ttl").duration().unwrap_or(default.ttl),
            negative_ttl: table.key("negative_ttl").duration().unwrap_or(default.negative_ttl),
            blind_after: table.key("blind_after").duration().unwrap_or(default.blind_after),
            blind_ttl: table.key("blind_ttl").duration().unwrap_or(default.blind_ttl),
        }
    })
}

/// `[tokens]`
pub(super) fn read_tokens(root: &Table<'_>) -> Tokens {
    root.table("tokens", |table| {
        let default = Tokens::default();
        let last_used_every = table.key("last_used_every").duration().unwrap_or(default.last_used_every);
        let formats = [("drf", TokenFormat::Drf), ("prefixed", TokenFormat::Prefixed)];
        Tokens {
            format: table.key("format").choice(&formats).unwrap_or(default.format),
            schemes: schemes(&table.key("schemes")).unwrap_or(default.schemes),
            recoverable: table.key("recoverable").bool().unwrap_or(default.recoverable),
            issue_on_user_create: table.key("issue_on_user_create").bool().unwrap_or(default.issue_on_user_create),
            revoke_on_password_change: table
                .key("revoke_on_password_change")
                .bool()
                .unwrap_or(default.revoke_on_password_change),
            default_ttl: table.key("default_ttl").or_word("never").optional_duration(default.default_ttl),
            max_per_user: table.key("max_per_user").count(1..=MANY).unwrap_or(default.max_per_user),
            last_used_every,
        }
    })
}

fn schemes(key: &Key<'_>) -> Option<Vec<String>> {
    // RFC 9110 §5.6.2: the characters of a token.
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    key.parse_list(|text| {
        if !text.is_empty() && text.bytes().all(is_token) {
            Ok(text.to_owned())
        } else {
            Err(Fault::new("is not a valid scheme", "write one word such as \"Token\""))
        }
    })
}

/// `[spool]`. The largest body of each route with `request_body = "buffer"` must fit in.
pub(super) fn read_spool(root: &Table<'_>, routes: &[Route]) -> Spool {
    root.table("spool", |table| {
        let default = Spool::default();
        let (folder, max_size) = (table.key("folder"), table.key("max_size"));
        let spool = Spool {
            folder: folder.file().unwrap_or(default.folder),
            max_size: max_size.bytes(1 << 20..=1 << 50).unwrap_or(default.max_size),
        };
        if folder.is_set() && !spool.folder.is_dir() {
            folder.problem("the folder does not exist", "create it for the user that runs the gateway");
        }
        let gathered = routes.iter().filter(|route| route.buffer_request && route.body_limit < u64::MAX);
        if let Some(route) = gathered.max_by_key(|route| route.body_limit).filter(|r| r.body_limit > spool.max_size) {
            let (body, name) = (ByteSize(route.body_limit), &route.name);
            let what = format!("a request body of routes.{name} may be {body} long, which does not fit in");
            max_size.problem(what, format!("write at least \"{body}\", or lower routes.{name}.limits.body"));
        }
        spool
    })
}

/// `[limits]`, and the timeout of a TLS handshake.
pub(super) fn read_limits(root: &Table<'_>, handshake: &mut Duration) -> Limits {
    root.table("limits", |table| {
        *handshake = table.key("handshake_timeout").duration().unwrap_or(*handshake);
        let default = Limits::default();
        // hyper refuses a read buffer below 8 KiB.
        let header_bytes = size(&table.key("header_bytes"), 8 << 10..=1 << 20, default.header_bytes);
        let why = ": the HTTP library reads no more without a copy of them all";
        let header_count = table.key("header_count").count_because(1..=100, why);
        // 65,534 bytes: the longest target that the `http` crate can hold.
        let uri_bytes = size(&table.key("uri_bytes"), 64..=65_534, default.uri_bytes);
        // Requests and responses use the same header map, which has room for 32,768.
        let response_count = table.key("response_header_count").count(1..=10_000);
        Limits {
            response_header_bytes: size(
                &table.key("response_header_bytes"),
                1 << 10..=1 << 20,
                default.response_header_bytes,
            ),
            response_header_count: response_count.unwrap_or(default.response_header_count),
            header_bytes,
            header_count: header_count.unwrap_or(default.header_count),
            uri_bytes,
            connections: table.key("connections").count(1..=MANY).unwrap_or(default.connections),
            connections_per_ip: table.key("connections_per_ip").count(1..=MANY).unwrap_or(default.connections_per_ip),
            handshakes: table.key("handshakes").count(1..=MANY).unwrap_or(default.handshakes),
            handshakes_per_ip: table.key("handshakes_per_ip").count(1..=MANY).unwrap_or(default.handshakes_per_ip),
            h2_streams: table.key("h2_streams").count(1..=10_000).unwrap_or(default.h2_streams),
            wrong_keys: table.key("wrong_keys").or_word("unlimited").optional_rate(default.wrong_keys),
        }
    })
}

fn size(key: &Key<'_>, bounds: std::ops::RangeInclusive<u64>, default: usize) -> usize {
    key.bytes(bounds).and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(default)
}

/// `[log]`
pub(super) fn read_log(root: &Table<'_>) -> Log {
    use tracing::Level;
    let levels = [("error", Level::ERROR), ("warn", Level::WARN), ("info", Level::INFO), ("debug", Level::DEBUG)];
    root.table("log", |table| Log {
        level: table.key("level").choice(&levels).unwrap_or(Level::INFO),
        json: table.key("format").choice(&[("text", false), ("json", true)]).unwrap_or(false),
        access: table.key("access").bool().unwrap_or(true),
    })
}

/// `[shutdown]`
pub(super) fn read_grace(root: &Table<'_>) -> Duration {
    root.table("shutdown", |table| table.key("grace").duration().unwrap_or(Duration::from_secs(25)))
}

/// `[control]`
pub(super) fn read_control(root: &Table<'_>) -> Option<PathBuf> {
    root.table("control", |table| table.key("socket").file())
}

/// `[reload]`
pub(super) fn read_reload(root: &Table<'_>) -> Reload {
    let default = Reload::default();
    root.table("reload", |table| Reload {
        watch: table.key("watch").bool().unwrap_or(default.watch),
        drain: table.key("drain").duration().unwrap_or(default.drain),
    })
}
