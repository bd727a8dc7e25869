//! Configuration files and their meaning; invalid files are in the folder `config`.

mod effective;
mod include;
mod refused;
mod refused_acme;
mod refused_admin;
mod refused_clients;
mod refused_keys;
mod refused_login;
mod refused_pem;
mod refused_policy;
mod refused_routes;
mod refused_tests;
pub(crate) mod schema;
mod secret_files;
mod upstreams;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokengate::clock::Timestamp;
use tokengate::config::settings::{
    Auth, ClientShare, Columns, EndpointAddress, Flag, ForwardAuthorization, HostPattern, Ignored, ListenerRole,
    PathPattern, Plaintext, RedisHost, RedisServers, StoreUrl,
};
use tokengate::config::{self, Effective, Environment, Loaded, Problem, Settings};

/// 2026-01-01T00:00:00Z
const NOW: i64 = 1_767_225_600_000_000;

/// A folder with a certificate and its key.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.make_certificate("certs/dev-cert.pem", "certs/dev-key.pem", (2030, 1, 1));
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn make_certificate(&self, cert: &str, key: &str, (year, month, day): (i32, u8, u8)) {
        let pair = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, month, day);
        self.write(cert, &params.self_signed(&pair).unwrap().pem(), 0o644);
        self.write(key, &pair.serialize_pem(), 0o600);
    }

    /// Reads a file. If it is valid, the schema accepts it, and what `tokengate config` prints means the same.
    fn load(&self, text: &str) -> Result<Loaded, Vec<Problem>> {
        self.write("gateway.toml", text, 0o644);
        let loaded = self.load_file("gateway.toml")?;
        assert_eq!(schema::complaints(text), [""; 0], "{text}");
        effective::means_the_same(self, &loaded.settings);
        Ok(loaded)
    }

    fn load_file(&self, name: &str) -> Result<Loaded, Vec<Problem>> {
        in_environment(|environment| config::load_in(&self.path(name), environment))
    }

    fn effective(&self) -> Effective {
        in_environment(|environment| config::effective(&self.path("gateway.toml"), environment)).unwrap()
    }

    fn settings(&self, text: &str) -> Settings {
        self.load(text).unwrap_or_else(|problems| panic!("{:#?}", self.texts(&problems))).settings
    }

    fn errors(&self, text: &str) -> Vec<String> {
        self.texts(&self.load(text).err().unwrap_or_default())
    }

    fn warnings(&self, text: &str) -> Vec<String> {
        self.texts(&self.load(text).unwrap_or_else(|problems| panic!("{:#?}", self.texts(&problems))).warnings)
    }

    /// The messages as an operator in this folder sees them.
    fn texts(&self, problems: &[Problem]) -> Vec<String> {
        let folder = format!("{}/", self.0.path().display());
        problems.iter().map(|problem| problem.to_string().replace(&folder, "")).collect()
    }
}

fn in_environment<T>(run: impl FnOnce(&Environment<'_>) -> T) -> T {
    let variable = |name: &str| match name {
        "STORE" => Some("sqlite:from-environment.db".to_owned()),
        "DATABASE" => Some("postgres://gw:hunter2@db/gateway?sslmode=verify-full".to_owned()),
        "SECRET" => Some("hunter2".to_owned()),
        "LISTEN" => Some("127.0.0.1:0".to_owned()),
        "UNREADABLE_FILE" => Some("/missing/secret".to_owned()),
        "CACHE" => Some("redis://hunter2:hunter2@cache/1".to_owned()),
        _ => None,
    };
    run(&Environment { now: Timestamp::from_micros(NOW), variable: &variable })
}

fn repository_file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Removes comment marks: of defaults, and with `examples` also of examples.
fn without_marks(text: &str, examples: bool) -> String {
    let is_key = |text: &str| text.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
    let bare = |line: &str| match (line.strip_prefix("# "), line.strip_prefix("#: ")) {
        (Some(rest), _) if is_key(rest) => rest.to_owned(),
        (_, Some(rest)) if examples && (is_key(rest) || rest.starts_with('[')) => rest.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(|line| bare(line) + "\n").collect()
}

/// The paths of all values of a tree, with `NAME` for names that operators choose.
fn leaves(table: &toml::Table, path: &str, out: &mut BTreeSet<String>) {
    for (key, value) in table {
        let named = ["listeners", "certificates", "upstreams", "portals", "rates", "quotas", "routes"].contains(&path);
        let key = if named || path.ends_with(".client_users") { "NAME" } else { key };
        let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        let is_table = |value: &toml::Value| value.is_table();
        match value {
            toml::Value::Table(table) => leaves(table, &path, out),
            toml::Value::Array(list) if list.iter().any(is_table) => {
                list.iter().filter_map(toml::Value::as_table).for_each(|table| leaves(table, &path, out));
            }
            _ => drop(out.insert(path)),
        }
    }
}

#[test]
fn gateway_toml_shows_exactly_the_existing_keys() {
    let tree: toml::Table = without_marks(&repository_file("gateway.toml"), true).parse().unwrap();
    let mut shown = BTreeSet::new();
    leaves(&tree, "", &mut shown);
    assert_eq!(shown, config::known_keys());
}

#[test]
fn the_defaults_in_gateway_toml_are_right() {
    let (folder, text) = (Folder::new(), repository_file("gateway.toml"));
    let marked = folder.settings(&text);
    let unmarked = folder.settings(&without_marks(&text, false));
    assert_ne!(text, without_marks(&text, false));
    assert_eq!(format!("{marked:#?}"), format!("{unmarked:#?}"));
}

#[test]
fn gateway_toml_loads_without_a_warning_once_certificates_exist() {
    let (folder, text) = (Folder::new(), repository_file("gateway.toml"));
    assert_eq!(folder.warnings(&text), [""; 0]);
    let settings = folder.settings(&text);
    let address = |name: &str| settings.listeners.iter().find(|l| l.name == name).unwrap().address.to_string();
    assert_eq!(address("public"), "127.0.0.1:8443");
    assert_eq!(address("plain"), "127.0.0.1:8080");
    assert_eq!(address("internal"), "127.0.0.1:9901");
    let paths: Vec<_> = settings.routes.iter().map(|route| route.path.clone()).collect();
    assert_eq!(paths, ["/product_api/", "/porduct_api/"].map(|path| PathPattern::Prefix(path.to_owned())));
}

#[test]
fn the_configuration_page_explains_every_key() {
    let page = repository_file("docs/CONFIGURATION.md");
    for key in config::known_keys() {
        let name = key.rsplit('.').next().unwrap();
        assert!(page.contains(&format!("`{name}`")), "docs/CONFIGURATION.md does not explain {key}");
    }
}

#[test]
fn columns_of_a_django_database_get_their_meaning_from_the_file() {
    let base = refused::BASE;
    let columns = |text: &str| {
        let settings = Folder::new().settings(&format!("{base}\n[store.django]\n{text}"));
        settings.store.django.columns
    };
    assert_eq!(columns(""), Columns::default());
    let named = |name: &str| Some(name.to_owned());
    let text = "token_table = \"shop.token\"\nexpires_column = \"a\"\nrevoked_column = \"b\"\nenabled_column = \"c\"\n\
                write_enabled_column = \"d\"\nallowed_networks_column = \"e\"\n\
                user_enabled_columns = [\"f\", \"!g\"]\nignore_columns = [\"f\", \"shop.token.g\", \"auth_user.h\"]";
    let refused = Folder::new().errors(&format!("{base}\n[store.django]\n{text}"));
    assert!(refused[0].contains("`f` has a meaning (store.django.user_enabled_columns)"), "{refused:?}");
    let ignored =
        |table: Option<&str>, column: &str| Ignored { table: table.map(str::to_owned), column: column.to_owned() };
    assert_eq!(
        columns(&text.replace("[\"f\", \"shop", "[\"i\", \"shop")),
        Columns {
            expires: named("a"),
            revoked: named("b"),
            enabled: named("c"),
            write_enabled: named("d"),
            allowed_networks: named("e"),
            user_enabled: vec![
                Flag { column: "f".to_owned(), disables: false },
                Flag { column: "g".to_owned(), disables: true },
            ],
            ignored: vec![ignored(None, "i"), ignored(Some("shop.token"), "g"), ignored(Some("auth_user"), "h")],
        }
    );
}

#[test]
fn the_smallest_useful_file_requires_tokens_and_is_complete() {
    let page = repository_file("docs/CONFIGURATION.md");
    let text = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = Folder::new();
    folder.make_certificate("certs/fullchain.pem", "certs/privkey.pem", (2030, 1, 1));
    assert_eq!(folder.warnings(text), [""; 0]);
    let settings = folder.settings(text);
    assert!(settings.workers >= 1);
    assert_eq!(settings.store.url, StoreUrl::Sqlite(folder.path("tokengate.db")));
    assert_eq!(settings.store.key_file, folder.path("tokengate.key"));
    let ListenerRole::Tls(tls) = &settings.listeners[0].role else { panic!("not HTTPS") };
    assert_eq!((tls.certificates.as_slice(), tls.http1, tls.http2, tls.tls12), ([0].as_slice(), true, true, true));
    let route = &settings.routes[0];
    assert_eq!((route.auth, route.upstream, route.body_limit), (Auth::Required, 0, 10 << 20));
    assert_eq!((&route.host, route.total_timeout), (&HostPattern::Any, None));
    assert!(!route.empty_segments && !route.encoded_slashes && !route.encoded_percent);
}

#[test]
fn credentials_are_forwarded_as_the_route_says_or_else_as_all_do() {
    use ForwardAuthorization::{Always, Foreign, Never};
    let folder = Folder::new();
    for (all, route, forwarded) in [
        ("", "", Never),
        ("", "auth = \"optional\"", Foreign),
        ("", "auth = \"none\"", Foreign),
        ("", "auth = \"none\"\nforward_authorization = \"never\"", Never),
        ("", "forward_authorization = \"foreign\"", Foreign),
        ("", "forward_authorization = \"always\"", Always),
        ("[identity]\nforward_authorization = true\n", "", Always),
        ("[identity]\nforward_authorization = true\n", "auth = \"none\"", Always),
        ("[identity]\nforward_authorization = true\n", "forward_authorization = \"never\"", Never),
        ("[identity]\nforward_authorization = false\n", "auth = \"none\"", Foreign),
    ] {
        let text = format!("{all}[routes.a]\npath = \"/a\"\nupstream = \"base\"\n{route}\n{}", refused::BASE);
        assert_eq!(folder.settings(&text).routes[0].forward_authorization, forwarded, "{all} {route}");
    }
}

#[test]
fn a_streaming_route_has_no_minimum_rate() {
    let folder = Folder::new();
    for (streaming, rate) in [("", Some(50)), ("streaming = true", None)] {
        let text = format!("[routes.a]\npath = \"/a\"\nupstream = \"base\"\n{streaming}\n{}", refused::BASE);
        assert_eq!(folder.settings(&text).routes[0].body_rate, rate, "{streaming}");
    }
}

#[test]
fn settings_have_the_configured_values() {
    use ForwardAuthorization::{Foreign, Never};
    let settings = Folder::new().settings(
        r#"
workers = 3
[listeners.local]
address = "[::1]:0"
plaintext = "serve"
[upstreams.a]
endpoints = ["http://[::1]:81", "unix:run/a.sock"]
connect_timeout = "7s"
max_connections_per_client = 20
retries = 0
[upstreams.b]
endpoints = ["http://b.example:82"]
[defaults]
timeouts = { connect = "2s", total = "1h", idle = "9s", request_body = "4s" }
limits = { body = "unlimited", body_rate = "off" }
[routes.a]
host = "*.Example.com"
path = "/a"
methods = ["GET", "PURGE"]
upstream = "b"
scopes = ["write", "read"]
timeouts = { total = "unlimited", response_headers = "1m" }
limits = { body = "1KiB" }
[routes.b]
path_prefix = "/"
upstream = "a"
auth = "none"
pass_headers = ["Proxy", "X-Goog-Iap-Jwt-Assertion"]
encoded_slashes = "keep"
encoded_percent = "keep"
limits = { body_rate = "1KiB/s" }
[identity.headers]
user_name = ""
user_email = "X-Mail"
[store]
url = "${STORE}"
[tokens]
default_ttl = "90d"
[limits]
handshake_timeout = "3s"
response_header_bytes = "1MiB"
response_header_count = 300
[spool]
max_size = "2MiB"
folder = "/"
"#,
    );
    assert_eq!(settings.workers, 3);
    let ListenerRole::Plain(plain) = &settings.listeners[0].role else { panic!("not plain") };
    assert_eq!(plain.plaintext, Plaintext::Serve);
    let [a, b] = settings.upstreams.as_slice() else { panic!("not two") };
    assert_eq!(a.endpoints[0].address, EndpointAddress::Tcp("::1".to_owned(), 81));
    assert_eq!((a.endpoints[0].authority.as_str(), a.endpoints[1].authority.as_str()), ("[::1]:81", "localhost"));
    assert!(matches!(&a.endpoints[1].address, EndpointAddress::Unix(path) if path.ends_with("run/a.sock")));
    assert_eq!((a.connect_timeout, b.connect_timeout), (Duration::from_secs(7), Duration::from_secs(2)));
    assert_eq!((a.retry, b.retry), (false, true));
    assert_eq!((a.client_share, b.client_share), (ClientShare::Most(20), ClientShare::Fair));
    let [one, other] = settings.routes.as_slice() else { panic!("not two") };
    assert_eq!((&one.host, one.upstream), (&HostPattern::Below("example.com".to_owned()), 1));
    assert_eq!((one.scopes.to_string(), one.methods.len(), one.body_limit), ("read write".to_owned(), 2, 1_024));
    assert_eq!((one.total_timeout, one.response_headers_timeout), (None, Duration::from_secs(60)));
    assert_eq!((other.total_timeout, other.body_limit), (Some(Duration::from_secs(3_600)), u64::MAX));
    assert_eq!((other.auth, other.request_body_timeout), (Auth::None, Duration::from_secs(4)));
    assert_eq!((settings.timeouts.idle, settings.timeouts.handshake), (Duration::from_secs(9), Duration::from_secs(3)));
    let limits = &settings.limits;
    assert_eq!((limits.response_header_bytes, limits.response_header_count), (1 << 20, 300));
    assert_eq!((one.forward_authorization, other.forward_authorization), (Never, Foreign));
    assert_eq!((one.body_rate, other.body_rate), (None, Some(1_024)));
    assert_eq!(other.pass_headers, ["proxy", "x-goog-iap-jwt-assertion"]);
    assert_eq!((other.encoded_slashes, other.encoded_percent), (true, true));
    assert_eq!(settings.identity.user_name, None);
    assert_eq!(settings.identity.user_email.unwrap(), "x-mail");
    assert_eq!(settings.tokens.default_ttl, Some(Duration::from_secs(90 * 86_400)));
    assert!(matches!(&settings.store.url, StoreUrl::Sqlite(path) if path.ends_with("from-environment.db")));
    assert_eq!((settings.spool.max_size, settings.spool.folder.to_str()), (2 << 20, Some("/")));
}

#[test]
fn the_password_of_a_server_is_shown_nowhere() {
    let folder = Folder::new();
    let text = format!("[store]\nurl = \"${{DATABASE}}\"\n{}", refused::BASE);
    let settings = folder.settings(&text);
    let StoreUrl::Postgres(url) = &settings.store.url else { panic!("not PostgreSQL") };
    assert_eq!((url.server.user.as_deref(), url.server.password()), (Some("gw"), Some("hunter2")));
    assert_eq!(settings.store.url.to_string(), "postgres://db/gateway");
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn a_shared_cache_follows_its_url_and_its_files() {
    let folder = Folder::new();
    folder.write("redis.password", "hunter2\n", 0o600);
    let authority = fs::read_to_string(folder.path("certs/dev-cert.pem")).unwrap();
    folder.write("ca.pem", &authority, 0o644);
    let text = format!(
        "[cache.redis]\nurl = \"rediss-cluster://ann@a:7000,b\"\npassword_file = \"redis.password\"\nca_file = \"ca.pem\"\n\
         ttl = \"5m\"\ntimeout = \"20ms\"\nprefix = \"site-1:\"\n{}",
        refused::BASE
    );
    let settings = folder.settings(&text);
    assert!(!format!("{settings:?}").contains("hunter2"));
    let redis = settings.redis.unwrap();
    let hosts = [("a", 7000), ("b", 6379)].map(|(host, port)| RedisHost(host.to_owned(), port));
    assert_eq!(redis.servers, RedisServers::Cluster(hosts.to_vec()));
    assert_eq!((redis.username.as_deref(), redis.password.unwrap().expose()), (Some("ann"), "hunter2"));
    assert_eq!(redis.tls.unwrap().authorities.as_deref(), Some(authority.as_bytes()));
    assert_eq!((redis.ttl, redis.timeout), (Duration::from_secs(300), Duration::from_millis(20)));
    assert_eq!(redis.prefix, "site-1:");
    assert!(folder.settings(refused::BASE).redis.is_none());
}

#[test]
fn a_password_in_the_url_is_a_warning_and_never_repeated() {
    let (folder, base) = (Folder::new(), refused::BASE);
    assert_eq!(
        folder.warnings(&format!("[cache.redis]\nurl = \"redis://:hunter2@a\"{base}")),
        [
            "gateway.toml:2: cache.redis.url: contains a password; take the address from the environment, or use `password_file`"
        ]
    );
    for url in [
        "redis://:hunter2@a b",
        "hunter2@a",
        "redis-sentinel://:hunter2@a",
        "redis://:hunter2@a/x",
        "redis://:hunter2@${HOST}",
        "redis://a?password=hunter2",
        "redis://hunter2:hunter2@a:b",
        "rediss://:hunter2@",
        "host=a password=hunter2",
        "hunter2:a",
    ] {
        let errors = folder.errors(&format!("[cache.redis]\nurl = \"{url}\"{base}"));
        assert!(errors.len() == 1 && !errors[0].contains("hunter2"), "{errors:?}");
    }
}

#[test]
fn all_errors_are_reported_at_once_in_the_order_of_the_file() {
    let text = r#"workrs = 2
[listeners.public]
address = ":443"
certificates = ["mian"]
[certificates.main]
cert_file = "missing.pem"
key_file = "certs/dev-key.pem"
[upstreams.a]
endpoints = ["127.0.0.1:80"]
idle_timeout = 30
[routes.a]
path_prefix = "/a/"
upsteam = "a"
auth = "non"
"#;
    assert_eq!(
        Folder::new().errors(text),
        [
            "gateway.toml:1: workrs: unknown key; did you mean `workers`?",
            "gateway.toml:3: listeners.public.address: `:443` is not an address with a port; write an IP address with a \
             port, such as \"0.0.0.0:443\" or \"[::]:443\"",
            "gateway.toml:4: listeners.public.certificates: `mian` is not the name of any certificate in this file; did you mean `main`?",
            "gateway.toml:6: certificates.main.cert_file: missing.pem: cannot be read: No such file or directory (os \
             error 2); correct the path; `tokengate cert` creates development certificates",
            "gateway.toml:9: upstreams.a.endpoints: `127.0.0.1:80` is not an endpoint; write \"http://HOST:PORT\", \
             \"https://HOST:PORT\" or \"unix:PATH\"",
            "gateway.toml:10: upstreams.a.idle_timeout: `30` has no unit; write \"30s\" for seconds, or use ms, m, h or d",
            "gateway.toml:13: routes.a.upsteam: unknown key; did you mean `upstream`?",
            "gateway.toml:14: routes.a.auth: `non` is not supported here; did you mean `none`?",
        ]
    );
}

#[test]
fn store_files_that_others_can_read_or_change_are_a_warning() {
    let (folder, base) = (Folder::new(), refused::BASE);
    let mode = |name: &str, mode| fs::set_permissions(folder.path(name), fs::Permissions::from_mode(mode)).unwrap();
    let of = |names: &str, chmod: &str| {
        format!(
            "gateway.toml:2: store.url: other users of this machine can read or change {names}; run: chmod go= {chmod}"
        )
    };
    let folder_is_open = |line: usize, key: &str, folder: &str, mode: &str| {
        format!(
            "gateway.toml:{line}: store.{key}: other users of this machine can replace files in the folder {folder} (mode {mode}); \
             run: chmod go-w {folder}"
        )
    };
    for url in ["sqlite:data/store.db", "django+sqlite:data/store.db"] {
        let text = format!("[store]\nurl = \"{url}\"\nkey_file = \"keys/key\"{base}");
        for companion in ["", "-wal", "-shm", "-journal"] {
            folder.write(&format!("data/store.db{companion}"), "", 0o600);
        }
        folder.write("keys/key", "x", 0o600);
        mode("data", 0o755);
        mode("keys", 0o755);
        let warned = || {
            let warnings = folder.warnings(&text);
            warnings.into_iter().filter(|warning| warning.contains("other users")).collect::<Vec<_>>()
        };
        assert_eq!(warned(), Vec::<String>::new());
        for (name, open) in
            [("", 0o644), ("", 0o640), ("", 0o602), ("-wal", 0o644), ("-shm", 0o660), ("-journal", 0o604)]
        {
            let file = format!("data/store.db{name}");
            mode(&file, open);
            assert_eq!(warned(), [of(&format!("{file} (mode {open:04o})"), &file)]);
            mode(&file, 0o600);
        }
        mode("data/store.db", 0o644);
        mode("data/store.db-wal", 0o644);
        let both = "data/store.db (mode 0644), data/store.db-wal (mode 0644)";
        assert_eq!(warned(), [of(both, "data/store.db data/store.db-wal")]);
        mode("data/store.db", 0o600);
        mode("data/store.db-wal", 0o600);
        for open in [0o777, 0o775, 0o1777] {
            mode("data", open);
            assert_eq!(warned(), [folder_is_open(2, "url", "data", &format!("{open:04o}"))]);
        }
        mode("data", 0o755);
        mode("keys", 0o777);
        assert_eq!(warned(), [folder_is_open(3, "key_file", "keys", "0777")]);
        // A symbolic link leads to the checked files.
        mode("keys", 0o755);
        mode("data/store.db", 0o644);
        std::os::unix::fs::symlink(folder.path("data/store.db"), folder.path("link.db")).unwrap();
        let linked = text.replace("data/store.db", "link.db");
        assert_eq!(folder.warnings(&linked).iter().filter(|warning| warning.contains("can read")).count(), 1);
        fs::remove_file(folder.path("link.db")).unwrap();
    }
}
