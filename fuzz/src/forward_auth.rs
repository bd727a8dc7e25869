//! The description of a request by a proxy is taken as it is, or refused.
//!
//! The input is the target that the proxy describes.

use http::{HeaderValue, Request, Uri};
use tokengate::client::forward_auth::{Form, read};
use tokengate::config::settings::{ForwardedFamily, ProxyTrust};
use tokengate::route::Peer;
use tokengate::token::Networks;

pub fn run(bytes: &[u8]) {
    let proxies = Networks::parse("10.0.0.0/8").expect("a network");
    let trust = ProxyTrust { proxies, family: ForwardedFamily::XForwarded, protocol: false };
    let peer = Peer::plain(([10, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 1).into());
    let in_path = Uri::try_from([b"/ext-authz", bytes].concat());
    for (form, uri) in [(Form::ForwardAuth, Ok(Uri::from_static("/forward-auth"))), (Form::ExtAuthz, in_path)] {
        let (Ok(uri), Ok(target)) = (uri, HeaderValue::from_bytes(bytes)) else { continue };
        // The parser of requests refuses these bytes.
        if form == Form::ExtAuthz && !bytes.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
            continue;
        }
        let question = Request::get(uri).header("host", "a.test").header("x-forwarded-for", "203.0.113.7");
        let question = question.header("x-forwarded-proto", "https").header("x-forwarded-host", "a.test");
        let question = question.header("x-forwarded-method", "GET").header("x-forwarded-uri", target);
        let mut head = question.body(()).expect("a request").into_parts().0;
        let (asked, origin) = read(&trust, &peer, &mut head);
        if asked == Some(form) && origin.is_ok() {
            let text = head.uri.path_and_query().map(|target| target.as_str().as_bytes());
            assert_eq!(text, Some(bytes), "{:?}", String::from_utf8_lossy(bytes));
            assert!(head.uri.authority().is_none() && head.uri.scheme().is_none());
        }
    }
}
