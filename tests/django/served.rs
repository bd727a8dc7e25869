//! A running Django project: gunicorn on a Unix socket, as in docs/DJANGO.md.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use tempfile::TempDir;
use tokengate::config::Settings;
use tokengate::config::settings::{Auth, DjangoMode, Endpoint, EndpointAddress};

use super::project::Project;
use crate::support::gateway::route;
use crate::support::postgres::KEEPER;
use crate::support::{Gateway, PATIENCE, Site, Wire, eventually};

pub struct Served {
    folder: TempDir,
    keeper: Child,
    /// The server runs while this pipe is open.
    pipe: Option<ChildStdin>,
}

impl Served {
    /// This server treats `_` in a header name as `-`, as some others do; gunicorn by default drops such headers.
    pub async fn start(project: &Project) -> Served {
        let folder = TempDir::with_prefix("gunicorn").unwrap();
        let mut gunicorn = project.command().await;
        gunicorn.args(["-m", "gunicorn", "--preload", "--no-control-socket", "--threads=4", "--header-map=dangerous"]);
        gunicorn.args(["shop.wsgi", "--bind"]);
        gunicorn.arg(format!("unix:{}", folder.path().join("socket").display()));
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "keeper"]).arg(folder.path()).arg(gunicorn.get_program()).args(gunicorn.get_args());
        keeper.envs(gunicorn.get_envs().filter_map(|(name, value)| Some((name, value?))));
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut keeper = keeper.spawn().unwrap();
        let pipe = keeper.stdin.take();
        let served = Served { folder, keeper, pipe };
        eventually(PATIENCE, "gunicorn is ready", || async {
            let log = fs::read_to_string(served.folder.path().join("log")).unwrap_or_default();
            assert!(!log.contains("Error"), "{log}");
            UnixStream::connect(served.socket()).is_ok()
        })
        .await;
        served
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// A direct connection, without a gateway.
    pub async fn connect(&self) -> Wire {
        Wire::over(tokio::net::UnixStream::connect(self.socket()).await.unwrap())
    }

    /// A gateway with the project's database in front of it: `/page/` is public, the rest requires a token.
    pub async fn gateway(&self, project: &Project, change: impl FnOnce(&mut Settings)) -> Gateway {
        let site = Site::before_all(&[]).with(|settings| {
            settings.store = project.settings(DjangoMode::ReadOnly);
            let address = EndpointAddress::Unix(self.socket());
            settings.upstreams[0].endpoints = vec![Endpoint::at("localhost", address)];
            settings.routes = vec![route("api", "/", Auth::Required), route("page", "/page/", Auth::Optional)];
        });
        site.with(change).start().await
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.keeper.wait();
    }
}
