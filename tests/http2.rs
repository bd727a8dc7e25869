//! What HTTP/2 brings that HTTP/1.1 has not: streams beside one another, frames, header blocks.

mod floods;
mod heads;
mod stalls;
mod uploads;

/// The fields of a request without any of its own, by this path.
fn pseudo<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path)]
}
