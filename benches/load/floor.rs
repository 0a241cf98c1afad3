//! The floor: a server that does one `write(2)` for each delivery and nothing else. What it takes is what the kernel alone
//! costs, and every other figure is given as a multiple of it.
//!
//! `main.rs` runs it as a process of its own. It speaks as `examples/scripted.rs` does: `go COUNT`, `done COUNT`.

use std::io::{BufRead as _, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::wire::Wire;
use super::{Played, say};

/// What every stream is answered.
const SSE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
const WEBSOCKET: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// As many digits as an id has.
const DIGITS: usize = 10;

/// One event, of which only the digits change.
struct Frame {
    bytes: Vec<u8>,
    digits: usize,
}

/// The streams of each session.
type Sessions = Vec<Vec<TcpStream>>;

/// Serves until its standard input ends.
pub(crate) fn run(wire: Wire, &Played { sessions, per_second, len }: &Played) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    say(&format!("listening {}", listener.local_addr()?));
    (0..sessions).for_each(|session| say(&format!("session {session}")));
    say("ready");
    let streams: Arc<Mutex<Sessions>> = Arc::new(Mutex::new((0..sessions).map(|_| Vec::new()).collect()));
    let newcomers = streams.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A viewer that gives up is no viewer.
            if let Ok((stream, session)) = welcome(stream, if wire == Wire::Sse { SSE } else { WEBSOCKET }) {
                newcomers.lock().unwrap_or_else(PoisonError::into_inner)[session].push(stream);
            }
        }
    });
    let mut frame = Frame::new(wire == Wire::WebSocket, len);
    let mut sent = 0;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let count: usize = line.strip_prefix("go ").context("not `go COUNT`")?.parse()?;
        let mut streams = streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.iter_mut().for_each(|streams| streams.retain(is_open));
        let begin = Instant::now();
        for number in 0..count {
            let due = begin + Duration::from_secs_f64(number as f64 / per_second);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            frame.number(sent / sessions + 1);
            for stream in &mut streams[sent % sessions] {
                if stream.write(&frame.bytes)? < frame.bytes.len() {
                    bail!("a viewer does not read");
                }
            }
            sent += 1;
        }
        say(&format!("done {count}"));
    }
    Ok(())
}

fn is_open(stream: &TcpStream) -> bool {
    matches!(stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// Answers the request, and says which session it names: `GET /7 HTTP/1.1`.
fn welcome(mut stream: TcpStream, head: &str) -> anyhow::Result<(TcpStream, usize)> {
    let mut request = [0; 4096];
    let mut len = 0;
    while !request[..len].ends_with(b"\r\n\r\n") {
        match stream.read(&mut request[len..])? {
            0 => bail!("it ends within its head"),
            more => len += more,
        }
    }
    let request = String::from_utf8_lossy(&request[..len]);
    let session = request.split(['/', ' ']).nth(2).context("no path")?.parse()?;
    stream.write_all(head.as_bytes())?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok((stream, session))
}

impl Frame {
    /// As long on the wire as the frames that it is compared with.
    fn new(is_websocket: bool, len: usize) -> Self {
        let (before, after) = if is_websocket { (r#"{"id":"1-"#, "\"}") } else { ("id: 1-", "\ndata: \n\n") };
        let header = if !is_websocket {
            0
        } else if len < 128 {
            2
        } else {
            4
        };
        let padding = len.saturating_sub(header + before.len() + DIGITS + after.len());
        let payload = before.len() + DIGITS + padding + after.len();
        let mut bytes = match header {
            0 => Vec::new(),
            2 => vec![0x81, payload as u8],
            _ => [vec![0x81, 126], (payload as u16).to_be_bytes().to_vec()].concat(),
        };
        bytes.extend_from_slice(before.as_bytes());
        let digits = bytes.len();
        bytes.extend_from_slice(&[b'0'; DIGITS]);
        // SSE has it behind `data: `, WebSocket behind the id.
        let (first, last) = after.split_at(if is_websocket { 1 } else { 7 });
        bytes.extend_from_slice(first.as_bytes());
        bytes.resize(bytes.len() + padding, b' ');
        bytes.extend_from_slice(last.as_bytes());
        Self { bytes, digits }
    }

    fn number(&mut self, number: usize) {
        let digits = format!("{number:0DIGITS$}");
        self.bytes[self.digits..self.digits + DIGITS].copy_from_slice(digits.as_bytes());
    }
}
