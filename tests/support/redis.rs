//! Redis servers of one test: real processes on free ports, in folders of their own, killed at the end.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, OnceLock, mpsc};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokengate::clock::Clock;
use tokengate::demo::certificate::{self, Wish};

use super::{PATIENCE, eventually};

/// A user with exactly the rights that `docs/CONFIGURATION.md` lists.
pub const RULES: &str = "user gate on >open-sesame resetkeys ~tokengate:* resetchannels &tokengate:* -@all \
                         +@connection +evalsha +eval +time +get +set +del +publish +subscribe";

/// A free port outside of the system's ephemeral range, and unique within this process.
pub fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let first = || AtomicU16::new(u16::try_from(10_000 + std::process::id() % 200 * 100).unwrap());
    let next = NEXT.get_or_init(first);
    loop {
        let port = next.fetch_add(1, Ordering::Relaxed);
        assert!(port < 32_000, "no free port is left");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Starts a program that the kernel kills when this process ends.
///
/// The kernel watches the thread that started it, so that thread lives as long as the process.
pub fn start(program: &str, args: &[String], log: &Path) -> Child {
    type Order = (Command, mpsc::Sender<Child>);
    static STARTER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, received) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in received {
                reply.send(command.spawn().expect("setpriv of util-linux is there")).unwrap();
            }
        });
        Mutex::new(orders)
    });
    let log = fs::File::options().create(true).append(true).open(log).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]).args(args);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let (reply, child) = mpsc::channel();
    starter.lock().unwrap().send((command, reply)).unwrap();
    child.recv().unwrap()
}

/// One server, running or stopped.
pub struct Redis {
    pub port: u16,
    args: Vec<String>,
    folder: TempDir,
    child: Option<Child>,
}

impl Redis {
    /// A single server.
    pub async fn start() -> Redis {
        Redis::start_with(&[]).await
    }

    /// A single server with additional configuration lines.
    pub async fn start_with(lines: &[&str]) -> Redis {
        let port = free_port();
        let mut redis = Redis::prepare(port, &[], lines);
        redis.restart().await;
        redis
    }

    /// A server that accepts only TLS, and its CA file.
    pub async fn start_tls() -> (Redis, PathBuf) {
        let port = free_port();
        let mut redis = Redis::prepare(port, &[], &[]);
        let made = certificate::make(&redis.path("certs"), &Wish::default(), Clock::system().now()).unwrap();
        let file = |path: &Path| path.display().to_string();
        redis.write_config(&[
            &format!("port 0\ntls-port {port}"),
            &format!("tls-cert-file {}", file(&made.cert_file)),
            &format!("tls-key-file {}", file(&made.key_file)),
            &format!("tls-ca-cert-file {}", file(&made.ca_file)),
            "tls-auth-clients no",
            &format!("unixsocket {}", file(&redis.socket())),
        ]);
        redis.launch();
        eventually(PATIENCE, "the TLS server answers", || async { redis.socket().exists() }).await;
        (redis, made.ca_file)
    }

    fn prepare(port: u16, args: &[&str], lines: &[&str]) -> Redis {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("redis.conf").display().to_string();
        let args = [config.as_str()].iter().chain(args).map(|arg| (*arg).to_owned()).collect::<Vec<_>>();
        let is_server = args.len() == 1;
        let redis = Redis { port, args, folder, child: None };
        let socket = format!("unixsocket {}", redis.socket().display());
        let common = [socket.as_str(), "save \"\"", "appendonly no"];
        let common = if is_server { &common[..] } else { &[] };
        redis.write_config(&[&[format!("port {port}").as_str()], common, lines].concat());
        redis
    }

    fn write_config(&self, lines: &[&str]) {
        let mut file = fs::File::create(self.path("redis.conf")).unwrap();
        writeln!(file, "bind 127.0.0.1\ndir {}\n{}", self.folder.path().display(), lines.join("\n")).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.path("redis.sock")
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn launch(&mut self) {
        self.child = Some(start("redis-server", &self.args, &self.path("log")));
    }

    /// Starts it again after [`Redis::kill`], with the data of [`Redis::save`], and waits until it responds.
    pub async fn restart(&mut self) {
        self.launch();
        let answers = || async { self.client().await.is_some() };
        eventually(PATIENCE, "the server answers", answers).await;
    }

    /// Saves all data to disk, for a later [`Redis::restart`].
    pub async fn save(&self) {
        self.ask::<String>(redis::cmd("SAVE")).await;
    }

    /// Deletes the saved data.
    pub fn forget_saved(&self) {
        // The file may not exist.
        let _ = fs::remove_file(self.path("dump.rdb"));
    }

    /// Kills it, as a power failure would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Suspends it: the kernel accepts connections, but the server does not respond.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Resumes it.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), signal).unwrap();
    }

    async fn client(&self) -> Option<MultiplexedConnection> {
        let client = redis::Client::open(self.url()).unwrap();
        let patient = AsyncConnectionConfig::new();
        let patient = patient.set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
        let mut connection = client.get_multiplexed_async_connection_with_config(&patient).await.ok()?;
        redis::cmd("PING").query_async::<redis::Value>(&mut connection).await.ok()?;
        Some(connection)
    }

    /// Sends a command to the server.
    pub async fn ask<T: FromRedisValue>(&self, command: Cmd) -> T {
        let mut connection = self.client().await.expect("it answers");
        command.query_async(&mut connection).await.unwrap()
    }

    /// All data: keys, values and remaining lifetimes in milliseconds.
    pub async fn contents(&self) -> Vec<(Vec<u8>, Vec<u8>, i64)> {
        let mut all = Vec::new();
        for key in self.ask::<Vec<Vec<u8>>>(command(&["KEYS", "*"])).await {
            let mut get = redis::cmd("GET");
            get.arg(&key);
            let mut life = redis::cmd("PTTL");
            life.arg(&key);
            all.push((key, self.ask(get).await, self.ask(life).await));
        }
        all
    }

    /// How often it ran this command.
    pub async fn count(&self, name: &str) -> u64 {
        let page: String = self.ask(command(&["INFO", "commandstats"])).await;
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
        line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A command from these words.
pub fn command(words: &[&str]) -> Cmd {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command
}

/// A master with two replicas, and three sentinels that monitor them.
pub struct Sentinels {
    pub servers: Vec<Redis>,
    pub sentinels: Vec<Redis>,
}

impl Sentinels {
    pub async fn start() -> Sentinels {
        // Sentinels and replicas use the default user; gateways may use the other.
        let rules = format!("{RULES} +role");
        let master = Redis::start_with(&[&rules]).await;
        let follow = format!("replicaof 127.0.0.1 {}", master.port);
        let mut servers = vec![master];
        for _ in 0..2 {
            servers.push(Redis::start_with(&[&rules, &follow, "repl-diskless-sync-delay 0"]).await);
        }
        let monitor = format!("sentinel monitor main 127.0.0.1 {} 2", servers[0].port);
        let lines =
            [monitor.as_str(), "sentinel down-after-milliseconds main 3000", "sentinel failover-timeout main 10000"];
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let mut sentinel = Redis::prepare(free_port(), &["--sentinel"], &lines);
            sentinel.restart().await;
            sentinels.push(sentinel);
        }
        let all = Sentinels { servers, sentinels };
        eventually(PATIENCE, "the sentinels know all servers and each other", || all.are_ready()).await;
        all
    }

    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.sentinels.iter().map(|one| format!("127.0.0.1:{}", one.port)).collect();
        format!("redis-sentinel://{}/main", hosts.join(","))
    }

    async fn are_ready(&self) -> bool {
        for sentinel in &self.sentinels {
            let page: String = sentinel.ask(command(&["INFO", "sentinel"])).await;
            if !page.contains("status=ok") || !page.contains("slaves=2,sentinels=3") {
                return false;
            }
        }
        for replica in &self.servers[1..] {
            let page: String = replica.ask(command(&["INFO", "replication"])).await;
            if !page.contains("master_link_status:up") {
                return false;
            }
        }
        true
    }

    /// The index of the master according to the first sentinel.
    pub async fn master(&self) -> usize {
        let address: Vec<String> =
            self.sentinels[0].ask(command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"])).await;
        let port: u16 = address[1].parse().unwrap();
        self.servers.iter().position(|server| server.port == port).unwrap()
    }
}

/// A cluster of three masters with a replica each.
pub struct Cluster {
    pub nodes: Vec<Redis>,
}

impl Cluster {
    pub async fn start() -> Cluster {
        let mut nodes = Vec::new();
        for _ in 0..6 {
            let bus = format!("cluster-port {}", free_port());
            let rules = format!("{RULES} +cluster");
            let lines = [
                "cluster-enabled yes",
                "cluster-node-timeout 4000",
                "cluster-config-file nodes.conf",
                bus.as_str(),
                rules.as_str(),
            ];
            nodes.push(Redis::start_with(&lines).await);
        }
        let cluster = Cluster { nodes };
        let hosts = cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        let created = Command::new("redis-cli")
            .args(["--cluster", "create", "--cluster-replicas", "1", "--cluster-yes"])
            .args(hosts)
            .output()
            .unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        eventually(PATIENCE, "every node knows the whole cluster", || cluster.is_ready()).await;
        cluster
    }

    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(|one| format!("127.0.0.1:{}", one.port)).collect();
        format!("redis-cluster://{}", hosts.join(","))
    }

    async fn is_ready(&self) -> bool {
        for node in &self.nodes {
            let info: String = node.ask(command(&["CLUSTER", "INFO"])).await;
            let nodes: String = node.ask(command(&["CLUSTER", "NODES"])).await;
            let (masters, replicas) = (nodes.matches("master").count(), nodes.matches("slave").count());
            if !info.contains("cluster_state:ok") || (masters, replicas) != (3, 3) {
                return false;
            }
            let page: String = node.ask(command(&["INFO", "replication"])).await;
            if page.contains("role:slave") && !page.contains("master_link_status:up") {
                return false;
            }
        }
        true
    }

    /// The index of a master.
    pub async fn a_master(&self) -> usize {
        for (index, node) in self.nodes.iter().enumerate() {
            let page: String = node.ask(command(&["INFO", "replication"])).await;
            if page.contains("role:master") {
                return index;
            }
        }
        panic!("no master")
    }
}
