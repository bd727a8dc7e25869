//! Finds the Close frame in one direction of a tunnel (RFC 6455 §5 and §7).
//!
//! When both sides have sent theirs, the server closes the connection. Some servers of HTTP/2 leave the stream open, so
//! the tunnel ends its two sides itself. Nothing is changed or refused: in bytes that are not WebSocket no frame is
//! found.

/// What is known about a direction whose bytes were [followed](CloseFrame::follow) up to here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum CloseFrame {
    /// A frame begins next.
    #[default]
    Begins,
    /// The length of a frame comes next.
    Short { is_close: bool },
    /// This many bytes of the length come next; `length` are those before, `mask` is the length of the key.
    Long { bytes: u8, length: u64, mask: u64 },
    /// This many bytes of the frame come next.
    Inside { is_close: bool, left: u64 },
    /// The Close frame has passed.
    Passed,
    /// These bytes are not WebSocket.
    Unknown,
}

/// The first byte of a Close frame: the last frame of its message, without extensions.
const CLOSE: u8 = 0x88;

impl CloseFrame {
    /// Reads the next bytes.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        loop {
            *self = match *self {
                CloseFrame::Inside { is_close: true, left: 0 } => CloseFrame::Passed,
                CloseFrame::Inside { left: 0, .. } => CloseFrame::Begins,
                CloseFrame::Passed | CloseFrame::Unknown => return,
                CloseFrame::Inside { is_close, left } => {
                    if bytes.is_empty() {
                        return;
                    }
                    let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    bytes = bytes.get(count..).unwrap_or_default();
                    CloseFrame::Inside { is_close, left: left - u64::try_from(count).unwrap_or(left) }
                }
                head => {
                    let Some((byte, rest)) = bytes.split_first() else { return };
                    bytes = rest;
                    head.next(*byte)
                }
            };
        }
    }

    /// Whether the Close frame has passed.
    pub(super) fn has_passed(self) -> bool {
        self == CloseFrame::Passed
    }

    /// The next byte of the head of a frame.
    fn next(self, byte: u8) -> CloseFrame {
        match self {
            CloseFrame::Begins => match byte & 0x0f {
                0..=2 | 9 | 10 => CloseFrame::Short { is_close: false },
                _ if byte == CLOSE => CloseFrame::Short { is_close: true },
                _ => CloseFrame::Unknown,
            },
            CloseFrame::Short { is_close } => {
                let mask = if byte & 0x80 == 0 { 0 } else { 4 };
                match byte & 0x7f {
                    126 | 127 if is_close => CloseFrame::Unknown,
                    126 => CloseFrame::Long { bytes: 2, length: 0, mask },
                    127 => CloseFrame::Long { bytes: 8, length: 0, mask },
                    length => CloseFrame::Inside { is_close, left: u64::from(length) + mask },
                }
            }
            CloseFrame::Long { bytes, length, mask } => {
                let length = length << 8 | u64::from(byte);
                match bytes {
                    0 | 1 => CloseFrame::Inside { is_close: false, left: length.saturating_add(mask) },
                    more => CloseFrame::Long { bytes: more - 1, length, mask },
                }
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(head: &[u8], length: usize) -> Vec<u8> {
        [head, &vec![0x88; length]].concat()
    }

    #[test]
    fn a_close_frame_is_found_after_other_frames_however_the_bytes_are_cut() {
        let others = [
            frame(&[0x81, 5], 5),
            frame(&[0x01, 0x80], 4),
            frame(&[0xc2, 126, 1, 0], 256),
            frame(&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0], 65_536 + 4),
            frame(&[0x89, 0], 0),
            frame(&[0x8a, 0x82], 6),
        ]
        .concat();
        for close in [frame(&[0x88, 0], 0), frame(&[0x88, 2], 2), frame(&[0x88, 0x82], 6), frame(&[0x88, 125], 125)] {
            for size in [1, 2, 3, 7, 1_000, 100_000] {
                let (mut direction, all) = (CloseFrame::default(), [&others[..], &close].concat());
                let (last, before) = all.split_last().unwrap();
                before.chunks(size).for_each(|piece| direction.follow(piece));
                assert!(!direction.has_passed(), "{size}: {direction:?}");
                direction.follow(&[*last]);
                assert!(direction.has_passed(), "{size}: {direction:?}");
                direction.follow(b"more");
                assert!(direction.has_passed());
            }
        }
    }

    #[test]
    fn bytes_that_are_not_websocket_have_no_close_frame() {
        for bytes in [&b"hello"[..], &[0x08, 0], &[0xc8, 0], &[0x88, 126, 0, 0], &[0x83, 0], &[0x8b, 0]] {
            let mut direction = CloseFrame::default();
            direction.follow(&[bytes, &[0x88, 0]].concat());
            assert_eq!(direction, CloseFrame::Unknown, "{bytes:?}");
        }
        let mut longest = CloseFrame::default();
        longest.follow(&frame(&[0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255], 1_000));
        assert!(matches!(longest, CloseFrame::Inside { is_close: false, .. }), "{longest:?}");
    }
}
