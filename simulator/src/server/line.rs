//! The TCP connections below everything: a line may be slow, both ways, and while the simulator refuses it is cut at its
//! first word. Tests' own calls (`/control/…`) are neither delayed nor refused; what a connection is shows in its first
//! bytes. `start` puts it under the listener.
//!
//! A slow line keeps what is on its way in two queues, each chunk with the time at which it arrives. Nothing sleeps
//! between two chunks, so a hundred stanzas in a row are late by one delay and not by a hundred.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Shared;

/// How many bytes may be on their way in one direction before the sender has to wait.
const ON_THE_WAY: usize = 1024 * 1024;
/// Read at once from a slow line.
const CHUNK: usize = 8 * 1024;

/// The listener of the simulator's port.
pub(crate) struct Lines {
    listener: TcpListener,
    shared: Arc<Shared>,
}

impl Lines {
    pub(crate) fn new(listener: TcpListener, shared: Arc<Shared>) -> Self {
        Self { listener, shared }
    }
}

impl Listener for Lines {
    type Io = Line;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Line, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // Without it only the latency is worse.
        let _slow = stream.set_nodelay(true);
        (Line::new(stream, Arc::clone(&self.shared)), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The sender on a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaker {
    /// Nothing was received yet.
    Unknown,
    /// A test.
    Test,
    /// A client of WhatsApp.
    Client,
}

/// Bytes on their way, oldest first, each with the time at which it arrives.
#[derive(Default)]
struct Way {
    chunks: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
}

impl Way {
    fn send(&mut self, arrives: Instant, chunk: Vec<u8>) {
        self.bytes += chunk.len();
        // A delay that was just made shorter does not let later bytes overtake.
        let arrives = self.chunks.back().map_or(arrives, |(before, _)| arrives.max(*before));
        self.chunks.push_back((arrives, chunk));
    }

    fn is_full(&self) -> bool {
        self.bytes >= ON_THE_WAY
    }

    fn due(&self) -> Option<Instant> {
        self.chunks.front().map(|(arrives, _)| *arrives)
    }

    /// What has arrived by now.
    fn arrived(&self) -> Option<&[u8]> {
        let (arrives, chunk) = self.chunks.front()?;
        (*arrives <= Instant::now()).then_some(chunk)
    }

    /// Takes `count` bytes off the first chunk.
    fn take(&mut self, count: usize) {
        let Some((_, chunk)) = self.chunks.front_mut() else { return };
        self.bytes -= count;
        if count == chunk.len() {
            self.chunks.pop_front();
        } else {
            chunk.drain(..count);
        }
    }
}

/// One TCP connection.
pub(crate) struct Line {
    stream: TcpStream,
    shared: Arc<Shared>,
    speaker: Speaker,
    arriving: Way,
    leaving: Way,
    /// The other side has closed; that is on its way too, behind its last bytes.
    closed: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
}

impl Line {
    fn new(stream: TcpStream, shared: Arc<Shared>) -> Self {
        Self {
            stream,
            shared,
            speaker: Speaker::Unknown,
            arriving: Way::default(),
            leaving: Way::default(),
            closed: None,
            alarm: Box::pin(sleep_until(Instant::now())),
        }
    }

    fn delay(&self) -> Duration {
        match self.speaker {
            Speaker::Test => Duration::ZERO,
            Speaker::Unknown | Speaker::Client => self.shared.conditions.delay(),
        }
    }

    /// Finds out from the first bytes who is connected, and whether that client is refused.
    fn listen(&mut self, said: &[u8]) -> io::Result<()> {
        if self.speaker == Speaker::Unknown {
            let path = said.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
            self.speaker = if path.starts_with(b"/control/") { Speaker::Test } else { Speaker::Client };
            if path.starts_with(b"/ws/chat") {
                self.shared.shelf.world().attempts.connection();
            }
        }
        if self.speaker == Speaker::Client && self.shared.conditions.refuses() {
            return Err(self.reset());
        }
        Ok(())
    }

    /// Makes the end of this connection a reset, as of a port on which nobody listens any more.
    fn reset(&mut self) -> io::Error {
        self.shared.shelf.world().attempts.refused += 1;
        // Without it the client sees an orderly end, which is refusal enough.
        let _orderly = self.stream.set_zero_linger();
        io::ErrorKind::ConnectionReset.into()
    }

    /// Reads whatever is there, so that it arrives in time.
    fn fill(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while self.closed.is_none() && !self.arriving.is_full() {
            let mut chunk = vec![0; CHUNK];
            let mut buffer = ReadBuf::new(&mut chunk);
            if Pin::new(&mut self.stream).poll_read(context, &mut buffer)?.is_pending() {
                break;
            }
            let length = buffer.filled().len();
            chunk.truncate(length);
            if length > 0 {
                self.listen(&chunk)?;
            }
            let arrives = Instant::now() + self.delay();
            if length == 0 {
                self.closed = Some(arrives);
            } else {
                self.arriving.send(arrives, chunk);
            }
        }
        Ok(())
    }

    /// Writes what has come to the end of its way.
    fn drain(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while let Some(chunk) = self.leaving.arrived() {
            let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(context, chunk)? else { break };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.leaving.take(written);
        }
        Ok(())
    }

    /// Has the task woken when the next bytes arrive, at either end.
    fn arm(&mut self, context: &mut Context<'_>) {
        let closes = self.closed.filter(|_| self.arriving.chunks.is_empty());
        let now = Instant::now();
        // What is due and still here waits for the socket, which wakes the task by itself.
        let later = |due: &Instant| *due > now;
        let next =
            [self.arriving.due(), self.leaving.due().filter(later), closes].into_iter().flatten().min();
        let Some(next) = next else { return };
        self.alarm.as_mut().reset(next);
        if self.alarm.as_mut().poll(context).is_ready() {
            context.waker().wake_by_ref();
        }
    }

    fn is_at_once(&self) -> bool {
        self.speaker != Speaker::Unknown && self.delay().is_zero()
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let line = self.get_mut();
        line.drain(context)?;
        if line.is_at_once()
            && line.arriving.chunks.is_empty()
            && line.leaving.chunks.is_empty()
            && line.closed.is_none()
        {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut line.stream).poll_read(context, buffer))?;
            if buffer.filled().len() > before {
                line.listen(&[])?;
            }
            return Poll::Ready(Ok(()));
        }
        line.fill(context)?;
        if let Some(chunk) = line.arriving.arrived() {
            let count = chunk.len().min(buffer.remaining());
            buffer.put_slice(chunk.get(..count).unwrap_or_default());
            line.arriving.take(count);
            return Poll::Ready(Ok(()));
        }
        let over = line.arriving.chunks.is_empty() && line.closed.is_some_and(|at| at <= Instant::now());
        if over {
            return Poll::Ready(Ok(()));
        }
        line.arm(context);
        Poll::Pending
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let line = self.get_mut();
        line.drain(context)?;
        if line.delay().is_zero() && line.leaving.chunks.is_empty() {
            return Pin::new(&mut line.stream).poll_write(context, bytes);
        }
        if line.leaving.is_full() {
            line.arm(context);
            return Poll::Pending;
        }
        line.leaving.send(Instant::now() + line.delay(), bytes.to_vec());
        line.arm(context);
        Poll::Ready(Ok(bytes.len()))
    }

    /// What is on its way is out of the sender's hands: waiting for it would make a row of stanzas late by a row of delays.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let line = self.get_mut();
        line.drain(context)?;
        if line.leaving.chunks.is_empty() {
            return Pin::new(&mut line.stream).poll_flush(context);
        }
        line.arm(context);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let line = self.get_mut();
        line.drain(context)?;
        if line.leaving.chunks.is_empty() {
            return Pin::new(&mut line.stream).poll_shutdown(context);
        }
        line.arm(context);
        Poll::Pending
    }
}
