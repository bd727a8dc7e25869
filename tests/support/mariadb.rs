//! A real MariaDB server in a folder of its own, reached by a Unix socket, shared by all tests of this process.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::mysql::MySqlConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, MySqlConnection};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::postgres::KEEPER;
use super::{PATIENCE, eventually};

/// A running server. A shell process supervises it and stops it when the pipe from this process closes.
pub struct Mariadb {
    folder: TempDir,
    keeper: Child,
    pipe: Option<ChildStdin>,
    databases: AtomicUsize,
}

impl Mariadb {
    /// The server that all tests share.
    pub async fn shared() -> &'static Mariadb {
        static SHARED: OnceCell<Mariadb> = OnceCell::const_new();
        SHARED.get_or_init(Mariadb::start).await
    }

    /// A separate server for one test.
    pub async fn start() -> Mariadb {
        let folder = TempDir::with_prefix("my").unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        // A server deletes temporary tables in its folder when it starts, also those of another server.
        fs::create_dir(folder.path().join("tmp")).unwrap();
        let mut args =
            vec!["--no-defaults".to_owned(), format!("--datadir={}", at("data")), format!("--tmpdir={}", at("tmp"))];
        if rustix::process::geteuid().is_root() {
            args.push("--user=root".to_owned());
        }
        args.push("--innodb-log-file-size=8M".to_owned());
        let made = Command::new("mariadb-install-db")
            .args(&args)
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            .output()
            .expect("MariaDB is missing; ./scripts/test installs it, or: apt-get install mariadb-server");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        args.extend([
            "--skip-networking".to_owned(),
            format!("--socket={}", at("socket")),
            format!("--pid-file={}", at("pid")),
            "--innodb-flush-log-at-trx-commit=0".to_owned(),
            "--innodb-buffer-pool-size=32M".to_owned(),
        ]);
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "keeper"]).arg(folder.path()).arg("mariadbd").args(args);
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut keeper = keeper.spawn().unwrap();
        let pipe = keeper.stdin.take();
        let server = Mariadb { folder, keeper, pipe, databases: AtomicUsize::new(0) };
        eventually(PATIENCE, "MariaDB is ready", || async {
            let log = fs::read_to_string(server.folder.path().join("log")).unwrap_or_default();
            assert!(!log.contains("[ERROR]"), "{log}");
            server.try_connect("mysql").await.is_ok()
        })
        .await;
        server
    }

    /// The name of a new, empty database with the usual collation: `ABC` equals `abc`.
    pub async fn new_database(&self) -> String {
        let name = format!("shop_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let create = format!("CREATE DATABASE {name} CHARACTER SET utf8mb4");
        let mut admin = self.try_connect("mysql").await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut admin).await.unwrap();
        name
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    async fn try_connect(&self, database: &str) -> sqlx::Result<MySqlConnection> {
        MySqlConnectOptions::new().socket(self.socket()).username("root").database(database).connect().await
    }
}

impl Drop for Mariadb {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.keeper.wait();
    }
}
