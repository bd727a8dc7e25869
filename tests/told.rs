//! The outage of a dependency is logged once when it begins and once when it ends, by all workers together.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::redis::{Redis, free_port};
use crate::support::{PATIENCE, Postgres, eventually};

/// Number of requests during an outage.
const REQUESTS: usize = 200;

/// A gateway with two workers in a process of its own, and its log.
struct Process {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    address: SocketAddr,
    _folder: TempDir,
}

impl Process {
    /// `more` is further configuration; `{folder}` in it is a folder of its own.
    async fn start(endpoint: u16, more: &str) -> Process {
        let folder = tempfile::tempdir().unwrap();
        let config: PathBuf = folder.path().join("gateway.toml");
        let text = format!(
            "workers = 2\n[listeners.plain]\naddress = \"127.0.0.1:0\"\nplaintext = \"serve\"\n\
             [upstreams.one]\nendpoints = [\"http://127.0.0.1:{endpoint}\"]\n\
             [routes.open]\npath_prefix = \"/open/\"\nupstream = \"one\"\nauth = \"none\"\n\
             [routes.closed]\npath_prefix = \"/closed/\"\nupstream = \"one\"\n[limits]\nwrong_keys = \"unlimited\"\n{more}"
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokengate"));
        command.args(["serve", "--config"]).arg(&config).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = Arc::<Mutex<Vec<String>>>::default();
        let (lines, sink) = (BufReader::new(child.stderr.take().unwrap()).lines(), Arc::clone(&said));
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| sink.lock().unwrap().push(line)));
        let mut process = Process { child, said, address: SocketAddr::from(([0, 0, 0, 0], 0)), _folder: folder };
        let listening = || async { process.line("listening on http://").is_some() };
        eventually(PATIENCE, "it listens", listening).await;
        let line = process.line("listening on http://").unwrap();
        let (_, address) = line.split_once("listening on http://").unwrap();
        process.address = address.split_whitespace().next().unwrap().parse().unwrap();
        process
    }

    fn line(&self, part: &str) -> Option<String> {
        self.said.lock().unwrap().iter().find(|line| line.contains(part)).cloned()
    }

    /// Warnings and errors in the log.
    fn complaints(&self) -> Vec<String> {
        let said = self.said.lock().unwrap();
        said.iter().filter(|line| line.contains("WARN") || line.contains("ERROR")).cloned().collect()
    }

    fn count(&self, part: &str) -> usize {
        self.said.lock().unwrap().iter().filter(|line| line.contains(part)).count()
    }

    /// The number after `name` in the only line with `part`.
    fn number(&self, part: &str, name: &str) -> u64 {
        let line = self.line(part).unwrap();
        let (_, rest) = line.split_once(&format!("{name}=")).unwrap_or_else(|| panic!("{line}"));
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }

    async fn is_told(&self, part: &str) {
        eventually(PATIENCE, part, || async { self.line(part).is_some() }).await;
    }

    /// The status of a request on a separate connection, which any worker may accept.
    async fn status(&self, path: &str, token: &str) -> u16 {
        status(self.address, path, token).await
    }

    /// Sends many requests at once; each must get this status.
    async fn all_get(&self, path: &str, wanted: u16) {
        // Each has a token that no gateway has seen.
        static TOKENS: AtomicUsize = AtomicUsize::new(0);
        let mut asks = JoinSet::new();
        for _ in 0..REQUESTS {
            let number = TOKENS.fetch_add(1, Ordering::Relaxed);
            let (address, path) = (self.address, path.to_owned());
            asks.spawn(async move { status(address, &path, &format!("{number:040x}")).await });
        }
        for got in asks.join_all().await {
            assert_eq!(got, wanted);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn status(address: SocketAddr, path: &str, token: &str) -> u16 {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Token {token}\r\nConnection: close\r\n\r\n");
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// An endpoint that answers everything until it is dropped.
async fn endpoint(port: u16) -> JoinSet<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut head = [0; 4096];
                let _ = socket.read(&mut head).await;
                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
                let _ = socket.write_all(answer.as_bytes()).await;
            });
        }
    });
    tasks
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outage_of_an_endpoint_is_logged_once_and_its_end_once() {
    let port = free_port();
    let gateway = Process::start(port, "").await;
    gateway.all_get("/open/", 502).await;
    let complaints = gateway.complaints();
    assert!(complaints.len() == 1 && complaints[0].contains("cannot connect to the endpoint"), "{complaints:?}");
    assert!(
        complaints[0].contains(&format!("127.0.0.1:{port}")) && complaints[0].contains("refused"),
        "{complaints:?}"
    );
    let _endpoint = endpoint(port).await;
    gateway.all_get("/open/", 200).await;
    gateway.is_told("the endpoint can be reached again").await;
    assert!(gateway.number("can be reached again", "failures") >= u64::try_from(REQUESTS).unwrap());
    assert_eq!((gateway.complaints().len(), gateway.count("can be reached again")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outage_of_a_store_is_logged_once_and_its_end_once() {
    let port = free_port();
    let _endpoint = endpoint(port).await;
    let mut server = Postgres::start().await;
    let folder = server.socket_folder().display().to_string();
    let gateway = Process::start(
        port,
        &format!("[store]\nurl = \"postgres:///postgres?host={folder}&user=postgres\"\ntimeout = \"5s\"\n"),
    )
    .await;
    assert_eq!(gateway.status("/closed/", &"a".repeat(40)).await, 401);
    server.kill().await;
    eventually(PATIENCE, "the outage is noticed", || async {
        gateway.status("/closed/", &"b".repeat(40)).await == 503
    })
    .await;
    gateway.all_get("/closed/", 503).await;
    gateway.is_told("the store does not answer").await;
    gateway.is_told("cannot listen for changes").await;
    let complaints = gateway.complaints();
    assert_eq!(complaints.len(), 2, "one for the store, one for the push connection: {complaints:#?}");
    server.restart().await;
    gateway.is_told("the store answers again").await;
    eventually(PATIENCE, "the store is back", || async { gateway.status("/closed/", &"c".repeat(40)).await == 401 })
        .await;
    gateway.is_told("push notifications of changes work again").await;
    assert_eq!((gateway.count("the store answers again"), gateway.complaints().len()), (1, 2));
    assert!(gateway.number("the store answers again", "failures") >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outage_of_a_shared_cache_is_logged_once_and_its_end_once() {
    let port = free_port();
    let _endpoint = endpoint(port).await;
    let mut redis = Redis::start().await;
    let gateway =
        Process::start(port, &format!("[cache.redis]\nurl = \"redis://127.0.0.1:{}\"\ntimeout = \"1s\"\n", redis.port))
            .await;
    gateway.all_get("/closed/", 401).await;
    redis.kill();
    gateway.all_get("/closed/", 401).await;
    gateway.is_told("the shared cache is unreachable").await;
    let complaints = gateway.complaints();
    assert!(complaints.len() == 1 && complaints[0].contains("refused"), "{complaints:#?}");
    redis.restart().await;
    gateway.is_told("the shared cache is reachable again").await;
    assert_eq!((gateway.complaints().len(), gateway.count("the shared cache is reachable again")), (1, 1));
}
