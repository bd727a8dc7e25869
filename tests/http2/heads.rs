//! Ambiguous heads and trailers: refused with a response, never repaired.

use super::pseudo;
use crate::support::frames::{DATA, END_HEADERS, END_STREAM, Ended, Frames, HEADERS, block};
use crate::support::http2::H2;
use crate::support::{Ask, Gateway, Http, Origin, PATIENCE, Site, eventually};

#[tokio::test]
async fn a_target_with_a_fragment_or_a_byte_that_no_target_has_is_answered_400() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let paths = [
        "/public/a?x#/../y",
        "/public/#",
        "/public/a#",
        "/public/a?#b",
        "/public/a%23?b#c",
        "/public/\"",
        "/public/?\"",
        "/public/<",
        "/public/a?b<c>",
        "/public/ a",
        "/public/a b",
        "/public/a?b c",
        "/public/a ",
        "/public/\\",
        "/public/^",
        "/public/`",
        "/public/a\tb",
        "/public/\u{1}",
        "/public/\u{7f}",
        "/public/\u{80}",
        "/public/\u{e9}",
        "/public/?\u{e9}",
        "public/a",
        "?a",
        "#a",
        "*",
        "https://localhost/public/a",
        "//localhost/public/#a",
    ];
    for path in paths {
        let ended = Frames::open(&gateway).await.request(&pseudo("GET", path), None).await;
        assert_eq!(ended, Ended::Answered(400), "{path:?}");
        let with_body = Frames::open(&gateway).await.request(&pseudo("POST", path), Some(b"hello")).await;
        assert_eq!(with_body, Ended::Answered(400), "{path:?} with a body");
    }
    assert_eq!(origin.count(), 0);
    let lines = || gateway.log.text().lines().filter(|line| line.contains("status=400")).count();
    eventually(PATIENCE, "each is logged", || async { lines() == 2 * paths.len() }).await;
    for path in ["/public/a#b", "http://localhost/public/a#b", "/public/a?b#c"] {
        let mut wire = crate::support::Wire::open(&gateway).await;
        let answer = wire.ask(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        assert_eq!(answer.status, 400, "{path}");
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_scheme_or_authority_of_another_connection_is_answered_400() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let request = |scheme, authority| {
        [(":method", "GET"), (":scheme", scheme), (":authority", authority), (":path", "/public/x")]
    };
    for scheme in ["http", "ftp", "wss", "h2", "HTTP", "https:", "https,http", " https", "", "javascript"] {
        let ended = Frames::open(&gateway).await.request(&request(scheme, "localhost"), None).await;
        assert_eq!(ended, Ended::Answered(400), "{scheme:?}");
        // Without `:authority` the library would drop the host.
        let [method, scheme, _, path] = request(scheme, "");
        let ended = Frames::open(&gateway).await.request(&[method, scheme, path, ("host", "localhost")], None).await;
        assert_eq!(ended, Ended::Answered(400), "{scheme:?} beside Host");
    }
    for authority in [
        "",
        "a@b",
        "localhost:99999",
        "local host",
        "localhost/x",
        "127.1",
        "localhost:",
        "localhost?x",
        "localhost#x",
        "a\"b",
        "a<b",
        ":443",
        "[::1",
        "https://localhost",
        "local%68ost",
        "localhost:443:443",
    ] {
        let ended = Frames::open(&gateway).await.request(&request("https", authority), None).await;
        assert_eq!(ended, Ended::Answered(400), "{authority:?}");
    }
    assert_eq!(origin.count(), 0);
    let good = Frames::open(&gateway).await.request(&request("https", "localhost:443"), None).await;
    assert_eq!(good, Ended::Answered(200));
}

/// The HPACK table lacks the entries of a header block that was replaced.
#[tokio::test]
async fn a_connection_stays_open_after_a_refused_head() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    let mut client = Frames::open(&gateway).await;
    // Literal with incremental indexing (RFC 7541 §6.2.1), then the entry by its index.
    let kept = |name: &str, value: &str| {
        let length = |text: &str| u8::try_from(text.len()).unwrap();
        [&[0x40, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
    };
    let good = block(&pseudo("GET", "/public/x"));
    client.write(HEADERS, END_HEADERS | END_STREAM, 1, &[good.clone(), kept("x-first", "1")].concat()).await;
    assert_eq!(client.answer_on(1).await, Some(200));
    let bad = block(&pseudo("GET", "/public/x#y"));
    client.write(HEADERS, END_HEADERS | END_STREAM, 3, &[bad, kept("x-second", "2")].concat()).await;
    assert_eq!(client.answer_on(3).await, Some(400));
    for stream in [5, 7] {
        client.write(HEADERS, END_HEADERS | END_STREAM, stream, &[good.as_slice(), &[0xbe, 0xbf]].concat()).await;
        assert_eq!(client.answer_on(stream).await, Some(200));
        let seen = origin.last().fields;
        assert_eq!((seen.get("x-first"), seen.get("x-second")), (Some("1"), Some("2")));
    }
    // The same for an upload with trailers, whose head is indexed.
    let post = block(&pseudo("POST", "/public/x"));
    client.write(HEADERS, END_HEADERS, 9, &[post.as_slice(), &[0xbe]].concat()).await;
    client.write(DATA, 0, 9, b"hello").await;
    client.write(HEADERS, END_HEADERS | END_STREAM, 9, &kept("x-trailer", "3")).await;
    assert_eq!(client.answer_on(9).await, Some(200));
    assert_eq!(origin.last().body, b"hello");
    assert_eq!(origin.count(), 4);
}

#[tokio::test]
async fn trailers_with_a_pseudo_header_reset_the_request() {
    let origin = Origin::answering("hello").await;
    let gateway = Gateway::before(&origin).await;
    for trailer in [(":path", "/admin"), (":method", "GET"), (":status", "200"), (":x", "y"), (":", "")] {
        for after in [false, true] {
            let mut client = Frames::open(&gateway).await;
            client.begin(&pseudo("POST", "/public/x")).await;
            client.write(DATA, 0, 1, b"hello").await;
            let fields = if after { vec![("x-a", "b"), trailer] } else { vec![trailer] };
            client.write(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields)).await;
            assert!(matches!(client.answer_on(1).await, None | Some(400)), "{trailer:?}");
            // The connection is still open.
            client.write(HEADERS, END_HEADERS | END_STREAM, 3, &block(&pseudo("GET", "/public/y"))).await;
            assert_eq!(client.answer_on(3).await, Some(200));
        }
    }
    let whole = origin.requests().into_iter().filter(|request| request.method == "POST" && request.complete).count();
    assert_eq!(whole, 0, "an upload that was refused arrived as a whole one");
}

#[tokio::test]
async fn the_parts_of_a_cookie_count_as_one_header() {
    let origin = Origin::answering("hello").await;
    let gateway = Site::before(&origin).with(|settings| settings.limits.header_count = 20).start().await;
    for count in [1, 2, 21, 100, 300] {
        let mut ask = Ask::get("/public/x").field("x-a", "b");
        let pieces: Vec<String> = (0..count).map(|place| format!("name{place}=value{place}")).collect();
        for piece in &pieces {
            ask = ask.field("cookie", piece);
        }
        let mut client = H2::open(&gateway).await;
        assert_eq!(client.ask(&ask).await.status, 200, "{count}");
        assert_eq!(origin.last().fields.all("cookie"), [pieces.join("; ")], "{count}");
    }
    // Other headers count separately.
    for (cookies, others, status) in [(100, 17, 200), (0, 21, 431), (100, 20, 431)] {
        let mut ask = Ask::get("/public/x");
        for place in 0..cookies {
            ask = ask.field("cookie", format!("a{place}=b"));
        }
        for place in 0..others {
            ask = ask.field(&format!("x-{place}"), "y");
        }
        assert_eq!(ask.over(Http::Two, &gateway).await.status, status, "{cookies} and {others}");
    }
    // Splitting does not make a head shorter.
    let gateway = Site::before(&origin).with(|settings| settings.limits.header_bytes = 8 << 10).start().await;
    for (pieces, status) in [(7, 200), (9, 431)] {
        let mut ask = Ask::get("/public/x");
        for place in 0..pieces {
            ask = ask.field("cookie", format!("a{place}={}", "b".repeat(1_000)));
        }
        assert_eq!(ask.over(Http::Two, &gateway).await.status, status, "{pieces}");
    }
}
