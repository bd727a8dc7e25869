//! `tokengate check --live`: asks what the configuration names: the store, Redis, the endpoints, and the ports.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream as ControlStream;
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::{runtime, show};
use crate::cache::SharedCache;
use crate::clock::Clock;
use crate::config::settings::EndpointAddress;
use crate::config::{Problem, Settings};
use crate::store::{self, SharedCacheKey};

/// Timeout of each question.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks everything, and returns what does not answer.
///
/// # Errors
/// The runtime cannot be started.
pub fn look(config: &Path, settings: &Settings) -> anyhow::Result<Vec<Problem>> {
    let problem = |key: String, what: String, mend: &str| Problem {
        file: config.to_owned(),
        line: None,
        key: Some(key),
        what,
        mend: Some(mend.to_owned()),
    };
    let mut problems = Vec::new();
    let runtime = runtime::for_command()?;
    runtime.block_on(async {
        let opened = store::open_prepared(&settings.store, &settings.tokens, Clock::system());
        let answered = match timeout(TIMEOUT.max(settings.store.timeout), opened).await {
            Ok(Ok(opened)) => opened.tokens.newest_change().await.map(|_| ()).map_err(anyhow::Error::from),
            Ok(Err(error)) => Err(error.into()),
            Err(elapsed) => Err(elapsed.into()),
        };
        if let Err(error) = answered {
            let mend = "start the database, correct the address, or run `tokengate migrate` if there is none yet";
            problems.push(problem("store.url".to_owned(), show::chain(&error), mend));
        }
        if let Some(redis) = &settings.redis {
            // The key matters for entries only, which are not read here.
            match SharedCacheKey::read(&settings.store.key_file) {
                Ok(key) => {
                    let (shared, _) = SharedCache::new(redis, key, Clock::system());
                    if let Err(what) = shared.probe().await {
                        let mend = "start Redis, or correct its address, user and password";
                        problems.push(problem("cache.redis".to_owned(), format!("{}: {what}", shared.place()), mend));
                    }
                }
                Err(error) => {
                    let mend = "run `tokengate migrate`, or copy the key file from another gateway of this store";
                    problems.push(problem("store.key_file".to_owned(), error.to_string(), mend));
                }
            }
        }
        for upstream in &settings.upstreams {
            for endpoint in &upstream.endpoints {
                let connected = timeout(TIMEOUT, connect(&endpoint.address)).await;
                let why = match connected {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => format!("no answer within {} s", TIMEOUT.as_secs()),
                };
                problems.push(problem(
                    format!("upstreams.{}.endpoints", upstream.name),
                    format!("{} cannot be connected to ({why})", endpoint.authority),
                    "start the application, or correct the address",
                ));
            }
        }
    });
    // A resolver that hangs must not block the command's exit.
    runtime.shutdown_background();
    let ours = settings.control.as_ref().is_some_and(|control| ControlStream::connect(&control.socket).is_ok());
    let listeners =
        settings.listeners.iter().map(|listener| (format!("listeners.{}", listener.name), listener.address));
    let admin = settings.admin.iter().map(|admin| ("admin".to_owned(), admin.address));
    for (name, address) in listeners.chain(admin) {
        if let Some((what, mend)) = unusable(address, ours) {
            problems.push(problem(format!("{name}.address"), format!("{address} {what}"), mend));
        }
    }
    Ok(problems)
}

async fn connect(address: &EndpointAddress) -> io::Result<()> {
    match address {
        EndpointAddress::Tcp(host, port) => TcpStream::connect((host.as_str(), *port)).await.map(|_| ()),
        EndpointAddress::Unix(path) => UnixStream::connect(path).await.map(|_| ()),
    }
}

/// Why a gateway could not listen there. `ours`: the gateway of this configuration runs, and has its ports.
fn unusable(address: SocketAddr, ours: bool) -> Option<(String, &'static str)> {
    let error = TcpListener::bind(address).err()?;
    match error.kind() {
        ErrorKind::AddrInUse if ours => None,
        ErrorKind::AddrInUse => Some((
            "is in use by another program, or by a gateway that runs".to_owned(),
            "stop it, or choose another port",
        )),
        ErrorKind::PermissionDenied => Some((
            "needs a permission that this user does not have".to_owned(),
            "choose a port from 1024, or give the gateway the capability CAP_NET_BIND_SERVICE",
        )),
        _ => Some((format!("cannot be listened on ({error})"), "use an address of this machine")),
    }
}
