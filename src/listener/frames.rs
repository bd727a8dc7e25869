//! Counts the frames of an HTTP/2 connection to detect floods.
//!
//! The HTTP library limits the memory that a client uses, but not the work that a client causes: pings, settings,
//! window updates, empty data, streams that are opened and reset. This module counts frames by their headers, in
//! windows of ten seconds. A connection that sends more frames than any ordinary client is closed.

use std::time::Duration;

use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(10);
/// Maximum number of frames without a request in one window.
const MAX_IDLE_FRAMES: u64 = 1_000;
/// Additional frames for each request: its window updates and its priority.
const FRAMES_PER_REQUEST: u64 = 16;
/// Additional frames for each DATA frame sent to the client, which acknowledges it for the stream and for the
/// connection.
const FRAMES_PER_DATA: u64 = 2;
/// One additional frame for each of these bytes of DATA: some clients acknowledge a long frame in pieces.
const BYTES_FOR_A_FRAME: u64 = 1_024;
/// Maximum number of streams reset in one window, by either side.
const MAX_RESETS: u64 = 200;
/// After this many small DATA frames, the tasks of the streams run before more is read.
const SMALL_PER_TURN: u32 = 256;
const SMALL: usize = 256;

/// Length of a frame's header (RFC 9113 §4.1).
pub const HEADER: usize = 9;

/// The frame types that are counted (RFC 9113 §6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const CONTINUATION: u8 = 9;
pub const ACK: u8 = 0x1;
pub const END_STREAM: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;
pub const PADDED: u8 = 0x8;
pub const PRIORITY: u8 = 0x20;

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Length of the payload in bytes.
    pub length: usize,
    /// The type.
    pub kind: u8,
    pub flags: u8,
    /// The stream; 0: the connection.
    pub stream: u32,
}

impl Frame {
    fn read(header: [u8; HEADER]) -> Frame {
        let [a, b, c, kind, flags, stream @ ..] = header;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        Frame { length, kind, flags, stream: u32::from_be_bytes(stream) & 0x7fff_ffff }
    }

    /// The bytes of the header.
    pub fn bytes(self) -> [u8; HEADER] {
        let [.., a, b, c] = self.length.to_be_bytes();
        let [d, e, f, g] = self.stream.to_be_bytes();
        [a, b, c, self.kind, self.flags, d, e, f, g]
    }
}

/// Finds the frames in a stream of bytes that arrives in any pieces.
#[derive(Clone, Copy, Debug)]
pub struct FrameScanner {
    header: [u8; HEADER],
    /// Number of bytes of the next header that have arrived.
    have: usize,
    /// Number of bytes to skip before it.
    skip: usize,
}

/// The meaning of the next bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'b> {
    /// A header is complete.
    Header(Frame),
    /// The preface, or a part of the payload of the last header.
    Payload(&'b [u8]),
}

impl FrameScanner {
    /// Starts after `skip` bytes.
    pub fn behind(skip: usize) -> FrameScanner {
        FrameScanner { header: [0; HEADER], have: 0, skip }
    }

    /// Returns the first piece of `bytes` and the rest; `None`: no bytes are left.
    pub fn next<'b>(&mut self, bytes: &'b [u8]) -> Option<(Piece<'b>, &'b [u8])> {
        if self.skip > 0 && !bytes.is_empty() {
            let (payload, rest) = bytes.split_at_checked(self.skip).unwrap_or((bytes, &[]));
            self.skip -= payload.len();
            return Some((Piece::Payload(payload), rest));
        }
        let (part, rest) = bytes.split_at_checked(HEADER - self.have).unwrap_or((bytes, &[]));
        if let Some(place) = self.header.get_mut(self.have..self.have + part.len()) {
            place.copy_from_slice(part);
        }
        self.have += part.len();
        (self.have == HEADER).then(|| {
            let frame = Frame::read(self.header);
            (self.have, self.skip) = (0, frame.length);
            (Piece::Header(frame), rest)
        })
    }

    /// Number of bytes of an incomplete header.
    pub fn unfinished(&self) -> usize {
        self.have
    }

    /// Whether the last frame has arrived completely.
    pub fn is_between_frames(&self) -> bool {
        self.skip == 0 && self.have == 0
    }
}

/// Counts the frames of both directions.
#[derive(Debug)]
pub struct Tally {
    since: Instant,
    idle: u64,
    allowed: u64,
    resets: u64,
    /// Bytes of DATA frames to the client since the last full [`BYTES_FOR_A_FRAME`].
    bytes: u64,
    small: u32,
    sent: FrameScanner,
}

impl Tally {
    /// Counters of a new connection.
    pub fn new(now: Instant) -> Tally {
        Tally {
            since: now,
            idle: 0,
            allowed: MAX_IDLE_FRAMES,
            resets: 0,
            bytes: 0,
            small: 0,
            sent: FrameScanner::behind(0),
        }
    }

    /// Starts a new window if the last one has ended.
    pub fn turn(&mut self, now: Instant) {
        if now.duration_since(self.since) >= WINDOW {
            (self.since, self.idle, self.allowed, self.resets) = (now, 0, MAX_IDLE_FRAMES, 0);
        }
    }

    /// Counts a frame from the client.
    pub fn came(&mut self, frame: Frame) {
        match frame.kind {
            // Flow control limits DATA frames that are not empty; the size limit of heads limits CONTINUATION frames.
            DATA if frame.length > 0 => {
                if frame.length < SMALL {
                    self.small += 1;
                }
            }
            // An empty DATA frame that ends a stream belongs to its request.
            DATA if frame.flags & END_STREAM != 0 => {}
            CONTINUATION => {}
            HEADERS => self.allowed = self.allowed.saturating_add(FRAMES_PER_REQUEST),
            RST_STREAM => self.resets += 1,
            _ => self.idle += 1,
        }
    }

    /// Counts bytes sent to the client.
    pub fn sent(&mut self, mut bytes: &[u8]) {
        while let Some((piece, rest)) = self.sent.next(bytes) {
            bytes = rest;
            let Piece::Header(frame) = piece else { continue };
            match frame.kind {
                DATA if frame.length > 0 => {
                    self.bytes = self.bytes.saturating_add(u64::try_from(frame.length).unwrap_or(u64::MAX));
                    self.allowed = self.allowed.saturating_add(FRAMES_PER_DATA + self.bytes / BYTES_FOR_A_FRAME);
                    self.bytes %= BYTES_FOR_A_FRAME;
                }
                RST_STREAM => self.resets += 1,
                _ => {}
            }
        }
    }

    /// Whether the client has sent more frames than the limits allow.
    pub fn is_flood(&self) -> bool {
        self.idle > self.allowed || self.resets > MAX_RESETS
    }

    /// Whether so many small DATA frames have arrived that the tasks of their streams must run. If so, the count starts
    /// again.
    pub fn should_rest(&mut self) -> bool {
        let rest = self.small >= SMALL_PER_TURN;
        if rest {
            self.small = 0;
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;

    fn frame(kind: u8, length: usize) -> Frame {
        Frame { length, kind, flags: 0, stream: 1 }
    }

    fn bytes(frame: Frame) -> Vec<u8> {
        [frame.bytes().as_slice(), &vec![7; frame.length]].concat()
    }

    fn tally() -> Tally {
        Tally::new(Instant::now())
    }

    #[test]
    fn frames_are_found_wherever_the_bytes_are_cut() {
        let frames = [frame(DATA, 300), frame(PING, 8), frame(SETTINGS, 0), frame(HEADERS, 70_000), frame(99, 1)];
        let all = [vec![0; 24], frames.map(bytes).concat()].concat();
        for size in (1..40).chain([1_000, all.len()]) {
            let (mut walk, mut found, mut payload) = (FrameScanner::behind(24), Vec::new(), 0);
            for mut piece in all.chunks(size) {
                while let Some((what, rest)) = walk.next(piece) {
                    piece = rest;
                    match what {
                        Piece::Header(frame) => found.push(frame),
                        Piece::Payload(part) => payload += part.len(),
                    }
                }
            }
            assert_eq!((found.as_slice(), payload), (frames.as_slice(), 24 + 300 + 8 + 70_000 + 1), "{size}");
            assert!(walk.is_between_frames());
        }
    }

    /// A flood of any kind of frame, at any rate, with responses in pieces of any size.
    #[test]
    fn floods_are_detected_at_any_rate() {
        let kinds = [(PING, 8), (SETTINGS, 0), (2, 5), (WINDOW_UPDATE, 4), (DATA, 0), (99, 3)];
        for (kind, length) in kinds {
            for at_once in [1, 2, 3, 10, 100, 1_001] {
                for answer in [None, Some(frame(PING, 8)), Some(frame(SETTINGS, 0))] {
                    for pieces in [1, 7, 17, 4_096] {
                        let mut tally = tally();
                        let mut came = 0;
                        while !tally.is_flood() && came < 5_000 {
                            for _ in 0..at_once {
                                tally.came(frame(kind, length));
                                came += 1;
                            }
                            let answers = answer.map(|answer| bytes(answer).repeat(at_once)).unwrap_or_default();
                            answers.chunks(pieces).for_each(|piece| tally.sent(piece));
                            tally.turn(tally.since);
                        }
                        assert!(came <= 1_001 + at_once, "{kind}: {came}, {at_once} at once");
                    }
                }
            }
        }
    }

    #[test]
    fn resets_by_either_side_are_detected() {
        for (ours, theirs) in [(0, 201), (201, 0), (100, 101)] {
            let mut tally = tally();
            for _ in 0..ours {
                tally.sent(&bytes(frame(RST_STREAM, 4)));
            }
            for _ in 1..theirs {
                tally.came(frame(HEADERS, 9));
                tally.came(frame(RST_STREAM, 4));
            }
            assert!(!tally.is_flood() || theirs == 0);
            if theirs > 0 {
                tally.came(frame(RST_STREAM, 4));
            }
            assert!(tally.is_flood(), "{ours} and {theirs}");
            tally.turn(tally.since + WINDOW);
            assert!(!tally.is_flood());
        }
    }

    #[test]
    fn busy_clients_are_no_floods() {
        let (mut uploads, mut requests, mut download, mut events) = (tally(), tally(), tally(), tally());
        for _ in 0..10_000 {
            uploads.came(frame(DATA, 1));
            for (kind, length) in [(HEADERS, 9), (WINDOW_UPDATE, 4), (WINDOW_UPDATE, 4), (PING, 8)] {
                requests.came(frame(kind, length));
            }
            requests.came(Frame { flags: END_STREAM, ..frame(DATA, 0) });
            download.sent(&bytes(frame(DATA, 16 << 10)));
            for _ in 0..18 {
                download.came(frame(WINDOW_UPDATE, 4));
            }
            // Many short events; the client acknowledges each for its stream and for the connection.
            events.sent(&bytes(frame(DATA, 20)));
            events.came(frame(WINDOW_UPDATE, 4));
            events.came(frame(WINDOW_UPDATE, 4));
            assert!(![&uploads, &requests, &download, &events].iter().any(|tally| tally.is_flood()));
        }
        let mut patient = tally();
        for _ in 0..10 {
            (0..1_000).for_each(|_| patient.came(frame(PING, 8)));
            assert!(!patient.is_flood());
            patient.turn(patient.since + WINDOW);
        }
    }
}
