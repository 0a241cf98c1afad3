//! Reads what a server sends on one stream, and says which events came: HTTP's head, then Server-Sent Events (in chunks
//! or not), WebSocket or socket.io on WebSocket. `viewers.rs` has one reader for each stream.
//!
//! It keeps the beginning of a line or a frame and nothing else, and allocates nothing once the head was read.

use std::fmt;

/// An event's id, `<epoch>-<seq>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cursor {
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.seq)
    }
}

/// How a stream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Sse,
    WebSocket,
    SocketIo,
}

/// What a server said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    /// The stream is open.
    Opened,
    /// An event came, whole.
    Event(Cursor),
    /// This is to be answered, with these bytes in a frame of this opcode.
    Asks(u8, &'a [u8]),
    /// The stream is refused, or at its end.
    Over,
}

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// As much of a line or a frame as is kept: an id stands in it, and a ping is no longer.
const KEPT: usize = 128;

/// One stream's reader.
pub(crate) struct Reader {
    wire: Wire,
    /// Until the head has ended.
    head: Option<Vec<u8>>,
    chunks: Option<Chunks>,
    body: Body,
}

enum Body {
    Lines(Lines),
    Frames(Frames),
}

impl Reader {
    pub(crate) fn new(wire: Wire) -> Self {
        let body = match wire {
            Wire::Sse => Body::Lines(Lines { start: Start::default(), cursor: None }),
            Wire::WebSocket | Wire::SocketIo => Body::Frames(Frames::default()),
        };
        Self { wire, head: Some(Vec::new()), chunks: None, body }
    }

    /// Reads on; `hear` is told what that completes.
    pub(crate) fn read(&mut self, mut bytes: &[u8], hear: &mut impl FnMut(Said)) {
        if let Some(head) = &mut self.head {
            let before = head.len();
            head.extend_from_slice(bytes);
            let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else { return };
            bytes = &bytes[end + 4 - before..];
            let text = String::from_utf8_lossy(&head[..end]).to_lowercase();
            self.head = None;
            let status = if self.wire == Wire::Sse { " 200" } else { " 101" };
            if !text.lines().next().unwrap_or_default().contains(status) {
                return hear(Said::Over);
            }
            self.chunks = text.contains("transfer-encoding: chunked").then(Chunks::default);
            // With socket.io there are two more messages before.
            if self.wire != Wire::SocketIo {
                hear(Said::Opened);
            }
        }
        let is_socket_io = self.wire == Wire::SocketIo;
        match (&mut self.body, &mut self.chunks) {
            (Body::Lines(lines), Some(chunks)) => chunks.read(bytes, |part| lines.read(part, hear)),
            (Body::Lines(lines), None) => lines.read(bytes, hear),
            (Body::Frames(frames), _) => frames.read(bytes, is_socket_io, hear),
        }
    }
}

/// The first bytes of something longer.
struct Start {
    bytes: [u8; KEPT],
    len: usize,
}

impl Default for Start {
    fn default() -> Self {
        Self { bytes: [0; KEPT], len: 0 }
    }
}

impl Start {
    fn push(&mut self, more: &[u8]) {
        let more = &more[..more.len().min(KEPT - self.len)];
        self.bytes[self.len..self.len + more.len()].copy_from_slice(more);
        self.len += more.len();
    }

    fn kept(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// HTTP's chunks: the length in hexadecimal digits, a line's end, so many bytes, a line's end.
#[derive(Default)]
struct Chunks {
    /// Bytes of this chunk that are still to come.
    left: usize,
    /// The length as far as it was read.
    length: usize,
}

impl Chunks {
    fn read(&mut self, mut bytes: &[u8], mut part: impl FnMut(&[u8])) {
        while let [first, rest @ ..] = bytes {
            if self.left > 0 {
                let (now, later) = bytes.split_at(self.left.min(bytes.len()));
                part(now);
                self.left -= now.len();
                bytes = later;
                continue;
            }
            // The empty line that ends a chunk leaves the length at nought.
            match first {
                b'\n' => self.left = std::mem::take(&mut self.length),
                digit => {
                    if let Some(digit) = char::from(*digit).to_digit(16) {
                        self.length = self.length * 16 + digit as usize;
                    }
                }
            }
            bytes = rest;
        }
    }
}

/// Server-Sent Events.
struct Lines {
    start: Start,
    /// The id of the block that is being read.
    cursor: Option<Cursor>,
}

impl Lines {
    fn read(&mut self, mut bytes: &[u8], hear: &mut impl FnMut(Said)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.start.push(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let line = self.start.kept();
            if let Some(id) = line.strip_prefix(b"id: ") {
                self.cursor = cursor(id);
            } else if line.starts_with(b"data: ") {
                // A server whose ids are its own has ours in the data.
                self.cursor = self.cursor.or_else(|| id_within(line));
            } else if line.is_empty() || line == b"\r" {
                self.cursor.take().into_iter().for_each(|cursor| hear(Said::Event(cursor)));
            }
            self.start.len = 0;
        }
        self.start.push(bytes);
    }
}

/// WebSocket frames, which a server does not mask.
#[derive(Default)]
struct Frames {
    header: [u8; 10],
    header_len: usize,
    /// Bytes of the payload that are still to come, once the header was read.
    left: Option<usize>,
    start: Start,
}

impl Frames {
    fn read(&mut self, mut bytes: &[u8], is_socket_io: bool, hear: &mut impl FnMut(Said)) {
        loop {
            let left = match self.left {
                Some(left) => left,
                None => {
                    let [first, rest @ ..] = bytes else { return };
                    self.header[self.header_len] = *first;
                    self.header_len += 1;
                    bytes = rest;
                    let Some(length) = self.length() else { continue };
                    self.left = Some(length);
                    length
                }
            };
            let (now, later) = bytes.split_at(left.min(bytes.len()));
            self.start.push(now);
            bytes = later;
            if now.len() < left {
                self.left = Some(left - now.len());
                return;
            }
            self.whole(is_socket_io, hear);
            self.left = None;
            self.header_len = 0;
            self.start.len = 0;
        }
    }

    /// The payload's length, if the header is complete.
    fn length(&self) -> Option<usize> {
        let header = &self.header[..self.header_len];
        match header {
            [_, length @ 0..126] => Some(usize::from(*length)),
            [_, 126, a, b] => Some(usize::from(u16::from_be_bytes([*a, *b]))),
            [_, 127, _, _, _, _, a, b, c, d] => Some(u32::from_be_bytes([*a, *b, *c, *d]) as usize),
            _ => None,
        }
    }

    fn whole(&self, is_socket_io: bool, hear: &mut impl FnMut(Said)) {
        let payload = self.start.kept();
        match self.header[0] & 15 {
            PING => hear(Said::Asks(PONG, payload)),
            CLOSE => hear(Said::Over),
            _ if is_socket_io && payload == b"2" => hear(Said::Asks(TEXT, b"3")),
            _ if is_socket_io && payload.starts_with(b"0{") => hear(Said::Asks(TEXT, b"40")),
            _ if is_socket_io && payload.starts_with(b"40") => hear(Said::Opened),
            _ => id_within(payload).into_iter().for_each(|cursor| hear(Said::Event(cursor))),
        }
    }
}

/// The id in the first bytes of an event's JSON.
fn id_within(json: &[u8]) -> Option<Cursor> {
    const FIELD: &[u8] = br#""id":""#;
    let at = json.windows(FIELD.len()).position(|some| some == FIELD)?;
    cursor(&json[at + FIELD.len()..])
}

fn cursor(text: &[u8]) -> Option<Cursor> {
    let number = |text: &[u8]| {
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold((0, 0), |(value, len), digit| (value * 10 + u64::from(digit - b'0'), len + 1))
    };
    let (epoch, len) = number(text);
    let (seq, digits) = number(text.get(len..)?.strip_prefix(b"-")?);
    (len > 0 && digits > 0).then_some(Cursor { epoch, seq })
}
