//! `tokengate demo`: starts the demo and prints commands to try.

use std::io;
use std::path::Path;

use anyhow::{Context, Result};

use super::args::DemoArgs;
use super::{serve, show};
use crate::app::Signals;
use crate::clock::Clock;
use crate::demo::{self, Demo, Ports};
use crate::telemetry;

/// Runs the demo until it is interrupted.
pub fn run(args: &DemoArgs) -> Result<()> {
    telemetry::log::init(tracing::Level::WARN, false).context("the log cannot be set up")?;
    // Keeps a temporary folder alive until the end.
    let temporary = if args.dir.is_none() {
        Some(tempfile::tempdir().context("no temporary folder can be created")?)
    } else {
        None
    };
    let dir = match (&args.dir, &temporary) {
        (Some(dir), _) => {
            std::fs::create_dir_all(dir).with_context(|| format!("{}: cannot be created", dir.display()))?;
            dir.as_path()
        }
        (None, Some(temporary)) => temporary.path(),
        (None, None) => Path::new("."),
    };
    let ports =
        Ports { secure: args.port, plain: args.plain_port, internal: args.internal_port, admin: args.admin_port };
    serve::control_runtime()?.block_on(async {
        let mut signals = Signals::listen().context("signals cannot be received")?;
        let demo = demo::start(dir, ports, Clock::system(), Box::new(io::stdout())).await?;
        tell(&demo)?;
        signals.stop().await;
        tokio::select! {
            () = demo.stop() => {}
            () = signals.stop() => {}
        }
        Ok(())
    })
}

fn tell(demo: &Demo) -> Result<()> {
    let address = |listener| demo.address(listener).with_context(|| format!("the listener {listener} is missing"));
    let (secure, plain, internal) = (address("public")?, address("plain")?, address("internal")?);
    let admin_application = address("admin")?;
    let (ca, key) = (demo.ca_file.display(), demo.alice.expose());
    let config = demo.config.display();
    let exe = std::env::current_exe().map_or_else(|_| "tokengate".into(), |exe| exe.display().to_string());
    show::line(format!(
        r#"
tokengate is serving on https://{secure}, a product service behind it. Ctrl-C ends everything.

Users, tokens and the audit trail, in a browser (trust {ca}, or accept the browser warning)
  https://{admin_application}/  username admin, password {admin_password}

With a token: the product list (200)
  curl --cacert {ca} -H "Authorization: Token {key}" https://{secure}/product_api/
  http --verify {ca} https://{secure}/product_api/ "Authorization: Token {key}"

Get the token with a password (200)
  curl --cacert {ca} -d username=alice -d password={password} https://{secure}/gettoken/
  http --verify {ca} https://{secure}/gettoken/ username=alice password={password}

Without a token: refused (401)
  curl -i --cacert {ca} https://{secure}/product_api/
  http --verify {ca} https://{secure}/product_api/

Over plain HTTP: refused (403), and the token is marked as exposed
  curl -i -H "Authorization: Token {key}" http://{plain}/product_api/
  http http://{plain}/product_api/ "Authorization: Token {key}"

Create a product (201), and show the headers that the upstream receives
  curl --cacert {ca} -H "Authorization: Token {key}" --json '{{"name": "Lamp", "price": "19.90", "stock": 3}}' https://{secure}/product_api/
  http --verify {ca} https://{secure}/product_api/ "Authorization: Token {key}" name=Lamp price=19.90 stock:=3
  curl --cacert {ca} -H "Authorization: Token {key}" https://{secure}/product_api/whoami/

Revoke the token, and try again (401 within a second)
  echo {key} | {exe} token revoke --key-stdin --config {config}
  {exe} token create alice --config {config}

Change a route: edit this file; the gateway uses it within a second
  {config}

alice's token  {key}
admin's token  {admin}
health         curl http://{internal}/health
metrics        curl http://{internal}/metrics

Access log:
"#,
        admin = demo.admin.expose(),
        password = demo::PASSWORD,
        admin_password = demo::ADMIN_PASSWORD,
    ))
}
