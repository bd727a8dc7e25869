//! Heads of HTTP/1.1, as far as the load of the bench needs them.

/// A request head.
pub struct Request<'a> {
    /// The value of `Authorization`.
    pub token: &'a [u8],
    /// The length of its body.
    pub body: usize,
    /// Whether the client wants the connection closed.
    pub close: bool,
}

impl<'a> Request<'a> {
    /// Reads a head, and writes what goes to the upstream, without the empty line at its end.
    pub fn read(head: &'a [u8], outgoing: &mut Vec<u8>) -> Option<Self> {
        let mut found = Self { token: b"", body: 0, close: false };
        let (line, mut rest) = split(head)?;
        if !line.ends_with(b" HTTP/1.1") {
            return None;
        }
        outgoing.extend_from_slice(line);
        outgoing.extend_from_slice(b"\r\n");
        while let Some((name, value, line, after)) = header(rest)? {
            rest = after;
            match name.len() {
                13 if name.eq_ignore_ascii_case(b"authorization") => {
                    found.token = value;
                    continue;
                }
                10 if name.eq_ignore_ascii_case(b"connection") => {
                    found.close = value.eq_ignore_ascii_case(b"close");
                    continue;
                }
                11 if name.eq_ignore_ascii_case(b"x-user-name") => continue,
                14 if name.eq_ignore_ascii_case(b"content-length") => found.body = number(value)?,
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => return None,
                _ => {}
            }
            outgoing.extend_from_slice(line);
            outgoing.extend_from_slice(b"\r\n");
        }
        Some(found)
    }
}

/// A response head.
pub struct Answer {
    /// The length of its body.
    pub body: usize,
}

impl Answer {
    /// Reads a head, and writes what goes to the client. `close` is what the client asked for.
    pub fn read(head: &[u8], close: bool, outgoing: &mut Vec<u8>) -> Option<Self> {
        let (line, mut rest) = split(head)?;
        if !line.starts_with(b"HTTP/1.1 2") {
            return None;
        }
        outgoing.extend_from_slice(line);
        outgoing.extend_from_slice(b"\r\n");
        let mut body = None;
        while let Some((name, value, line, after)) = header(rest)? {
            rest = after;
            match name.len() {
                10 if name.eq_ignore_ascii_case(b"connection") => continue,
                14 if name.eq_ignore_ascii_case(b"content-length") => body = Some(number(value)?),
                _ => {}
            }
            outgoing.extend_from_slice(line);
            outgoing.extend_from_slice(b"\r\n");
        }
        outgoing.extend_from_slice(if close { b"Connection: close\r\n\r\n" } else { b"\r\n" });
        Some(Self { body: body? })
    }
}

/// A line, and what is after it.
fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\r', text)?;
    Some((text.get(..end)?, text.get(end + 2..)?))
}

type Header<'a> = (&'a [u8], &'a [u8], &'a [u8], &'a [u8]);

/// The name, the value and the line of a header, and what is after it. `Some(None)` is the end of the head.
fn header(text: &[u8]) -> Option<Option<Header<'_>>> {
    let (line, after) = split(text)?;
    if line.is_empty() {
        return Some(None);
    }
    let colon = memchr::memchr(b':', line)?;
    Some(Some((line.get(..colon)?, line.get(colon + 1..)?.trim_ascii(), line, after)))
}

fn number(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
