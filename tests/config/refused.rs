//! Invalid configuration files, each with all its errors.

use super::Folder;

/// Follows each fragment, so that only the fragment can be invalid.
pub(super) const BASE: &str = r#"
[listeners.base]
address = "127.0.0.1:0"
plaintext = "refuse"
[upstreams.base]
endpoints = ["http://127.0.0.1:8000"]
[routes.base]
path_prefix = "/base/"
upstream = "base"
"#;

/// Lines of a fragment, separated by bars, with the expected errors: without the file's name, separated by bars.
pub(super) fn each_is_refused(table: &[(&str, &str)]) {
    let folder = Folder::new();
    for (fragment, expected) in table {
        let fragment = fragment.replace(" | ", "\n");
        let expected: Vec<String> = expected.split(" | ").map(|text| format!("gateway.toml:{text}")).collect();
        assert_eq!(folder.errors(&format!("{fragment}{BASE}")), expected, "{fragment}");
    }
}

#[test]
fn a_syntax_error_is_one_error_with_its_line_a_caret_and_the_likely_cause() {
    let folder = Folder::new();
    for (text, line, parts) in [
        ("workers = 1\n[log\nlevel = \"info\"\n", 2, ["the head of a table ends with `]`", "\n    [log\n        ^"]),
        ("workers = \n", 1, ["`workers` has no value", "\n    workers =\n"]),
        ("[log]\nlevel = info\n", 2, ["strings need quotes: \"info\"", "\n    level = info\n            ^"]),
        ("[log]\nlevel = \"info\n", 2, ["a quote `\"` is missing", "\n    level = \"info\n"]),
    ] {
        let errors = folder.errors(&format!("{text}{BASE}"));
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with(&format!("gateway.toml:{line}: syntax error: ")), "{errors:?}");
        assert!(parts.iter().all(|part| errors[0].contains(part)), "{errors:?}");
    }
    let errors = folder.errors("[store]\nurl = postgres://gw:hunter2@db/x\n");
    assert!(errors[0].contains("strings need quotes") && !errors[0].contains("hunter2"), "{errors:?}");
}

#[test]
fn a_duplicate_key_hides_no_other_error() {
    each_is_refused(&[(
        "[upstreams.base] | endpoints = [\"http://a:80\"] | retries = 7",
        "3: upstreams.base.retries: `7` is out of bounds; write a whole number from 0 to 1 | \
         7: `base` is defined twice; remove one | \
         8: `endpoints` is defined twice; remove one",
    )]);
}

#[test]
fn an_invalid_shared_cache_is_refused() {
    each_is_refused(&[
        ("[cache.redis] | ttl = \"5m\"", "1: cache.redis.url: missing; add `url = \"${REDIS_URL}\"`"),
        (
            "[cache.redis] | url = \"unix:a\" | ca_file = \"missing.pem\" | prefix = \"{a}\" | timeout = \"11s\"",
            "3: cache.redis.ca_file: missing.pem: cannot be read: No such file or directory (os error 2); correct the \
             path, or let the user that runs the gateway read it | \
             3: cache.redis.ca_file: needs TLS; write rediss:// in `url`, or remove this | \
             4: cache.redis.prefix: `{a}` is not a valid prefix; write 1 to 64 of the letters A-Z, a-z, 0-9 and : - _ . / | \
             5: cache.redis.timeout: `11s` is out of bounds; write 1ms to 10s",
        ),
        (
            "[cache.redis] | url = \"redis-sentinel://a/service \"",
            "2: cache.redis.url: begins or ends with a blank, or contains a control character; write \
             redis://HOST:PORT, \
             rediss://HOST:PORT (TLS), unix:PATH, redis-sentinel://HOST:PORT,HOST:PORT/SERVICE or \
             redis-cluster://HOST:PORT,HOST:PORT",
        ),
        (
            "[cache.redis] | url = \"unix:/run/redis.sock\\n\"",
            "2: cache.redis.url: begins or ends with a blank, or contains a control character; write \
             redis://HOST:PORT, \
             rediss://HOST:PORT (TLS), unix:PATH, redis-sentinel://HOST:PORT,HOST:PORT/SERVICE or \
             redis-cluster://HOST:PORT,HOST:PORT",
        ),
        (
            "[cache.redis] | url = \"redis://a,b\"",
            "2: cache.redis.url: names more than one server; write redis://HOST:PORT, rediss://HOST:PORT (TLS), \
             unix:PATH, redis-sentinel://HOST:PORT,HOST:PORT/SERVICE or redis-cluster://HOST:PORT,HOST:PORT",
        ),
    ]);
}

#[test]
fn unknown_keys_and_tables_are_refused() {
    each_is_refused(&[
        ("[log] | levle = \"info\"", "2: log.levle: unknown key; did you mean `level`?"),
        (
            "[log] | colour = true",
            "2: log.colour: unknown key; known here: access, access_format, access_to, format, level, redact, sample",
        ),
        (
            "[shutdown] | lame_duck = \"5s\" | [identity] | preset = \"kong\"",
            "2: shutdown.lame_duck: unknown key; known here: delay, grace | \
             4: identity.preset: unknown key; known here: forward_authorization, headers",
        ),
        ("[identity.header] | user_id = \"\"", "1: identity.header: unknown key; did you mean `headers`?"),
        ("[defaults] | timeouts = { idel = \"5s\" }", "2: defaults.timeouts.idel: unknown key; did you mean `idle`?"),
        ("upstream.a.endpoints = [\"http://a:80\"]", "1: upstream: unknown key; did you mean `upstreams`?"),
    ]);
}

#[test]
fn values_of_the_wrong_kind_are_refused() {
    each_is_refused(&[
        ("log = true", "1: log: must be a table, not true or false; write [log] with its keys below it"),
        ("[store] | timeout = true", "2: store.timeout: must not be true or false; write a text in quotes"),
        (
            "[log] | access_format = \"clf\"",
            "2: log.access_format: `clf` is not a format; write \"text\", \"json\", \"ecs\", \"otel\", or a template such as \
             \"{time} {status} {path}\"",
        ),
        (
            "[log] | access_format = \"{time} {staus}\"",
            "2: log.access_format: `{time} {staus}` has the unknown fact `staus`; did you mean `status`?",
        ),
        (
            "[log] | access_format = \"{time} {\"",
            "2: log.access_format: `{time} {` has a brace without its partner; write `{{` or `}}` for a brace",
        ),
        (
            "[log] | access_to = \"stderr\"",
            "2: log.access_to: `stderr` is not a place for a log; write \"stdout\", \"file:PATH\" or \"syslog\"",
        ),
        (
            "[log] | access_to = \"file:\"",
            "2: log.access_to: `file:` is not a place for a log; write \"stdout\", \"file:PATH\" or \"syslog\"",
        ),
        (
            "[log] | access_to = \"file:no/such/access.log\"",
            "2: log.access_to: the folder of the file does not exist; create it for the user that runs the gateway",
        ),
        ("[log] | sample = 0", "2: log.sample: `0` is out of bounds; write a whole number from 1 to 1000000"),
        (
            "[log] | redact = [\"query\"]",
            "2: log.redact: `query` is not supported here; write \"peer\" or \"path\" or \"user\"",
        ),
        (
            "[traces] | endpoint = \"grpc://c:4317\"",
            "2: traces.endpoint: `grpc://c:4317` is not an HTTP URL; write \"http://HOST:4318\" or \"https://HOST:4318\"",
        ),
        (
            "[traces] | endpoint = \"collector\"",
            "2: traces.endpoint: `collector` is not an HTTP URL; write \"http://HOST:4318\" or \"https://HOST:4318\"",
        ),
        ("[traces] | sample = 0", "2: traces.sample: `0` is out of bounds; write a whole number from 1 to 1000000"),
        ("[log] | access = \"yes\"", "2: log.access: must not be a text; write true or false"),
        ("[log] | level = 3", "2: log.level: must not be a whole number; write a text in quotes"),
        (
            "[log] | level = \"loud\"",
            "2: log.level: `loud` is not supported here; write \"error\" or \"warn\" or \
         \"info\" or \"debug\"",
        ),
        (
            "[tokens] | schemes = \"Token\"",
            "2: tokens.schemes: must not be a text; write a list, such as [\"a\", \"b\"]",
        ),
        ("[tokens] | schemes = []", "2: tokens.schemes: an empty list; name at least one, or leave the key out"),
        ("[tokens] | schemes = [ | \"Token\", | \"Token\" ]", "4: tokens.schemes: `Token` is listed twice; remove one"),
        (
            "[tokens] | schemes = [\"To ken\"]",
            "2: tokens.schemes: `To ken` is not a valid scheme; write one word such as \
         \"Token\"",
        ),
        ("workers = \"many\"", "1: workers: must not be a text; write a whole number from 1 to 1024, or \"auto\""),
        ("workers = 0", "1: workers: `0` is out of bounds; write a whole number from 1 to 1024, or \"auto\""),
        ("version = 2", "1: version: `2` is out of bounds; write 1"),
    ]);
}

#[test]
fn quantities_without_a_unit_and_zero_are_refused() {
    each_is_refused(&[
        (
            "[shutdown] | grace = 30",
            "2: shutdown.grace: `30` has no unit; write \"30s\" for seconds, or use ms, \
         m, h or d",
        ),
        (
            "[shutdown] | grace = \"30\"",
            "2: shutdown.grace: `30` has no unit; write \"30s\" for seconds, or use \
         ms, m, h or d",
        ),
        (
            "[shutdown] | grace = \"0s\"",
            "2: shutdown.grace: `0s` must be greater than zero; write a duration above zero",
        ),
        (
            "[shutdown] | grace = \"unlimited\"",
            "2: shutdown.grace: `unlimited` is not a duration; use the units d, h, m, s and ms in this order, as in \
             \"30s\" or \"1h30m\"",
        ),
        (
            "[defaults.timeouts] | total = 0",
            "2: defaults.timeouts.total: `0` has no unit; write \"0s\" for seconds, or use ms, m, h or d, or \
             \"unlimited\"",
        ),
        (
            "[defaults.limits] | body = 10",
            "2: defaults.limits.body: `10` has no unit; write \"10B\" for bytes, or use KiB, MiB or GiB, or \
             \"unlimited\"",
        ),
        ("[limits] | uri_bytes = \"1MiB\"", "2: limits.uri_bytes: `1MiB` is out of bounds; write 64B to 65534B"),
        (
            "[limits] | header_count = 101",
            "2: limits.header_count: `101` is out of bounds; write a whole number from 1 to 100: the HTTP library \
             reads no more without a copy of them all",
        ),
        (
            "[limits] | response_header_bytes = \"2MiB\"",
            "2: limits.response_header_bytes: `2MiB` is out of bounds; write 1KiB to 1MiB",
        ),
        (
            "[limits] | response_header_count = 0",
            "2: limits.response_header_count: `0` is out of bounds; write a whole number from 1 to 10000",
        ),
    ]);
}

#[test]
fn a_listener_needs_exactly_one_purpose() {
    each_is_refused(&[
        (
            "[listeners.a] | address = \"127.0.0.1:1\"",
            "1: listeners.a: this listener has no purpose; add `certificates` for HTTPS, `plaintext` for \
             unencrypted HTTP, or `services` for health, metrics and questions of proxies",
        ),
        (
            "[listeners.a] | address = \"127.0.0.1:1\" | plaintext = \"refuse\" | services = [\"health\"]",
            "1: listeners.a: only one of `certificates`, `plaintext` and `services` is allowed; make one \
             listener \
             for each",
        ),
        (
            "[listeners.a] | address = \"127.0.0.1:1\" | certificates = []",
            "3: listeners.a.certificates: an empty list; name at least one, or leave the key out",
        ),
        (
            "[listeners.a] | plaintext = \"refuse\"",
            "1: listeners.a.address: missing; add `address = \
         \"0.0.0.0:443\"`",
        ),
        (
            "[listeners.a] | address = \"0.0.0.0:80\" | plaintext = \"serve\"",
            "3: listeners.a.plaintext: `serve` would send tokens over the network unencrypted; use \"refuse\" or \
             \"redirect\", or listen on 127.0.0.1",
        ),
        (
            "[listeners.a] | address = \"127.0.0.1:1\" | plaintext = \"refuse\" | hsts = \"off\"",
            "4: listeners.a.hsts: is only allowed together with `certificates`; remove it",
        ),
        (
            "[listeners.a] | address = \"127.0.0.1:1\" | services = [\"health\"] | exposed_token = \"mark\"",
            "4: listeners.a.exposed_token: is only allowed together with `certificates` or `plaintext`; remove it",
        ),
        (
            "[listeners.a] | address = \"127.0.0.1:1\" | services = [\"health\"] | [listeners.b] | \
             address = \"127.0.0.1:1\" | services = [\"metrics\"]",
            "4: listeners.b: `127.0.0.1:1` is already used by listeners.a; choose another port",
        ),
    ]);
    assert_eq!(
        Folder::new().errors("workers = 1"),
        [
            "gateway.toml: listeners: no listener is configured; add [listeners.public] with `address` and `certificates`"
        ]
    );
}

#[test]
fn certificates_and_keys_are_checked() {
    let folder = Folder::new();
    folder.make_certificate("other-cert.pem", "other-key.pem", (2030, 1, 1));
    folder.write("open-key.pem", &std::fs::read_to_string(folder.path("other-key.pem")).unwrap(), 0o644);
    folder.write("others.key", "", 0o604);
    let with = |cert: &str, key: &str| {
        let listener = "[listeners.a]\naddress = \"127.0.0.1:1\"\ncertificates = [\"a\"]\n[certificates.a]\n";
        folder.errors(&format!("{listener}cert_file = \"{cert}\"\nkey_file = \"{key}\"\n{BASE}"))
    };
    let cert = "gateway.toml:5: certificates.a.cert_file:";
    let key = "gateway.toml:6: certificates.a.key_file:";
    assert_eq!(with("other-cert.pem", "other-key.pem"), [""; 0]);
    assert_eq!(
        with("other-cert.pem", "certs/dev-key.pem"),
        [format!(
            "{key} certs/dev-key.pem: does not belong to the certificate in other-cert.pem; use the key that belongs to \
             the certificate"
        )]
    );
    assert_eq!(
        with("other-cert.pem", "open-key.pem"),
        [format!("{key} open-key.pem: open to others (mode 0644); run: chmod 600 open-key.pem")]
    );
    assert_eq!(
        with("other-key.pem", "other-key.pem"),
        [format!(
            "{cert} other-key.pem:1: contains a private key, not a certificate; the files of the certificate and of the key \
             may be swapped"
        )]
    );
    let missing = "cannot be read: No such file or directory (os error 2); correct the path; `tokengate cert` creates development certificates";
    assert_eq!(with("no-cert", "no-key"), [format!("{cert} no-cert: {missing}"), format!("{key} no-key: {missing}")]);
    assert_eq!(
        folder.errors(&format!("[store]\nkey_file = \"others.key\"{BASE}")),
        ["gateway.toml:2: store.key_file: others.key: open to others (mode 0604); run: chmod 600 others.key"]
    );
}

#[test]
fn unsupported_stores_and_endpoints_are_refused() {
    each_is_refused(&[
        (
            "[store] | url = \"mysql://db/gateway\"",
            "2: store.url: `mysql:…` is for Django databases only; write \"sqlite:FILE\", the path relative to \
             this file, \"postgres://USER@HOST/DATABASE\", or \"django+…\" for the database of an existing Django project",
        ),
        (
            "[store] | url = \"sqlite::memory:\"",
            "2: store.url: `sqlite:…` names no file; write \"sqlite:FILE\", the path relative to this file, \
             \"postgres://USER@HOST/DATABASE\", or \"django+…\" for the database of an existing Django project",
        ),
        ("[tokens] | format = \"jwt\"", "2: tokens.format: `jwt` is not supported here; write \"drf\" or \"prefixed\""),
        (
            "[upstreams.base.x]",
            "1: upstreams.base.x: unknown key; known here: balance, connect_timeout, ejection, endpoints, health_check, idle_timeout, max_connections, max_connections_per_client, max_waiting, protocol, retries, slow_start, tls, wait_timeout",
        ),
    ]);
    let each = [
        ("ftp://a:80", "is not an endpoint; write \"http://HOST:PORT\", \"https://HOST:PORT\" or \"unix:PATH\""),
        ("https://a", "has no port; write \"http://HOST:PORT\", \"https://HOST:PORT\" or \"unix:PATH\""),
        ("http://a", "has no port; write \"http://HOST:PORT\", \"https://HOST:PORT\" or \"unix:PATH\""),
        ("http://a:0", "has no port; write \"http://HOST:PORT\", \"https://HOST:PORT\" or \"unix:PATH\""),
        (
            "http://a:80/x",
            "contains more than host and port; write \"http://HOST:PORT\", \"https://HOST:PORT\" or \"unix:PATH\"",
        ),
        ("http://user@a:80", "has no valid host; write \"http://HOST:PORT\", \"https://HOST:PORT\" or \"unix:PATH\""),
        (
            "http://user:hunter2@a:80",
            "has no valid host; write \"http://HOST:PORT\", \"https://HOST:PORT\" or \"unix:PATH\"",
        ),
        ("unix:", "names no socket; write \"unix:PATH\""),
        (
            "unix:/run/app.sock ",
            "begins or ends with a blank, or contains a line break or another control character; remove it",
        ),
    ];
    let folder = Folder::new();
    for (endpoint, what) in each {
        let text = BASE.replace("http://127.0.0.1:8000", endpoint);
        let shown = endpoint.split_once('@').map_or(endpoint.to_owned(), |(_, host)| format!("http://***@{host}"));
        assert_eq!(folder.errors(&text), [format!("gateway.toml:6: upstreams.base.endpoints: `{shown}` {what}")]);
    }
}

#[test]
fn settings_that_a_django_database_does_not_support_are_refused() {
    let redis = "[cache.redis] | url = \"redis://127.0.0.1:6379\"";
    let revoke =
        "[listeners.clear] | address = \"127.0.0.1:8080\" | plaintext = \"refuse\" | exposed_token = \"revoke\"";
    let folder = Folder::new();
    let quota = "[quotas.daily] | key = \"user\" | limit = 5 | period = \"day\"";
    let change = format!("[tokens] | revoke_on_password_change = true | {quota}");
    let text = format!("{BASE}\n[store]\nurl = \"django+sqlite:db.sqlite3\"\n{redis}\n{revoke}\n{change}")
        .replace(" | ", "\n");
    assert_eq!(
        folder.errors(&text),
        [
            "gateway.toml: cache.redis: a shared cache needs a change log, which a Django database does not have; add `tokens = false` to use Redis for rates only, remove [cache.redis], or import the users into tokengate's own store",
            "gateway.toml: tokens.revoke_on_password_change: the passwords of a Django database are changed by the Django project; \
             remove the line, and revoke tokens where the passwords are changed",
            "gateway.toml: quotas.daily: a Django database has no table for the counts of quotas; use a rate such as \"10000/d\", or \
             import the users into tokengate's own store",
            "gateway.toml: listeners.clear.exposed_token: a Django database stores tokens by key only, so the gateway cannot revoke them there; write \"ignore\"",
        ]
    );
    each_is_refused(&[
        (
            "[store] | url = \"django+oracle://gw:hunter2@db/shop\"",
            "2: store.url: `…` is not the address of a Django database; write \"django+sqlite:FILE\", \
             \"django+postgres://USER@HOST/DATABASE\" or \"django+mysql://USER@HOST/DATABASE\"",
        ),
        (
            "[store.django] | user_table = \"auth user\"",
            "2: store.django.user_table: `auth user` is not a valid table or column name; letters, digits and `_`, at most 63, \
             a schema may stand before a dot",
        ),
        (
            "[store.django] | mode = \"write\"",
            "2: store.django.mode: `write` is not supported here; write \"read-only\" or \"read-write\"",
        ),
        (
            "[store.django] | expires_column = \"users_token.expires\"",
            "2: store.django.expires_column: `users_token.expires` is not a valid table or column name; letters, digits and \
             `_`, at most 63",
        ),
        (
            "[store.django] | user_enabled_columns = [\"!\"]",
            "2: store.django.user_enabled_columns: `!` is not a column name; name a column, with `!` before it if it \
             disables a user where it is set, as in \"!is_banned\"",
        ),
        (
            "[store.django] | token_table = \"shop.token\" | ignore_columns = [\"authtoken_token.color\"]",
            "3: store.django.ignore_columns: `authtoken_token.color` is in neither of the tables of tokens and users; name a \
             column, or shop.token.COLUMN or auth_user.COLUMN if both tables have one of that name",
        ),
        (
            "[store.django] | expires_column = \"ends\" | ignore_columns = [\"color\", \"ends\"]",
            "3: store.django.ignore_columns: `ends` has a meaning (store.django.expires_column) and is ignored; remove it \
             here or there",
        ),
        (
            "[store.django] | user_enabled_columns = [\"!banned\"] | ignore_columns = [\"auth_user.banned\"]",
            "3: store.django.ignore_columns: `banned` has a meaning (store.django.user_enabled_columns) and is ignored; \
             remove it here or there",
        ),
    ]);
}

#[test]
fn an_invalid_database_url_is_refused_without_showing_its_password() {
    let example = "write \"postgres://USER@HOST/DATABASE\"";
    let kinds = "write \"sqlite:FILE\", the path relative to this file, \"postgres://USER@HOST/DATABASE\", or \"django+…\" for \
                 the database of an existing Django project";
    let blank = |scheme: &str| {
        format!(
            "{scheme}…` begins or ends with a blank, or contains a line break or another control character; remove it"
        )
    };
    let inner =
        |scheme: &str| format!("{scheme}…` contains a blank; remove it, or write it as `%20` if it belongs there");
    let cases = [
        ("postgres://gw:secret@db", format!("postgres:…` names no database; {example}")),
        ("postgres://db/", format!("postgres:…` names no database; {example}")),
        ("postgres://gw:sec/ret@db/a", "postgres:…` has a user or password with special characters; write `/` as `%2F`, `@` as `%40`".to_owned()),
        ("postgres://gw:sec#ret@db/a", "postgres:…` contains a `#`; write `#` as `%23`, also in a password".to_owned()),
        ("postgres://a,b/gateway", "postgres:…` names more than one host; name the one address that always leads to the primary, such as the provider's own or that of a proxy".to_owned()),
        ("postgres://db:99999/a", "postgres:…` has no valid port; write a number from 1 to 65535, or leave it out".to_owned()),
        ("postgres:///a", "postgres:…` names no host; name one, or the folder of a socket with `?host=/run/postgresql`".to_owned()),
        ("postgres://db/a?sslmode=verify_full", "postgres:…` has an unknown sslmode; did you mean `verify-full`?".to_owned()),
        ("postgres://db/a?ssl_mode=require", "postgres:…` has an unknown parameter; did you mean `sslmode`?".to_owned()),
        ("postgres://db/a?password=secret", "postgres:…` has its password after `?`; write \"postgres://USER:PASSWORD@HOST/DATABASE\"".to_owned()),
        ("postgres:gw:secret@db/a", format!("postgres:…` is not a store URL; {kinds}")),
        ("postgres://gw:secret@${HOST}/a", "postgres:…` mixes a variable with text; make \"${NAME}\" the whole value".to_owned()),
        ("host=db user=gw password=secret dbname=a", "…` is a list of `KEY=VALUE`, not an address; write \"postgres://USER:PASSWORD@HOST/DATABASE\"".to_owned()),
        ("postgres:host=db password=secret", format!("postgres:…` is not a store URL; {kinds}")),
        ("host = db, password = secret", "…` is a list of `KEY=VALUE`, not an address; write \"postgres://USER:PASSWORD@HOST/DATABASE\"".to_owned()),
        ("mysql://gw:secret@db/a", format!("mysql:…` is for Django databases only; {kinds}")),
        ("mariadb://gw:secret@db/a", format!("mariadb:…` is not a store URL; {kinds}")),
        ("oracle://gw:secret@db/a", format!("…` is not a store URL; {kinds}")),
        ("gw:secret@db/a", format!("…` is not a store URL; {kinds}")),
        ("secret:", format!("…` is not a store URL; {kinds}")),
        ("sqlite:secret?mode=ro", format!("sqlite:…` names no file; {kinds}")),
        ("django+oracle://gw:secret@db/a", "…` is not the address of a Django database; write \"django+sqlite:FILE\", \"django+postgres://USER@HOST/DATABASE\" or \"django+mysql://USER@HOST/DATABASE\"".to_owned()),
        ("django+postgres://gw:sec%zzret@db/a", "django+postgres:…` is not correctly percent-encoded; write `%` as `%25`, also in a password".to_owned()),
        ("postgres://gw:secret@db/a ", blank("postgres:")),
        ("postgres://gw:secret@db/a\\n", blank("postgres:")),
        (" postgres://gw:secret@db/a", blank("")),
        ("postgres://gw:secret@db/a?sslmode=verify-full\\t", blank("postgres:")),
        ("sqlite:tokengate.db ", blank("sqlite:")),
        ("sqlite:token\\ngate.db", blank("sqlite:")),
        ("django+sqlite:db.sqlite3 ", blank("django+sqlite:")),
        ("django+postgres://gw:secret@db/a\\u00a0", blank("django+postgres:")),
        ("django+mysql://gw:secret@db/a ", blank("django+mysql:")),
        ("postgres://gw:secret@db/a ?sslmode=verify-full", inner("postgres:")),
        ("postgres://gw:secret@db/a b", inner("postgres:")),
        ("postgres://gw:secret@db /a", inner("postgres:")),
        ("postgres://gw: secret@db/a", inner("postgres:")),
        ("django+mysql://gw:secret@db/ a", inner("django+mysql:")),
        ("django+mysql://gw:secret@db/a?ssl-ca=secret", "django+mysql:…` names an ssl-ca that does not exist; correct its path".to_owned()),
    ];
    for (url, said) in cases {
        each_is_refused(&[(&format!("[store] | url = \"{url}\""), &format!("2: store.url: `{said}"))]);
    }
    let folder = Folder::new();
    assert_eq!(
        folder.warnings(&format!("[store]\nurl = \"postgres://gw:secret@db/a\"{BASE}")),
        ["gateway.toml:2: store.url: the connection to this server is not authenticated or not encrypted; add \
          `sslmode=verify-full`, and `sslrootcert=FILE` for an authority of your own"]
    );
    assert_eq!(
        folder.errors(&format!("[store]\nurl = \"postgres://db/a?sslrootcert=missing.pem\"{BASE}")),
        ["gateway.toml:2: store.url: `postgres:…` names an sslrootcert that does not exist; correct its path"]
    );
}

#[test]
fn identity_headers_have_unique_unreserved_names() {
    let line = |rest: &str| format!("2: identity.headers.user_id: {rest}");
    let cases = [
        ("user_id = \"X User\"", line("`X User` is not a valid header name; use letters, digits and `-`")),
        ("user_id = \"X_User\"", line("`X_User` is not a valid header name; use letters, digits and `-`")),
        (
            "user_id = \"Host\"",
            line(
                "`Host` has another meaning; choose a name of your own, such as \
         \"X-User-Name\"",
            ),
        ),
        (
            "user_id = \"x-user-name\"",
            line(
                "`x-user-name` is also identity.headers.user_name; give each its own \
         name",
            ),
        ),
        (
            "user_email = \"X-USER-ID\"",
            "2: identity.headers.user_email: `x-user-id` is also identity.headers.user_id; give each its own \
             name"
                .to_owned(),
        ),
        (
            "method = \"\"",
            "2: identity.headers.method: cannot be switched off; name a header: upstreams need it to distinguish \
             anonymous from forged requests"
                .to_owned(),
        ),
    ];
    for (key, expected) in cases {
        each_is_refused(&[(&format!("[identity.headers] | {key}"), &expected)]);
    }
}

#[test]
fn values_of_the_environment_are_never_shown() {
    each_is_refused(&[
        ("[store] | url = \"${SECRET}\"", "2: store.url: `${SECRET}` is not a store URL; correct the variable"),
        (
            "[store] | url = \"${ABSENT}\"",
            "2: store.url: the environment has no variable `ABSENT`; set it, or write the value",
        ),
        (
            "[store] | url = \"${UNREADABLE}\"",
            "2: store.url: the file /missing/secret of the variable `UNREADABLE_FILE` cannot be read; correct the variable, or \
             let the user of the gateway read the file",
        ),
        (
            "[store] | url = \"sqlite:${SECRET}\"",
            "2: store.url: `sqlite:…` mixes a variable with text; make \"${NAME}\" the whole value",
        ),
    ]);
    let doubtful = [
        "[log]\nlevel = \"${SECRET}\"",
        "[routes.a]\npath = \"${SECRET}\"",
        "[routes.a]\nmethods = \
     [\"${SECRET}\"]",
        "[routes.a]\nupstream = \"${SECRET}\"",
    ];
    let folder = Folder::new();
    for fragment in doubtful {
        let errors = folder.errors(&format!("{fragment}{BASE}"));
        assert!(!errors.is_empty() && !errors.concat().contains("hunter2"), "{errors:#?}");
    }
}

#[test]
fn probable_mistakes_are_warnings() {
    let folder = Folder::new();
    folder.make_certificate("past.pem", "past-key.pem", (2025, 12, 31));
    folder.make_certificate("soon.pem", "soon-key.pem", (2026, 1, 10));
    let text = r#"[identity]
forward_authorization = true
[upstreams.spare]
endpoints = ["http://127.0.0.1:1"]
[certificates.past]
cert_file = "past.pem"
key_file = "past-key.pem"
[certificates.soon]
cert_file = "soon.pem"
key_file = "soon-key.pem"
"#;
    assert_eq!(
        folder.warnings(&format!("{text}{BASE}")),
        [
            "gateway.toml:2: identity.forward_authorization: every upstream sees the callers' tokens; write \
             `forward_authorization = \"always\"` in the routes of upstreams that check tokens themselves",
            "gateway.toml:3: upstreams.spare: nothing uses it; remove it",
            "gateway.toml:5: certificates.past: nothing uses it; remove it",
            "gateway.toml:6: certificates.past.cert_file: the certificate expired at 2025-12-31T00:00:00.000Z; \
             renew it",
            "gateway.toml:8: certificates.soon: nothing uses it; remove it",
            "gateway.toml:9: certificates.soon.cert_file: the certificate expires at 2026-01-10T00:00:00.000Z; renew it",
        ]
    );
    assert_eq!(
        folder.warnings("[listeners.a]\naddress = \"127.0.0.1:0\"\nservices = [\"health\"]"),
        [
            "gateway.toml: routes: no route is configured: nothing is forwarded; add [routes.NAME] with `path_prefix` and `upstream`"
        ]
    );
}

#[test]
fn a_missing_file_is_one_error() {
    let folder = Folder::new();
    let problems = tokengate::config::load(&folder.path("absent.toml")).err().unwrap();
    assert_eq!(
        folder.texts(&problems),
        ["absent.toml: cannot be read: No such file or directory (os error 2); name another file with --config"]
    );
}
