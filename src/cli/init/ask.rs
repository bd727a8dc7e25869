//! The questions of `init`.

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Result, bail};

use super::{InitArgs, Plan};

/// A terminal that is asked, or the defaults.
pub(super) struct Questions<R, W> {
    pub(super) input: R,
    pub(super) output: W,
    /// Whether there is a person to ask.
    pub(super) asks: bool,
}

impl<R: BufRead, W: Write> Questions<R, W> {
    /// Returns the value of an option, or else the answer to `question`; an empty answer takes the default. An answer
    /// that `read` refuses is asked for again, a value is an error.
    fn ask<T>(
        &mut self,
        given: Option<String>,
        question: &str,
        default: &str,
        read: impl Fn(&str) -> Result<T>,
    ) -> Result<T> {
        if given.is_some() || !self.asks {
            return read(given.as_deref().unwrap_or(default));
        }
        loop {
            let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
            write!(self.output, "{question}{shown}: ")?;
            self.output.flush()?;
            let mut line = String::new();
            if self.input.read_line(&mut line)? == 0 {
                bail!("no answer; nothing was written");
            }
            let answer = Some(line.trim()).filter(|answer| !answer.is_empty()).unwrap_or(default);
            match read(answer) {
                Ok(value) => return Ok(value),
                Err(error) => writeln!(self.output, "{error}")?,
            }
        }
    }
}

/// The plan that options and answers make.
pub(super) fn plan(args: InitArgs, questions: &mut Questions<impl BufRead, impl Write>) -> Result<Plan> {
    let text = |text: &str| Ok(text.to_owned());
    let upstream =
        questions.ask(args.upstream, "URL of the service behind the gateway", "http://127.0.0.1:8000", upstream)?;
    let given = Some(args.hosts.join(" ")).filter(|hosts| !hosts.is_empty());
    let hosts = questions.ask(given, "Host names that clients use, separated by spaces", "localhost", hosts)?;
    let listen = questions.ask(args.listen, "Address and port for HTTPS", "127.0.0.1:8443", address)?;
    let given = args.cert_file.map(|file| file.display().to_string());
    let cert_file = questions.ask(given, "Certificate file; empty: create a development certificate", "", file)?;
    let certificate = match cert_file {
        Some(cert_file) => {
            let given = args.key_file.map(|file| file.display().to_string());
            let key_file = questions.ask(given, "Key file of the certificate", "", |text| match file(text)? {
                Some(key_file) => Ok(key_file),
                None => bail!("the certificate needs its key"),
            })?;
            Some((cert_file, key_file))
        }
        None => None,
    };
    let store = questions.ask(args.store, "Users and tokens are kept in", "sqlite:tokengate.db", text)?;
    let given = args.no_login.then(|| "no".to_owned());
    let login = questions.ask(given, "Users can log in with a password", "yes", yes_or_no)?;
    let admin = if args.no_admin {
        None
    } else if store.starts_with("django+") {
        // The superusers are those of the Django project.
        Some(args.admin.unwrap_or_default())
    } else {
        Some(questions.ask(args.admin, "Username of the first superuser", "admin", text)?)
    };
    Ok(Plan { upstream, hosts, listen, certificate, store, login, admin })
}

fn upstream(text: &str) -> Result<String> {
    if !["http://", "https://", "unix:"].iter().any(|scheme| text.starts_with(scheme)) {
        bail!("not a URL of an upstream; write http://HOST:PORT, https://HOST:PORT or unix:PATH");
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn hosts(text: &str) -> Result<Vec<String>> {
    let hosts: Vec<String> = text.split([' ', ',']).filter(|host| !host.is_empty()).map(str::to_owned).collect();
    if let Some(host) = hosts.iter().find(|host| host.contains([':', '/'])) {
        bail!("{host}: not a host name; leave out scheme, port and path");
    }
    Ok(hosts)
}

fn address(text: &str) -> Result<SocketAddr> {
    match text.parse() {
        Ok(address) => Ok(address),
        Err(_) => bail!("not an address with a port; write 127.0.0.1:8443, or 0.0.0.0:443 for all networks"),
    }
}

/// The absolute path of a file, since the configuration reads paths relative to itself.
fn file(text: &str) -> Result<Option<String>> {
    if text.is_empty() {
        return Ok(None);
    }
    let path = std::path::absolute(Path::new(text))?;
    if !path.is_file() {
        bail!("{text}: no such file");
    }
    Ok(Some(path.display().to_string()))
}

fn yes_or_no(text: &str) -> Result<bool> {
    match text.to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(true),
        "n" | "no" => Ok(false),
        _ => bail!("answer yes or no"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: InitArgs,
    }

    fn planned(options: &[&str], typed: &str, asks: bool) -> (Result<Plan>, String) {
        let args = Line::parse_from([&["init"], options].concat()).args;
        let mut output = Vec::new();
        let plan = plan(args, &mut Questions { input: typed.as_bytes(), output: &mut output, asks });
        (plan, String::from_utf8(output).unwrap())
    }

    #[test]
    fn without_a_terminal_options_and_defaults_make_the_plan_and_nothing_is_asked() {
        let (plan, asked) = planned(&["--host", "a.test", "--host", "b.test", "--no-login"], "", false);
        let plan = plan.unwrap();
        assert_eq!(
            (plan.hosts, plan.login, asked.as_str()),
            (vec!["a.test".to_owned(), "b.test".to_owned()], false, "")
        );
        assert_eq!((plan.upstream.as_str(), plan.store.as_str()), ("http://127.0.0.1:8000", "sqlite:tokengate.db"));
        assert_eq!((plan.listen.port(), plan.admin.as_deref()), (8443, Some("admin")));
    }

    #[test]
    fn answers_replace_defaults_and_refused_ones_are_asked_for_again() {
        let typed = "ftp://x\nhttp://10.0.0.1:9000/\na.test, b.test\n443\n0.0.0.0:443\n\n\nperhaps\nn\nroot\n";
        let (plan, asked) = planned(&[], typed, true);
        let plan = plan.unwrap();
        assert_eq!((plan.upstream.as_str(), plan.hosts.len()), ("http://10.0.0.1:9000", 2));
        assert_eq!((plan.listen.port(), plan.login, plan.admin.as_deref()), (443, false, Some("root")));
        for part in ["not a URL of an upstream", "not an address with a port", "answer yes or no", "[localhost]: "] {
            assert!(asked.contains(part), "{part}: {asked}");
        }
    }

    #[test]
    fn an_option_is_not_asked_for_and_must_be_valid_and_the_end_of_the_answers_ends_it() {
        let (plan, asked) = planned(&["--listen", "nowhere"], "\n\n", true);
        assert!(plan.is_err() && !asked.contains("Address"), "{asked}");
        let (plan, _) = planned(&[], "\n", true);
        assert_eq!(plan.err().unwrap().to_string(), "no answer; nothing was written");
    }

    #[test]
    fn a_django_project_has_superusers_of_its_own() {
        let (plan, asked) = planned(&["--store", "django+sqlite:db.sqlite3"], "\n\n\n\n\n\n", true);
        let plan = plan.unwrap();
        assert!(plan.is_django() && plan.has_admin() && !asked.contains("superuser"), "{asked}");
    }
}
