//! `tokengate reload`, `status`, `upgrade` and `drain`: commands to the running gateway, over its control socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::show;
use crate::config::{self, problem};

/// Where the running gateway is found.
pub struct Target<'a> {
    /// The configuration file, which names the control socket.
    pub file: &'a Path,
    /// The control socket; then the file is not read.
    pub socket: Option<&'a Path>,
}

/// Makes the running gateway reload its configuration. Prints what changed, or all errors.
///
/// # Errors
/// The gateway cannot be reached.
pub fn reload(target: &Target<'_>, partly: bool, json: bool) -> Result<ExitCode> {
    let answer = ask(target, if partly { "reload partly" } else { "reload" })?;
    if json {
        show::json(&answer)?;
    } else if is_ok(&answer) {
        let changes = texts(&answer, "changes");
        if changes.is_empty() {
            show::line("reloaded; nothing changed")?;
        }
        changes.iter().try_for_each(show::line)?;
        texts(&answer, "restart").iter().for_each(|name| show::note(format!("not changed, needs a restart: {name}")));
    } else {
        texts(&answer, "problems").iter().for_each(|problem| show::note(format!("error: {problem}")));
        show::note("the configuration was not reloaded; the running one stays");
    }
    Ok(if is_ok(&answer) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Compares a configuration with that of the running gateway: what a reload would change, and what needs a restart.
///
/// # Errors
/// The gateway cannot be reached, or cannot read the file.
pub fn compare(file: &Path) -> Result<(Vec<String>, Vec<String>)> {
    let path = std::path::absolute(file)?;
    let path =
        path.to_str().filter(|path| !path.contains('\n')).context("the path of the file is not a line of text")?;
    let answer = ask(&Target { file, socket: None }, &format!("compare {path}"))?;
    if !is_ok(&answer) {
        bail!("the running gateway cannot use this file: {}", texts(&answer, "problems").join("; "));
    }
    Ok((texts(&answer, "changes"), texts(&answer, "restart")))
}

/// Has the running gateway hand over to the program that is now at its path. Prints what happened.
///
/// # Errors
/// The gateway cannot be reached.
pub fn upgrade(target: &Target<'_>, json: bool) -> Result<ExitCode> {
    let answer = ask(target, "upgrade")?;
    if json {
        show::json(&answer)?;
    } else if is_ok(&answer) {
        let process = |key: &str| answer.get(key).cloned().unwrap_or_default();
        show::line(format!(
            "process {} has taken over; process {} finishes what is running there",
            process("pid"),
            process("predecessor")
        ))?;
    } else {
        texts(&answer, "problems").iter().for_each(|problem| show::note(format!("error: {problem}")));
        show::note("no other process has taken over");
    }
    Ok(if is_ok(&answer) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Shuts down the running gateway, and waits until it has stopped.
///
/// # Errors
/// The gateway cannot be reached, or is shutting down already.
pub fn drain(target: &Target<'_>, json: bool) -> Result<()> {
    let answer = exchange(connect(target)?, "drain")
        .context("the gateway has ended before it could tell how many connections were cut")?;
    if !is_ok(&answer) {
        bail!("{}", texts(&answer, "problems").join("; "));
    }
    if json {
        return show::json(&answer);
    }
    match answer.get("cut").and_then(Value::as_u64) {
        Some(0) => show::line("stopped; everything that was running has finished"),
        Some(1) => show::line("stopped; 1 connection was cut"),
        cut => show::line(format!("stopped; {} connections were cut", cut.unwrap_or_default())),
    }
}

/// Prints the status of the running gateway.
///
/// # Errors
/// The gateway cannot be reached.
pub fn status(target: &Target<'_>, json: bool) -> Result<()> {
    let answer = ask(target, "status")?;
    if json {
        return show::json(&answer);
    }
    let reload = |key: &str| answer.get("reload").and_then(|reload| reload.get(key)).cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    show::line(format!(
        "tokengate {} (process {})",
        text(answer.get("version").unwrap_or(&Value::Null)),
        text(answer.get("pid").unwrap_or(&Value::Null))
    ))?;
    if answer.get("stopping") == Some(&Value::Bool(true)) {
        show::line("shutting down: it finishes what is running")?;
    }
    if let Some(predecessor) = answer.get("predecessor").and_then(Value::as_u64) {
        show::line(format!("process {predecessor}, which served before, finishes what is running there"))?;
    }
    show::line(format!("configuration {} since {}", text(&reload("generation")), text(&reload("loaded"))))?;
    let certificates = answer.get("certificates").and_then(Value::as_array);
    certificates.into_iter().flatten().try_for_each(certificate)?;
    let endpoints = answer.get("endpoints").and_then(Value::as_array);
    for one in endpoints.into_iter().flatten() {
        let part = |key: &str| one.get(key).map(text).unwrap_or_default();
        show::line(format!("upstream {}: {} {}", part("upstream"), part("endpoint"), part("state")))?;
    }
    let restart = reload("restart");
    for name in restart.as_array().into_iter().flatten() {
        show::line(format!("not changed, needs a restart: {}", text(name)))?;
    }
    if !reload("failed").is_null() {
        show::line(format!("the last reload failed at {}:", text(&reload("failed"))))?;
        let problems = reload("problems");
        for problem in problems.as_array().into_iter().flatten() {
            show::line(format!("  {}", text(problem)))?;
        }
    }
    Ok(())
}

/// Prints the state of a certificate.
fn certificate(one: &Value) -> Result<()> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let (name, end) = (text(one.get("name")), text(one.get("not_after")));
    let acme = one.get("acme").filter(|acme| !acme.is_null());
    let Some(acme) = acme else { return show::line(format!("certificate {name}: expires {end}")) };
    let (failure, unreachable) = (text(acme.get("failure")), text(acme.get("unreachable")));
    if acme.get("waiting") == Some(&Value::Bool(true)) {
        show::line(format!("certificate {name}: not issued yet, a self-signed one stands in"))?;
    } else {
        show::line(format!("certificate {name}: expires {end}, to be renewed {}", text(acme.get("renewal"))))?;
    }
    if !failure.is_empty() {
        show::line(format!("  the last attempt failed: {failure}"))?;
    }
    if unreachable.is_empty() {
        return Ok(());
    }
    show::line(format!("  the CA cannot be asked when it wants the certificate renewed: {unreachable}"))
}

fn ask(target: &Target<'_>, command: &str) -> Result<Value> {
    exchange(connect(target)?, command)
}

fn connect(target: &Target<'_>) -> Result<UnixStream> {
    let socket = target.socket.map_or_else(|| socket(target.file), |socket| Ok(socket.to_owned()))?;
    UnixStream::connect(&socket).map_err(|error| {
        anyhow!("no gateway answers at {} ({error}); is it running, and as this user?", socket.display())
    })
}

fn exchange(mut stream: UnixStream, command: &str) -> Result<Value> {
    writeln!(stream, "{command}")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    serde_json::from_str(&line).context("the gateway did not answer the command")
}

/// The path of the control socket. The rest of the file may be wrong: the gateway reports that.
pub fn socket(file: &Path) -> Result<PathBuf> {
    match config::control_socket(file) {
        Ok(Some(socket)) => Ok(socket),
        Ok(None) => bail!(
            "{} has no control socket, which this command needs: add `[control]` with `socket = \"tokengate.sock\"` and \
             restart the gateway. Without one, SIGHUP reloads, and SIGTERM shuts down",
            file.display()
        ),
        Err(problem) => bail!(
            "{}\nthe gateway was not asked: this file says where its control socket is; --socket PATH says it without the file",
            problem::render(&[problem], &[]).trim_end()
        ),
    }
}

fn is_ok(answer: &Value) -> bool {
    answer.get("ok") == Some(&Value::Bool(true))
}

fn texts(answer: &Value, key: &str) -> Vec<String> {
    let list = answer.get(key).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}
