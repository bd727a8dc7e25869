//! Changes of trailers, in both directions.
//!
//! Trailers arrive after all decisions, and some servers merge them into the headers. So only those pass that a
//! protocol needs and that affect no decision: the ones of gRPC.

use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

const PASSED: [&str; 3] = ["grpc-status", "grpc-message", "grpc-status-details-bin"];

/// Removes all trailers except those of gRPC.
pub fn keep_known(trailers: &mut HeaderMap) {
    let mut doomed: SmallVec<[HeaderName; 8]> = SmallVec::new();
    doomed.extend(trailers.keys().filter(|name| !PASSED.contains(&name.as_str())).cloned());
    for name in doomed {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_trailers_of_grpc_pass() {
        let mut trailers = HeaderMap::new();
        for name in [
            "grpc-status",
            "grpc-message",
            "grpc-status-details-bin",
            "x-user-id",
            "x_user_id",
            "authorization",
            "content-length",
            "transfer-encoding",
            "x-checksum",
            "grpc-statuses",
        ] {
            trailers.append(HeaderName::from_static(name), HeaderValue::from_static("0"));
        }
        keep_known(&mut trailers);
        let mut left: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["grpc-message", "grpc-status", "grpc-status-details-bin"]);
    }
}
