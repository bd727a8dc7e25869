//! A real PostgreSQL server in a folder of its own, reached by a Unix socket in that folder.
//!
//! All tests share one server, each with a database of its own; tests that stop or suspend a server start their own. A
//! shell process supervises each server and stops it when the pipe from this process closes, in whatever way the
//! process ends.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};
use tempfile::TempDir;
use tokengate::config::settings::{PostgresUrl, StoreUrl};
use tokio::net::UnixListener;
use tokio::sync::OnceCell;

use super::redis::free_port;
use super::{PATIENCE, eventually};

/// Starts the server, waits until the pipe closes, and stops it; a suspended server is resumed first. Deletes its files
/// unless the test has asked to keep them.
pub const KEEPER: &str = r#"
    folder=$1; shift
    "$@" >>"$folder/log" 2>&1 </dev/null &
    server=$!
    last_word=$(cat)
    kill -CONT $(cat "/proc/$server/task/$server/children") 2>/dev/null
    kill -QUIT "$server" 2>/dev/null
    kill -CONT "$server" 2>/dev/null
    wait "$server" 2>/dev/null
    [ "$last_word" = stay ] || rm -rf "$folder"
"#;

/// A user who needs a password; all others need none.
const GUARDED: &str = "guarded";
const PASSWORD: &str = "correct horse";

/// A server, running or stopped.
pub struct Postgres {
    folder: TempDir,
    settings: Vec<String>,
    running: Option<Running>,
    databases: AtomicUsize,
}

struct Running {
    keeper: Child,
    /// The server runs while this pipe is open.
    pipe: ChildStdin,
}

/// The system user that runs the server: PostgreSQL refuses root.
#[derive(Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

impl Postgres {
    /// The server that all tests share. Must not be stopped.
    pub async fn shared() -> &'static Postgres {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        SHARED.get_or_init(Postgres::start).await
    }

    /// A separate server for one test.
    pub async fn start() -> Postgres {
        Postgres::start_with(&[]).await
    }

    /// The same, with further settings such as `ssl=on`.
    pub async fn start_with(settings: &[&str]) -> Postgres {
        let folder = TempDir::with_prefix("pg").unwrap();
        if let Some(user) = other_user() {
            chown(folder.path(), Some(user.uid), Some(user.gid)).unwrap();
        }
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        let mut server = Postgres { folder, settings, running: None, databases: AtomicUsize::new(0) };
        server.make_data();
        server.run().await;
        let mut admin = server.connect("postgres").await;
        let role = format!("CREATE ROLE {GUARDED} LOGIN PASSWORD '{PASSWORD}'");
        sqlx::raw_sql(AssertSqlSafe(role)).execute(&mut admin).await.unwrap();
        server
    }

    /// A separate server that also accepts TCP, and its address.
    pub async fn start_over_tcp() -> (Postgres, SocketAddr) {
        let port = free_port();
        let server = Postgres::start_with(&[&format!("port={port}"), "listen_addresses=127.0.0.1"]).await;
        (server, SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// The URL of a database through a [`Line`](super::line::Line) to [`Postgres::start_over_tcp`].
    pub fn url_over(line: SocketAddr, database: &str) -> StoreUrl {
        url(&format!("postgres://postgres@{line}/{database}?sslmode=disable"))
    }

    /// The URL of a new, empty database.
    pub async fn database(&self) -> StoreUrl {
        self.url(&self.new_database().await)
    }

    /// The name of a new, empty database.
    pub async fn new_database(&self) -> String {
        let name = format!("store_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let create = format!("CREATE DATABASE {name}");
        let mut admin = self.connect("postgres").await;
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut admin).await.unwrap();
        name
    }

    /// The folder of its socket.
    pub fn socket_folder(&self) -> &Path {
        self.folder.path()
    }

    /// The URL of a database for a user without a password.
    pub fn url(&self, database: &str) -> StoreUrl {
        url(&format!("postgres:///{database}?host={}&port={}&user=postgres", self.folder.path().display(), self.port()))
    }

    /// The same as the text in a configuration file.
    pub fn text(&self, database: &str) -> String {
        let folder = self.folder.path().display();
        format!("postgres:///{database}?host={folder}&port={}&user=postgres", self.port())
    }

    /// The URL for the user with this password; `None`: the right one.
    pub fn guarded_url(&self, database: &str, password: Option<&str>) -> StoreUrl {
        let socket = self.folder.path().display().to_string().replace('/', "%2F");
        let password = password.unwrap_or(PASSWORD).replace(' ', "%20");
        url(&format!("postgres://{GUARDED}:{password}@{socket}/{database}"))
    }

    /// A separate session on a database.
    pub async fn connect(&self, database: &str) -> PgConnection {
        self.try_connect(database).await.unwrap()
    }

    /// The same, where the server may refuse.
    pub async fn try_connect(&self, database: &str) -> sqlx::Result<PgConnection> {
        let options = PgConnectOptions::new_without_pgpass().socket(self.folder.path()).port(self.port());
        options.username("postgres").database(database).connect().await
    }

    fn port(&self) -> u16 {
        let port = self.settings.iter().find_map(|setting| setting.strip_prefix("port="));
        port.map_or(5432, |port| port.parse().unwrap())
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Writes a file there that only the server can read.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.data().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        if let Some(user) = other_user() {
            chown(&path, Some(user.uid), Some(user.gid)).unwrap();
        }
    }

    /// Kills it, as a crash would.
    pub async fn kill(&mut self) {
        let Running { mut keeper, mut pipe } = self.running.take().expect("it runs");
        pipe.write_all(b"stay").unwrap();
        drop(pipe);
        tokio::task::spawn_blocking(move || keeper.wait().unwrap()).await.unwrap();
    }

    /// Starts it again, with all committed data.
    pub async fn restart(&mut self) {
        self.run().await;
    }

    /// In place of a killed server, accepts connections and closes them at once. Returns their number so far.
    pub fn hang_up_on_everybody(&self) -> Arc<AtomicUsize> {
        assert!(self.running.is_none());
        let socket = self.folder.path().join(format!(".s.PGSQL.{}", self.port()));
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(socket).unwrap();
        let came = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&came);
        tokio::spawn(async move {
            while let Ok((line, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::AcqRel);
                drop(line);
            }
        });
        came
    }

    /// Suspends it: the kernel accepts connections, but the server does not respond.
    pub fn pause(&self) {
        // The parent first, so that it starts no child meanwhile.
        let server = self.process();
        kill_process(server, Signal::STOP).unwrap();
        self.signal_children(server, Signal::STOP);
    }

    /// Resumes it.
    pub fn resume(&self) {
        let server = self.process();
        self.signal_children(server, Signal::CONT);
        kill_process(server, Signal::CONT).unwrap();
    }

    fn process(&self) -> Pid {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        Pid::from_raw(file.lines().next().unwrap().trim().parse().unwrap()).unwrap()
    }

    fn signal_children(&self, server: Pid, signal: Signal) {
        let pid = server.as_raw_nonzero();
        for child in fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap().split_whitespace() {
            // A process that has just ended needs no signal.
            let _ = kill_process(Pid::from_raw(child.parse().unwrap()).unwrap(), signal);
        }
    }

    fn make_data(&self) {
        let mut initdb = self.command(&tool("initdb"));
        initdb.arg("-D").arg(self.data());
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        let made = initdb.output().unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let rules = format!("local all {GUARDED} scram-sha-256\nlocal all all trust\nhost all all all trust\n");
        fs::write(self.data().join("pg_hba.conf"), rules).unwrap();
    }

    async fn run(&mut self) {
        let folder = self.folder.path();
        let mut keeper = self.command(Path::new("sh"));
        keeper.args(["-c", KEEPER, "keeper"]).arg(folder).arg(tool("postgres")).arg("-D").arg(self.data());
        // The data need not survive a power failure.
        let fixed = ["fsync=off", "listen_addresses=", "max_connections=200", "shared_buffers=16MB"].map(str::to_owned);
        let socket = [format!("unix_socket_directories={}", folder.display())];
        for setting in fixed.iter().chain(&socket).chain(&self.settings) {
            keeper.arg("-c").arg(setting);
        }
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let log = || fs::read_to_string(folder.join("log")).unwrap_or_default();
        // Skips the log lines of an earlier run.
        let said = log().len();
        let mut keeper = keeper.spawn().unwrap();
        let pipe = keeper.stdin.take().unwrap();
        self.running = Some(Running { keeper, pipe });
        eventually(PATIENCE, "PostgreSQL is ready", || async {
            let log = log();
            let now = log.get(said..).unwrap_or_default();
            assert!(
                !now.contains("could not start") && !now.contains("could not bind") && !now.contains("unrecognized"),
                "{now}"
            );
            self.try_connect("postgres").await.is_ok()
        })
        .await;
    }

    /// A command that runs as the server's user, in the server's folder.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path());
        if let Some(user) = other_user() {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(Running { mut keeper, pipe }) = self.running.take() {
            drop(pipe);
            let _ = keeper.wait();
        }
    }
}

/// How another program connects to the same database by its socket.
pub fn options(url: &PostgresUrl) -> PgConnectOptions {
    let server = &url.server;
    let options = PgConnectOptions::new_without_pgpass().socket(&server.host).port(server.port.unwrap_or(5432));
    options.username(server.user.as_deref().unwrap()).database(&server.database)
}

fn url(text: &str) -> StoreUrl {
    StoreUrl::Postgres(PostgresUrl::parse(text, |path| PathBuf::from(path)).unwrap())
}

/// Another user to run the server, if this process is root.
fn other_user() -> Option<User> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(|field| field.parse().unwrap());
        Some(User { uid: fields.next()?, gid: fields.next()? })
    };
    let user = find("postgres").or_else(|| find("nobody"));
    Some(user.expect("PostgreSQL refuses root, and there is neither a user postgres nor nobody"))
}

/// A program of the server, which distributions often keep outside of PATH.
fn tool(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let from_config = Command::new("pg_config").arg("--bindir").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let from_config = from_config.ok().and_then(|mut config| {
        let mut text = String::new();
        config.stdout.take()?.read_to_string(&mut text).ok()?;
        config.wait().ok()?;
        Some(PathBuf::from(text.trim()))
    });
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.map(|entry| entry.unwrap().path().join("bin")).collect())
        .unwrap_or_default();
    versions.sort();
    let folders = std::env::split_paths(&path).chain(from_config).chain(versions.into_iter().rev());
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| {
        panic!("PostgreSQL's `{name}` is missing; ./scripts/test installs it, or: apt-get install postgresql")
    })
}
