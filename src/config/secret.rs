//! What may be shown of a value that can contain a secret.

/// The part of an invalid URL that a message may show: its scheme, if it is a known one.
pub(super) fn scheme_of(text: &str) -> &'static str {
    const SCHEMES: [&str; 17] = [
        "django+postgresql:",
        "django+postgres:",
        "django+sqlite:",
        "django+mysql:",
        "postgresql:",
        "postgres:",
        "sqlite:",
        "mysql:",
        "mariadb:",
        "rediss-sentinel:",
        "redis-sentinel:",
        "rediss-cluster:",
        "redis-cluster:",
        "redis+unix:",
        "rediss:",
        "redis:",
        "unix:",
    ];
    SCHEMES.into_iter().find(|scheme| text.starts_with(scheme)).unwrap_or_default()
}
