//! Strict parser of PEM (RFC 7468): returns every block of a text, or the line of the first ambiguity.
//!
//! Lenient parsers skip what they do not understand, so that a missing line break or an invisible byte order mark loses
//! a certificate silently. Here a line that looks like the begin or end of a block must be one. Text around the blocks
//! is allowed, as `openssl` writes it. Whatever is accepted here has the same meaning for the parsers of the TLS and
//! database libraries.

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

/// One block.
pub struct Block {
    /// Its label, such as `CERTIFICATE`.
    pub label: String,
    /// The line of its `-----BEGIN`, counted from 1.
    pub line: usize,
    /// Its content.
    pub bytes: Zeroizing<Vec<u8>>,
}

/// Why a text is not valid PEM, and in which line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct BadPem {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub fault: PemFault,
}

/// What is wrong with a text that should be PEM.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemFault {
    /// A UTF-8 or UTF-16 byte order mark, which some Windows editors write. It may also be in the middle, where two
    /// such files were joined.
    #[error("an invisible byte order mark precedes the text")]
    ByteOrderMark,
    /// Binary data, as Java and Windows store certificates.
    #[error("this is binary data ({0}), not PEM text")]
    Binary(&'static str),
    /// `-----BEGIN` or `-----END` with other text in its line, or misspelt.
    #[error("`{0}` must be alone on its line")]
    Boundary(String),
    /// The next block begins before this one has ended, or the text ends.
    #[error("the block {label} that begins here has no end")]
    NoEnd {
        /// The label.
        label: String,
    },
    /// An end without a begin, or with another label.
    #[error("`END {found}` does not end the block before it")]
    WrongEnd {
        /// The label at the end.
        found: String,
    },
    /// The block has an encryption header (RFC 1421), as older versions of OpenSSL write keys.
    #[error("the private key is encrypted with a passphrase")]
    Encrypted,
    /// A character that is not base64.
    #[error("the block {label} has a character that is not base64")]
    NotBase64 {
        /// The label.
        label: String,
    },
    /// The base64 of a block is incomplete.
    #[error("the block {label} that begins here is incomplete or malformed")]
    Damaged {
        /// The label.
        label: String,
    },
}

/// A block whose end was not read yet.
struct Open {
    label: String,
    line: usize,
    base64: Zeroizing<String>,
}

/// All blocks of the text, in order; empty if there is none.
///
/// # Errors
/// [`BadPem`] for the first line that another parser could skip or read differently.
pub fn read(text: &[u8]) -> Result<Vec<Block>, BadPem> {
    if let Some(kind) = binary_kind(text) {
        return Err(BadPem { line: 1, fault: kind });
    }
    let mut blocks = Vec::new();
    let mut open: Option<Open> = None;
    for (index, bytes) in lines(text).enumerate() {
        let line = index + 1;
        let bad = |fault| BadPem { line, fault };
        // `trim` does not remove the mark, and an error message would not show it.
        if bytes.windows(BYTE_ORDER_MARK.len()).any(|window| window == BYTE_ORDER_MARK) {
            return Err(bad(PemFault::ByteOrderMark));
        }
        match (boundary(bytes).map_err(bad)?, &mut open) {
            (Some(Boundary::Begin(label)), None) => {
                open = Some(Open { label, line, base64: Zeroizing::default() });
            }
            (Some(Boundary::Begin(_)), Some(Open { label, line, .. })) => {
                return Err(BadPem { line: *line, fault: PemFault::NoEnd { label: std::mem::take(label) } });
            }
            (Some(Boundary::End(found)), _) => {
                let begun = open.take().filter(|begun| begun.label == found);
                blocks.push(begun.ok_or_else(|| bad(PemFault::WrongEnd { found }))?.close()?);
            }
            (None, Some(open)) => open.take(bytes.trim_ascii_end()).map_err(bad)?,
            (None, None) => {}
        }
    }
    match open {
        Some(Open { label, line, .. }) => Err(BadPem { line, fault: PemFault::NoEnd { label } }),
        None => Ok(blocks),
    }
}

impl Open {
    /// Reads a line of the block.
    fn take(&mut self, line: &[u8]) -> Result<(), PemFault> {
        if line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED") {
            return Err(PemFault::Encrypted);
        }
        let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
        match std::str::from_utf8(line) {
            Ok(text) if line.iter().all(is_base64) => self.base64.push_str(text),
            _ => return Err(PemFault::NotBase64 { label: self.label.clone() }),
        }
        Ok(())
    }

    fn close(self) -> Result<Block, BadPem> {
        let Open { label, line, base64 } = self;
        match Base64::decode_vec(&base64) {
            Ok(bytes) if !bytes.is_empty() => Ok(Block { label, line, bytes: Zeroizing::new(bytes) }),
            _ => Err(BadPem { line, fault: PemFault::Damaged { label } }),
        }
    }
}

enum Boundary {
    Begin(String),
    End(String),
}

/// Parses a begin or end line; `None` for any other line. A line that only resembles one is an error.
fn boundary(line: &[u8]) -> Result<Option<Boundary>, PemFault> {
    // Only spaces: other parsers stop at a tab.
    let end = line.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    let line = line.get(..end).unwrap_or_default();
    let label = |start: &[u8]| {
        let label = line.strip_prefix(start)?.strip_suffix(b"-----")?;
        let plain = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b' ');
        (!label.is_empty() && label.iter().all(plain)).then(|| String::from_utf8_lossy(label).into_owned())
    };
    if let Some(label) = label(b"-----BEGIN ") {
        return Ok(Some(Boundary::Begin(label)));
    }
    if let Some(label) = label(b"-----END ") {
        return Ok(Some(Boundary::End(label)));
    }
    if looks_like_one(line) {
        let shown = String::from_utf8_lossy(line);
        // Part of a key could follow on the same line if a line break was lost, so only the words around the dashes are
        // shown.
        let word =
            if shown.to_ascii_uppercase().contains("BEGIN") { "-----BEGIN …-----" } else { "-----END …-----" };
        return Err(PemFault::Boundary(word.to_owned()));
    }
    Ok(None)
}

/// Whether a line contains `-----BEGIN` or `-----END` or a likely misspelling: other dashes, fewer dashes, small
/// letters.
fn looks_like_one(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line).to_ascii_uppercase();
    // Commented out, as configuration tools do.
    if text.trim_start().starts_with('#') {
        return false;
    }
    let holds = |words: [&str; 2]| words.iter().any(|word| text.contains(word));
    let is_dash = |c: char| matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}');
    let meant = text.trim_start().starts_with(is_dash) && holds(["BEGIN ", "END "]) && holds(["CERTIFICATE", "KEY"]);
    meant || holds(["-----BEGIN", "-----END"])
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The format of a binary file.
fn binary_kind(text: &[u8]) -> Option<PemFault> {
    match text {
        // UTF-16 in either byte order: the fix is the same as for a byte order mark.
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(PemFault::ByteOrderMark),
        // A SEQUENCE that begins with the number 3: PKCS #12 (RFC 7292 §4).
        [0x30, 0x82, _, _, 2, 1, 3, ..] | [0x30, 0x80, 2, 1, 3, ..] | [0x30, 0x83, _, _, _, 2, 1, 3, ..] => {
            Some(PemFault::Binary("PKCS #12"))
        }
        // A long one, or a short private key, which begins with its version.
        [0x30, 0x80..=0x84, ..] | [0x30, _, 2, 1, 0 | 1, ..] => Some(PemFault::Binary("DER")),
        [0xfe, 0xed, 0xfe, 0xed, ..] => Some(PemFault::Binary("a Java key store")),
        _ => None,
    }
}

/// The lines of a text with any line ending: LF, CR LF, or CR.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = memchr::memchr2(b'\n', b'\r', text) else {
            rest = None;
            return Some(text);
        };
        let (line, behind) = text.split_at_checked(end)?;
        rest = behind.strip_prefix(b"\r\n").or_else(|| behind.get(1..));
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";

    fn labels(text: &str) -> Vec<(String, usize, Vec<u8>)> {
        let blocks = read(text.as_bytes()).unwrap_or_else(|bad| panic!("{text:?}: {bad}"));
        blocks.into_iter().map(|block| (block.label, block.line, block.bytes.to_vec())).collect()
    }

    #[test]
    fn every_block_is_parsed_with_its_line() {
        let block = |line| ("CERTIFICATE".to_owned(), line, vec![1, 2, 3]);
        for (text, blocks) in [
            (String::new(), vec![]),
            ("no block here\n".to_owned(), vec![]),
            (ONE.to_owned(), vec![block(1)]),
            (format!("{ONE}{ONE}"), vec![block(1), block(4)]),
            (ONE.replace('\n', "\r\n"), vec![block(1)]),
            (ONE.replace('\n', "\r"), vec![block(1)]),
            (ONE.trim_end().to_owned(), vec![block(1)]),
            (ONE.replace('\n', "  \n").replace("AQID", "AQID\t"), vec![block(1)]),
            (ONE.replace("AQID", "AQ\nID\n"), vec![block(1)]),
            (format!("subject=CN = a\n\nBag Attributes\n    end-of-life: --back-end\n{ONE}"), vec![block(5)]),
            (format!("# -- begin certificate --\n{}{ONE}", ONE.replace("-----", "#-----")), vec![block(5)]),
        ] {
            assert_eq!(labels(&text), blocks, "{text:?}");
        }
    }

    #[test]
    fn a_line_that_other_parsers_skip_is_an_error() {
        use PemFault::{Binary, Boundary, ByteOrderMark, Damaged, Encrypted, NoEnd, NotBase64, WrongEnd};
        let certificate = || "CERTIFICATE".to_owned();
        let (begin, end) = (|| Boundary("-----BEGIN …-----".to_owned()), || Boundary("-----END …-----".to_owned()));
        for (text, line, fault) in [
            (format!("{}{ONE}", ONE.trim_end()), 3, begin()),
            (format!("{} {ONE}", ONE.trim_end()), 3, begin()),
            (format!("{ONE}\u{feff}{ONE}"), 4, ByteOrderMark),
            (format!("\u{feff}{ONE}"), 1, ByteOrderMark),
            (format!(" {ONE}"), 1, begin()),
            (format!("> {ONE}"), 1, begin()),
            (format!("{ONE}-----BEGIN CERTIFICATE----\nAQID\n"), 4, begin()),
            (ONE.replace("-----BEGIN", "----BEGIN"), 1, begin()),
            (ONE.replace("-----BEGIN", "------BEGIN"), 1, begin()),
            (ONE.replace("-----BEGIN ", "----- BEGIN "), 1, begin()),
            (ONE.replace("-----BEGIN", "\u{2014}\u{2014}BEGIN"), 1, begin()),
            (ONE.replace("-----BEGIN", "\u{2013}BEGIN"), 1, begin()),
            (ONE.to_lowercase(), 1, begin()),
            (ONE.replace("CERTIFICATE-----\nAQ", "CERTIFICATE-----\t\nAQ"), 1, begin()),
            (ONE.replace("-----END", "----END"), 3, end()),
            (format!("{ONE}\n  -----BEGIN CERTIFICATE-----\n"), 5, begin()),
            (ONE.replace("END CERTIFICATE-----", "END CERTIFICATE-----;"), 3, end()),
            (ONE.replace("\n-----END", "-----END"), 2, end()),
            (ONE.replace("-----END CERTIFICATE-----", ""), 1, NoEnd { label: certificate() }),
            (ONE.replace("-----END CERTIFICATE-----\n", ONE), 1, NoEnd { label: certificate() }),
            (ONE.replace("END CERTIFICATE", "END KEY"), 3, WrongEnd { found: "KEY".to_owned() }),
            (ONE.replace("-----BEGIN CERTIFICATE-----", ""), 3, WrongEnd { found: certificate() }),
            (ONE.replace("AQID", "AQ ID"), 2, NotBase64 { label: certificate() }),
            (ONE.replace("AQID", "Comment: x\n\nAQID"), 2, NotBase64 { label: certificate() }),
            (ONE.replace("AQID", "AQI"), 1, Damaged { label: certificate() }),
            (ONE.replace("AQID", "AQ==ID"), 1, Damaged { label: certificate() }),
            (ONE.replace("AQID", ""), 1, Damaged { label: certificate() }),
            (ONE.replace("AQID", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAQID"), 2, Encrypted),
        ] {
            assert_eq!(read(text.as_bytes()).err(), Some(BadPem { line, fault }), "{text:?}");
        }
        for (bytes, fault) in [
            (&b"\xff\xfe-\0-\0"[..], ByteOrderMark),
            (b"\x30\x82\x02\x00\x30\x82", Binary("DER")),
            (b"\x30\x2e\x02\x01\x00\x30\x05", Binary("DER")),
            (b"\x30\x82\x02\x00\x02\x01\x03\x30", Binary("PKCS #12")),
            (b"\xfe\xed\xfe\xed\0\0\0\x02", Binary("a Java key store")),
        ] {
            assert_eq!(read(bytes).err(), Some(BadPem { line: 1, fault }));
        }
    }
}
