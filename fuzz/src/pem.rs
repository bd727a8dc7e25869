//! What our PEM parser accepts, the TLS library finds too: every certificate and key, byte for byte.

use rustls::pki_types::pem::{PemObject, SectionKind};
use tokengate::tls::pem;

pub fn run(text: &[u8]) {
    let ours = match pem::read(text) {
        Ok(blocks) => blocks,
        Err(bad) => {
            let ends = text.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
            assert!((1..=ends + 1).contains(&bad.line), "line {} of {}", bad.line, ends + 1);
            return;
        }
    };
    let kind = |label: &str| match label {
        "CERTIFICATE" => Some(SectionKind::Certificate),
        "PRIVATE KEY" => Some(SectionKind::PrivateKey),
        "RSA PRIVATE KEY" => Some(SectionKind::RsaPrivateKey),
        "EC PRIVATE KEY" => Some(SectionKind::EcPrivateKey),
        _ => None,
    };
    let ours = ours.into_iter().filter_map(|block| Some((kind(&block.label)?, block.bytes.to_vec())));
    let theirs =
        <(SectionKind, Vec<u8>)>::pem_slice_iter(text).map(|block| block.expect("no fault in what is accepted"));
    let theirs = theirs.filter(|(found, _)| {
        use SectionKind::{Certificate, EcPrivateKey, PrivateKey, RsaPrivateKey};
        matches!(found, Certificate | PrivateKey | RsaPrivateKey | EcPrivateKey)
    });
    assert_eq!(ours.collect::<Vec<_>>(), theirs.collect::<Vec<_>>(), "the readers find different blocks");
}
