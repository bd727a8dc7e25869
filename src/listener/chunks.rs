//! Follows a chunked body to its end.
//!
//! Only finds where the next request begins; the HTTP library reads the chunks. Where the two could disagree the body
//! counts as damaged, and nothing after it is read.

/// Where in a chunked body the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunks {
    /// In the size of a chunk: its value so far, and how many digits it has.
    Size(u64, u8),
    /// In what follows a size: an extension, which means nothing to us.
    Extension(u64),
    /// Behind the CR of a size line.
    SizeLf(u64),
    /// In the data of a chunk.
    Data(u64),
    /// Behind the data of a chunk.
    DataCr,
    /// Behind the CR behind the data.
    DataLf,
    /// At the begin of a trailer line, or of the last empty line.
    TrailerStart,
    /// In a trailer line.
    Trailer,
    /// Behind the CR of a trailer line.
    TrailerLf,
    /// Behind the CR of the last empty line.
    EndLf,
}

/// The body is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamagedBody;

impl Chunks {
    /// Before the first chunk.
    pub const START: Chunks = Chunks::Size(0, 0);

    /// Goes on through `bytes`. `Ok(Some(n))`: the body ended after `n` of them.
    ///
    /// # Errors
    /// [`DamagedBody`] for anything but chunks with CR LF in all places.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, DamagedBody> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if let Chunks::Data(left) = *self {
                let here = u64::try_from(bytes.len() - at).unwrap_or(u64::MAX).min(left);
                at += usize::try_from(here).unwrap_or(usize::MAX);
                *self = if here == left { Chunks::DataCr } else { Chunks::Data(left - here) };
                continue;
            }
            at += 1;
            *self = match (*self, byte) {
                (Chunks::EndLf, b'\n') => {
                    *self = Chunks::START;
                    return Ok(Some(at));
                }
                (state, byte) => state.after(byte).ok_or(DamagedBody)?,
            };
        }
        Ok(None)
    }

    fn after(self, byte: u8) -> Option<Chunks> {
        Some(match (self, byte) {
            (Chunks::Size(size, digits), byte) if byte.is_ascii_hexdigit() && digits < 15 => {
                Chunks::Size(size * 16 + u64::from(char::from(byte).to_digit(16)?), digits + 1)
            }
            (Chunks::Size(_, 0), _) => return None,
            (Chunks::Size(size, _), b';' | b' ' | b'\t') => Chunks::Extension(size),
            (Chunks::Size(size, _) | Chunks::Extension(size), b'\r') => Chunks::SizeLf(size),
            (Chunks::Extension(_), b'\n') => return None,
            (Chunks::Extension(size), _) => Chunks::Extension(size),
            (Chunks::SizeLf(0), b'\n') => Chunks::TrailerStart,
            (Chunks::SizeLf(size), b'\n') => Chunks::Data(size),
            (Chunks::DataCr, b'\r') => Chunks::DataLf,
            (Chunks::DataLf, b'\n') => Chunks::START,
            (Chunks::TrailerStart, b'\r') => Chunks::EndLf,
            (Chunks::TrailerStart | Chunks::Trailer, b'\n') => return None,
            (Chunks::Trailer, b'\r') => Chunks::TrailerLf,
            (Chunks::TrailerStart | Chunks::Trailer, _) => Chunks::Trailer,
            (Chunks::TrailerLf, b'\n') => Chunks::TrailerStart,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_wherever_the_bytes_are_cut() {
        let body = b"5;a=b\r\nhello\r\nA\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\nGET /";
        let end = body.len() - 5;
        assert_eq!({ Chunks::START }.advance(body), Ok(Some(end)));
        for cut in 1..end {
            let mut chunks = Chunks::START;
            assert_eq!(chunks.advance(&body[..cut]), Ok(None), "{cut}");
            assert_eq!(chunks.advance(&body[cut..]), Ok(Some(end - cut)), "{cut}");
        }
    }

    #[test]
    fn anything_but_plain_chunks_is_damage() {
        for body in [
            "\r\nhello",
            "+5\r\nhello",
            "0x5\r\nhello",
            "5\nhello",
            "5;\nhello",
            "5g\r\nhello",
            "5\r\nhelloXX0\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "0\r\nX: 1\n\r\n",
            "0\r\n\n",
            "10000000000000005\r\n",
            "5\rX",
        ] {
            assert_eq!({ Chunks::START }.advance(body.as_bytes()), Err(DamagedBody), "{body:?}");
        }
    }
}
