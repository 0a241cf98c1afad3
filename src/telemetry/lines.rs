//! Keeps a log line on one line: characters that would end it, move the cursor or reverse the text are escaped, as in
//! `\u202e`.
//!
//! The subscriber escapes only escape sequences. A value may come from anybody (a push name, a path), so this writer
//! sits behind every formatter and sees whole lines: no field can be forgotten.

use std::fmt::Write as _;
use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

/// Standard error, line by line. The subscriber hands over one whole line at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines {
    /// Whether the subscriber colours what it writes.
    pub(super) has_colours: bool,
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(text) if !self.is_plain(text) => io::stderr().write_all(self.escaped(text).as_bytes())?,
            _ => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl Lines {
    /// Whether the text needs no escaping, as almost no line does.
    fn is_plain(self, line: &str) -> bool {
        let text = line.strip_suffix('\n').unwrap_or(line);
        text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    }

    fn escaped(self, line: &str) -> String {
        let (mut rest, end) = match line.strip_suffix('\n') {
            Some(text) => (text, "\n"),
            None => (line, ""),
        };
        let mut escaped = String::with_capacity(line.len() + 16);
        while let Some(next) = rest.chars().next() {
            let colour = if self.has_colours { colour(rest) } else { "" };
            if !colour.is_empty() {
                escaped.push_str(colour);
                rest = &rest[colour.len()..];
                continue;
            }
            if is_written(next) {
                escaped.push(next);
            } else {
                // The JSON form: in a JSON line such a character is inside a string, and the line stays valid JSON.
                for unit in next.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(escaped, "\\u{unit:04x}");
                }
            }
            rest = &rest[next.len_utf8()..];
        }
        escaped + end
    }
}

/// The colour sequence at the beginning of a text. It is the subscriber's own, because it has escaped those in values.
fn colour(text: &str) -> &str {
    let digits = text
        .strip_prefix("\x1b[")
        .map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';'));
    match digits.and_then(|rest| rest.strip_prefix('m')) {
        Some(rest) => &text[..text.len() - rest.len()],
        None => "",
    }
}

/// Whether a character is shown as itself. Not those of Unicode's categories Cc, Cf, Zl and Zp (Unicode 17).
fn is_written(c: char) -> bool {
    let is_format = matches!(
        c,
        '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e007f}'
    );
    !c.is_control() && !is_format
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Lines = Lines { has_colours: false };

    #[test]
    fn a_value_cannot_make_a_line_of_its_own() {
        for (value, written) in [
            ("a\nb", "a\\u000ab"),
            ("a\r\n\tb", "a\\u000d\\u000a\\u0009b"),
            ("\u{85}\u{9b}31m", "\\u0085\\u009b31m"),
            ("\u{80}\u{9f}\u{7f}\0", "\\u0080\\u009f\\u007f\\u0000"),
            ("\u{2028}\u{2029}", "\\u2028\\u2029"),
            ("\u{202e}gpj.exe\u{2066}\u{200f}\u{61c}", "\\u202egpj.exe\\u2066\\u200f\\u061c"),
            ("\u{feff}\u{ad}\u{200b}\u{2060}", "\\ufeff\\u00ad\\u200b\\u2060"),
            ("\u{e0041}\u{1d173}", "\\udb40\\udc41\\ud834\\udd73"),
            ("\x1b[31m", "\\u001b[31m"),
            ("Zoë 李 नमस्ते \u{a0}🙂", "Zoë 李 नमस्ते \u{a0}🙂"),
        ] {
            assert_eq!(PLAIN.escaped(&format!("{value}\n")), format!("{written}\n"));
            assert_eq!(PLAIN.escaped(value), written);
        }
    }

    #[test]
    fn a_line_of_json_is_still_one() {
        let value = "a\u{202e}\u{85}\u{e0041}b";
        let line = format!("{{\"message\":\"{value}\"}}\n");
        let read: serde_json::Value = serde_json::from_str(&PLAIN.escaped(&line)).unwrap();
        assert_eq!(read["message"], value);
    }

    #[test]
    fn colours_stay_on_a_terminal_and_nothing_else() {
        let coloured = Lines { has_colours: true };
        assert_eq!(coloured.escaped("\x1b[2m12:00\x1b[0m é\n"), "\x1b[2m12:00\x1b[0m é\n");
        assert_eq!(
            coloured.escaped("\x1b[2J\x1b]0;title\x07\x1b[1"),
            "\\u001b[2J\\u001b]0;title\\u0007\\u001b[1"
        );
    }
}
