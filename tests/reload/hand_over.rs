//! Hand-over to a new process: what changes, what does not, and what happens if the new one does not come up.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::process::{Signal, kill_process};
use tokio::net::TcpStream;

use crate::serve::{Gateway, has_ended, pid, status};
use crate::support::origin::ok;
use crate::support::{Ask, Gate, Origin, PATIENCE, Step, Wire, eventually, soon};
use crate::upgrade::{echo, echoes, handshake};

const CONTROL: &str = "[control]\nsocket = \"control.sock\"\n";
const PROGRAM: &str = env!("CARGO_BIN_EXE_tokengate");

/// A gateway that was started by a link, which a test can lead to another program.
async fn serve(more: &str) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    symlink(PROGRAM, dir.path().join("tokengate")).unwrap();
    let mut command = Command::new(dir.path().join("tokengate"));
    command.stdout(Stdio::null());
    Gateway::serve_by(command, dir, "", more).await
}

/// With a route to an endpoint of its own, which may open tunnels.
async fn serve_before(origin: &Origin, more: &str) -> Gateway {
    let address = origin.address();
    serve(&format!(
        "{CONTROL}{more}[upstreams.own]\nendpoints = [\"http://{address}\"]\n\
         [routes.own]\npath_prefix = \"/own/\"\nupstream = \"own\"\nauth = \"none\"\nstreaming = true\n"
    ))
    .await
}

/// Puts another program in the place of the gateway's.
fn replace_program(gateway: &Gateway, script: &str) {
    let (program, new) = (gateway.dir.path().join("tokengate"), gateway.dir.path().join("new"));
    fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, program).unwrap();
}

fn inode(path: &Path) -> u64 {
    path.symlink_metadata().unwrap().ino()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn plain(gateway: &Gateway) -> Wire {
    Wire::over(TcpStream::connect(gateway.address).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_takes_over_every_listener_with_another_configuration() {
    let gateway = serve(CONTROL).await;
    let socket = gateway.dir.path().join("control.sock");
    let first = inode(&socket);
    assert_eq!(gateway.told()["pid"], gateway.id());
    // What a reload cannot change.
    let file = fs::read_to_string(&gateway.config).unwrap();
    let route = "[routes.new]\npath_prefix = \"/new/\"\nupstream = \"products\"\nauth = \"none\"\n";
    fs::write(&gateway.config, format!("workers = 5\n{file}{route}")).unwrap();
    let said = gateway.run("upgrade");
    let told = gateway.told();
    let second: u32 = told["pid"].as_u64().unwrap().try_into().unwrap();
    gateway.adopt(second);
    let wanted = format!("process {second} has taken over; process {} finishes what is running there\n", gateway.id());
    assert_eq!(said, wanted);
    assert_ne!(second, gateway.id());
    assert_ne!(inode(&socket), first);
    eventually(PATIENCE, "the first process ends", || async { has_ended(gateway.id()) }).await;
    assert_eq!(status(gateway.address, "/new/", "").await, 404);
    assert!(gateway.metrics().await.contains("tokengate_config_generation 1"), "its internal listener was handed over");
    // Fewer workers than sockets: a worker accepts on several.
    fs::write(&gateway.config, format!("workers = 1\n{file}")).unwrap();
    let third = gateway.upgrade().await;
    eventually(PATIENCE, "the second process ends", || async { has_ended(second) }).await;
    for _ in 0..50 {
        assert_eq!(status(gateway.address, "/new/", "").await, 401);
    }
    assert_eq!(gateway.told()["pid"], third);
    assert_eq!(gateway.run("reload"), "reloaded; nothing changed\n");
    assert_eq!(gateway.drain().await, "stopped; everything that was running has finished\n");
    assert!(!socket.exists());
    assert!(TcpStream::connect(gateway.address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_running_goes_on_in_the_process_before_and_a_connection_ends_with_its_next_response() {
    let gate = Gate::closed();
    let held = Arc::clone(&gate);
    let slow = Origin::scripted(move |_| vec![Step::Read, Step::Wait(Arc::clone(&held)), Step::Send(ok("slow"))]).await;
    let echo = echo().await;
    let more = format!(
        "[upstreams.slow]\nendpoints = [\"http://{}\"]\n\
         [routes.slow]\npath_prefix = \"/slow/\"\nupstream = \"slow\"\nauth = \"none\"\n",
        slow.address()
    );
    let gateway = serve_before(&echo, &more).await;
    let (mut idle, mut fresh, mut running, mut tunnel) =
        (plain(&gateway).await, plain(&gateway).await, plain(&gateway).await, plain(&gateway).await);
    assert_eq!(idle.ask(Ask::get("/own/x").bytes()).await.status, 200);
    tunnel.send(handshake("/own/ws").bytes()).await;
    assert_eq!(tunnel.next_head().await.unwrap().0, 101);
    running.send(Ask::post("/slow/x", "body").bytes()).await;
    slow.has_seen(1).await;
    // Accepted, without a request so far.
    fresh.send("GET /own/x HTTP/1.1\r\n").await;
    let second = gateway.upgrade().await;
    assert_eq!(gateway.told()["predecessor"], gateway.id());
    assert!(gateway.run("status").contains(&format!("process {}, which served before", gateway.id())));
    fresh.send("Host: localhost\r\n\r\n").await;
    let answers = [fresh.answer().await, idle.ask(Ask::get("/own/x").bytes()).await];
    for answer in answers {
        assert_eq!((answer.text(), answer.fields.get("connection")), ("hello", Some("close")));
    }
    idle.ends().await;
    gate.open();
    let answer = running.answer().await;
    assert_eq!((answer.text(), answer.fields.get("connection")), ("slow", Some("close")));
    echoes(&mut tunnel, b"still there").await;
    // A second hand-over while the first process drains.
    let third = gateway.upgrade().await;
    echoes(&mut tunnel, b"still there").await;
    assert_eq!(gateway.told()["pid"], third);
    drop(tunnel);
    // The second one waits for the first, which it tells to stop if it is stopped itself.
    for (process, which) in [(gateway.id(), "the first process ends"), (second, "the second process ends")] {
        eventually(PATIENCE, which, || async { has_ended(process) }).await;
    }
    gateway.drain().await;
}

/// Nothing has changed: the process, its control socket, its connections, reloads.
async fn assert_serves_as_before(gateway: &Gateway, kept: &mut Wire, socket: u64, what: &str) {
    let answer = kept.ask(Ask::get("/own/x").bytes()).await;
    assert_eq!((answer.text(), answer.fields.get("connection")), ("hello", None), "{what}");
    for _ in 0..20 {
        assert_eq!(plain(gateway).await.ask(Ask::get("/own/x").bytes()).await.text(), "hello", "{what}");
    }
    let told = gateway.told();
    assert_eq!((&told["pid"], &told["predecessor"]), (&gateway.id().into(), &serde_json::Value::Null), "{what}");
    assert_eq!(inode(&gateway.dir.path().join("control.sock")), socket, "{what}");
    assert_eq!(
        gateway
            .dir
            .path()
            .read_dir()
            .unwrap()
            .filter(|entry| { entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".tg") })
            .count(),
        0,
        "{what}: a socket was left behind"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_8_an_upgrade_that_fails_changes_nothing() {
    let echo = echo().await;
    let gateway = serve_before(&echo, "upgrade_timeout = \"3s\"\n").await;
    let (mut kept, mut tunnel) = (plain(&gateway).await, plain(&gateway).await);
    tunnel.send(handshake("/own/ws").bytes()).await;
    assert_eq!(tunnel.next_head().await.unwrap().0, 101);
    let socket = inode(&gateway.dir.path().join("control.sock"));
    let good = fs::read_to_string(&gateway.config).unwrap();
    let real = format!("exec {PROGRAM} \"$@\"");
    let occupied = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = occupied.local_addr().unwrap();
    let cases = [
        ("it crashes at once", "exit 3", good.clone(), "has ended (exit status: 3) before it was ready"),
        ("it dies of a signal", "kill -9 $$", good.clone(), "has ended (signal: 9 (SIGKILL)) before it was ready"),
        ("it hangs before it comes", "exec sleep 1000", good.clone(), "was not ready within 3s"),
        ("it is no program", "", String::new(), "cannot be started"),
        ("its file is broken", &real, format!("{good}[routes.x]\nwrong = 1\n"), "routes.x.wrong"),
        (
            "it has not all addresses",
            &real,
            format!("{good}[listeners.more]\naddress = \"{taken}\"\nplaintext = \"serve\"\n"),
            "listeners.more: cannot listen on",
        ),
        (
            "another process comes than was started",
            &format!("{PROGRAM} \"$@\" & wait; exit 4"),
            good.clone(),
            "has ended (exit status: 4) before it was ready",
        ),
    ];
    for (what, script, file, wanted) in cases {
        replace_program(&gateway, script);
        if file.is_empty() {
            fs::set_permissions(gateway.dir.path().join("tokengate"), fs::Permissions::from_mode(0o644)).unwrap();
        } else {
            fs::write(&gateway.config, file).unwrap();
        }
        let refused = gateway.begin("upgrade").await.unwrap();
        fs::write(&gateway.config, &good).unwrap();
        let said = text(&refused.stderr);
        assert!(refused.status.code() == Some(1) && said.contains(wanted), "{what}: {said}");
        // Each problem is one line with one prefix, and nothing else is a problem.
        assert!(!said.contains("error: error:") && !said.contains("error: 1 error"), "{what}: {said}");
        assert!(said.ends_with("no other process has taken over\n"), "{what}: {said}");
        assert_serves_as_before(&gateway, &mut kept, socket, what).await;
        echoes(&mut tunnel, b"still there").await;
    }
    assert_eq!(gateway.run("reload"), "reloaded; nothing changed\n");
    replace_program(&gateway, &real);
    let second = gateway.upgrade().await;
    assert_eq!(gateway.told()["pid"], second);
    drop((tunnel, kept));
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_that_hangs_or_is_killed_after_it_has_the_sockets_changes_nothing() {
    let echo = echo().await;
    let gateway = serve_before(&echo, "upgrade_timeout = \"3s\"\n").await;
    let mut kept = plain(&gateway).await;
    let socket = inode(&gateway.dir.path().join("control.sock"));
    let good = fs::read(&gateway.config).unwrap();
    for kills in [false, true] {
        // It connects, gets the sockets, and waits for a writer of its file.
        fs::remove_file(&gateway.config).unwrap();
        assert!(Command::new("mkfifo").arg(&gateway.config).status().unwrap().success());
        let mut by_hand = Command::new(PROGRAM);
        let at = format!("--take-over={}", gateway.dir.path().join("control.sock").display());
        by_hand.args(["serve", &at, "--config"]).arg(&gateway.config);
        // It inherits no socket, so every shared one was handed over.
        by_hand.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = by_hand.spawn().unwrap();
        let sockets = || async { !sockets_of(child.id()).is_disjoint(&sockets_of(gateway.id())) };
        eventually(PATIENCE, "it has the sockets", sockets).await;
        let another = UnixStream::connect(gateway.dir.path().join("control.sock")).unwrap();
        let refused = ask(another, "take-over {\"protocol\":1,\"version\":\"0\"}");
        assert!(refused.contains("another process is taking over already"), "{refused}");
        if kills {
            child.kill().unwrap();
        }
        // Not before: a new process that has not opened its file yet would read the good one.
        let has_given_up = || async {
            let another = UnixStream::connect(gateway.dir.path().join("control.sock")).unwrap();
            !ask(another, "take-over {\"protocol\":1,\"version\":\"0\"}").contains("is taking over already")
        };
        eventually(PATIENCE, "the first process gives up", has_given_up).await;
        fs::rename(write(&gateway, &good), &gateway.config).unwrap();
        // The first process refuses what comes after the time limit.
        let told = || async { gateway.run("reload") == "reloaded; nothing changed\n" };
        eventually(PATIENCE, "reloads are possible again", told).await;
        assert_serves_as_before(&gateway, &mut kept, socket, "it hung").await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    gateway.drain().await;
}

/// The sockets of a process.
fn sockets_of(process: u32) -> HashSet<PathBuf> {
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    // A descriptor may be closed meanwhile.
    let targets = descriptors.filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).collect()
}

/// Writes the file beside the configuration.
fn write(gateway: &Gateway, bytes: &[u8]) -> PathBuf {
    let path = gateway.dir.path().join("gateway.new");
    fs::write(&path, bytes).unwrap();
    path
}

fn ask(mut stream: UnixStream, line: &str) -> String {
    writeln!(stream, "{line}").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_the_protocol_and_nonsense_are_refused() {
    let echo = echo().await;
    let gateway = serve_before(&echo, "").await;
    let mut kept = plain(&gateway).await;
    let path = gateway.dir.path().join("control.sock");
    let socket = inode(&path);
    for (line, wanted) in [
        ("take-over {\"protocol\":2,\"version\":\"9\"}", "by version 1 of the protocol, the new one by version 2"),
        ("take-over", "cannot be read"),
        ("take-over {}", "cannot be read"),
        ("frobnicate", "unknown command `frobnicate`"),
    ] {
        let said = ask(UnixStream::connect(&path).unwrap(), line);
        assert!(said.contains("\"ok\":false") && said.contains(wanted), "{line}: {said}");
    }
    assert_serves_as_before(&gateway, &mut kept, socket, "nonsense").await;
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_upgrades_at_once_one_is_refused() {
    let gateway = serve(CONTROL).await;
    // The new process waits for a writer of this file.
    let go = gateway.dir.path().join("go");
    assert!(Command::new("mkfifo").arg(&go).status().unwrap().success());
    replace_program(&gateway, &format!("read line < {}; exec {PROGRAM} \"$@\"", go.display()));
    let first = gateway.begin("upgrade --json");
    let opened = tokio::task::spawn_blocking(move || fs::OpenOptions::new().write(true).open(go).unwrap());
    let go = soon("the new process is started", opened).await.unwrap();
    let second = gateway.begin("upgrade").await.unwrap();
    assert!(text(&second.stderr).contains("another process is taking over already"), "{}", text(&second.stderr));
    drop(go);
    let told: serde_json::Value = serde_json::from_slice(&first.await.unwrap().stdout).unwrap();
    assert_eq!(told["ok"], true, "{told}");
    gateway.adopt(told["pid"].as_u64().unwrap().try_into().unwrap());
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_started_by_hand_takes_over_and_one_without_a_gateway_says_so() {
    let mut gateway = serve(CONTROL).await;
    gateway.drop_log();
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--take-over", "--config"]).arg(&gateway.config).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    eventually(PATIENCE, "it serves", || async { gateway.told()["pid"] == child.id() }).await;
    assert_eq!(status(gateway.address, "/none/", "").await, 401);
    eventually(PATIENCE, "the first process ends", || async { has_ended(gateway.id()) }).await;
    kill_process(pid(child.id()), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let refused = command.stderr(Stdio::piped()).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("start without --take-over"), "{}", text(&refused.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_stop_the_process_that_drains_and_the_one_that_serves() {
    for (signals_old, name) in [(true, "the process that drains"), (false, "the process that serves")] {
        let echo = echo().await;
        let gateway = serve_before(&echo, "[shutdown]\ngrace = \"100ms\"\n").await;
        let mut tunnel = plain(&gateway).await;
        tunnel.send(handshake("/own/ws").bytes()).await;
        assert_eq!(tunnel.next_head().await.unwrap().0, 101);
        let second = gateway.upgrade().await;
        echoes(&mut tunnel, b"still there").await;
        // Means nothing to a process that drains.
        kill_process(pid(gateway.id()), Signal::HUP).unwrap();
        echoes(&mut tunnel, b"still there").await;
        kill_process(pid(if signals_old { gateway.id() } else { second }), Signal::TERM).unwrap();
        soon(name, tunnel.ends()).await;
        eventually(PATIENCE, name, || async { has_ended(gateway.id()) }).await;
        if signals_old {
            assert_eq!(status(gateway.address, "/own/x", "").await, 200);
            gateway.drain().await;
        } else {
            eventually(PATIENCE, name, || async { has_ended(second) }).await;
        }
    }
}

/// The process in the middle has nothing to finish itself. If it ended, it would ask the first one to end too.
#[tokio::test(flavor = "multi_thread")]
async fn further_upgrades_cut_nothing_that_runs_in_the_first_process() {
    for (ends_by_itself, what) in [(true, "the tunnel is closed"), (false, "the process that serves is stopped")] {
        let echo = echo().await;
        let gateway = serve_before(&echo, "[shutdown]\ngrace = \"100ms\"\n").await;
        let mut tunnel = plain(&gateway).await;
        tunnel.send(handshake("/own/ws").bytes()).await;
        assert_eq!(tunnel.next_head().await.unwrap().0, 101);
        let mut before = vec![gateway.id()];
        for _ in 0..3 {
            before.push(gateway.upgrade().await);
            echoes(&mut tunnel, b"still there").await;
        }
        if ends_by_itself {
            before.pop();
            drop(tunnel);
            for process in before {
                eventually(PATIENCE, what, || async { has_ended(process) }).await;
            }
            assert_eq!(status(gateway.address, "/own/x", "").await, 200);
        }
        gateway.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_in_the_process_that_serves_ends_a_tunnel_of_the_one_that_drains() {
    let echo = echo().await;
    let route = "[routes.keyed]\npath_prefix = \"/keyed/\"\nupstream = \"own\"\nstreaming = true\n";
    let gateway = serve_before(&echo, route).await;
    let made = gateway.run("user create alice --no-password");
    let key = made.split_whitespace().find(|word| word.len() == 40).unwrap();
    let mut tunnel = plain(&gateway).await;
    tunnel.send(handshake("/keyed/ws").token(key).bytes()).await;
    assert_eq!(tunnel.next_head().await.unwrap().0, 101);
    let second = gateway.upgrade().await;
    echoes(&mut tunnel, b"still there").await;
    gateway.run("token revoke 1");
    soon("the tunnel", tunnel.ends()).await;
    eventually(PATIENCE, "the first process ends", || async { has_ended(gateway.id()) }).await;
    assert_eq!(gateway.told()["pid"], second);
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_drains_reads_no_changed_file() {
    let echo = echo().await;
    let mut gateway = serve_before(&echo, "[reload]\nwatch = true\n").await;
    let mut tunnel = plain(&gateway).await;
    tunnel.send(handshake("/own/ws").bytes()).await;
    assert_eq!(tunnel.next_head().await.unwrap().0, 101);
    gateway.upgrade().await;
    for name in ["one", "two", "three"] {
        let generation = gateway.told()["reload"]["generation"].clone();
        let file = fs::read_to_string(&gateway.config).unwrap();
        let route = format!("[routes.{name}]\npath_prefix = \"/{name}/\"\nupstream = \"own\"\nauth = \"none\"\n");
        fs::write(&gateway.config, file + &route).unwrap();
        let reloaded = || async { gateway.told()["reload"]["generation"] != generation };
        eventually(PATIENCE, "the process that serves reloads", reloaded).await;
    }
    echoes(&mut tunnel, b"still there").await;
    drop(tunnel);
    eventually(PATIENCE, "the first process ends", || async { has_ended(gateway.id()) }).await;
    gateway.drain().await;
    let log = gateway.rest_of_log();
    assert!(log.iter().any(|line| line.contains("config_reloaded")), "{log:#?}");
    assert!(!log.iter().any(|line| line.contains("config_reload_failed")), "{log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_of_the_process_before_end_after_the_drain() {
    let echo = echo().await;
    let gateway = serve_before(&echo, "[shutdown]\ngrace = \"100ms\"\n[reload]\ndrain = \"1s\"\n").await;
    let mut tunnel = plain(&gateway).await;
    tunnel.send(handshake("/own/ws").bytes()).await;
    assert_eq!(tunnel.next_head().await.unwrap().0, 101);
    gateway.upgrade().await;
    tunnel.ends().await;
    eventually(PATIENCE, "the first process ends", || async { has_ended(gateway.id()) }).await;
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_waits_for_what_is_running_and_tells_how_many_connections_were_cut() {
    let gate = Gate::closed();
    let held = Arc::clone(&gate);
    let slow = Origin::scripted(move |_| vec![Step::Read, Step::Wait(Arc::clone(&held)), Step::Send(ok("slow"))]).await;
    let gateway = serve_before(&slow, "").await;
    let mut running = plain(&gateway).await;
    running.send(Ask::post("/own/x", "body").bytes()).await;
    slow.has_seen(1).await;
    let drained = gateway.begin("drain");
    let refused = || async { TcpStream::connect(gateway.address).await.is_err() };
    eventually(PATIENCE, "it accepts no more", refused).await;
    assert!(!drained.is_finished());
    assert!(gateway.run("status").contains("\nshutting down: it finishes what is running\n"));
    gate.open();
    assert_eq!(running.answer().await.text(), "slow");
    let told = drained.await.unwrap();
    assert_eq!(text(&told.stdout), "stopped; everything that was running has finished\n");
    let refused = gateway.try_run("drain");
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).starts_with("no gateway answers at "), "{}", text(&refused.stderr));

    let echo = echo().await;
    let gateway = serve_before(&echo, "[shutdown]\ngrace = \"100ms\"\n").await;
    let mut tunnel = plain(&gateway).await;
    tunnel.send(handshake("/own/ws").bytes()).await;
    assert_eq!(tunnel.next_head().await.unwrap().0, 101);
    assert_eq!(text(&gateway.begin("drain").await.unwrap().stdout), "stopped; 1 connection was cut\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_of_the_new_main_process_before_that_one_is_ready() {
    let dir = tempfile::tempdir().unwrap();
    let systemd = tokio::net::UnixDatagram::bind(dir.path().join("systemd.sock")).unwrap();
    let gateway = Gateway::serve_in(dir, CONTROL).await;
    let told = async || {
        let mut buffer = [0; 256];
        let length = soon("a message", systemd.recv(&mut buffer)).await.unwrap();
        text(&buffer[..length]).trim().to_owned()
    };
    assert_eq!(told().await, "READY=1");
    let second = gateway.upgrade().await;
    assert_eq!(told().await, format!("MAINPID={second}"));
    assert_eq!(told().await, "READY=1");
    eventually(PATIENCE, "the first process ends", || async { has_ended(gateway.id()) }).await;
    gateway.drain().await;
    assert_eq!(told().await, "STOPPING=1", "and nothing from the process before");
}
