//! `tokengate init`: writes a configuration with its certificate, and creates the store and the first superuser.
//!
//! Asks on a terminal for what the options leave open; elsewhere and with `--yes` it takes the defaults. It replaces no
//! file. If the configuration turns out not to be valid, the files that it has written are removed again.

mod ask;
mod file;

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::args::PasswordSource;
use super::{check, show, store, user};
use crate::clock::Clock;
use crate::config::settings::StoreUrl;
use crate::config::{self, Loaded, Settings, problem};
use crate::demo::certificate::{self, Wish};
use crate::store::{Names, NewUser, Password};
use crate::token::TokenKey;
use ask::Questions;

/// The folder of a new certificate, beside the configuration.
const CERTIFICATES: &str = "certs";

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// URL of the service behind the gateway: http://HOST:PORT, https://HOST:PORT or unix:PATH
    #[arg(long, value_name = "URL")]
    pub upstream: Option<String>,
    /// A host name that clients use; can be repeated
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// Address and port for HTTPS
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Existing certificate (PEM); default: a development certificate and its CA are created
    #[arg(long, value_name = "FILE", requires = "key_file")]
    pub cert_file: Option<PathBuf>,
    /// The key of the certificate
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    pub key_file: Option<PathBuf>,
    /// Users and tokens: sqlite:FILE, postgres://…, django+sqlite:FILE, django+postgres://… or django+mysql://…
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
    /// Users cannot log in with a password
    #[arg(long)]
    pub no_login: bool,
    /// Username of the first superuser
    #[arg(long, value_name = "NAME", conflicts_with = "no_admin")]
    pub admin: Option<String>,
    /// No superuser, and no admin application
    #[arg(long)]
    pub no_admin: bool,
    /// Where the superuser's password comes from.
    #[command(flatten)]
    pub password: PasswordSource,
    /// Ask nothing except the password; take the defaults
    #[arg(long, short)]
    pub yes: bool,
}

/// What the configuration is to say.
struct Plan {
    upstream: String,
    hosts: Vec<String>,
    listen: SocketAddr,
    /// Certificate and key; `None` creates a development certificate.
    certificate: Option<(String, String)>,
    store: String,
    login: bool,
    /// Name of the first superuser.
    admin: Option<String>,
}

impl Plan {
    /// Whether users and their passwords are those of a Django project.
    fn is_django(&self) -> bool {
        self.store.starts_with("django+")
    }

    /// Whether there is an admin application.
    fn has_admin(&self) -> bool {
        self.admin.is_some()
    }
}

/// Runs the command.
pub fn run(config: &Path, args: InitArgs) -> Result<()> {
    let folder = config.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    refuse_existing(config)?;
    let asks = io::stdin().is_terminal() && !args.yes;
    let password = PasswordSource { ..args.password };
    let plan = ask::plan(args, &mut Questions { input: io::stdin().lock(), output: io::stderr(), asks })?;
    // Asked before the first file is written: the prompt may be interrupted.
    let password = match plan.admin {
        Some(_) if !plan.is_django() => user::read_password(&password)?,
        _ => None,
    };
    if let (Some(name), Some(password)) = (&plan.admin, &password) {
        password.check_new(Names { name, ..Names::default() })?;
    }
    let mut written = Written(Vec::new());
    let settings = write(config, folder, &plan, &mut written)?;
    let key = match (&plan.admin, &settings.store.url) {
        (_, StoreUrl::Django(_)) | (None, _) => None,
        (Some(name), _) => superuser(config, name, password)?,
    };
    if plan.admin.is_none() || plan.is_django() {
        store::with(config, async |_| Ok(()))?;
    }
    let files = std::mem::take(&mut written.0);
    tell(config, folder, &plan, &files, key.as_ref())
}

/// The files that this command has written. Dropped with an entry, it removes them: the command has failed.
struct Written(Vec<PathBuf>);

impl Drop for Written {
    fn drop(&mut self) {
        for file in &self.0 {
            let _ = fs::remove_file(file);
        }
    }
}

fn refuse_existing(file: &Path) -> Result<()> {
    if file.symlink_metadata().is_ok() {
        bail!("{}: already exists, and init replaces no file; choose another with --config", file.display());
    }
    Ok(())
}

/// Writes the certificate and the configuration, and returns its settings.
fn write(config: &Path, folder: &Path, plan: &Plan, written: &mut Written) -> Result<Settings> {
    fs::create_dir_all(folder).with_context(|| format!("{}: cannot be created", folder.display()))?;
    let (cert_file, key_file) = if let Some(files) = &plan.certificate {
        files.clone()
    } else {
        let wish = Wish { names: plan.hosts.clone(), ..Wish::default() };
        let made = certificate::make(&folder.join(CERTIFICATES), &wish, Clock::system().now())
            .context("no certificate was created; give an existing one with --cert-file and --key-file")?;
        written.0.extend([made.ca_file, made.cert_file, made.key_file]);
        (format!("{CERTIFICATES}/dev-cert.pem"), format!("{CERTIFICATES}/dev-key.pem"))
    };
    let text = file::text(plan, &cert_file, &key_file);
    // The address of a database can have a password.
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(config);
    let done = file.as_mut().map_err(|error| io::Error::new(error.kind(), error.to_string()));
    done.and_then(|file| file.write_all(text.as_bytes()))
        .with_context(|| format!("{}: cannot be written", config.display()))?;
    written.0.push(config.to_owned());
    let Loaded { settings, warnings } = config::load(config).map_err(check::Invalid)?;
    if !warnings.is_empty() {
        show::note(problem::render(&[], &warnings).trim_end());
    }
    Ok(settings)
}

/// Creates the superuser, unless a user of this name exists. Returns the new user's token.
fn superuser(config: &Path, name: &str, password: Option<Password>) -> Result<Option<TokenKey>> {
    store::with(config, async |store| {
        if store.accounts.find(name).await?.is_some() {
            show::note(format_args!("note: user {name} exists in this store and stays as it is"));
            return Ok(None);
        }
        let new = NewUser { staff: true, superuser: true, password, ..NewUser::named(name) };
        let (_, issued) = store.accounts.create(new).await?;
        Ok(issued.map(|issued| issued.key))
    })
}

fn tell(config: &Path, folder: &Path, plan: &Plan, files: &[PathBuf], key: Option<&TokenKey>) -> Result<()> {
    let chosen = if config == Path::new("gateway.toml") {
        String::new()
    } else {
        format!(" --config {}", show::quoted(&config.display().to_string()))
    };
    show::line("Created")?;
    for file in files {
        show::line(format!("  {}", file.display()))?;
    }
    if let Some(name) = plan.admin.as_ref().filter(|_| key.is_some()) {
        show::line(format!("  superuser {name}, with the token below"))?;
    }
    show::line("\nNext")?;
    show::line(format!("  tokengate check{chosen}"))?;
    show::line(format!("  tokengate serve{chosen}"))?;
    let host = plan.hosts.first().map_or("localhost", String::as_str);
    let port = plan.listen.port();
    let ca = match plan.certificate {
        Some(_) => String::new(),
        None => {
            format!("--cacert {} ", show::quoted(&folder.join(CERTIFICATES).join("dev-ca.pem").display().to_string()))
        }
    };
    let key = key.map_or("$KEY", TokenKey::expose);
    show::line(format!("  curl {ca}-H \"Authorization: Token {key}\" https://{host}:{port}/"))?;
    if plan.has_admin() {
        show::line("  https://127.0.0.1:8444/  users, tokens and the audit trail, in a browser")?;
    }
    if !plan.is_django() {
        show::line(format!("  tokengate user create NAME{chosen}  another user, with a token"))?;
    }
    show::line("Back up the store and its key file (tokengate.key) to different places.")
}
