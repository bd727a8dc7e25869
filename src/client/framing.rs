//! Checks the framing of a request: where its body ends.
//!
//! This is the second check, after that of the raw bytes. It checks the parsed headers, for every HTTP version, before
//! any other code reads them. A framing that two servers could read differently is refused, never repaired (RFC 9112
//! §6.3).

use http::header::{AUTHORIZATION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::HeadFault;

/// Checks the framing of a request; `header_count` is the maximum number of field lines.
///
/// # Errors
/// [`HeadFault`] names the rule that it breaks.
pub fn check(head: &Parts, header_count: usize) -> Result<(), HeadFault> {
    if !matches!(head.version, Version::HTTP_10 | Version::HTTP_11 | Version::HTTP_2) {
        return Err(HeadFault::Version);
    }
    if head.headers.len() > header_count {
        return Err(HeadFault::TooManyFields);
    }
    let length = only(&head.headers, &CONTENT_LENGTH)?;
    let coding = only(&head.headers, &TRANSFER_ENCODING)?;
    let expectation = only(&head.headers, &EXPECT)?;
    only(&head.headers, &AUTHORIZATION)?;
    if let Some(coding) = coding {
        let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        if !chunked || length.is_some() || head.version != Version::HTTP_11 {
            return Err(HeadFault::Coding);
        }
    }
    if length.is_some_and(|length| !is_number(length)) {
        return Err(HeadFault::Length);
    }
    if expectation.is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(HeadFault::Expectation);
    }
    Ok(())
}

/// The value of a header that may have at most one line.
fn only<'f>(fields: &'f HeaderMap, name: &HeaderName) -> Result<Option<&'f HeaderValue>, HeadFault> {
    let first = fields.get(name);
    let is_repeated = first.is_some() && fields.get_all(name).iter().nth(1).is_some();
    if is_repeated { Err(HeadFault::Repeated) } else { Ok(first) }
}

/// Digits only (`str::parse` accepts a `+` as well), at most as many as fit into the number.
fn is_number(value: &HeaderValue) -> bool {
    let digits = value.as_bytes().iter().all(u8::is_ascii_digit);
    digits && value.to_str().is_ok_and(|text| text.parse::<u64>().is_ok())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn judged(version: Version, fields: &[(&str, &[u8])]) -> Result<(), HeadFault> {
        let mut request = Request::builder().version(version);
        for (name, value) in fields {
            request = request.header(*name, HeaderValue::from_bytes(value).unwrap());
        }
        check(&request.body(()).unwrap().into_parts().0, 5)
    }

    #[test]
    fn plain_framing_passes() {
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            assert_eq!(judged(version, &[]), Ok(()));
            for length in ["0", "5", "005", "18446744073709551615"] {
                assert_eq!(judged(version, &[("content-length", length.as_bytes())]), Ok(()), "{length}");
            }
        }
        for coding in [b"chunked", b"ChUnKeD"] {
            assert_eq!(judged(Version::HTTP_11, &[("transfer-encoding", coding)]), Ok(()));
        }
        assert_eq!(judged(Version::HTTP_11, &[("expect", b"100-Continue"), ("authorization", b"Token a")]), Ok(()));
    }

    #[test]
    fn a_length_is_one_number() {
        for length in [
            "+5",
            "-5",
            "-0",
            "5 5",
            "5, 6",
            "5,5",
            "5, 5",
            "0x5",
            "5.0",
            "",
            "abc",
            "1e1",
            "0_5",
            "5;",
            "\"5\"",
            "5\u{a0}",
            "٥",
            "18446744073709551616",
            "18446744073709551621",
        ] {
            let judged = judged(Version::HTTP_11, &[("content-length", length.as_bytes())]);
            assert_eq!(judged, Err(HeadFault::Length), "{length}");
        }
    }

    #[test]
    fn the_only_coding_is_chunked_alone_in_http_1_1() {
        for coding in [
            "",
            "identity",
            "xchunked",
            "chunked, identity",
            "identity, chunked",
            ",chunked",
            "chunked,",
            "chunked, gzip",
            "chunked;a=b",
            "\"chunked\"",
            "\u{a0}chunked",
            "chunked, chunked",
            "cow",
        ] {
            let judged = judged(Version::HTTP_11, &[("transfer-encoding", coding.as_bytes())]);
            assert_eq!(judged, Err(HeadFault::Coding), "{coding}");
        }
        for version in [Version::HTTP_10, Version::HTTP_2] {
            assert_eq!(judged(version, &[("transfer-encoding", b"chunked")]), Err(HeadFault::Coding));
        }
        let both: [(&str, &[u8]); 2] = [("content-length", b"0"), ("transfer-encoding", b"chunked")];
        assert_eq!(judged(Version::HTTP_11, &both), Err(HeadFault::Coding));
    }

    #[test]
    fn a_header_that_may_occur_once_is_refused_twice() {
        for (name, value) in [
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("authorization", "Token a"),
            ("expect", "100-continue"),
        ] {
            let twice = [(name, value.as_bytes()), (name, value.as_bytes())];
            assert_eq!(judged(Version::HTTP_11, &twice), Err(HeadFault::Repeated), "{name}");
        }
        assert_eq!(judged(Version::HTTP_11, &[("x-two", b"1"), ("x-two", b"2")]), Ok(()));
    }

    #[test]
    fn other_limits_have_their_own_status() {
        let many = [("x-a", b"1".as_slice()); 6];
        for (judged, status) in [
            (judged(Version::HTTP_11, &many), 431),
            (judged(Version::HTTP_11, &[("expect", b"200-ok")]), 417),
            (judged(Version::HTTP_09, &[]), 505),
            (judged(Version::HTTP_3, &[]), 505),
            (judged(Version::HTTP_11, &[("content-length", b"x")]), 400),
        ] {
            assert_eq!(judged.unwrap_err().status(), status);
        }
        assert_eq!(judged(Version::HTTP_11, &many[..5]), Ok(()));
    }
}
