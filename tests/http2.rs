//! Features of HTTP/2 that HTTP/1.1 lacks: concurrent streams, frames, header blocks.

mod floods;
mod heads;
mod stalls;
mod uploads;

/// The pseudo-headers of a request for this path.
fn pseudo<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path)]
}
