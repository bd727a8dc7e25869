//! nginx as an endpoint: a real process on a free port, in a folder of its own, killed at the end.

use std::fs;
use std::net::SocketAddr;
use std::process::Child;

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::redis::{free_port, start};
use super::{PATIENCE, eventually};

pub struct Nginx {
    address: SocketAddr,
    child: Child,
    folder: TempDir,
}

impl Nginx {
    /// Starts it with one server, whose directives `server` returns for its address.
    pub async fn serving(server: impl Fn(SocketAddr) -> String) -> Nginx {
        Nginx::with(|address| format!("server {{\n{}\n}}", server(address))).await
    }

    /// Starts it with these directives of the `http` block.
    pub async fn with(http: impl Fn(SocketAddr) -> String) -> Nginx {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", at(kind)))
            .concat();
        let text = format!(
            "daemon off; worker_processes 1; pid {};\nerror_log {} info;\nevents {{}}\nhttp {{\naccess_log off;\n\
             {temporary}client_max_body_size 0;\n{}\n}}\n",
            at("pid"),
            at("error.log"),
            http(address)
        );
        // The workers of a process of root have another user, which cannot read keys.
        let text = if rustix::process::geteuid().is_root() { format!("user root;\n{text}") } else { text };
        fs::write(folder.path().join("nginx.conf"), text).unwrap();
        let args = ["-c".to_owned(), at("nginx.conf"), "-e".to_owned(), at("error.log")];
        let child = start("nginx", &args, &folder.path().join("output"));
        let nginx = Nginx { address, child, folder };
        let is_up = || async { TcpStream::connect(address).await.is_ok() };
        if tokio::time::timeout(PATIENCE, eventually(PATIENCE, "nginx serves", is_up)).await.is_err() {
            panic!("{}", nginx.log());
        }
        nginx
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        ["output", "error.log"]
            .map(|name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default())
            .concat()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, which its master passes to the workers.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
