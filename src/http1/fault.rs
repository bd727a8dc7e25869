//! Why a response is refused.

use std::borrow::Cow;

use http::HeaderName;

/// The rule that a response breaks. Names the header or the limit, never a value: values may be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// The response does not begin with `HTTP/1.1` or `HTTP/1.0`.
    #[error("the response does not begin with HTTP/1.1 or HTTP/1.0")]
    Version,
    /// The status line is not a version, a status of three digits and a reason.
    #[error("the status line is not a version, a status of three digits and a reason")]
    StatusLine,
    /// A line ends in LF only.
    #[error("a line of the head does not end with CR LF")]
    LineEnd,
    /// A line begins with a space or tab (RFC 9112 §5.2).
    #[error("a header line continues on the next line")]
    Folded,
    /// A line without a colon, or with an invalid header name.
    #[error("a header line does not begin with a name and a colon")]
    FieldName,
    /// A control character in a header value.
    #[error("the value of {0} has a control character")]
    FieldValue(HeaderName),
    /// More bytes than `limits.response_header_bytes`.
    #[error("the head has more than {0} bytes, the limit limits.response_header_bytes")]
    TooLong(usize),
    /// More field lines than `limits.response_header_count`.
    #[error("the head has more than {0} header lines, the limit limits.response_header_count")]
    TooManyFields(usize),
    /// `Content-Length` is not one number.
    #[error("Content-Length is not one decimal number")]
    Length,
    /// `Transfer-Encoding` is not exactly `chunked`.
    #[error("Transfer-Encoding is not exactly `chunked`")]
    Coding,
    /// `Transfer-Encoding` in an HTTP/1.0 response.
    #[error("Transfer-Encoding in an HTTP/1.0 response")]
    CodingInOldVersion,
    /// Both `Content-Length` and `Transfer-Encoding`.
    #[error("the response has both Content-Length and Transfer-Encoding")]
    TwoFramings,
    /// The response switches protocols, but the request did not ask for this protocol.
    #[error("the response switches protocols, but the request did not ask for it")]
    Switch,
    /// The response to a WebSocket handshake is successful, but does not switch: an HTTP/2 client would take it for a
    /// tunnel.
    #[error("the response to a WebSocket handshake is successful, but does not switch protocols")]
    NoSwitch,
    /// The endpoint speaks HTTP/2 and does not announce WebSocket (RFC 8441).
    #[error("the endpoint does not announce WebSocket over HTTP/2 (SETTINGS_ENABLE_CONNECT_PROTOCOL)")]
    NoWebSocket,
    /// Too many interim responses.
    #[error("more than {0} interim responses (1xx) came before the final one")]
    TooManyInterim(u16),
    /// The size line of a chunk is too long, has no size, or has a malformed extension.
    #[error("the size line of a chunk is malformed or too long")]
    ChunkLine,
    /// A chunk is not followed by CR LF.
    #[error("a chunk does not end where its size says")]
    ChunkEnd,
    /// The response breaks the rules of HTTP/2.
    #[error("the response breaks the rules of HTTP/2")]
    Http2,
    /// The connection ended before the response did.
    #[error("the connection ended before the response did")]
    Cut,
}

impl BadAnswer {
    /// A stable code for logs.
    pub fn word(&self) -> &'static str {
        match self {
            BadAnswer::Version => "version",
            BadAnswer::StatusLine => "status_line",
            BadAnswer::LineEnd => "line_end",
            BadAnswer::Folded => "folded_header",
            BadAnswer::FieldName => "header_name",
            BadAnswer::FieldValue(_) => "header_value",
            BadAnswer::TooLong(_) => "response_header_bytes",
            BadAnswer::TooManyFields(_) => "response_header_count",
            BadAnswer::Length => "content_length",
            BadAnswer::Coding => "transfer_encoding",
            BadAnswer::CodingInOldVersion => "transfer_encoding_in_http_1_0",
            BadAnswer::TwoFramings => "two_framings",
            BadAnswer::Switch => "unasked_switch",
            BadAnswer::NoSwitch => "no_switch",
            BadAnswer::NoWebSocket => "no_websocket",
            BadAnswer::TooManyInterim(_) => "interim_answers",
            BadAnswer::ChunkLine => "chunk_line",
            BadAnswer::ChunkEnd => "chunk_end",
            BadAnswer::Http2 => "http2",
            BadAnswer::Cut => "cut",
        }
    }

    /// The code, with the name of the header if its value is at fault.
    pub fn place(&self) -> Cow<'static, str> {
        match self {
            BadAnswer::FieldValue(name) => format!("{}:{name}", self.word()).into(),
            _ => self.word().into(),
        }
    }
}
