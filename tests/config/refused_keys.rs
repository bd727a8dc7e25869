//! Private keys that TLS does not support are refused with their true cause, and files of certificates that hold a key
//! are checked like files of keys.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rcgen::KeyPair;

use super::Folder;
use super::refused::BASE;
use super::refused_pem::block;

/// Made by `openssl genrsa 1024`; protects nothing.
const RSA_1024: &str = "-----BEGIN PRIVATE KEY-----
MIICdgIBADANBgkqhkiG9w0BAQEFAASCAmAwggJcAgEAAoGBAKvmDjh9DznhMF3j
K4uDfWcxXB6ZuLWYW24U/NSJh/VvAhIqgYMzLHzMScXkR1fKapDqqZjR6FTEv8vx
ELLiNjo3ZrVJ5X6FqXkMMe1DiE6cxTNI8/XfjFNtYFUtcw7zr6Btf7FLliu0qOBn
iFh9DhWUKi4I9yJJIeuT9tEvR+W9AgMBAAECgYADaDzx67CokgkWY1FSo5mRuQ29
YYiiuNFfHjVgtRUnzTp6R7NneVUxaA8yR/MOD2oLU0tnRwnW3Et87FtLYGZ4upxX
t6wEN/i6FR4xf/vZtaLoP9hJufe5Lkt7VD3Y5MdHw2CY2+HAfe5GeFqKlm+6GWIR
7BFl5Y6/wcY5J74P9QJBANjFkh5LCUi8sAavxxQPW6Q2w1AEHd+hph0TS1KpbLHQ
qWC5G9lQOOx+WEl3tIxR3WDq2q2uPfFjVA2TCOl1nJMCQQDLAaOo/spgaLwLkDd+
O7glkKCy3pXt5O69JxPDTQ5T97CQjDP/QiFao3Tgk0/9rh8mZ3f8O0z/hl0WdIwr
9jZvAkBcuq+V+91d2zGlup37y9IU/kQwv4IT/y9zMqS/GLDho/RA5w6tuK6RJD8a
NnXqrL55zh17vJTM5QO4xtRCIki3AkEAl3/wsHT9eTeQZpzJHTbaNYaatwJwJ6q7
FISuNgkykS1/IlDPmUaz952W4uZtQueILbP4Ek/7JZMTs2dlGIXVlwJAXOxA59Oy
xO8jL/hdH+yKD0mU+ZvdAHIu6UpBY2Dul0MtPKuJqD95SDg2k8PUSoCxgYlYmO2j
KkPg6tz2whbAjw==
-----END PRIVATE KEY-----
";

/// Made by `openssl ecparam -name secp256k1 -genkey -noout`.
const SECP256K1: &str = "-----BEGIN EC PRIVATE KEY-----
MHQCAQEEIEKYwn1f6aLIRqz3vlv8TDkVXdZWaDU65guU5ohOqkUyoAcGBSuBBAAK
oUQDQgAE19UIQdOBad+Is6xINSfeK8A5PmnFHyS50LdgBn02+Fp1Zlxu9Az3+h+5
BlTHUEN6ztvirqQBTkutn/fVZwI4sg==
-----END EC PRIVATE KEY-----
";

/// The same as PKCS #8.
const SECP256K1_PKCS8: &str = "-----BEGIN PRIVATE KEY-----
MIGEAgEAMBAGByqGSM49AgEGBSuBBAAKBG0wawIBAQQgQpjCfV/poshGrPe+W/xM
ORVd1lZoNTrmC5TmiE6qRTKhRANCAATX1QhB04Fp34izrEg1J94rwDk+acUfJLnQ
t2AGfTb4WnVmXG70DPf6H7kGVMdQQ3rO2+KupAFOS62f99VnAjiy
-----END PRIVATE KEY-----
";

const SECP224R1: &str = "-----BEGIN PRIVATE KEY-----
MHgCAQAwEAYHKoZIzj0CAQYFK4EEACEEYTBfAgEBBByP7Mc6wl3Vw/erykw2/Lru
Q3lI6gBeRdhmcLwpoTwDOgAEzzY2DfeY0Pm6Jo2ykDjmwB96H9GXmQ/TSMGa5QOC
SsexXOecLGgs9PJV/NArX+twIzhPZKjeXDk=
-----END PRIVATE KEY-----
";

const ED448: &str = "-----BEGIN PRIVATE KEY-----
MEcCAQAwBQYDK2VxBDsEOcljvvRr4W9St0tAFyrJYK1L55Dpc/0C/wa65ET7Ycn3
kB2GIQ+u/Ur53vio9ZQCn43Xu6KGxLMMxQ==
-----END PRIVATE KEY-----
";

/// The beginning of an RSA key with this many bits; only the beginning is parsed.
fn rsa(bits: usize) -> String {
    let modulus = [&[0x00][..], &vec![0xff; bits / 8]].concat();
    let long = |tag: u8, content: &[u8]| {
        [&[tag, 0x82][..], &u16::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
    };
    block("RSA PRIVATE KEY", &long(0x30, &[&[2, 1, 0][..], &long(2, &modulus)].concat()))
}

#[test]
fn a_key_that_tls_does_not_support_is_refused_with_its_cause() {
    let folder = Folder::new();
    let listener = "[listeners.a]\naddress = \"127.0.0.1:1\"\ncertificates = [\"a\"]\n[certificates.a]\ncert_file = \
                    \"certs/dev-cert.pem\"\nkey_file = \"key.pem\"\n";
    let postgres = "[store]\nurl = \"postgres://db/a?sslmode=verify-full&sslcert=certs/dev-cert.pem&sslkey=key.pem\"\n";
    let mut wrong = Vec::new();
    for (key, what, mend) in [
        (RSA_1024.to_owned(), "RSA key of 1024 bits is too short", "make one of at least 2048 bits"),
        (rsa(512), "RSA key of 512 bits is too short", "make one of at least 2048 bits"),
        (rsa(2040), "RSA key of 2040 bits is too short", "make one of at least 2048 bits"),
        (rsa(16_384), "RSA key of 16384 bits is too long", "make one of at most 8192 bits"),
        (SECP256K1.to_owned(), "EC key is on the curve secp256k1, which", "make one on P-256"),
        (SECP256K1_PKCS8.to_owned(), "EC key is on the curve secp256k1, which", "make one on P-256"),
        (SECP224R1.to_owned(), "EC key is on the curve secp224r1, which", "make one on P-256"),
        (ED448.to_owned(), "key is for Ed448, which", "Ed25519"),
        (rsa(4096), "this private key cannot be used", "use an RSA key of 2048 to 8192 bits"),
        (block("EC PRIVATE KEY", b"\x30\x00"), "this private key cannot be used", "P-256"),
        (block("PRIVATE KEY", b"\x30\x84\xff\xff\xff\xff"), "this private key cannot be used", "P-256"),
    ] {
        folder.write("key.pem", &key, 0o600);
        for text in [listener, postgres] {
            let errors = folder.errors(&format!("{text}{BASE}"));
            let right = errors.len() == 1
                && errors[0].contains(&format!("key.pem: {}", if what.starts_with("this") { "" } else { "the " }))
                && errors[0].contains(what)
                && errors[0].contains(mend);
            if !right {
                wrong.push(format!("{what}: {errors:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_file_of_certificates_that_others_can_read_and_that_holds_a_key_is_a_warning() {
    let folder = Folder::new();
    let read = |name: &str| fs::read_to_string(folder.path(name)).unwrap();
    let (cert, key) = (read("certs/dev-cert.pem"), read("certs/dev-key.pem"));
    folder.write("key.pem", &key, 0o600);
    let foreign = KeyPair::generate().unwrap().serialize_pem();
    let listener = "[listeners.a]\naddress = \"127.0.0.1:1\"\ncertificates = [\"a\"]\n[certificates.a]\ncert_file = \
                    \"both.pem\"\nkey_file = \"key.pem\"\n";
    let postgres = |parameters: &str| format!("[store]\nurl = \"postgres://db/a?sslmode=verify-full&{parameters}\"\n");
    let mysql = "[store]\nurl = \"django+mysql://db/a?ssl-mode=VERIFY_IDENTITY&ssl-ca=both.pem\"\n".to_owned();
    let redis = "[cache.redis]\nurl = \"rediss://cache\"\nca_file = \"both.pem\"\n".to_owned();
    let encrypted = block("ENCRYPTED PRIVATE KEY", &[1; 91]);
    for (content, mode, warned) in [
        (format!("{cert}{key}"), 0o644, true),
        (format!("{key}{cert}"), 0o640 | 0o004, true),
        (format!("{cert}{foreign}"), 0o644, true),
        (format!("{cert}{key}"), 0o606, true),
        (format!("{cert}{key}"), 0o600, false),
        (cert.clone(), 0o644, false),
        // No program can use it without its passphrase.
        (format!("{cert}{encrypted}"), 0o644, false),
    ] {
        folder.write("both.pem", &content, mode);
        for text in [
            listener.to_owned(),
            postgres("sslcert=both.pem&sslkey=key.pem"),
            postgres("sslrootcert=both.pem"),
            mysql.clone(),
            redis.clone(),
        ] {
            let said = folder.warnings(&format!("{text}{BASE}"));
            let part = format!("both.pem: contains a private key too, and is open to others (mode {mode:04o}); ");
            let found = said.iter().filter(|warning| warning.contains(&part)).count();
            assert_eq!(found, usize::from(warned), "{mode:o} {text}: {said:?}");
            assert!(!warned || said.iter().any(|warning| warning.contains("chmod 600")), "{said:?}");
        }
    }
    // Where the key of the certificate is read from the same file, that is an error already.
    folder.write("both.pem", &format!("{cert}{key}"), 0o644);
    let errors = folder.errors(&format!("{}{BASE}", listener.replace("key.pem", "both.pem")));
    assert!(errors.len() == 1 && errors[0].contains("open to others"), "{errors:?}");
    fs::set_permissions(folder.path("both.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(folder.errors(&format!("{}{BASE}", listener.replace("key.pem", "both.pem"))), [""; 0]);
}
