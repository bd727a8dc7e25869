//! Socket activation: the service manager opens the sockets and passes them, as systemd does.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;

use crate::serve::{Gateway, status};
use crate::support::{PATIENCE, eventually};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tokengate");

/// A listening socket as systemd makes it, with or without `ReusePort=yes`.
fn listening(reuse_port: bool) -> (OwnedFd, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_reuse_port(reuse_port).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(64).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket.into(), address)
}

/// The program, started with these two sockets as descriptors 3 and 4.
fn with_sockets([first, second]: [OwnedFd; 2], names: &str) -> Command {
    let mut command = Command::new("sh");
    let script = "exec 3<&0 4<&1 </dev/null >/dev/null; export LISTEN_PID=$$ LISTEN_FDS=2; exec \"$0\" \"$@\"";
    command.args(["-c", script, PROGRAM]).env("LISTEN_FDNAMES", names);
    command.stdin(Stdio::from(first)).stdout(Stdio::from(second));
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_are_used_by_their_names_and_addresses_and_are_handed_over() {
    for reuse_port in [false, true] {
        let ((named, by_name), (addressed, by_address)) = (listening(reuse_port), listening(reuse_port));
        // Systemd keeps its own copies.
        let kept = [named.try_clone().unwrap(), addressed.try_clone().unwrap()];
        let more = format!(
            "[control]\nsocket = \"control.sock\"\n\
             [listeners.z]\naddress = \"{by_address}\"\nplaintext = \"serve\"\n"
        );
        // The file has another address for `plain`; the name decides.
        let command = with_sockets([named, addressed], "plain:tokengate.socket");
        let mut gateway = Gateway::serve_by(command, tempfile::tempdir().unwrap(), "workers = 3\n", &more).await;
        gateway.drop_log();
        assert_eq!(gateway.address, by_name);
        for _ in 0..20 {
            for address in [by_name, by_address] {
                assert_eq!(status(address, "/none/", "").await, 401, "{reuse_port}");
            }
        }
        let second = gateway.upgrade().await;
        for _ in 0..20 {
            for address in [by_name, by_address] {
                assert_eq!(status(address, "/none/", "").await, 401, "{reuse_port}");
            }
        }
        assert_eq!(gateway.told()["pid"], second);
        gateway.drain().await;
        // Clients wait for the next start.
        eventually(PATIENCE, "it listens", || async { TcpStream::connect(by_name).await.is_ok() }).await;
        drop(kept);
    }
}

#[test]
fn a_socket_that_no_listener_uses_is_an_error_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("gateway.toml");
    let file = "[listeners.plain]\naddress = \"127.0.0.1:0\"\nplaintext = \"serve\"\n\
                [upstreams.a]\nendpoints = [\"http://127.0.0.1:1\"]\n\
                [routes.a]\npath_prefix = \"/\"\nupstream = \"a\"\n";
    fs::write(&config, file).unwrap();
    let run = |sockets: [OwnedFd; 2], names: &str| {
        let mut command = with_sockets(sockets, names);
        let output = command.args(["serve", "--config"]).arg(&config).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let ((named, _), (other, address)) = (listening(true), listening(true));
    let said = run([named, other], "plain:other");
    let wanted =
        format!("passes the socket `other` on {address}, and no listener has this name or address: add a listener");
    assert!(said.contains(&wanted), "{said}");
    // A connection, as of a unit with `Accept=yes`.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let said = run([listening(true).0, connection.into()], "plain:other");
    assert!(said.contains("`other` that cannot be used: it does not listen; remove `Accept=yes`"), "{said}");
    let (unix, _) = std::os::unix::net::UnixStream::pair().unwrap();
    let said = run([listening(true).0, unix.into()], "plain:other");
    assert!(said.contains("a socket `other` that cannot be used"), "{said}");
}
