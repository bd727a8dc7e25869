//! An accepted target has one meaning, and is forwarded unchanged.
//!
//! The input is `METHOD URI`, then one `Host` header per line.

use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, Request, Version};
use tokengate::route::{Peer, Target};

pub fn run(bytes: &[u8]) {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        if let Some(head) = head(bytes, version) {
            check(&head);
        }
    }
}

fn check(head: &Parts) {
    let nowhere = ([127, 0, 0, 1], 1).into();
    let peer = Peer::plain(nowhere, nowhere);
    let Ok(target) = Target::read(head, 8192, &peer) else { return };
    let decoded = target.decoded_path();
    assert!(decoded.starts_with('/') && target.path().starts_with('/'));
    assert!(!decoded.contains('\\') && !decoded.chars().any(char::is_control), "{decoded:?}");
    for reading in target.other_readings().chain([decoded]) {
        assert!(reading.starts_with('/'), "{reading:?}");
        for segment in reading.split('/') {
            let name = segment.split(';').next().unwrap_or_default().trim();
            assert!(name != "." && name != "..", "{reading:?} has a dot segment");
        }
    }
    let slashes = |text: &str| text.matches('/').count();
    assert_eq!(slashes(decoded), slashes(target.path()), "decoding made a slash");
    // Unchanged, byte for byte.
    let mut spelt = target.path().to_owned();
    if let Some(query) = target.query() {
        spelt = format!("{spelt}?{query}");
    }
    assert_eq!(Some(spelt.as_str()), head.uri.path_and_query().map(|whole| whole.as_str()));
    assert!(spelt.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'), "{spelt:?}");
    for prefix in ["/", "/api", "/api/"] {
        let below = target.path_below(prefix);
        assert!(
            below.is_none_or(|below| below.starts_with('/') && target.path().ends_with(below)) || below == Some("/")
        );
    }
    assert!(!target.host().is_empty() && target.host() == target.host().to_lowercase(), "{:?}", target.host());
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~[]:".contains(&byte);
    assert!(target.host().bytes().all(allowed), "{:?}", target.host());
    read_again(&target);
}

/// Percent-encoding the decoded path does not change its meaning.
fn read_again(target: &Target<'_>) {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(byte);
    let escaped: String = target.decoded_path().bytes().fold(String::new(), |text, byte| match plain(&byte) {
        true => text + char::from(byte).encode_utf8(&mut [0; 4]),
        false => text + &format!("%{byte:02X}"),
    });
    let Some(again) = head(format!("GET {escaped}\na.test").as_bytes(), Version::HTTP_11) else {
        panic!("{escaped:?} is no target");
    };
    let nowhere = ([127, 0, 0, 1], 1).into();
    let peer = Peer::plain(nowhere, nowhere);
    let again = Target::read(&again, 3 * 8192, &peer).expect("the same path, spelt in another way");
    assert_eq!(again.decoded_path(), target.decoded_path());
}

/// The head as the HTTP library parses it; `None` if it refuses the input.
fn head(bytes: &[u8], version: Version) -> Option<Parts> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut words = lines.next()?.splitn(2, |byte| *byte == b' ');
    let (method, uri) = (words.next()?, words.next()?);
    let mut request = Request::builder().version(version).method(method).uri(uri);
    for host in lines {
        request = request.header(HOST, HeaderValue::from_bytes(host).ok()?);
    }
    Some(request.body(()).ok()?.into_parts().0)
}
