//! A certificate authority of one test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use tempfile::TempDir;
use tokengate::config::settings::UpstreamTls;
use tokengate::tls::{Authorities, Certificate};

/// The authority, and the folder with what it has issued.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// A certificate and its key.
pub struct Issued {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "CA of a test");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority { issuer, folder };
        fs::write(authority.file(), authority.issuer.pem()).unwrap();
        authority
    }

    /// Its own certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for servers and clients, in files that begin with `name`. `names` are its hosts.
    pub fn issue(&self, name: &str, names: &[&str]) -> Issued {
        self.issue_until(name, names, 2100)
    }

    /// The same, with the year of its end.
    pub fn issue_until(&self, name: &str, names: &[&str], year: i32) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let file = |end: &str| self.folder.path().join(format!("{name}-{end}.pem"));
        let issued = Issued { cert_file: file("cert"), key_file: file("key") };
        fs::write(&issued.key_file, key.serialize_pem()).unwrap();
        fs::set_permissions(&issued.key_file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&issued.cert_file, cert.pem()).unwrap();
        issued
    }

    /// The settings of an upstream that trusts it.
    pub fn trusted(&self) -> UpstreamTls {
        let authorities = Authorities::read(&self.file()).unwrap();
        UpstreamTls { authorities, client: None, server_name: None, tls12: true }
    }
}

impl Issued {
    /// The form of the settings.
    pub fn read(&self) -> Certificate {
        Certificate::read("", &self.cert_file, &self.key_file).unwrap()
    }
}
