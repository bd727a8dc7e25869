//! The configuration that `init` writes.

use super::Plan;

/// Returns the text of the file.
pub(super) fn text(plan: &Plan, cert_file: &str, key_file: &str) -> String {
    let Plan { upstream, listen, store, .. } = plan;
    let (cert_file, key_file) = (quoted(cert_file), quoted(key_file));
    let (upstream, store) = (quoted(upstream), quoted(store));
    let host = plan.hosts.first().map_or("localhost", String::as_str);
    let request = quoted(&format!("GET https://{host}/"));
    let mut text = format!(
        r#"# The configuration of tokengate, written by `tokengate init`. Change it as you like.
#
# `tokengate check` reports every problem, `tokengate config` prints the values in effect with all defaults, and
# `tokengate reload` applies a change. docs/CONFIGURATION.md explains the keys. Paths are relative to this file.
# A text that is exactly "${{NAME}}" is replaced by the environment variable NAME: use it for secrets.
version = 1

# Where clients connect.
[listeners.public]
address = "{listen}"
certificates = ["main"]

# Redirects browsers that come without HTTPS. Requests with credentials are refused.
# [listeners.plain]
# address = "0.0.0.0:80"
# plaintext = "redirect"

# For you and your monitoring: GET /health, /metrics. Keep it away from clients.
[listeners.internal]
address = "127.0.0.1:9901"
services = ["health", "metrics"]

# Changed files are read again while the gateway runs.
[certificates.main]
cert_file = {cert_file}
key_file = {key_file}

# Where requests go. Add one table per service; a request takes the route with the longest prefix.
[upstreams.main]
endpoints = [{upstream}]

# Without `auth`, a route requires a token. `auth = "none"` makes it public.
[routes.main]
path_prefix = "/"
upstream = "main"
{credentials}
# Users and tokens. The key file encrypts login tokens: back it up, but not beside the database.
[store]
url = {store}
key_file = "tokengate.key"
"#,
        credentials = if plan.login {
            "credentials = [\"token\", \"session\"]  # \"session\": browsers that have signed in at /auth/login/\n"
        } else {
            "# credentials = [\"token\", \"session\"]  # also browsers that have signed in; needs [login.browser]\n"
        },
    );
    text.push_str(if plan.login {
        r#"
# POST username and password to /gettoken/, get the token.
[login]

# Pages to sign in and to manage own tokens: /auth/login/, /auth/account/, /auth/logout/.
[login.browser]
"#
    } else {
        r#"
# With these tables users log in with a password: at /gettoken/ for a token, at /auth/login/ in a browser.
# [login]
# [login.browser]
"#
    });
    text.push_str(if plan.has_admin() {
        r#"
# Users, tokens and the audit trail in a browser: https://127.0.0.1:8444/. Superusers and staff can sign in.
[admin]
address = "127.0.0.1:8444"
certificate = "main"
"#
    } else {
        r#"
# Users, tokens and the audit trail in a browser.
# [admin]
# address = "127.0.0.1:8444"
# certificate = "main"
"#
    });
    text.push_str(&format!(
        r#"
# For `tokengate reload`, `status`, `upgrade` and `drain`.
[control]
socket = "tokengate.sock"

# Tests run whenever this file is read, and a failing one refuses it. `tokengate explain` shows the reasons.
[[tests]]
name = "a request without a token is refused"
request = {request}
listener = "public"
expect = {{ status = 401, route = "main" }}
"#
    ));
    text
}

/// Writes a text as a TOML string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn every_text_is_read_back_as_it_was() {
        for text in ["plain", r#"C:\a "b""#, "tab\tline\nend\u{7f}\u{1}", "ümlaut ${NAME}", ""] {
            let read: toml::Table = toml::from_str(&format!("key = {}", quoted(text))).unwrap();
            assert_eq!(read["key"].as_str(), Some(text));
        }
    }
}
