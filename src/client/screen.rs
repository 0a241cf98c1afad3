//! A QR on the terminal, with the time that is left. It stands on the alternate screen, so that nothing of it remains in what
//! can be scrolled back to, and is drawn again when it is replaced, each second, and when the terminal's size changes.

use std::io::Write as _;

use jiff::Timestamp;
use rustix::termios::tcgetwinsize;
use serde_json::Value;
use tokio::time::{Duration, Instant};

use super::words::{WHERE, clean};
use crate::qr;

/// The alternate screen without a cursor, and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[0m\x1b[?25h\x1b[?1049l";

/// Black on white by numbers that no theme changes: scanners want the dark on the light, whatever the terminal has.
const INK: &str = "\x1b[38;5;16;48;5;231m";

/// Below the QR: where to scan it, the time that is left, and a note.
const TEXT: usize = 3;

/// How long a note stands there, where nothing makes it out of date.
const NOTE: Duration = Duration::from_secs(20);

pub(super) struct Screen {
    /// The command that takes the same session.
    again: String,
    /// The event `qr`, and its rows.
    qr: Option<(Value, Vec<Vec<bool>>)>,
    note: Option<(String, Instant)>,
    /// Whether the note is about a connection, and so out of date with the next sign of life.
    passes: bool,
    /// The server's time, and when that was.
    clock: Option<(Timestamp, Instant)>,
    /// What stands there now; nothing while the terminal is as it was.
    drawn: String,
}

impl Screen {
    pub(super) fn new(again: String) -> Self {
        Self { again, qr: None, note: None, passes: false, clock: None, drawn: String::new() }
    }

    pub(super) fn set_clock(&mut self, now: &Value) {
        self.clock = timestamp(now).map(|now| (now, Instant::now()));
        self.passed();
    }

    /// The seconds until this event's QR or code expires, by the server's clock.
    pub(super) fn left(&self, data: &Value) -> u64 {
        let (Some(end), Some((now, at))) = (timestamp(&data["expiresAt"]), self.clock) else { return 0 };
        let left = (end.as_millisecond() - now.as_millisecond()).max(0).unsigned_abs();
        Duration::from_millis(left).saturating_sub(at.elapsed()).as_secs_f64().ceil() as u64
    }

    /// Shows the QR of this event, instead of the last one.
    pub(super) fn show(&mut self, data: &Value) {
        let rows = qr::rows(data["qrString"].as_str().unwrap_or_default());
        self.qr = Some((data.clone(), rows));
        self.passed();
        self.draw();
    }

    fn passed(&mut self) {
        self.note = self.note.take().filter(|_| !self.passes);
    }

    /// Shows no QR until the next one: the last can no longer be scanned.
    pub(super) fn expire(&mut self) {
        if let Some((data, _)) = &mut self.qr {
            data["expiresAt"] = Value::Null;
        }
    }

    /// Shows a note below the QR; whether there is one.
    pub(super) fn note(&mut self, said: &str, passes: bool) -> bool {
        (self.note, self.passes) = (Some((clean(said), Instant::now())), passes);
        self.draw();
        self.qr.is_some()
    }

    /// Brings what stands there up to date.
    pub(super) fn draw(&mut self) {
        let Some((data, rows)) = &self.qr else { return };
        // A terminal that does not say its size is taken for large enough.
        let size = tcgetwinsize(std::io::stdout()).ok().filter(|size| size.ws_row > 0 && size.ws_col > 0);
        let known = |size: u16| usize::from(size);
        let (height, width) =
            size.map_or((usize::MAX, usize::MAX), |size| (known(size.ws_row), known(size.ws_col)));
        let (tall, wide) = (rows.len().div_ceil(2) + TEXT, rows.len());
        let text = if tall > height || wide > width {
            self.too_small((tall, wide), (height, width))
        } else {
            self.picture(data, rows, width)
        };
        // What did not change stays, and so does what a person has marked with the mouse.
        if text != self.drawn {
            let enter = if self.drawn.is_empty() { ENTER } else { "" };
            put(&format!("{enter}{text}"));
            self.drawn = text;
        }
    }

    /// Gives the terminal back as it was.
    pub(super) fn leave(&mut self) {
        self.qr = None;
        if !std::mem::take(&mut self.drawn).is_empty() {
            put(LEAVE);
        }
    }

    /// Each line is cleared before it is written: behind the last column there is nothing to clear, only that column.
    fn picture(&self, data: &Value, rows: &[Vec<bool>], width: usize) -> String {
        let left = self.left(data);
        let mut picture = "\x1b[H".to_owned();
        for pair in rows.chunks(2) {
            // An expired one would be refused on the phone.
            let line = if left == 0 { String::new() } else { half_blocks(pair) };
            picture.push_str(&format!("\x1b[K{INK}{line}\x1b[0m\r\n"));
        }
        let (attempt, of) = (&data["attempt"], &data["maxAttempts"]);
        let time = match left {
            0 => format!("QR {attempt} of {of} has expired; waiting for the next"),
            left => format!("QR {attempt} of {of}, {left} s left. Ctrl-C stops; the session goes on."),
        };
        let note = self.note.as_ref().filter(|(_, since)| since.elapsed() < NOTE);
        let note = note.map(|(note, _)| note.as_str()).unwrap_or_default();
        let cut = |line: &str| line.chars().take(width).collect::<String>();
        let [place, time, note] = [&format!("Scan it: {}", WHERE), &time, note].map(cut);
        format!("{picture}\x1b[K{place}\r\n\x1b[K{time}\r\n\x1b[J{note}")
    }

    fn too_small(&self, (tall, wide): (usize, usize), (height, width): (usize, usize)) -> String {
        let lines = [
            "The terminal is too small for the QR.",
            &format!("It needs {tall} rows and {wide} columns; this terminal has {height} and {width}."),
            "Make the window larger or its letters smaller, and the QR appears.",
            "Or press Ctrl-C, and link the same session in another way:",
            "",
            "with a code to type on the phone",
            &format!("{} --phone NUMBER", self.again),
            "",
            "with a picture of the QR in a file",
            &format!("{} --png FILE", self.again),
        ];
        format!("\x1b[H\x1b[J{}", lines.join("\r\n"))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Two rows of modules as one line: each character is two of them, one above the other.
fn half_blocks(pair: &[Vec<bool>]) -> String {
    let below = |column: usize| pair.get(1).is_some_and(|row| row[column]);
    let block = |(column, dark): (usize, &bool)| match (*dark, below(column)) {
        (true, true) => '█',
        (true, false) => '▀',
        (false, true) => '▄',
        (false, false) => ' ',
    };
    pair[0].iter().enumerate().map(block).collect()
}

fn timestamp(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// If nobody reads any more, there is nobody to tell.
fn put(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatsapps_qrs_fit_a_terminal_of_40_rows_with_their_margin() {
        // WhatsApp's have near 240 characters.
        for (length, side) in [(200, 65), (240, 69), (280, 73)] {
            let rows = qr::rows(&"2@aB3/+=,".repeat(40)[..length]);
            assert!(rows.len() == side && rows.iter().all(|row| row.len() == side), "{}", rows.len());
            assert!(rows.len().div_ceil(2) + TEXT <= 40);
            let lines: Vec<_> = rows.chunks(2).map(half_blocks).collect();
            let blank = " ".repeat(side);
            assert!(lines[..2] == [blank.as_str(); 2] && lines[lines.len() - 2..] == [blank.as_str(); 2]);
            assert!(
                lines[2].starts_with("    █▀▀▀▀▀█ ") && lines[2].ends_with(" █▀▀▀▀▀█    "),
                "{}",
                lines[2]
            );
        }
    }
}
