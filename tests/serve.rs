//! `tokengate serve` and the other commands: a running gateway follows their changes.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokengate::demo::products::{self, RunningProducts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::support::redis::Redis;
use crate::support::{PATIENCE, eventually, soon};

/// A gateway in a process of its own, in front of the product service.
pub struct Gateway {
    process: Process,
    log: Box<dyn Iterator<Item = io::Result<String>> + Send>,
    pub address: SocketAddr,
    internal: SocketAddr,
    pub config: PathBuf,
    products: RunningProducts,
    pub dir: TempDir,
    /// Processes that have taken over; they end with the test.
    successors: Successors,
}

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Processes that this one has not started, but that end with the test.
#[derive(Default)]
struct Successors(Mutex<Vec<u32>>);

impl Drop for Successors {
    fn drop(&mut self) {
        for process in self.0.get_mut().unwrap() {
            let _ = kill_process(pid(*process), Signal::KILL);
        }
    }
}

impl Gateway {
    async fn serve() -> Gateway {
        Gateway::serve_with("").await
    }

    /// With further settings, those of the store first.
    pub async fn serve_with(more: &str) -> Gateway {
        Gateway::serve_in(tempfile::tempdir().unwrap(), more).await
    }

    /// The same in a folder that already has files for the configuration.
    pub async fn serve_in(dir: TempDir, more: &str) -> Gateway {
        Gateway::serve_as(dir, "", more).await
    }

    /// With keys at the top of the file, and tables at its end.
    pub async fn serve_as(dir: TempDir, top: &str, more: &str) -> Gateway {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokengate"));
        command.stdout(Stdio::null());
        Gateway::serve_by(command, dir, top, more).await
    }

    /// The same with another program, or one that was called in another way.
    pub async fn serve_by(mut command: Command, dir: TempDir, top: &str, more: &str) -> Gateway {
        let products = products::start(dir.path(), "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let config = dir.path().join("gateway.toml");
        let text = format!(
            "{top}[listeners.plain]\naddress = \"127.0.0.1:0\"\nplaintext = \"serve\"\n\
             [listeners.internal]\naddress = \"127.0.0.1:0\"\nservices = [\"metrics\"]\n\
             [upstreams.products]\nendpoints = [\"http://{}\"]\n\
             [routes.products]\npath_prefix = \"/product_api/\"\nupstream = \"products\"\n\
             [store]\ntimeout = \"1m\"\n{more}",
            products.address()
        );
        fs::write(&config, text).unwrap();
        // A process that starts in a folder names the file as in a terminal.
        let named = if command.get_current_dir().is_some() { Path::new("gateway.toml") } else { &config };
        command.args(["serve", "--config"]).arg(named).stderr(Stdio::piped());
        command.env("NOTIFY_SOCKET", dir.path().join("systemd.sock"));
        let mut process = command.spawn().unwrap();
        let mut log = Box::new(BufReader::new(process.stderr.take().unwrap()).lines());
        let mut address = |listener: &str| {
            let named = log.find_map(|line| {
                let line = line.unwrap();
                let (_, address) = line.split_once("listening on http://")?;
                line.contains(listener).then(|| address.split_whitespace().next().unwrap().parse().unwrap())
            });
            named.unwrap()
        };
        // In alphabetical order.
        let (internal, address) = (address("internal"), address("plain"));
        let successors = Successors::default();
        Gateway { process: Process(process), log, address, internal, config, products, dir, successors }
    }

    /// The address of the HTTPS listener, from the log.
    pub fn https(&mut self) -> SocketAddr {
        let mut lines = self.log.by_ref().map(Result::unwrap);
        let line = lines.find_map(|line| Some(line.split_once("listening on https://")?.1.to_owned())).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Runs another command with the same configuration and returns its standard output.
    pub fn run(&self, line: &str) -> String {
        let output = self.try_run(line);
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs another command on the same configuration, which may fail.
    pub fn try_run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// Begins another command, which may take long.
    pub fn begin(&self, line: &str) -> JoinHandle<Output> {
        let mut command = self.command(line);
        tokio::task::spawn_blocking(move || command.output().unwrap())
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokengate"));
        command.args(line.split(' ')).arg("--config").arg(&self.config);
        command
    }

    /// The rest of the log, once all processes have ended.
    pub fn rest_of_log(&mut self) -> Vec<String> {
        self.log.by_ref().map(Result::unwrap).collect()
    }

    /// Reads the log and drops it: a gateway that logs much would wait for its reader.
    pub fn drop_log(&mut self) {
        let log = std::mem::replace(&mut self.log, Box::new(std::iter::empty()));
        std::thread::spawn(move || log.for_each(drop));
    }

    /// Has the running process hand over to the program at its path. Returns the id of the new process.
    pub async fn upgrade(&self) -> u32 {
        let output = self.begin("upgrade --json").await.unwrap();
        assert!(output.status.success(), "{output:?}");
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let process = told["pid"].as_u64().unwrap().try_into().unwrap();
        self.successors.0.lock().unwrap().push(process);
        process
    }

    /// Remembers a process that this one has not started, so that it ends with the test.
    pub fn adopt(&self, process: u32) {
        self.successors.0.lock().unwrap().push(process);
    }

    /// The status, as the process that serves tells it.
    pub fn told(&self) -> serde_json::Value {
        serde_json::from_str(&self.run("status --json")).unwrap()
    }

    /// Shuts down the process that serves, and waits for the end of all.
    pub async fn drain(&self) -> String {
        let output = self.begin("drain").await.unwrap();
        assert!(output.status.success(), "{output:?}");
        let told = String::from_utf8(output.stdout).unwrap();
        let processes: Vec<u32> = self.successors.0.lock().unwrap().iter().copied().chain([self.id()]).collect();
        for process in processes {
            eventually(PATIENCE, "the process ends", || async { has_ended(process) }).await;
        }
        told
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.0.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process.0), signal).unwrap();
    }

    /// The metrics page.
    pub async fn metrics(&self) -> String {
        let mut socket = TcpStream::connect(self.internal).await.unwrap();
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// The login token of a user.
    fn token(&self, user: &str) -> String {
        self.run(&format!("token create {user}")).split(' ').nth(2).unwrap().to_owned()
    }

    async fn status(&self, token: &str) -> u16 {
        status(self.address, "/product_api/", &format!("Authorization: Token {token}\r\n")).await
    }

    /// Waits for the response status `status`.
    async fn becomes(&self, token: &str, status: u16) {
        eventually(PATIENCE, "the gateway follows", || async { self.status(token).await == status }).await;
    }

    pub async fn stop(mut self, signal: Signal) {
        self.signal(signal);
        let told: Vec<_> = self.log.map(Result::unwrap).collect();
        assert_eq!(self.process.0.wait().unwrap().code(), Some(0), "{told:?}");
        assert!(TcpStream::connect(self.address).await.is_err());
        self.products.stop().await;
    }
}

/// Has this process ended? Nothing may have asked how.
pub fn has_ended(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.is_empty() || stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}

pub fn pid(process: u32) -> Pid {
    Pid::from_raw(process.try_into().unwrap()).unwrap()
}

pub async fn status(address: SocketAddr, path: &str, fields: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{fields}Connection: close\r\n\r\n");
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_internal_listener_answers_only_the_services_that_it_is_given() {
    let gateway = Gateway::serve().await;
    assert_eq!(status(gateway.internal, "/metrics", "").await, 200);
    assert_eq!(status(gateway.internal, "/health", "").await, 404);
    gateway.stop(Signal::TERM).await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_uses_no_huge_pages_which_would_keep_the_memory_of_closed_connections() {
    let gateway = Gateway::serve().await;
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.id())).unwrap();
    // Kernels before 5.0 have no such line.
    let allowed = status.lines().find_map(|line| line.strip_prefix("THP_enabled:")).map(str::trim);
    assert!(allowed.is_none_or(|allowed| allowed == "0"), "huge pages are allowed: {allowed:?}");
    gateway.stop(Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_revoked_on_the_command_line_is_refused_by_a_running_gateway() {
    let gateway = Gateway::serve().await;
    gateway.run("user create alice --no-password");
    let token = gateway.token("alice");
    assert_eq!(gateway.status(&token).await, 200);
    gateway.run("token revoke 1");
    gateway.becomes(&token, 401).await;
    let fresh = gateway.token("alice");
    assert_eq!(gateway.status(&fresh).await, 200);
    assert_eq!(gateway.status(&token).await, 401);
    let newer = gateway.run("token create alice --reset").split(' ').nth(2).unwrap().to_owned();
    gateway.becomes(&fresh, 401).await;
    assert_eq!(gateway.status(&newer).await, 200);
    gateway.stop(Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_is_deactivated_or_deleted_is_refused_by_a_running_gateway() {
    let gateway = Gateway::serve().await;
    gateway.run("user create bob --no-password");
    let token = gateway.token("bob");
    assert_eq!(gateway.status(&token).await, 200);
    gateway.run("user deactivate bob");
    gateway.becomes(&token, 401).await;
    gateway.run("user activate bob");
    gateway.becomes(&token, 200).await;
    gateway.run("user delete bob");
    gateway.becomes(&token, 401).await;
    gateway.stop(Signal::INT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_notifies_running_gateways_through_the_shared_cache() {
    let redis = Redis::start().await;
    // Within this test no gateway polls the change log, and no entry expires.
    let gateway = Gateway::serve_with(&format!(
        "poll_every = \"1h\"\n[cache.memory]\nttl = \"1h\"\n[cache.redis]\nurl = \"{}\"\ntimeout = \"1s\"\n",
        redis.url()
    ))
    .await;
    gateway.run("user create alice --no-password");
    let key = gateway.token("alice");
    eventually(PATIENCE, "the token is known", || async { gateway.status(&key).await == 200 }).await;
    gateway.run("user deactivate alice");
    eventually(PATIENCE, "the gateway was notified", || async { gateway.status(&key).await == 401 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_notified_of_the_start_of_reloads_and_of_the_shutdown() {
    let dir = tempfile::tempdir().unwrap();
    let systemd = tokio::net::UnixDatagram::bind(dir.path().join("systemd.sock")).unwrap();
    let gateway = Gateway::serve_in(dir, "").await;
    let told = async || {
        let mut buffer = [0; 256];
        let length = soon("a message", systemd.recv(&mut buffer)).await.unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(told().await.trim(), "READY=1");
    gateway.signal(Signal::HUP);
    let reloading = told().await;
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(told().await.trim(), "READY=1");
    gateway.stop(Signal::TERM).await;
    assert_eq!(told().await.trim(), "STOPPING=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigusr1_opens_a_renamed_access_log_again() {
    let dir = tempfile::tempdir().unwrap();
    let (file, renamed) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
    let gateway = Gateway::serve_in(dir, &format!("[log]\naccess_to = \"file:{}\"\n", file.display())).await;
    let has = async |file: &Path, path: &str| {
        let read = || fs::read_to_string(file).unwrap_or_default();
        eventually(PATIENCE, path, || async { read().contains(&format!(" path={path} ")) }).await;
        read().lines().count()
    };
    assert_eq!(status(gateway.address, "/first", "").await, 401);
    assert_eq!(has(&file, "/first").await, 1);
    fs::rename(&file, &renamed).unwrap();
    gateway.signal(Signal::USR1);
    eventually(PATIENCE, "the file is there again", || async { file.exists() }).await;
    assert_eq!(status(gateway.address, "/second", "").await, 401);
    assert_eq!((has(&file, "/second").await, has(&renamed, "/first").await), (1, 1));
    gateway.stop(Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_superuser_the_log_says_how_to_create_one() {
    let dir = tempfile::tempdir().unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_tokengate")).arg("cert").current_dir(dir.path()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let admin = "[certificates.dev]\ncert_file = \"certs/dev-cert.pem\"\nkey_file = \"certs/dev-key.pem\"\n\
                 [admin]\naddress = \"127.0.0.1:0\"\ncertificate = \"dev\"\n";
    let text = format!(
        "[listeners.plain]\naddress = \"127.0.0.1:0\"\nplaintext = \"serve\"\n[upstreams.u]\nendpoints = \
         [\"http://127.0.0.1:9\"]\n[routes.r]\npath_prefix = \"/\"\nupstream = \"u\"\n{admin}"
    );
    fs::write(dir.path().join("gateway.toml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tokengate"));
    let mut process = command.arg("serve").current_dir(dir.path()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let process = Process(process);
    let told = tokio::task::spawn_blocking(move || {
        lines.map(Result::unwrap).find(|line| line.contains("no superuser with a password"))
    });
    let line = soon("a line", told).await.unwrap();
    assert!(line.unwrap().contains("tokengate user create NAME --superuser"));
    drop(process);
}
