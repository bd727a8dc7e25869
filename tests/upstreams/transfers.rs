//! Large uploads and downloads through a gateway in a process of its own, whose memory stays flat.
//!
//! `TRANSFER_MIB=5120` makes them as large as `scripts/nightly` does.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use bytes::Bytes;
use h2::server;
use http::{Method, Response};
use tempfile::TempDir;
use tokengate::clock::Clock;
use tokengate::demo::certificate::{self, Wish};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::serve::Gateway;
use crate::support::message::Reader;
use crate::support::python::output;
use crate::support::{Ask, Origin, Site, Step, Wire};

const PIECE: usize = 64 << 10;
/// How much memory one transfer may add: windows and buffers on both sides.
const MOST: u64 = 16 << 20;

/// The bytes of each transfer.
fn size() -> u64 {
    std::env::var("TRANSFER_MIB").map_or(64, |text| text.parse().unwrap()) << 20
}

/// An endpoint that sends as many bytes as are asked for, and counts those that it gets.
async fn endpoint(is_http2: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // Otherwise the last piece of each window waits for an acknowledgement.
            stream.set_nodelay(true).unwrap();
            match is_http2 {
                true => drop(tokio::spawn(over_http2(stream))),
                false => drop(tokio::spawn(over_http1(stream))),
            }
        }
    });
    address
}

async fn over_http1(stream: TcpStream) -> std::io::Result<()> {
    let mut reader = Reader::new(stream);
    while let Some(head) = reader.head().await? {
        let is_upload = head.first_line.starts_with("PUT");
        let (mut got, mut piece) = (0, vec![0; PIECE]);
        if is_upload {
            let length: u64 = head.fields.get("content-length").unwrap().parse().unwrap();
            got = u64::try_from(reader.buffer.split_off(0).len()).unwrap();
            while got < length {
                got += u64::try_from(reader.stream.read(&mut piece).await?).unwrap();
            }
        }
        let text = got.to_string();
        let length = if is_upload { u64::try_from(text.len()).unwrap() } else { size() };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        reader.stream.write_all(head.as_bytes()).await?;
        if is_upload {
            reader.stream.write_all(text.as_bytes()).await?;
        } else {
            for _ in 0..length / u64::try_from(PIECE).unwrap() {
                reader.stream.write_all(&piece).await?;
            }
        }
    }
    Ok(())
}

async fn over_http2(stream: TcpStream) -> Result<(), h2::Error> {
    let mut connection = server::Builder::new().initial_window_size(1 << 20).handshake::<_, Bytes>(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, mut reply) = accepted?;
        tokio::spawn(async move {
            let is_upload = request.method() == Method::PUT;
            let (mut body, mut got) = (request.into_body(), 0);
            while let Some(piece) = body.data().await {
                let piece = piece.ok()?;
                got += piece.len();
                body.flow_control().release_capacity(piece.len()).ok()?;
            }
            let mut to = reply.send_response(Response::new(()), false).ok()?;
            if is_upload {
                return to.send_data(got.to_string().into(), true).ok();
            }
            let (mut left, piece) = (size(), Bytes::from(vec![0; PIECE]));
            while left > 0 {
                to.reserve_capacity(PIECE);
                let room = std::future::poll_fn(|cx| to.poll_capacity(cx)).await?.ok()?;
                let room = room.min(PIECE).min(usize::try_from(left).unwrap());
                left -= u64::try_from(room).unwrap();
                to.send_data(piece.slice(..room), left == 0).ok()?;
            }
            Some(())
        });
    }
    Ok(())
}

/// The largest amount of memory that the process has had, in bytes.
fn peak(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread")]
async fn large_transfers_in_all_pairings_of_versions_keep_the_memory_flat() {
    let size = size();
    for is_http2 in [false, true] {
        let upstream = endpoint(is_http2).await;
        let dir = TempDir::new().unwrap();
        let made = certificate::make(&dir.path().join("tls"), &Wish::default(), Clock::system().now()).unwrap();
        let more = format!(
            "[listeners.public]\naddress = \"127.0.0.1:0\"\ncertificates = [\"main\"]\n\
             [certificates.main]\ncert_file = {:?}\nkey_file = {:?}\n\
             [upstreams.large]\nendpoints = [\"http://{upstream}\"]\nprotocol = \"{}\"\n\
             [routes.large]\npath_prefix = \"/large/\"\nupstream = \"large\"\nauth = \"none\"\n\
             limits = {{ body = \"unlimited\" }}\n",
            made.cert_file,
            made.key_file,
            if is_http2 { "h2" } else { "h1" },
        );
        let file = dir.path().join("file");
        fs::File::create(&file).unwrap().set_len(size).unwrap();
        let mut gateway = Gateway::serve_in(dir, &more).await;
        let url = format!("https://localhost:{}/large/x", gateway.https().port());
        gateway.drop_log();
        for version in ["--http1.1", "--http2"] {
            let curl = |args: &[&str]| {
                let mut curl = Command::new("curl");
                curl.args(["--silent", "--show-error", "--fail", version, "--cacert"]).arg(&made.ca_file);
                curl.args(args).arg(&url);
                curl
            };
            // What a first request needs once.
            assert!(output(curl(&["--request", "PUT", "--data", "x"])).await.status.success());
            let before = peak(gateway.id());
            let upload = output(curl(&["--upload-file", file.to_str().unwrap()])).await;
            assert_eq!(String::from_utf8_lossy(&upload.stdout), size.to_string(), "{upload:?}");
            let download = output(curl(&["--output", "/dev/null", "--write-out", "%{size_download}"])).await;
            assert_eq!(String::from_utf8_lossy(&download.stdout), size.to_string(), "{download:?}");
            let grown = peak(gateway.id()) - before;
            println!("{version}, endpoint of HTTP/2: {is_http2}: {} KiB more memory", grown >> 10);
            assert!(grown < MOST, "{version}, endpoint of HTTP/2: {is_http2}: {grown} bytes");
        }
    }
}

/// A response in chunks has one for each piece that is passed on. TLS takes 64 KiB in one write; a longer piece needs two.
#[tokio::test]
async fn a_long_response_is_passed_on_in_pieces_that_tls_takes_in_one_write() {
    let origin = Origin::doing(vec![
        Step::Read,
        Step::Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400000\r\n".to_vec()),
        Step::Flood(vec![b'x'; PIECE], 64),
        Step::Send(b"\r\n0\r\n\r\n".to_vec()),
    ])
    .await;
    let gateway = Site::before(&origin).start().await;
    let key = gateway.issue("alice").await;
    let mut client = Wire::open(&gateway).await;
    client.send(Ask::get("/api/x").token(&key).bytes()).await;
    // The refusal of this one ends the connection.
    client.send(Ask::get("/api/x").field("Connection", "close").bytes()).await;
    let answer = client.rest().await;
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let (mut rest, mut lengths) = (&answer[head + 4..], Vec::new());
    while lengths.last() != Some(&0) {
        let line = rest.windows(2).position(|bytes| bytes == b"\r\n").unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        lengths.push(length);
        rest = &rest[line + 2 + length + 2..];
    }
    assert_eq!(lengths.iter().sum::<usize>(), 64 * PIECE);
    assert!(lengths.iter().all(|length| *length <= PIECE), "{lengths:?}");
    assert!(lengths.contains(&PIECE), "{lengths:?}");
}
