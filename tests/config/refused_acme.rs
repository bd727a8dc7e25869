//! Invalid settings of certificates from a CA, each with all its errors.

use super::Folder;
use super::refused::{BASE, each_is_refused};

/// A listener that can answer `tls-alpn-01`.
const TLS: &str = "[listeners.tls] | address = \"127.0.0.1:1\" | certificates = [\"a\"]";

#[test]
fn certificates_from_a_ca_need_one_that_can_check_their_names() {
    let accepts = "[acme] | accept_terms = true";
    for (rest, told) in [
        (
            "[certificates.a] | acme_names = [\"a.test\"]".to_owned(),
            "2: certificates.a.acme_names: needs a certificate authority; read the terms of the CA (by default Let's \
             Encrypt), then add [acme] with `accept_terms = true`",
        ),
        (
            format!("{accepts} | [certificates.a] | acme_names = [\"a.test\"] | cert_file = \"x\""),
            "5: certificates.a.cert_file: cannot be combined with `acme_names`; remove one of them",
        ),
        (
            format!("{accepts} | [certificates.a] | acme_names = [\"*.a.test\"]"),
            "4: certificates.a.acme_names: names with `*` can only be proved by DNS; write `challenge = \"dns-01\"`",
        ),
        (
            format!("{accepts} | [certificates.a] | acme_names = [\"a.test\"] | challenge = \"dns-01\""),
            "5: certificates.a.challenge: needs a program that writes DNS records; add `dns_hook` to [acme]",
        ),
        (
            format!(
                "{accepts} | [certificates.\"a/b\"] | acme_names = [\"a.test\"] | [certificates.a] | acme_names = [\"b.test\"]"
            ),
            "4: certificates.a/b.acme_names: the name of this certificate cannot be the name of its file; use letters, \
             digits, `-` and `_`",
        ),
        (
            format!(
                "[certificates.a] | acme_names = [\"a.test\"] | {accepts} | external_account = \"k\" | directory = \"http://x/dir\" | contact = [\"nobody\"]"
            ),
            "5: acme.external_account: has no key; add `external_account_key_file`: a file with the HMAC key from the CA | \
             6: acme.directory: `http://x/dir` is not an HTTPS URL; write the URL of the CA's directory, such as \
             \"https://…/directory\" | 7: acme.contact: `nobody` is not an e-mail address; write one such as \
             \"admin@example.com\"",
        ),
    ] {
        each_is_refused(&[(&format!("{rest} | {TLS}"), told)]);
    }
    for name in ["10.0.0.1", "localhost", "a b.test", "[::1]", "*.*.test", ""] {
        let text = format!("{accepts} | [certificates.a] | acme_names = [\"{name}\"]");
        let told = format!(
            "4: certificates.a.acme_names: `{name}` is not a DNS name that a CA can check; write one such as \
             \"example.com\""
        );
        each_is_refused(&[(&format!("{text} | {TLS}"), &told)]);
    }
}

#[test]
fn a_challenge_needs_a_listener_that_can_answer_it() {
    let folder = Folder::new();
    let accepts = "[acme]\naccept_terms = true\n[certificates.a]\nacme_names = [\"a.test\"]\n";
    let told = |more: &str, base: &str| folder.errors(&format!("{accepts}{more}\n{base}"));
    let served = BASE.replace("\"refuse\"", "\"serve\"");
    assert_eq!(
        told("challenge = \"http-01\"", &served),
        [
            "gateway.toml: certificates.a.challenge: http-01 needs a listener for unencrypted HTTP; add a listener on port 80 \
          with `plaintext = \"redirect\"`"
        ]
    );
    assert_eq!(
        told("", BASE),
        [
            "gateway.toml: certificates.a.challenge: tls-alpn-01 needs an HTTPS listener; add a listener on port 443 with \
          `certificates`"
        ]
    );
    assert_eq!(told("challenge = \"http-01\"", BASE), Vec::<String>::new());
}
