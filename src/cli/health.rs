//! `tokengate health`: queries the running gateway, for a container's health check.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{check, show};
use crate::clock::Clock;
use crate::config::settings::ListenerRole;

/// Timeout of the whole response.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum size of a response; real ones are smaller.
const MAX_RESPONSE: usize = 64 << 10;

/// Queries the first internal listener that serves health: whether the gateway is ready, or with `live`, whether its
/// process runs.
pub fn run(config: &Path, live: bool, json: bool) -> Result<()> {
    let settings = check::settings(config)?;
    let listener = settings.listeners.iter().find(|l| matches!(l.role, ListenerRole::Internal { health: true, .. }));
    let listener = listener.with_context(|| {
        format!("{}: no listener has `services = [\"health\"]`; add one on a loopback address", config.display())
    })?;
    let address = reachable(listener.address);
    let answer = ask(address, if live { "/livez" } else { "/readyz" })
        .with_context(|| format!("the gateway does not answer on {address}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the gateway's response is not HTTP")?;
    if json {
        show::json(&serde_json::from_str(body).context("the gateway's response is not JSON")?)?;
    } else {
        show::line(told(body))?;
    }
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        bail!("the gateway is not healthy (status {status})");
    }
    Ok(())
}

/// The status, and the problems, one a line.
fn told(body: &str) -> String {
    let Ok(answer) = serde_json::from_str::<Value>(body) else { return body.to_owned() };
    let status = answer.get("status").and_then(Value::as_str).unwrap_or(body);
    let problems = answer.get("problems").and_then(Value::as_array).into_iter().flatten();
    let lines = problems.filter_map(Value::as_str).map(|problem| format!("  {problem}"));
    [status.to_owned()].into_iter().chain(lines).collect::<Vec<_>>().join("\n")
}

/// For a listener on all addresses, use loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn ask(address: SocketAddr, path: &str) -> Result<String> {
    let clock = Clock::system();
    let deadline = clock.instant() + TIMEOUT;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while answer.len() < MAX_RESPONSE {
        // Use the remaining time, not the whole limit: a response that trickles in must time out too.
        let left = deadline.saturating_duration_since(clock.instant());
        if left.is_zero() {
            bail!("no complete response within {} s", TIMEOUT.as_secs());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => answer.extend(piece.iter().take(count)),
            // A timed-out read has either error kind; the next iteration checks the deadline.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
