//! Faults in the head of a request.

use http::StatusCode;

/// The fault in the head of a request: in its bytes, found before they were parsed (`listener/`), or in its framing
/// ([`framing`](super::framing)). The text is for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HeadFault {
    /// A line that ends in LF only, or a CR that does not end a line.
    #[error("each line of the head must end with CR LF")]
    LineEnd,
    /// The request line is not `method SP target SP HTTP/1.x`.
    #[error("the request line must be a method, a target and HTTP/1.0 or HTTP/1.1, with one space between them")]
    RequestLine,
    /// No URI.
    #[error("the target must be a path or a URI, with all other characters percent-encoded")]
    Target,
    /// HTTP/2: `:scheme` is not that of the connection.
    #[error(":scheme must be https on this connection")]
    Scheme,
    /// HTTP/2: `:authority` is not a host with an optional port.
    #[error(":authority must be a host with an optional port")]
    Authority,
    /// A field line without a name, or with an invalid name.
    #[error("each header line must begin with a name and a colon")]
    FieldLine,
    /// A control character in a header value.
    #[error("a header value must not contain control characters")]
    FieldValue,
    /// A header that may occur only once is repeated.
    #[error("Host, Content-Length, Transfer-Encoding, Authorization and Expect may each be sent only once")]
    Repeated,
    /// `Content-Length` is not one number.
    #[error("Content-Length must be one decimal number")]
    Length,
    /// `Transfer-Encoding` is not `chunked`, or is not allowed in this request.
    #[error("Transfer-Encoding must be `chunked`, without Content-Length, in HTTP/1.1")]
    Coding,
    /// `Expect` is not `100-continue`.
    #[error("the only supported expectation is 100-continue")]
    Expectation,
    /// The version is not HTTP/1.0, HTTP/1.1 or HTTP/2.
    #[error("this version of HTTP is not supported")]
    Version,
    /// The head is longer than the limit.
    #[error("the head of the request is too long")]
    TooLong,
    /// More field lines than the limit.
    #[error("there are too many headers")]
    TooManyFields,
    /// The target is longer than the limit.
    #[error("the target is too long")]
    TargetTooLong,
}

impl HeadFault {
    /// The status of the response, after which the connection must be closed.
    pub fn status(self) -> StatusCode {
        match self {
            HeadFault::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            HeadFault::TooLong | HeadFault::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            HeadFault::TargetTooLong => StatusCode::URI_TOO_LONG,
            HeadFault::Expectation => StatusCode::EXPECTATION_FAILED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// The method of the request that replaces a damaged one. It is of no use to clients: such a request is refused even
/// without a fault.
pub const REFUSED_METHOD: &str = "TOKENGATE-REFUSED";
