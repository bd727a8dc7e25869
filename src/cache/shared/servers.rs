//! Connects to Redis: to one server, to the master that sentinels report, or to the nodes of a cluster.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, ProtocolVersion,
    PushInfo, RedisConnectionInfo, RedisError, RedisResult, TlsCertificates, TlsMode, Value,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::cause::{Moment, advice, may_be_foreign};
use crate::config::settings::{RedisCache, RedisHost, RedisServers};

/// The timeout of one connect.
const CONNECT: Duration = Duration::from_secs(1);

/// The configured servers.
pub(super) struct Servers(RedisCache);

/// A multiplexed connection. Cloned for each request.
#[derive(Clone)]
pub(super) enum Connection {
    /// To one server.
    One(MultiplexedConnection),
    /// To the nodes of a cluster; finds new masters by itself.
    Cluster(ClusterConnection),
}

impl Connection {
    pub(super) async fn ask(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Connection::One(one) => command.query_async(one).await,
            Connection::Cluster(cluster) => command.query_async(cluster).await,
        }
    }
}

impl Servers {
    pub(super) fn new(settings: &RedisCache) -> Servers {
        Servers(settings.clone())
    }

    /// Reports whether it is always the same single server.
    pub(super) fn is_one(&self) -> bool {
        matches!(self.0.servers, RedisServers::One(_) | RedisServers::Unix(_))
    }

    /// Reports whether the servers form a cluster.
    pub(super) fn are_cluster(&self) -> bool {
        matches!(self.0.servers, RedisServers::Cluster(_))
    }

    /// Reports whether sentinels name the master.
    pub(super) fn have_sentinel(&self) -> bool {
        matches!(self.0.servers, RedisServers::Sentinel { .. })
    }

    /// Connects for requests. Each attempted server has a timeout; the caller limits requests on the connection.
    pub(super) async fn connect(&self) -> RedisResult<Connection> {
        if let RedisServers::Cluster(nodes) = &self.0.servers {
            return self.cluster(nodes)?.get_async_connection().await.map(Connection::Cluster);
        }
        let client = self.client(0).await?;
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(None);
        client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::One)
    }

    /// Connects for published messages, which `push` receives. In a cluster, uses the nodes in turn.
    pub(super) async fn listen(
        &self,
        turn: &AtomicUsize,
        push: impl Fn(PushInfo) -> Result<(), ()> + Send + Sync + 'static,
    ) -> RedisResult<MultiplexedConnection> {
        let client = self.client(turn.fetch_add(1, Ordering::Relaxed)).await?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(CONNECT))
            .set_push_sender(push);
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Connects to one server: the server, the master, or one node of the cluster.
    async fn client(&self, turn: usize) -> RedisResult<Client> {
        match &self.0.servers {
            RedisServers::One(host) => self.client_of(self.address(host)),
            RedisServers::Unix(path) => self.client_of(ConnectionAddr::Unix(path.clone())),
            RedisServers::Cluster(nodes) => match nodes.get(turn % nodes.len().max(1)) {
                Some(node) => self.client_of(self.address(node)),
                None => Err(RedisError::from((ErrorKind::InvalidClientConfig, "a cluster without nodes"))),
            },
            RedisServers::Sentinel { sentinels, service } => {
                self.sentinel(sentinels, service)?.async_get_client().await
            }
        }
    }

    fn client_of(&self, address: ConnectionAddr) -> RedisResult<Client> {
        let info = self.info(address)?;
        match self.certificates() {
            Some(certificates) => Client::build_with_tls(info, certificates),
            None => Client::open(info),
        }
    }

    fn info(&self, address: ConnectionAddr) -> RedisResult<ConnectionInfo> {
        // RESP3 carries messages and answers over one connection.
        let mut redis =
            RedisConnectionInfo::default().set_db(self.0.database.into()).set_protocol(ProtocolVersion::RESP3);
        if let Some(username) = &self.0.username {
            redis = redis.set_username(username);
        }
        if let Some(password) = &self.0.password {
            redis = redis.set_password(password.expose());
        }
        let info = address.into_connection_info()?;
        Ok(info.set_redis_settings(redis).set_tcp_settings(tcp()))
    }

    /// Asks the sentinels each time, because only they know the current master.
    fn sentinel(&self, sentinels: &[RedisHost], service: &str) -> RedisResult<SentinelClient> {
        let addresses = sentinels.iter().map(|host| self.address(host));
        let mut builder = SentinelClientBuilder::new(addresses, service, SentinelServerType::Master)?
            .set_client_to_redis_db(self.0.database.into())
            .set_client_to_redis_protocol(ProtocolVersion::RESP3)
            .set_client_to_redis_tcp_settings(tcp());
        if let Some(username) = &self.0.username {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = &self.0.password {
            builder = builder.set_client_to_redis_password(password.expose());
        }
        if self.0.tls.is_some() {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = self.certificates() {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates);
        }
        builder.build()
    }

    fn cluster(&self, nodes: &[RedisHost]) -> RedisResult<ClusterClient> {
        let infos = nodes.iter().map(|node| self.info(self.address(node))).collect::<RedisResult<Vec<_>>>()?;
        // One immediate retry: after a redirect, or on a broken connection.
        let mut builder = ClusterClientBuilder::new(infos)
            .retries(1)
            .min_retry_wait(1)
            .max_retry_wait(10)
            .connection_timeout(CONNECT)
            .response_timeout(CONNECT)
            .use_protocol(ProtocolVersion::RESP3)
            .tcp_settings(tcp());
        if let Some(certificates) = self.certificates() {
            builder = builder.certs(certificates);
        }
        builder.build()
    }

    fn address(&self, RedisHost(host, port): &RedisHost) -> ConnectionAddr {
        match self.0.tls {
            None => ConnectionAddr::Tcp(host.clone(), *port),
            Some(_) => ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None },
        }
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        let authorities = self.0.tls.as_ref()?.authorities.clone()?;
        Some(TlsCertificates { client_tls: None, root_cert: Some(authorities) })
    }

    /// Describes an error on a connection that had answered before, and how to fix it. Contains no password; nor do the
    /// library's texts.
    pub(super) fn explain(&self, error: &RedisError) -> String {
        self.told(error, Moment::Connected)
    }

    /// Describes why there is no connection, and how to fix it.
    pub(super) async fn explain_connecting(&self, error: &RedisError) -> String {
        if may_be_foreign(error) {
            for RedisHost(host, port) in self.hosts() {
                if speaks_http(host, *port).await {
                    return format!(
                        "{}: {host}:{port} answers as an HTTP server (its answer begins with HTTP/), not as Redis: \
                         correct host and port in `url`",
                        self.place()
                    );
                }
            }
        }
        let is_handshake = self.0.tls.is_some() && !error.is_connection_refusal() && self.is_open().await;
        self.told(error, if is_handshake { Moment::TlsHandshake } else { Moment::Connecting })
    }

    /// The servers that the configuration names, apart from a Unix socket.
    fn hosts(&self) -> &[RedisHost] {
        match &self.0.servers {
            RedisServers::One(host) => std::slice::from_ref(host),
            RedisServers::Unix(_) => &[],
            RedisServers::Sentinel { sentinels: hosts, .. } | RedisServers::Cluster(hosts) => hosts,
        }
    }

    fn told(&self, error: &RedisError, moment: Moment) -> String {
        format!("{}: {error}{}", self.place(), advice(error, moment))
    }

    /// Reports whether a server accepts connections. `false` for several servers: another one may have failed.
    async fn is_open(&self) -> bool {
        let RedisServers::One(RedisHost(host, port)) = &self.0.servers else { return false };
        matches!(timeout(CONNECT, TcpStream::connect((host.as_str(), *port))).await, Ok(Ok(_)))
    }

    /// The addresses of the servers, for messages.
    pub(super) fn place(&self) -> String {
        let list = |hosts: &[RedisHost]| {
            hosts.iter().map(|RedisHost(host, port)| format!("{host}:{port}")).collect::<Vec<_>>().join(",")
        };
        match &self.0.servers {
            RedisServers::One(host) => list(std::slice::from_ref(host)),
            RedisServers::Unix(path) => path.display().to_string(),
            RedisServers::Sentinel { sentinels, service } => format!("{service} at {}", list(sentinels)),
            RedisServers::Cluster(nodes) => list(nodes),
        }
    }
}

/// Asks a server over HTTP, which Redis answers with an error.
async fn speaks_http(host: &str, port: u16) -> bool {
    let ask = async {
        let mut socket = TcpStream::connect((host, port)).await?;
        socket.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let mut answer = [0; 5];
        socket.read_exact(&mut answer).await?;
        std::io::Result::Ok(answer == *b"HTTP/")
    };
    matches!(timeout(CONNECT, ask).await, Ok(Ok(true)))
}

fn tcp() -> TcpSettings {
    // Requests are small and written in one piece, so waiting to coalesce packets only adds delay.
    TcpSettings::default().set_nodelay(true)
}
