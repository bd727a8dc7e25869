//! One call of one of the programs, as its users would write it.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Shop;
use crate::support::message::Fields;
use crate::support::{Answer, python};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Curl,
    CurlHttp2,
    Httpie,
    Requests,
    Httpx,
    HttpxHttp2,
}

/// The encoding of form fields.
#[derive(Clone, Copy, Debug)]
pub(super) enum Format {
    Json,
    Form,
    Multipart,
}

/// The request.
#[derive(Clone, Debug)]
pub(super) struct Call<'a> {
    url: String,
    key: Option<&'a str>,
    fields: Vec<(&'a str, &'a str)>,
    format: Format,
}

impl<'a> Call<'a> {
    pub(super) fn get(url: String) -> Call<'a> {
        Call { url, key: None, fields: Vec::new(), format: Format::Json }
    }

    pub(super) fn post(url: String, format: Format, fields: &[(&'a str, &'a str)]) -> Call<'a> {
        Call { fields: fields.to_vec(), format, ..Call::get(url) }
    }

    pub(super) fn with(self, key: &'a str) -> Call<'a> {
        Call { key: Some(key), ..self }
    }

    /// The response and its version of HTTP; redirects are followed.
    pub(super) async fn by(&self, program: Program, shop: &Shop) -> (String, Answer) {
        self.attempt(program, Some(&shop.gateway.authority()))
            .await
            .unwrap_or_else(|fault| panic!("{program:?}: {fault}"))
    }

    /// The response, or the program's error. Without a CA file the program trusts those of the system.
    pub(super) async fn attempt(&self, program: Program, authority: Option<&Path>) -> Result<(String, Answer), String> {
        let home = tempfile::tempdir().unwrap();
        let mut command = match program {
            Program::Curl | Program::CurlHttp2 => self.curl(program, authority),
            Program::Httpie => self.httpie(authority).await,
            Program::Requests | Program::Httpx | Program::HttpxHttp2 => self.script(program, authority).await,
        };
        for proxy in ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        command.env("HOME", home.path()).stdin(Stdio::null());
        let output = python::output(command).await;
        match output.status.success() {
            true => Ok(read(&String::from_utf8(output.stdout).unwrap())),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    fn curl(&self, program: Program, authority: Option<&Path>) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--include", "--location"]);
        curl.arg(if program == Program::Curl { "--http1.1" } else { "--http2" });
        if let Some(file) = authority {
            curl.arg("--cacert").arg(file);
        }
        if let Some(key) = self.key {
            curl.args(["--header", &format!("Authorization: Token {key}")]);
        }
        match self.format {
            _ if self.fields.is_empty() => {}
            Format::Json => drop(curl.args(["--json", &self.json()])),
            Format::Form => drop(curl.args(self.each("--data-urlencode"))),
            Format::Multipart => drop(curl.args(self.each("--form-string"))),
        }
        curl.arg(&self.url);
        curl
    }

    async fn httpie(&self, authority: Option<&Path>) -> Command {
        let mut http = python::CLIENTS.command().await;
        http.args(["-m", "httpie", "--ignore-stdin", "--print=hb", "--pretty=none", "--follow", "--all"]);
        if let Some(file) = authority {
            http.arg("--verify").arg(file);
        }
        match self.format {
            Format::Json => {}
            Format::Form => drop(http.arg("--form")),
            Format::Multipart => drop(http.arg("--multipart")),
        }
        http.arg(&self.url).args(self.key.map(|key| format!("Authorization:Token {key}")));
        http.args(self.fields.iter().map(|(name, value)| format!("{name}={value}")));
        http
    }

    /// One of the scripts beside this file.
    async fn script(&self, program: Program, authority: Option<&Path>) -> Command {
        let name = if program == Program::Requests { "with_requests.py" } else { "with_httpx.py" };
        let mut python = python::CLIENTS.command().await;
        python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name));
        if let Some(file) = authority {
            python.arg("--authority").arg(file);
        }
        if program == Program::HttpxHttp2 {
            python.arg("--http2");
        }
        python.args(self.key.iter().flat_map(|key| ["--key", key]));
        let format = match self.format {
            Format::Json => "json",
            Format::Form => "form",
            Format::Multipart => "multipart",
        };
        if !self.fields.is_empty() {
            python.args([format!("--{format}"), self.json()]);
        }
        python.arg(&self.url);
        python
    }

    fn json(&self) -> String {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), Value::from(*value));
        Value::Object(self.fields.iter().map(pair).collect()).to_string()
    }

    fn each(&self, option: &'static str) -> impl Iterator<Item = String> {
        self.fields.iter().flat_map(move |(name, value)| [option.to_owned(), format!("{name}={value}")])
    }
}

/// Parses their common output: a status line, headers, an empty line, a body. Of several responses, the first.
fn read(printed: &str) -> (String, Answer) {
    let printed = printed.replace("\r\n", "\n");
    let (head, body) = printed.split_once("\n\n").unwrap_or_else(|| panic!("no answer: {printed}"));
    let mut lines = head.lines();
    let (version, rest) = lines.next().unwrap().split_once(' ').unwrap();
    let field = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap();
    let answer = Answer {
        status: rest.split(' ').next().unwrap().parse().unwrap(),
        fields: Fields(lines.map(field).collect()),
        body: body.trim_end().as_bytes().to_vec(),
        ..Answer::default()
    };
    (version.to_owned(), answer)
}
