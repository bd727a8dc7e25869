//! Parses a chunked request body, and checks each of its lines (RFC 9112 §7.1).
//!
//! Two servers could read a body that the grammar does not allow differently. So it is treated as damaged, and the rest
//! of the connection is not read.

use std::ops::Range;

use super::request_head::{is_name_byte, is_text_byte};

/// Maximum size of all chunk extensions in one body, in bytes. They are ignored.
const EXTENSIONS: u32 = 16 << 10;
/// Maximum size of the trailers of one body, in bytes.
const TRAILERS: u32 = 16 << 10;
/// Maximum number of digits of a size, leading zeros included. Fifteen digits fit into 64 bits.
const DIGITS: u8 = 15;

/// Parser of a chunked request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    state: State,
    /// Remaining bytes of the current chunk.
    left: u64,
    extensions: u32,
    trailers: u32,
}

/// The position of the next byte in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the size of a chunk, after this many digits.
    Size(u8),
    /// In white space that only another extension may follow.
    Blank,
    /// After the `;` of an extension.
    NameBegin,
    /// In the name of an extension.
    Name,
    /// In white space after the name of an extension.
    NameEnd,
    /// After the `=` of an extension.
    ValueBegin,
    /// In the value of an extension.
    Value,
    /// In a quoted value.
    Quoted,
    /// After a backslash in a quoted value.
    Escaped,
    /// After a quoted value.
    QuotedEnd,
    /// After the CR of a size line.
    SizeLf,
    /// In the data of a chunk.
    Data,
    /// After the data of a chunk.
    DataCr,
    /// After the CR that follows the data.
    DataLf,
    /// At the start of a trailer line, or of the final empty line.
    TrailerStart,
    /// In the name of a trailer field.
    TrailerName,
    /// In the value of a trailer field.
    TrailerValue,
    /// After the CR of a trailer line.
    TrailerLf,
    /// After the CR of the final empty line.
    EndLf,
    /// After the body.
    End,
}

/// What the next bytes of a chunked body are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Those in this range are data; those before it were parsed.
    Data(Range<usize>),
    /// The body ended after this many.
    End(usize),
    /// All were parsed. There are no data among them, and the body has not ended.
    All,
}

/// The body is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamagedBody;

impl Chunks {
    /// Before the first chunk.
    pub const START: Chunks = Chunks { state: State::Size(0), left: 0, extensions: 0, trailers: 0 };

    /// Parses `bytes` up to the next data.
    ///
    /// # Errors
    /// [`DamagedBody`] for anything that the grammar does not allow.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Parsed, DamagedBody> {
        for (at, byte) in bytes.iter().enumerate() {
            if self.state == State::Data {
                let here = u64::try_from(bytes.len() - at).unwrap_or(u64::MAX).min(self.left);
                self.left -= here;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                return Ok(Parsed::Data(at..at + usize::try_from(here).unwrap_or(usize::MAX)));
            }
            self.state = self.after(*byte).ok_or(DamagedBody)?;
            if self.state == State::End {
                return Ok(Parsed::End(at + 1));
            }
        }
        Ok(Parsed::All)
    }

    /// The position after `byte`; `None`: the byte is not allowed here.
    fn after(&mut self, byte: u8) -> Option<State> {
        use State as P;
        match self.state {
            P::Size(digits) => self.size(digits, byte),
            P::Blank | P::NameBegin | P::Name | P::NameEnd | P::ValueBegin | P::Value => self.extension(byte),
            P::Quoted | P::Escaped | P::QuotedEnd => self.extension(byte),
            P::SizeLf => (byte == b'\n').then_some(if self.left == 0 { P::TrailerStart } else { P::Data }),
            // The data of a chunk is skipped as a whole.
            P::Data | P::DataCr => (byte == b'\r').then_some(P::DataLf),
            P::DataLf => (byte == b'\n').then_some(P::Size(0)),
            P::TrailerStart | P::TrailerName | P::TrailerValue => self.trailer(byte),
            P::TrailerLf => (byte == b'\n').then_some(P::TrailerStart),
            P::EndLf | P::End => (byte == b'\n').then_some(P::End),
        }
    }

    fn size(&mut self, digits: u8, byte: u8) -> Option<State> {
        match byte {
            byte if byte.is_ascii_hexdigit() && digits < DIGITS => {
                let before = if digits == 0 { 0 } else { self.left };
                self.left = before * 16 + u64::from(char::from(byte).to_digit(16)?);
                Some(State::Size(digits + 1))
            }
            _ if digits == 0 => None,
            byte => self.line_goes_on(byte),
        }
    }

    /// The end of a size line, or another extension.
    fn line_goes_on(&mut self, byte: u8) -> Option<State> {
        match byte {
            b'\r' => Some(State::SizeLf),
            b';' => self.extends(State::NameBegin),
            b' ' | b'\t' => self.extends(State::Blank),
            _ => None,
        }
    }

    fn extension(&mut self, byte: u8) -> Option<State> {
        use State as P;
        let is_blank = byte == b' ' || byte == b'\t';
        let next = match (self.state, byte) {
            (P::Blank, b';') => P::NameBegin,
            (P::Blank | P::NameBegin | P::NameEnd | P::ValueBegin, _) if is_blank => self.state,
            (P::NameBegin | P::Name, byte) if is_name_byte(byte) => P::Name,
            (P::Name, _) if is_blank => P::NameEnd,
            (P::Name | P::NameEnd, b'=') => P::ValueBegin,
            (P::NameEnd, b';') => P::NameBegin,
            (P::ValueBegin, b'"') => P::Quoted,
            (P::ValueBegin | P::Value, byte) if is_name_byte(byte) => P::Value,
            (P::Quoted, b'"') => P::QuotedEnd,
            (P::Quoted, b'\\') => P::Escaped,
            (P::Quoted | P::Escaped, byte) if is_text_byte(byte) => P::Quoted,
            (P::Name | P::Value | P::QuotedEnd, byte) => return self.line_goes_on(byte),
            _ => return None,
        };
        self.extends(next)
    }

    /// One more byte of extensions.
    fn extends(&mut self, next: State) -> Option<State> {
        self.extensions += 1;
        (self.extensions <= EXTENSIONS).then_some(next)
    }

    fn trailer(&mut self, byte: u8) -> Option<State> {
        use State as P;
        self.trailers += 1;
        let next = match (self.state, byte) {
            (P::TrailerStart, b'\r') => P::EndLf,
            (P::TrailerStart | P::TrailerName, byte) if is_name_byte(byte) => P::TrailerName,
            (P::TrailerName, b':') => P::TrailerValue,
            (P::TrailerValue, b'\r') => P::TrailerLf,
            (P::TrailerValue, byte) if is_text_byte(byte) => P::TrailerValue,
            _ => return None,
        };
        (self.trailers <= TRAILERS).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses the bytes to the end of the body: its data, and its length.
    fn whole(chunks: &mut Chunks, bytes: &[u8], data: &mut Vec<u8>) -> Result<Option<usize>, DamagedBody> {
        let mut at = 0;
        loop {
            match chunks.advance(&bytes[at..])? {
                Parsed::Data(here) => {
                    data.extend_from_slice(&bytes[at + here.start..at + here.end]);
                    at += here.end;
                }
                Parsed::End(length) => return Ok(Some(at + length)),
                Parsed::All => return Ok(None),
            }
        }
    }

    fn end(body: &str) -> Result<Option<usize>, DamagedBody> {
        whole(&mut Chunks::START.clone(), body.as_bytes(), &mut Vec::new())
    }

    #[test]
    fn data_and_end_are_found_wherever_the_bytes_are_cut() {
        let body = b"5;a=b\r\nhello\r\nA\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\nGET /";
        let end = body.len() - 5;
        for cut in 0..end {
            let (mut chunks, mut data) = (Chunks::START, Vec::new());
            assert_eq!(whole(&mut chunks, &body[..cut], &mut data), Ok(None), "{cut}");
            assert_eq!(whole(&mut chunks, &body[cut..], &mut data), Ok(Some(end - cut)), "{cut}");
            assert_eq!(data, b"hello0123456789", "{cut}");
        }
    }

    #[test]
    fn every_line_that_the_grammar_has_passes() {
        let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(16_000));
        for body in [
            "5\r\nhello\r\n0\r\n\r\n",
            "00005\r\nhello\r\n000\r\n\r\n",
            "a\r\n0123456789\r\n0\r\n\r\n",
            "5;a\r\nhello\r\n0;b\r\n\r\n",
            "5;a=b;c;d=\"e\"\r\nhello\r\n0\r\n\r\n",
            "5 ; a = b ;\tc\r\nhello\r\n0\r\n\r\n",
            "5;a=\"\"\r\nhello\r\n0\r\n\r\n",
            "5;a=\"x;\\\"\t\u{e9}=\" ;b\r\nhello\r\n0\r\n\r\n",
            "0\r\nX: 1\r\nY:\r\nz:\ta \u{e9}\r\n\r\n",
            &long,
        ] {
            assert_eq!(end(body), Ok(Some(body.len())), "{body:.60?}");
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded_for_a_whole_body() {
        let mut chunks = Chunks::START;
        let line = format!("1;{}\r\nx\r\n", "a".repeat(1_000));
        let passed = (0..100).take_while(|_| whole(&mut chunks, line.as_bytes(), &mut Vec::new()).is_ok()).count();
        assert_eq!(passed, 16);
        let trailers = format!("0\r\n{}", format!("X: {}\r\n", "a".repeat(1_000)).repeat(17));
        assert_eq!(end(&trailers), Err(DamagedBody));
    }

    #[test]
    fn anything_that_the_grammar_does_not_have_is_damage() {
        for body in [
            "\r\nhello",
            "+5\r\nhello",
            "-5\r\nhello",
            "0x5\r\nhello",
            "5\nhello",
            "5;\nhello",
            "5;\r\nhello",
            "5; \r\nhello",
            "5;;a\r\nhello",
            "5;a;\r\nhello",
            "5;\0ext\r\nhello",
            "5;a\0\r\nhello",
            "5;a\u{7f}\r\nhello",
            "5;=a\r\nhello",
            "5;a=\r\nhello",
            "5;a= \r\nhello",
            "5;a=b=c\r\nhello",
            "5;a b\r\nhello",
            "5;a=b c\r\nhello",
            "5;a \r\nhello",
            "5;\u{e9}\r\nhello",
            "5;a=\"b\r\nhello",
            "5;a=\"b\\\r\nhello",
            "5;a=\"b\0\"\r\nhello",
            "5;a=\"b\"c\r\nhello",
            "5;a=b\"c\"\r\nhello",
            "5;a\rb\r\nhello",
            "5g\r\nhello",
            "5 \r\nhello",
            "5\t\r\nhello",
            " 5\r\nhello",
            "5 5\r\nhello",
            "5,5\r\nhello",
            "5\r\nhelloXX0\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello\r0\r\n",
            "0\r\nX: 1\n\r\n",
            "0\r\nX: 1\rY",
            "0\r\n X: 1\r\n",
            "0\r\nX: 1\r\n folded\r\n",
            "0\r\nX : 1\r\n",
            "0\r\n: 1\r\n",
            "0\r\nno colon\r\n",
            "0\r\nX: \0\r\n",
            "0\r\nX(: 1\r\n",
            "0\r\n\n",
            "0\r\n\rX",
            "10000000000000005\r\n",
            "0000000000000005\r\nhello",
            "fffffffffffffffff\r\n",
            "5\rX",
        ] {
            assert_eq!(end(body), Err(DamagedBody), "{body:?}");
        }
    }
}
