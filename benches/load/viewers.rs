//! Many viewers in one thread: opens streams, reads them as their bytes come, and checks that each got every event, once
//! and in order. Nothing is allocated for a message.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::wire::{Cursor, Reader, Said, Wire};

/// How many streams are opened before those that are open are read again.
const AT_ONCE: usize = 128;

/// How long nothing may come while something is awaited.
const PATIENCE: Duration = Duration::from_secs(20);

/// The streams of one measurement. They are closed when it is dropped.
pub(crate) struct Viewers {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    streams: Vec<Stream>,
    /// Over all streams, since [`Viewers::forget`].
    seen: Seen,
}

/// What came.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seen {
    pub(crate) opened: usize,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    /// Streams that the server closed.
    over: usize,
    /// Events that were not the next one.
    wrong: u64,
}

struct Stream {
    socket: TcpStream,
    reader: Reader,
    last: Option<Cursor>,
    events: u64,
}

impl Viewers {
    /// Opens one stream for each path, and waits until all of them are open and silent. They speak these wires in turn.
    pub(crate) fn open(address: SocketAddr, wires: &[Wire], paths: &[String]) -> anyhow::Result<Self> {
        let mut viewers = Self::begin(address, wires, paths)?;
        let count = viewers.streams.len();
        viewers.until(|seen| seen.opened == count)?;
        viewers.quiet(Duration::from_millis(500))?;
        Ok(viewers)
    }

    /// Asks for one stream for each path, and does not wait.
    pub(crate) fn begin(address: SocketAddr, wires: &[Wire], paths: &[String]) -> anyhow::Result<Self> {
        let mut viewers = Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            buffer: vec![0; 256 * 1024],
            streams: Vec::with_capacity(paths.len()),
            seen: Seen::default(),
        };
        for (number, path) in paths.iter().enumerate() {
            viewers.add(address, wires[number % wires.len()], path)?;
            if number % AT_ONCE == 0 {
                viewers.turn(Duration::ZERO)?;
            }
        }
        Ok(viewers)
    }

    fn add(&mut self, address: SocketAddr, wire: Wire, path: &str) -> anyhow::Result<()> {
        // Blocking: a full queue of the listener is waited for.
        let mut socket = std::net::TcpStream::connect(address).context("cannot connect")?;
        let more = match wire {
            Wire::Sse => "Accept: text/event-stream\r\n",
            // The key is RFC 6455's own example, so that the floor knows the answer.
            Wire::WebSocket | Wire::SocketIo => {
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            }
        };
        write!(socket, "GET {path} HTTP/1.1\r\nHost: {address}\r\n{more}\r\n")?;
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket);
        let token = Token(self.streams.len());
        self.poll.registry().register(&mut socket, token, Interest::READABLE)?;
        self.streams.push(Stream { socket, reader: Reader::new(wire), last: None, events: 0 });
        Ok(())
    }

    /// The last event of each stream.
    pub(crate) fn cursors(&self) -> Vec<Cursor> {
        self.streams.iter().filter_map(|stream| stream.last).collect()
    }

    /// Begins to count anew.
    pub(crate) fn forget(&mut self) {
        self.seen = Seen { opened: self.seen.opened, ..Seen::default() };
        self.streams.iter_mut().for_each(|stream| stream.events = 0);
    }

    /// Reads until each stream has got so many events since [`Viewers::forget`], or fails.
    pub(crate) fn expect(&mut self, each: u64) -> anyhow::Result<Seen> {
        self.about(each)?;
        let uneven = self.streams.iter().filter(|stream| stream.events != each).count();
        ensure!(uneven == 0, "{uneven} streams did not get {each} events");
        Ok(self.seen)
    }

    /// The same for all of them together: some may have more, and others less.
    pub(crate) fn about(&mut self, each: u64) -> anyhow::Result<()> {
        let all = each * self.streams.len() as u64;
        self.until(|seen| seen.events >= all)
    }

    /// Reads for so long.
    pub(crate) fn idle(&mut self, long: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + long;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            self.turn(left)?;
        }
        self.check()
    }

    /// How many of these, which nobody has read, the server has closed.
    pub(crate) fn closed(&mut self) -> usize {
        let Self { streams, buffer, .. } = self;
        let is_closed = |stream: &mut Stream| loop {
            match stream.socket.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Ok(0) | Err(_) => return true,
                Ok(_) => {}
            }
        };
        streams.iter_mut().map(is_closed).filter(|closed| *closed).count()
    }

    /// Reads until nothing has come for so long.
    fn quiet(&mut self, long: Duration) -> anyhow::Result<()> {
        while self.turn(long)? > 0 {}
        self.check()
    }

    fn until(&mut self, mut is_it: impl FnMut(&Seen) -> bool) -> anyhow::Result<()> {
        while !is_it(&self.seen) {
            if self.turn(PATIENCE)? == 0 {
                let Seen { opened, events, .. } = self.seen;
                bail!("nothing came for {PATIENCE:?}: {opened} streams are open, {events} events came");
            }
            self.check()?;
        }
        Ok(())
    }

    fn check(&self) -> anyhow::Result<()> {
        let Seen { over, wrong, .. } = self.seen;
        ensure!(over == 0, "{over} streams were closed");
        ensure!(wrong == 0, "{wrong} events were not the next one");
        Ok(())
    }

    /// Reads what has come, after waiting for it at most so long. How many bytes that were.
    fn turn(&mut self, wait: Duration) -> anyhow::Result<u64> {
        let before = self.seen.bytes;
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(1),
            polled => polled?,
        }
        for event in &self.events {
            self.streams[event.token().0].read(&mut self.buffer, &mut self.seen)?;
        }
        Ok(self.seen.bytes - before)
    }
}

impl Stream {
    fn read(&mut self, buffer: &mut [u8], seen: &mut Seen) -> anyhow::Result<()> {
        loop {
            let len = match self.socket.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Ok(0) | Err(_) => {
                    seen.over += 1;
                    return Ok(());
                }
                Ok(len) => len,
            };
            seen.bytes += len as u64;
            let Self { socket, reader, last, events } = self;
            reader.read(&buffer[..len], &mut |said| match said {
                Said::Opened => seen.opened += 1,
                Said::Event(cursor) => {
                    let is_next = last.is_none_or(|last| follows(last, cursor));
                    seen.wrong += u64::from(!is_next);
                    *last = Some(cursor);
                    seen.events += 1;
                    *events += 1;
                }
                Said::Asks(opcode, payload) => answer(socket, opcode, payload),
                Said::Over => seen.over += 1,
            });
            // The kernel tells of the next bytes, once these were all.
            if len < buffer.len() {
                return Ok(());
            }
        }
    }
}

fn follows(last: Cursor, next: Cursor) -> bool {
    if next.epoch == last.epoch { next.seq == last.seq + 1 } else { next.epoch > last.epoch && next.seq == 1 }
}

/// One small frame, masked with zeroes. The socket has room for it, or the server is not reading.
fn answer(socket: &mut TcpStream, opcode: u8, payload: &[u8]) {
    let mut frame = [0; 6 + 125];
    frame[0] = 0x80 | opcode;
    frame[1] = 0x80 | payload.len() as u8;
    frame[6..6 + payload.len()].copy_from_slice(payload);
    // A server that misses its answer closes the stream, and that is noticed.
    let _ = socket.write(&frame[..6 + payload.len()]);
}
