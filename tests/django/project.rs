//! A Django project with its own database: the one in the folder `project`, with the current release from PyPI.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokengate::clock::{Clock, Hand};
use tokengate::config::settings::{self, Django, DjangoMode, DjangoUrl, StoreUrl};
use tokengate::store::{self, OpenError, Store};
use tokio::sync::OnceCell;

use crate::support::{Gateway, Mariadb, Origin, PATIENCE, Postgres, Site, python};

pub struct Project {
    /// The value of `store.url`.
    pub address: String,
    pub url: StoreUrl,
    database: Value,
    switches: Vec<&'static str>,
    folder: TempDir,
}

impl Project {
    pub async fn on_sqlite() -> Project {
        let folder = tempfile::tempdir().unwrap();
        static TEMPLATE: OnceCell<Vec<u8>> = OnceCell::const_new();
        let path = folder.path().join("db.sqlite3");
        let file = path.display().to_string();
        let database = json!({ "ENGINE": "django.db.backends.sqlite3", "NAME": file });
        let project = Project::at(&format!("django+sqlite:{file}"), database, folder);
        let migrated = async || {
            project.migrate().await;
            fs::read(&path).unwrap()
        };
        fs::write(&path, TEMPLATE.get_or_init(migrated).await).unwrap();
        project
    }

    pub async fn on_postgres() -> Project {
        Project::on(Postgres::shared().await).await
    }

    /// A project on this PostgreSQL server.
    pub async fn on(server: &Postgres) -> Project {
        Project::on_with(server, &[]).await
    }

    /// The same with these switches of `settings.py`, from its first migration on.
    pub async fn on_with(server: &Postgres, switches: &[&'static str]) -> Project {
        let (name, host) = (server.new_database().await, server.socket_folder().display());
        let database = json!({
            "ENGINE": "django.db.backends.postgresql", "NAME": name, "HOST": host.to_string(), "USER": "postgres",
        });
        let address = format!("django+postgres:///{name}?host={host}&user=postgres");
        let mut project = Project::at(&address, database, tempfile::tempdir().unwrap());
        project.switches.extend(switches);
        project.migrate().await;
        project
    }

    pub async fn on_mariadb() -> Project {
        let server = Mariadb::shared().await;
        let (name, socket) = (server.new_database().await, server.socket().display().to_string());
        let database = json!({
            "ENGINE": "django.db.backends.mysql", "NAME": name, "USER": "root",
            "OPTIONS": { "unix_socket": socket },
        });
        let address = format!("django+mysql://root@localhost/{name}?socket={socket}");
        let project = Project::at(&address, database, tempfile::tempdir().unwrap());
        project.migrate().await;
        project
    }

    fn at(address: &str, database: Value, folder: TempDir) -> Project {
        let url = StoreUrl::Django(DjangoUrl::parse(address, |path| PathBuf::from(path)).unwrap());
        Project { address: address.to_owned(), url, database, switches: Vec::new(), folder }
    }

    /// The same with a file of docs/django; `settings.py` has the switches.
    pub fn with(mut self, switch: &'static str) -> Project {
        self.switches.push(switch);
        self
    }

    /// The success and the output of `psql` with a script, on the PostgreSQL database.
    pub fn psql(&self, script: &str) -> (bool, String) {
        let text = |key: &str| self.database[key].as_str().unwrap();
        let mut command = Command::new("psql");
        command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--username=postgres"]);
        command.args(["--host", text("HOST"), "--dbname", text("NAME")]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout) + &text(output.stderr))
    }

    /// Python in the project's environment.
    pub async fn command(&self) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let paths = ["tests/django/project", "docs/django"].map(|path| root.join(path));
        let mut command = python::DJANGO.command().await;
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("PYTHONPATH", std::env::join_paths(paths).unwrap()).env("DATABASE", self.database.to_string());
        command.envs(self.switches.iter().map(|switch| (switch, "yes")));
        command
    }

    pub async fn migrate(&self) {
        self.manage(&["migrate", "--verbosity=0"]).await;
    }

    /// The output of a management command of the project.
    pub async fn manage(&self, arguments: &[&str]) -> String {
        let mut command = self.command().await;
        command.args(["-m", "manage"]).args(arguments);
        let output = python::output(command).await;
        let text = |bytes| String::from_utf8(bytes).unwrap().trim_end().to_owned();
        let (out, err) = (text(output.stdout), text(output.stderr));
        assert!(output.status.success(), "{arguments:?}: {err}");
        out
    }

    /// The output of Python code with access to Django's models.
    pub async fn python(&self, code: &str) -> String {
        self.manage(&["-", code]).await
    }

    /// The complete content and schema of the database.
    pub async fn dump(&self) -> String {
        let data = self.manage(&["dumpdata", "--indent=1"]).await;
        let shape = self.python("print(sorted(connection.introspection.table_names()))").await;
        data + &shape
    }

    /// Settings of a store on this database.
    pub fn settings(&self, mode: DjangoMode) -> settings::Store {
        settings::Store {
            django: Django { mode, ..Django::default() },
            timeout: PATIENCE,
            ..settings::Store::at(self.url.clone(), self.folder.path().join("unused.key"))
        }
    }

    pub async fn try_open(&self, settings: &settings::Store) -> Result<Store, OpenError> {
        store::open(settings, &settings::Tokens::default(), Clock::system()).await
    }

    /// A writable store on this database, and the hand of its clock.
    pub async fn open(&self) -> (Store, Hand) {
        let (clock, hand) = Clock::by_hand(Clock::system().now());
        let settings = self.settings(DjangoMode::ReadWrite);
        (store::open(&settings, &settings::Tokens::default(), clock).await.unwrap(), hand)
    }

    /// A gateway on this database.
    pub async fn gateway(&self, origin: &Origin) -> Gateway {
        self.site(origin, DjangoMode::ReadOnly).start().await
    }

    /// A gateway on this database before its start.
    pub fn site(&self, origin: &Origin, mode: DjangoMode) -> Site {
        let store = self.settings(mode);
        Site::before(origin).with(|settings| {
            settings.store = store;
            settings.identity.user_groups = Some(http::HeaderName::from_static("x-user-groups"));
        })
    }
}
