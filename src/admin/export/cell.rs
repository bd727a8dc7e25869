//! Cells of CSV files.

/// Quotes a text (RFC 4180 §2) so that no spreadsheet interprets any part of it as a formula.
///
/// A reader with another delimiter, or without quotes, splits a text at other places. So an apostrophe precedes each
/// formula sign wherever such a reader could start a cell: at the start and after each delimiter, even behind blanks or
/// quotes, which readers remove. Control characters, including line breaks, become their pictures: `␊`.
pub(super) fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len() + 2);
    cell.push('"');
    let mut begins = true;
    if text.starts_with('\'') {
        // Otherwise it would look like the inserted mark.
        cell.push('\'');
    }
    for (position, c) in text.char_indices() {
        if begins && matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠' | '﹢' | '﹣' | '﹦' | '﹫' | '−')
        {
            // Spreadsheets know an apostrophe as a mark. Inside a text a reader could take it for a quote.
            cell.push(if position == 0 { '\'' } else { '’' });
        }
        begins = match c {
            ',' | ';' | '|' => true,
            c if c.is_control() => true,
            '"' | '\'' | '`' | '\\' => begins,
            c if c.is_whitespace() || is_invisible(c) => begins,
            _ => false,
        };
        match c {
            '"' => cell.push_str("\"\""),
            c if c.is_control() => cell.push(picture(c)),
            c => cell.push(c),
        }
    }
    cell.push('"');
    cell
}

/// Whether a reader may remove this invisible character.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{e0000}'..='\u{e0fff}')
}

/// Returns the picture of a control character (Unicode, Control Pictures).
fn picture(control: char) -> char {
    match u32::from(control) {
        code @ 0..=0x1f => char::from_u32(0x2400 + code).unwrap_or('\u{fffd}'),
        0x7f => '␡',
        _ => '\u{fffd}',
    }
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn no_cell_is_a_formula_and_everything_else_stays() {
        for (text, written) in [
            ("alice", "alice"),
            ("", ""),
            ("a \"b\", c", "a \"\"b\"\", c"),
            ("a-b+c=d@example.test", "a-b+c=d@example.test"),
            ("name: a → b; e-mail: x@y", "name: a → b; e-mail: x@y"),
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-2", "'-2"),
            ("＝1+1", "'＝1+1"),
            ("'quoted'", "''quoted'"),
            (" =1", " ’=1"),
            ("\t=1", "␉’=1"),
            ("x;=cmd|' /C calc'!A0;y", "x;’=cmd|' /C calc'!A0;y"),
            ("x|@SUM(A1)", "x|’@SUM(A1)"),
            ("x,\"=1\"", "x,\"\"’=1\"\""),
            ("x;'=1'", "x;'’=1'"),
            ("x; \u{feff}\u{a0}＋1", "x; \u{feff}\u{a0}’＋1"),
            ("x\n-1\r\n+2", "x␊’-1␍␊’+2"),
            ("x;\\=1", "x;\\’=1"),
        ] {
            assert_eq!(cell(text), format!("\"{written}\""), "{text}");
        }
    }
}
