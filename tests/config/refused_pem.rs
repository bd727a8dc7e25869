//! Certificate and key files that other programs read differently, or not at all. Each is refused with its cause, its
//! line and its fix, in every setting that names such a file.

use std::fs;
use std::sync::LazyLock;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::Folder;
use super::refused::BASE;

/// A leaf, its intermediate and its root in PEM format, the leaf's key, and an unrelated key.
struct Chain {
    leaf: String,
    intermediate: String,
    root: String,
    key: String,
    other_key: String,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

static CHAIN: LazyLock<Chain> = LazyLock::new(|| {
    let root = CertifiedIssuer::self_signed(authority("root.test"), KeyPair::generate().unwrap()).unwrap();
    let intermediate =
        CertifiedIssuer::signed_by(authority("intermediate.test"), KeyPair::generate().unwrap(), &root).unwrap();
    let key = KeyPair::generate().unwrap();
    Chain {
        leaf: params("leaf.test").signed_by(&key, &intermediate).unwrap().pem().replace("\r\n", "\n"),
        intermediate: intermediate.pem().replace("\r\n", "\n"),
        root: root.pem().replace("\r\n", "\n"),
        key: key.serialize_pem().replace("\r\n", "\n"),
        other_key: KeyPair::generate().unwrap().serialize_pem().replace("\r\n", "\n"),
    }
});

/// The bytes of the first block.
fn der(pem: &str) -> Vec<u8> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

/// A DER value: its tag, its content, and the bytes that follow.
fn value(bytes: &[u8]) -> (u8, &[u8], &[u8]) {
    let (header, length) = match bytes[1] {
        length @ 0..=0x7f => (2, usize::from(length)),
        0x81 => (3, usize::from(bytes[2])),
        0x82 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
        _ => unreachable!("longer than any certificate here"),
    };
    (bytes[0], &bytes[header..header + length], &bytes[header + length..])
}

fn sequence(content: &[u8]) -> Vec<u8> {
    [&[0x30, 0x82][..], &u16::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
}

/// The same certificate without version and extensions, as `openssl x509 -req` created it for many years.
fn version_1(pem: &str) -> String {
    let whole = der(pem);
    let (_, certificate, _) = value(&whole);
    let (_, mut rest, signature) = value(certificate);
    let mut kept = Vec::new();
    while !rest.is_empty() {
        let (tag, _, behind) = value(rest);
        if !matches!(tag, 0xa0 | 0xa3) {
            kept.extend_from_slice(&rest[..rest.len() - behind.len()]);
        }
        rest = behind;
    }
    block("CERTIFICATE", &sequence(&[sequence(&kept), signature.to_vec()].concat()))
}

pub fn block(label: &str, bytes: &[u8]) -> String {
    use base64ct::{Base64, Encoding};
    let text = Base64::encode_string(bytes);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// The errors and warnings of a listener with these files, without the place in `gateway.toml`.
fn said(cert: &[u8], key: &[u8]) -> (Vec<String>, Vec<String>) {
    let folder = Folder::new();
    folder.write("key.pem", "", 0o600);
    fs::write(folder.path("cert.pem"), cert).unwrap();
    fs::write(folder.path("key.pem"), key).unwrap();
    let text = format!(
        "[listeners.a]\naddress = \"127.0.0.1:1\"\ncertificates = [\"a\"]\n[certificates.a]\ncert_file = \
         \"cert.pem\"\nkey_file = \"key.pem\"\n{BASE}"
    );
    match folder.load(&text) {
        Ok(loaded) => (Vec::new(), folder.texts(&loaded.warnings)),
        Err(problems) => (folder.texts(&problems), Vec::new()),
    }
}

#[test]
fn all_certificates_of_a_file_are_served_or_the_file_is_refused_with_its_line() {
    let Chain { leaf, intermediate, root, key, other_key } = &*CHAIN;
    let (ends, begins) = (leaf.lines().count(), leaf.lines().count() + 1);
    let chain = format!("{leaf}{intermediate}");
    let utf_16: Vec<u8> = "\u{feff}".encode_utf16().chain(chain.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let pkcs_12 = [&[0x30, 0x82, 1, 0, 2, 1, 3][..], &[0; 249]].concat();
    let legacy = key.replacen('\n', "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n", 1);
    let public = block("PUBLIC KEY", &[1; 91]);
    let request = block("CERTIFICATE REQUEST", &[1; 91]);
    let both = |name: &str, text: &[&str]| text.iter().map(|text| format!("{name}{text}")).collect::<Vec<_>>();
    /// A name, the two files, and the expected errors.
    type Case<'a> = (&'a str, Vec<u8>, Vec<u8>, Vec<String>);
    let table: Vec<Case<'_>> = vec![
        (
            "the leaf lacks its last line end",
            format!("{}{intermediate}", leaf.trim_end()).into(),
            key.as_bytes().into(),
            vec![format!("cert.pem:{ends}: `-----BEGIN …-----` must be alone on its line")],
        ),
        (
            "a byte order mark within",
            format!("{leaf}\u{feff}{intermediate}").into(),
            key.as_bytes().into(),
            vec![format!("cert.pem:{begins}: an invisible byte order mark"), "without byte order mark".into()],
        ),
        (
            "a byte order mark at the begin",
            format!("\u{feff}{chain}").into(),
            key.as_bytes().into(),
            both("", &["cert.pem:1: an invisible byte order mark"]),
        ),
        ("UTF-16", utf_16, key.as_bytes().into(), both("", &["cert.pem:1: an invisible byte order mark"])),
        (
            "a byte order mark before the key",
            chain.clone().into(),
            format!("\u{feff}{key}").into(),
            both("", &["key.pem:1: an invisible byte order mark"]),
        ),
        (
            "the intermediate is quoted",
            format!("{leaf}> {intermediate}").into(),
            key.as_bytes().into(),
            vec![format!("cert.pem:{begins}: `-----BEGIN")],
        ),
        (
            "the intermediate is cut off",
            format!("{leaf}{}", &intermediate[..intermediate.len() / 2]).into(),
            key.as_bytes().into(),
            vec![format!("cert.pem:{begins}: the block CERTIFICATE that begins here has no end")],
        ),
        (
            "the intermediate is damaged",
            format!("{leaf}{}", block("CERTIFICATE", &der(intermediate)[..200])).into(),
            key.as_bytes().into(),
            vec![format!("cert.pem:{begins}: this certificate is malformed")],
        ),
        (
            "the intermediate has another label",
            format!("{leaf}{}", intermediate.replace(" CERTIFICATE-", " TRUSTED CERTIFICATE-")).into(),
            key.as_bytes().into(),
            vec![format!("cert.pem:{begins}: contains a block TRUSTED CERTIFICATE, not a certificate")],
        ),
        (
            "version 1",
            version_1(leaf).into(),
            key.as_bytes().into(),
            both("", &["cert.pem:1: this certificate has the old X.509 version 1", "request a new certificate"]),
        ),
        (
            "binary",
            der(leaf),
            key.as_bytes().into(),
            both("", &["cert.pem:1: this is binary data (DER), not PEM text", "openssl x509 -inform DER"]),
        ),
        ("PKCS #12", pkcs_12, key.as_bytes().into(), both("", &["cert.pem:1:", "(PKCS #12)", "openssl pkcs12"])),
        (
            "a binary key",
            chain.clone().into(),
            der(&key.replace("PRIVATE KEY", "CERTIFICATE")),
            both("", &["key.pem:1: this is binary data (DER)", "openssl pkey -inform DER"]),
        ),
        (
            "an encrypted key",
            chain.clone().into(),
            block("ENCRYPTED PRIVATE KEY", &[1; 91]).into(),
            both("", &["key.pem:1: the private key is encrypted with a passphrase", "openssl pkey -in"]),
        ),
        (
            "an encrypted key of old",
            chain.clone().into(),
            legacy.into(),
            both("", &["key.pem:2: the private key is encrypted with a passphrase", "openssl pkey -in"]),
        ),
        (
            "a public key",
            chain.clone().into(),
            public.clone().into(),
            both("", &["key.pem:1: contains a public key, not a private key"]),
        ),
        (
            "a key for SSH",
            chain.clone().into(),
            block("OPENSSH PRIVATE KEY", &[1; 91]).into(),
            both("", &["key.pem:1: contains a private key for SSH"]),
        ),
        (
            "two keys",
            chain.clone().into(),
            format!("{key}{other_key}").into(),
            vec![format!("key.pem:{}: contains a second private key", key.lines().count() + 1)],
        ),
        (
            "a request",
            request.into(),
            key.as_bytes().into(),
            both("", &["cert.pem:1: contains a request for a certificate", "the CA issued for this request"]),
        ),
        (
            "swapped",
            key.as_bytes().into(),
            chain.clone().into(),
            both("", &["cert.pem:1: contains a private key, not a certificate", "swapped"]),
        ),
        (
            "no key",
            chain.clone().into(),
            chain.clone().into(),
            both("", &["key.pem:", "contains a certificate", "swapped"]),
        ),
        ("empty", Vec::new(), key.as_bytes().into(), both("", &["cert.pem: contains no certificate in PEM format"])),
        (
            "another key",
            chain.clone().into(),
            other_key.as_bytes().into(),
            both("", &["key.pem: does not belong to the certificate in cert.pem"]),
        ),
        (
            "the leaf is not first",
            format!("{intermediate}{leaf}").into(),
            key.as_bytes().into(),
            vec![format!(
                "cert.pem:{}: the certificate that belongs to key.pem is here, but must be the first",
                intermediate.lines().count() + 1
            )],
        ),
    ];
    let mut wrong = Vec::new();
    for (what, cert, key, parts) in table {
        let (errors, _) = said(&cert, &key);
        let right = errors.len() == 1 && parts.iter().all(|part| errors[0].contains(part.as_str()));
        if !right {
            wrong.push(format!("{what}: {errors:?}\n    lacks one of {parts:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    // Harmless files are accepted.
    for (what, cert) in [
        ("a chain", chain.clone()),
        ("with its root", format!("{chain}{root}")),
        ("line ends of Windows", chain.replace('\n', "\r\n")),
        ("text around", format!("subject=CN = leaf.test\n\n{leaf}\nissuer=CN = root.test\n{intermediate}\nend\n")),
        ("no last line end", chain.trim_end().to_owned()),
    ] {
        assert_eq!(said(cert.as_bytes(), key.as_bytes()), (vec![], vec![]), "{what}");
    }
    // With the key it works too, but others can read the file.
    let (errors, warnings) = said(format!("{chain}{key}").as_bytes(), key.as_bytes());
    assert!(
        errors.is_empty() && warnings.len() == 1 && warnings[0].contains("contains a private key too"),
        "{warnings:?}"
    );
}

#[test]
fn a_chain_that_clients_may_refuse_is_a_warning_with_its_line() {
    let Chain { leaf, intermediate, root, key, .. } = &*CHAIN;
    let lines = |text: &str| text.lines().count();
    for (what, cert, parts) in [
        (
            "wrong order",
            format!("{leaf}{root}{intermediate}"),
            vec![format!("cert.pem:{}: intermediate.test issued leaf.test, but", lines(leaf) + lines(root) + 1)],
        ),
        (
            "a stranger",
            format!("{leaf}{root}"),
            vec![format!("cert.pem:{}: root.test did not issue leaf.test", lines(leaf) + 1)],
        ),
    ] {
        let (errors, warnings) = said(cert.as_bytes(), key.as_bytes());
        assert_eq!(errors, Vec::<String>::new(), "{what}");
        assert!(warnings.len() == 1 && parts.iter().all(|part| warnings[0].contains(part)), "{what}: {warnings:?}");
    }
}

#[test]
fn every_pem_file_is_read_by_the_same_parser() {
    let Chain { leaf, intermediate, key, .. } = &*CHAIN;
    let joined = format!("{}{intermediate}", leaf.trim_end());
    let folder = Folder::new();
    folder.write("good.pem", &format!("{leaf}{intermediate}"), 0o644);
    folder.write("joined.pem", &joined, 0o644);
    folder.write("mark.pem", &format!("\u{feff}{leaf}"), 0o644);
    folder.write("empty.pem", "", 0o644);
    folder.write("key.pem", key, 0o600);
    folder.write("request-key.pem", &block("ENCRYPTED PRIVATE KEY", &[1; 91]), 0o600);
    let ends = leaf.lines().count();
    let postgres =
        |parameters: &str| format!("[store]\nurl = \"postgres://db/a?sslmode=verify-full&{parameters}\"{BASE}");
    let mysql = |parameters: &str| {
        format!("[store]\nurl = \"django+mysql://db/a?ssl-mode=VERIFY_IDENTITY&{parameters}\"{BASE}")
    };
    let redis = |file: &str| format!("[cache.redis]\nurl = \"rediss://cache\"\nca_file = \"{file}\"{BASE}");
    let mut wrong = Vec::new();
    for (text, part) in [
        (postgres("sslrootcert=joined.pem"), format!("joined.pem:{ends}: `-----BEGIN")),
        (postgres("sslrootcert=mark.pem"), "mark.pem:1: an invisible byte order mark".to_owned()),
        (postgres("sslrootcert=empty.pem"), "empty.pem: contains no certificate".to_owned()),
        (postgres("sslrootcert=key.pem"), "key.pem:1: contains a private key, not a certificate".to_owned()),
        (postgres("sslcert=joined.pem&sslkey=key.pem"), format!("joined.pem:{ends}: `-----BEGIN")),
        (
            postgres("sslcert=good.pem&sslkey=request-key.pem"),
            "request-key.pem:1: the private key is encrypted".to_owned(),
        ),
        (postgres("sslcert=certs/dev-cert.pem&sslkey=key.pem"), "key.pem: does not belong to".to_owned()),
        (mysql("ssl-ca=joined.pem"), format!("joined.pem:{ends}: `-----BEGIN")),
        (mysql("ssl-ca=mark.pem"), "mark.pem:1: an invisible byte order mark".to_owned()),
        (
            mysql("ssl-cert=good.pem&ssl-key=request-key.pem"),
            "request-key.pem:1: the private key is encrypted".to_owned(),
        ),
        (redis("joined.pem"), format!("joined.pem:{ends}: `-----BEGIN")),
        (redis("mark.pem"), "mark.pem:1: an invisible byte order mark".to_owned()),
        (redis("empty.pem"), "empty.pem: contains no certificate".to_owned()),
    ] {
        let errors = folder.errors(&text);
        if errors.len() != 1 || !errors[0].contains(&part) {
            wrong.push(format!("{text:.70}: {errors:?}\n    lacks {part:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    for text in [
        postgres("sslrootcert=good.pem&sslcert=good.pem&sslkey=key.pem"),
        mysql("ssl-ca=good.pem&ssl-cert=good.pem&ssl-key=key.pem"),
        redis("good.pem"),
    ] {
        assert_eq!(folder.errors(&text), [""; 0], "{text:.70}");
    }
}
