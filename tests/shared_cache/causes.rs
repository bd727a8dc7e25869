//! The logged causes of an outage of the shared cache: each is right, and nothing is logged without an outage.

use tokengate::config::settings::{RedisCache, RedisTls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{Fleet, Gateway, record};
use crate::support::gateway::Captured;
use crate::support::redis::{Redis, command, free_port};
use crate::support::{PATIENCE, eventually};

/// Advice that is right only if one of the two sides uses TLS.
const TLS_ADVICE: [&str; 3] = ["rediss://", "does not use TLS", "redis:// in"];

/// Waits until the log has this cause, and returns the whole log.
async fn told(said: &Captured, gateway: &Gateway, part: &str) -> String {
    let record = record("alice's key");
    eventually(PATIENCE, part, || async {
        gateway.cache.look(record.digest).await;
        said.text().contains(part)
    })
    .await;
    said.text()
}

async fn all_connections_have_ended(redis: &Redis) {
    eventually(PATIENCE, "the server ended all connections but ours", || async {
        let list: String = redis.ask(command(&["CLIENT", "LIST"])).await;
        list.lines().all(|line| line.contains("cmd=client"))
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_the_server_closes_is_replaced_without_a_log_line() {
    let (redis, fleet) = (Redis::start().await, Fleet::new());
    let (said, _guard) = Captured::of_this_thread();
    let gateway = fleet.before(&redis).await;
    let alice = record("alice's key");
    gateway.fill(&alice).await;
    for end in [&["CONFIG", "SET", "timeout", "1"][..], &["CLIENT", "KILL", "TYPE", "normal"]] {
        redis.ask::<redis::Value>(command(end)).await;
        all_connections_have_ended(&redis).await;
        redis.ask::<String>(command(&["CONFIG", "SET", "timeout", "0"])).await;
        gateway.cache.look(alice.digest).await;
        gateway.is_connected().await;
        assert!(gateway.finds(&alice).await);
    }
    assert_eq!(said.text(), "", "nothing was wrong");
}

#[tokio::test]
async fn every_cause_is_logged_correctly() {
    let (tls, ca_file) = Redis::start_tls().await;
    let plain = Redis::start().await;
    let guarded = Redis::start_with(&["user none on >open-sesame -@all"]).await;
    guarded.ask::<String>(command(&["CONFIG", "SET", "requirepass", "open-sesame"])).await;
    let replica = Redis::start_with(&[&format!("replicaof 127.0.0.1 {}", plain.port)]).await;
    let stopped = Redis::start().await;
    stopped.pause();
    let fleet = Fleet::new();
    let at = |url: String| fleet.settings(&url);
    let with_tls = |port: u16| RedisCache {
        tls: Some(RedisTls { authorities: Some(std::fs::read(&ca_file).unwrap()) }),
        ..fleet.settings(&format!("rediss://localhost:{port}"))
    };
    let untrusted = RedisCache { tls: Some(RedisTls { authorities: None }), ..with_tls(tls.port) };
    let (nowhere, denying, moving) = (free_port(), answering(DENIED).await, answering(MOVED).await);
    let (web, strict_web) = (speaking_http(false).await, speaking_http(true).await);
    let web_told = |port: u16| format!("127.0.0.1:{port} answers as an HTTP server (its answer begins with HTTP/)");
    let (web_text, strict_text) = (web_told(web), web_told(strict_web));
    let advice = |part: &'static str| Some(part);
    // Settings, code, advice, and whether the advice is about TLS.
    let cases = [
        (at(format!("redis://127.0.0.1:{nowhere}")), "refused", None, false),
        (with_tls(nowhere), "refused", None, false),
        (at(format!("redis://127.0.0.1:{}", tls.port)), "shared_cache_away", advice("rediss://"), true),
        (with_tls(plain.port), "shared_cache_away", advice("redis:// in `url`"), true),
        (untrusted, "invalid peer certificate", advice("`ca_file`"), false),
        (at(guarded.url()), "NOAUTH", advice("`password_file`"), false),
        (at(guarded.url().replace("//", "//:wrong@")), "WRONGPASS", advice("check `username` and the password"), false),
        (at(guarded.url().replace("//", "//none:open-sesame@")), "shared_cache", advice("access list"), false),
        (at(stopped.url()), "shared_cache_away", None, false),
        // The library reports the end of the connection, not the response before it.
        (at(format!("redis://127.0.0.1:{denying}")), "shared_cache_away", advice("protected mode"), true),
        (at(replica.url()), "shared_cache_refused", advice("replica"), false),
        (at(format!("redis://127.0.0.1:{moving}")), "shared_cache_refused", advice("redis-cluster://"), false),
        (at(format!("redis://127.0.0.1:{web}")), "shared_cache_away", Some(web_text.as_str()), false),
        (at(format!("redis://127.0.0.1:{strict_web}")), "shared_cache_away", Some(strict_text.as_str()), false),
        (at(format!("redis-cluster://127.0.0.1:{web}")), "shared_cache_away", Some(web_text.as_str()), false),
        (at(format!("redis-sentinel://127.0.0.1:{web}/main")), "shared_cache_away", Some(web_text.as_str()), false),
        (at(format!("rediss://127.0.0.1:{web}")), "shared_cache_away", Some(web_text.as_str()), false),
    ];
    for (settings, what, advice, about_tls) in cases {
        let (said, _guard) = Captured::of_this_thread();
        let gateway = fleet.ignorant(&settings);
        if what == "shared_cache_refused" {
            // It responds, but does not store the entry.
            gateway.is_connected().await;
            gateway.cache.changed(record("alice's key").digest, tokengate::store::Cursor(1));
        }
        let text = told(&said, &gateway, what).await;
        assert_eq!(text.lines().filter(|line| line.contains("WARN")).count(), 1, "{what}: {text}");
        assert!(!text.contains("sesame"), "{text}");
        if let Some(advice) = advice {
            assert!(text.contains(advice), "{what}, {advice}: {text}");
        }
        assert_eq!(TLS_ADVICE.iter().any(|part| text.contains(part)), about_tls, "{what}: {text}");
    }
    stopped.resume();
}

const DENIED: &str =
    "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set\r\n";
const MOVED: &str = "-MOVED 1 127.0.0.1:7001\r\n";

/// An HTTP server: responds 400 to bytes that are not HTTP, or closes the connection without a response if it is
/// strict.
async fn speaking_http(strict: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = [0; 4096];
                let count = socket.read(&mut asked).await.unwrap_or(0);
                let is_http = asked[..count].ends_with(b"\r\n\r\n") && asked.starts_with(b"GET / HTTP/1.");
                if is_http || !strict {
                    let status = if is_http { "404 Not Found" } else { "400 Bad Request" };
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                    let _ = socket.write_all(answer.as_bytes()).await;
                }
            });
        }
    });
    port
}

/// A server with one fixed response, such as that of Redis to other machines in protected mode, or to clients without
/// cluster support. It answers greetings and pings if the response is the second one.
async fn answering(line: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                if line == DENIED {
                    // Unread bytes at the end would reset the connection, and lose the response.
                    let _ = socket.read(&mut [0; 4096]).await;
                    let _ = socket.write_all(line.as_bytes()).await;
                    return;
                }
                let mut asked = [0; 4096];
                while let Ok(1..) = socket.read(&mut asked).await {
                    let text = String::from_utf8_lossy(&asked).to_ascii_uppercase();
                    let answers: String = ["HELLO", "CLIENT", "PING", "EVALSHA"]
                        .iter()
                        .flat_map(|command| text.matches(command).map(move |_| *command))
                        .map(|command| match command {
                            "HELLO" => "%1\r\n+proto\r\n:3\r\n",
                            "PING" => "+PONG\r\n",
                            "EVALSHA" => line,
                            _ => "+OK\r\n",
                        })
                        .collect();
                    asked.fill(0);
                    if socket.write_all(answers.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}
