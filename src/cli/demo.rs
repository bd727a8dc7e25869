//! `tokengate demo`: starts the demo and prints commands to try.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use super::{serve, show};
use crate::app::Signals;
use crate::clock::Clock;
use crate::demo::{self, Demo, Ports};
use crate::telemetry;

/// The folder of `demo --trust` without `--dir`.
const KEPT: &str = "tokengate-demo";

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Keep all files in this folder; default: a temporary folder
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
    /// Explain how clients trust the demo's CA, and exit
    #[arg(long)]
    pub trust: bool,
    /// Port of the gateway (HTTPS); 0 chooses a free port
    #[arg(long, default_value_t = 8443)]
    pub port: u16,
    /// Port of the plain HTTP listener, which refuses requests; 0 chooses a free port
    #[arg(long, default_value_t = 8080)]
    pub plain_port: u16,
    /// Port for health and metrics; 0 chooses a free port
    #[arg(long, default_value_t = 9901)]
    pub internal_port: u16,
    /// Port for the admin application; 0 chooses a free port
    #[arg(long, default_value_t = 8444)]
    pub admin_port: u16,
}

/// Runs the demo until it is interrupted.
pub fn run(args: &DemoArgs) -> Result<()> {
    if args.trust {
        return trust(args.dir.as_deref().unwrap_or(Path::new(KEPT)));
    }
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

/// Explains how clients trust the CA of the demo in `dir`, which is created if it does not exist.
fn trust(dir: &Path) -> Result<()> {
    let made = demo::certificate(dir, &Clock::system())?;
    let ca = std::path::absolute(&made.ca_file).unwrap_or(made.ca_file);
    let (ca, dir) = (show::quoted(&ca.display().to_string()), show::quoted(&dir.display().to_string()));
    show::line(format!(
        r#"The CA of this demo is {ca}.
Its private key was discarded: with it you trust the certificate of this demo, and no other one.

Start the demo with it (a demo without --dir has a new CA each time)
  tokengate demo --dir {dir}

One program
  curl    curl --cacert {ca} https://127.0.0.1:8443/
  HTTPie  http --verify {ca} https://127.0.0.1:8443/
  Python  export REQUESTS_CA_BUNDLE={ca}
  Node    export NODE_EXTRA_CA_CERTS={ca}

A browser
  Chromium  certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n tokengate-demo -i {ca}
            remove it: certutil -d sql:$HOME/.pki/nssdb -D -n tokengate-demo
  Firefox   Settings, Privacy & Security, View Certificates, Authorities, Import

All programs of this machine
  Debian, Ubuntu  sudo cp {ca} /usr/local/share/ca-certificates/tokengate-demo.crt && sudo update-ca-certificates
                  remove it: sudo rm /usr/local/share/ca-certificates/tokengate-demo.crt && sudo update-ca-certificates
  Fedora          sudo trust anchor {ca}
                  remove it: sudo trust anchor --remove {ca}
  macOS           sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {ca}
                  remove it: sudo security remove-trusted-cert -d {ca}
"#
    ))
}

fn tell(demo: &Demo) -> Result<()> {
    let address = |listener| demo.address(listener).with_context(|| format!("the listener {listener} is missing"));
    let (secure, plain, internal) = (address("public")?, address("plain")?, address("internal")?);
    let admin_application = address("admin")?;
    let ca = show::quoted(&demo.ca_file.display().to_string());
    let config = show::quoted(&demo.config.display().to_string());
    let program = std::env::current_exe().map_or_else(|_| "tokengate".to_owned(), |exe| exe.display().to_string());
    show::line(format!(
        r#"
tokengate is serving on https://{secure}, a product service behind it. Ctrl-C ends everything.

In a browser (trust {ca} as `tokengate demo --trust` explains, or accept the warning)
  https://{secure}/auth/login/?next=/live/  a WebSocket that needs a session: alice, password {password}
  https://{secure}/auth/account/            her account and tokens
  https://{admin_application}/                         users, tokens, audit trail: username admin, password {admin_password}

In a terminal: paste these lines first
  GATEWAY=https://{secure} PLAIN=http://{plain} CA={ca}
  KEY={key} TOKENGATE={program} CONFIG={config}

Tokens
  curl --cacert $CA -H "Authorization: Token $KEY" $GATEWAY/product_api/           # 200: the products
  curl --cacert $CA -H "Authorization: Token $KEY" $GATEWAY/product_api/whoami/    # what the upstream receives
  curl --cacert $CA -i $GATEWAY/product_api/                                       # 401: no token
  curl --cacert $CA -d username=alice -d password={password} $GATEWAY/gettoken/  # the token, for a password
  curl --cacert $CA -H "Authorization: Token $KEY" --json '{{"name": "Lamp", "price": "19.90", "stock": 3}}' $GATEWAY/product_api/
  curl -i -H "Authorization: Token $KEY" $PLAIN/product_api/                       # 403: unencrypted, the token is marked

A rate limit: five requests at once pass (200), the sixth gets 429
  for i in 1 2 3 4 5 6; do curl -s -o /dev/null -w '%{{http_code}} ' --cacert $CA -H "Authorization: Token $KEY" $GATEWAY/product_api/whoami/; done

The same with HTTPie
  http --verify $CA $GATEWAY/product_api/ "Authorization: Token $KEY" name=Lamp price=19.90 stock:=3

A revocation ends streams: begin one, and revoke its token in another terminal
  curl -N --cacert $CA -H "Authorization: Token $KEY" $GATEWAY/live/events/
  echo $KEY | $TOKENGATE token revoke --key-stdin --config $CONFIG
  $TOKENGATE token create alice --config $CONFIG                                   # a new token

Configuration: edit this file; the gateway uses it within a second
  {config}

admin's token  {admin}
health         curl http://{internal}/health
metrics        curl http://{internal}/metrics

Access log:
"#,
        key = demo.alice.expose(),
        admin = demo.admin.expose(),
        password = demo::PASSWORD,
        admin_password = demo::ADMIN_PASSWORD,
        program = show::quoted(&program),
    ))
}
