//! Configurations of `deploy/`, with the addresses of a test.

use std::fs;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokengate::config::settings::Settings;
use tokengate::demo::certificate::{self, Wish};

use super::{Origin, Site};

/// The text of a file in `deploy/`, in which these texts are replaced.
pub fn file(path: &str, replaced: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path);
    let text = fs::read_to_string(path).unwrap();
    replaced.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "the file does not contain {from}");
        text.replace(from, to)
    })
}

/// A site with a `gateway.toml` whose certificate is in `certs/`; it gets a certificate for these names.
pub fn site(origin: &Origin, text: &str, names: &[&str]) -> Site {
    let mut site = Site::before(origin);
    let folder = tempfile::tempdir().unwrap();
    let wish = Wish { names: names.iter().map(|name| (*name).to_owned()).collect(), ..Wish::default() };
    let made = certificate::make(&folder.path().join("made"), &wish, site.clock().now()).unwrap();
    site.roots.add(CertificateDer::from_pem_file(&made.ca_file).unwrap()).unwrap();
    let text = text
        .replace("certs/cert.pem", &made.cert_file.display().to_string())
        .replace("certs/key.pem", &made.key_file.display().to_string());
    let file = folder.path().join("gateway.toml");
    fs::write(&file, text).unwrap();
    let loaded = tokengate::config::load(&file).unwrap_or_else(|problems| panic!("{problems:?}"));
    site.settings = Settings { store: site.settings.store, ..loaded.settings };
    site
}
