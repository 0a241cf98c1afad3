//! The socket of a stream, and what is written to it: the frames of its viewer.
//!
//! Events are written by the session's fan-out ([`Listener::hears`]), to one socket after the other and without waiting for
//! any of them. A viewer whose socket is full hears nothing; it reads what it has missed from the session's history when the
//! socket takes bytes again, for which the stream's own task waits (`task.rs`). A viewer of the feed has a short queue instead.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use parking_lot::{Mutex, MutexGuard};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{sse, websocket};
use crate::close::Close;
use crate::event::Event;
use crate::http::door::limits::connections::Connection;
use crate::session::Listener;
use crate::stream::guard::Transport;
use crate::stream::{Frame, IDLE_FRAMES, Viewer};

/// How many frames are written with one call.
const BATCH: usize = 16;

/// A connection that hyper has given back.
pub(in crate::http) struct RawConnection {
    pub(in crate::http) socket: TcpStream,
    /// How long the peer may accept nothing.
    pub(in crate::http) patience: Duration,
    /// Its place among those that may be open.
    pub(in crate::http) _place: Connection,
}

/// The socket of one open stream.
pub(super) struct StreamSocket {
    connection: RawConnection,
    transport: Transport,
    outgoing: Mutex<Outgoing>,
    /// The stream's own task has something to do: the state is not [`State::Writing`] any more.
    attention: Notify,
}

struct Outgoing {
    /// None where the stream is refused or over: it only says so.
    viewer: Option<Viewer>,
    /// Encoded, and not yet taken by the socket.
    unsent: VecDeque<Bytes>,
    state: State,
    /// Events were recorded while the socket was full.
    has_missed: bool,
    /// A ping was sent that is not answered.
    pong_is_out: bool,
    /// The last frame is on its way.
    end: Option<Close>,
}

/// Where the writing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Everything that there was has been taken by the socket.
    Writing,
    /// The socket takes no more for now.
    Full,
    /// The last frame is out.
    Ended(Close),
    /// Nothing more can be written.
    Gone,
}

impl StreamSocket {
    /// `unsent` goes out first; `end`, where that ends it.
    pub(super) fn new(
        connection: RawConnection,
        transport: Transport,
        unsent: impl Into<VecDeque<Bytes>>,
        end: Option<Close>,
    ) -> Self {
        let outgoing = Outgoing {
            viewer: None,
            unsent: unsent.into(),
            state: State::Writing,
            has_missed: false,
            pong_is_out: false,
            end,
        };
        Self { connection, transport, outgoing: Mutex::new(outgoing), attention: Notify::new() }
    }

    /// The socket, to read from it.
    pub(super) fn socket(&self) -> &TcpStream {
        &self.connection.socket
    }

    /// SSE or WebSocket.
    pub(super) fn transport(&self) -> Transport {
        self.transport
    }

    /// Where the writing stands. [`StreamSocket::changes`] says when it is not [`State::Writing`] any more.
    pub(super) fn state(&self) -> State {
        self.outgoing().state
    }

    /// Ends when the writing has come to a halt.
    pub(super) async fn changes(&self) {
        self.attention.notified().await;
    }

    /// Begins with the viewer that this makes. Its session must be followed already: what is heard from when the viewer looks
    /// at the session to when it is here waits for the lock.
    pub(super) fn begin<T>(&self, viewer: impl FnOnce() -> (Viewer, T)) -> T {
        let mut outgoing = self.outgoing();
        let (viewer, beside) = viewer();
        outgoing.viewer = Some(viewer);
        outgoing.flush(self);
        beside
    }

    /// Lets the viewer know something, and writes what it says to that.
    pub(super) fn tell(&self, news: impl FnOnce(&mut Viewer)) {
        self.outgoing().tell(self, news);
    }

    /// Writes what there is.
    pub(super) fn flush(&self) {
        self.outgoing().flush(self);
    }

    /// Whether the peer takes nothing for now.
    pub(super) fn is_full(&self) -> bool {
        self.state() == State::Full
    }

    /// The peer has answered a ping.
    pub(super) fn pong_came(&self) {
        self.outgoing().pong_is_out = false;
    }

    /// Sends an answer to what the peer has sent. Nothing follows a close frame.
    pub(super) fn answers(&self, frame: Bytes) {
        let mut outgoing = self.outgoing();
        if outgoing.end.is_none() {
            outgoing.unsent.push_back(frame);
            outgoing.flush(self);
        }
    }

    /// A heartbeat. False when the last one over WebSocket was not answered: the peer is gone.
    pub(super) fn beat(&self) -> bool {
        let mut outgoing = self.outgoing();
        if outgoing.pong_is_out {
            return false;
        }
        if outgoing.state == State::Writing {
            outgoing.pong_is_out = self.transport == Transport::WebSocket;
            outgoing.tell(self, Viewer::beat);
        }
        true
    }

    /// Waits until the socket has taken all that there was, which may be more by then. False when it accepted nothing for too
    /// long, or is gone.
    pub(super) async fn takes_bytes(&self) -> bool {
        while self.is_full() {
            match timeout(self.connection.patience, self.socket().writable()).await {
                Ok(Ok(())) => self.flush(),
                Ok(Err(_)) => return false,
                Err(_) => {
                    self.outgoing().viewer.iter_mut().for_each(|viewer| viewer.closes(Close::TooSlow));
                    return false;
                }
            }
        }
        self.state() != State::Gone
    }

    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock()
    }
}

impl Listener for StreamSocket {
    fn hears(&self, event: &Arc<Event>) {
        let mut outgoing = self.outgoing();
        match outgoing.state {
            State::Writing => outgoing.tell(self, |viewer| viewer.hears(event)),
            State::Full => outgoing.hears_later(event),
            State::Ended(_) | State::Gone => {}
        }
    }

    fn has_missed(&self) {
        let mut outgoing = self.outgoing();
        match outgoing.state {
            State::Writing => outgoing.tell(self, Viewer::catches_up),
            State::Full => outgoing.has_missed = true,
            State::Ended(_) | State::Gone => {}
        }
    }
}

impl Outgoing {
    /// An event was recorded, and the socket is full.
    fn hears_later(&mut self, event: &Arc<Event>) {
        // What follows something that was missed is missed as well.
        self.has_missed = self.has_missed || !self.viewer.as_mut().is_some_and(|v| v.hears_later(event));
    }

    /// Lets the viewer know something, and writes what it says to that.
    fn tell(&mut self, stream: &StreamSocket, news: impl FnOnce(&mut Viewer)) {
        // Where there is no viewer yet, it will see by itself what this is about.
        if let Some(viewer) = &mut self.viewer {
            news(viewer);
        }
        if self.state == State::Writing {
            self.flush(stream);
        }
    }

    /// Writes what there is until the socket takes no more.
    fn flush(&mut self, stream: &StreamSocket) {
        self.state = loop {
            if self.unsent.is_empty() && !self.fill(stream.transport) {
                break self.end.map_or(State::Writing, State::Ended);
            }
            match write(stream.socket(), &mut self.unsent) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break State::Full,
                Err(_) => break State::Gone,
            }
        };
        if self.state != State::Writing {
            stream.attention.notify_one();
        }
    }

    /// Encodes the next frames. False when there are none.
    fn fill(&mut self, transport: Transport) -> bool {
        let Some(viewer) = &mut self.viewer else { return false };
        while self.unsent.len() < BATCH {
            match viewer.next() {
                Some(frame) => {
                    if let Frame::Goodbye(end) = frame {
                        self.end = Some(end);
                    }
                    let bytes = match transport {
                        Transport::Sse => sse::encode(&frame),
                        Transport::WebSocket => websocket::encode(&frame),
                    };
                    self.unsent.extend(Some(bytes).filter(|bytes| !bytes.is_empty()));
                }
                None if std::mem::take(&mut self.has_missed) => viewer.catches_up(),
                None => break,
            }
        }
        if self.unsent.is_empty() {
            self.unsent.shrink_to(IDLE_FRAMES);
        }
        !self.unsent.is_empty()
    }
}

/// Writes as much as the socket takes at once.
fn write(socket: &TcpStream, unsent: &mut VecDeque<Bytes>) -> io::Result<()> {
    let mut slices = [IoSlice::new(&[]); BATCH];
    let count = slices.iter_mut().zip(&*unsent).map(|(slice, bytes)| *slice = IoSlice::new(bytes)).count();
    let mut written = match &slices[..count] {
        [slice] => socket.try_write(slice)?,
        slices => socket.try_write_vectored(slices)?,
    };
    if written == 0 {
        return Err(ErrorKind::WriteZero.into());
    }
    while let Some(first) = unsent.front_mut().filter(|_| written > 0) {
        let taken = written.min(first.len());
        first.advance(taken);
        written -= taken;
        if first.is_empty() {
            unsent.pop_front();
        }
    }
    Ok(())
}
