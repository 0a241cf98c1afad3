//! An open stream: a viewer and the socket that its frames are written to.
//!
//! Events are written by the session's fan-out ([`Listener::hears`]), to one socket after the other and without waiting for
//! any of them. The stream's own task has the rest: heartbeats, what the browser sends, the end, and a socket that is full.
//! A viewer whose socket is full hears nothing; it reads what it has missed from the session's history when the socket
//! takes bytes again.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use parking_lot::{Mutex, MutexGuard};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::handover::Opened;
use super::incoming::{Heard, Incoming};
use super::viewer::Request;
use super::{sse, viewer, websocket};
use crate::close::Close;
use crate::event::Event;
use crate::http::app::App;
use crate::http::door::limits::Place;
use crate::http::door::limits::connections::Connection;
use crate::session::{Listener, Seat};
use crate::stream::drain::DrainingStream;
use crate::stream::guard::Transport;
use crate::stream::heartbeat::Heartbeat;
use crate::stream::{Frame, Viewer};

/// How many frames are written with one call.
const BATCH: usize = 16;

/// Room for how many frames an idle stream keeps.
const KEPT: usize = 4;

/// How long a peer has to answer a close frame.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// One open stream.
pub(super) struct OpenStream {
    socket: TcpStream,
    transport: Transport,
    outgoing: Mutex<Outgoing>,
    /// The stream's own task has something to do: the state is not [`State::Writing`] any more.
    attention: Notify,
}

struct Outgoing {
    /// None where the stream is refused or over: it only says so.
    viewer: Option<Viewer>,
    /// Encoded, and not yet taken by the socket. Freed once it is empty.
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
enum State {
    /// Everything that there was has been taken by the socket.
    Writing,
    /// The socket takes no more for now.
    Full,
    /// The last frame is out.
    Ended(Close),
    /// Nothing more can be written.
    Gone,
}

/// A connection that hyper has given back.
pub(in crate::http) struct RawConnection {
    pub(in crate::http) socket: TcpStream,
    /// What hyper has read beyond the request.
    pub(in crate::http) read_already: Bytes,
    /// How long the peer may accept nothing.
    pub(in crate::http) patience: Duration,
    /// Its place among those that may be open.
    pub(in crate::http) place: Connection,
}

/// The stream's own task.
struct Task {
    stream: Arc<OpenStream>,
    incoming: Incoming,
    beats: Heartbeat,
    draining: DrainingStream,
    patience: Duration,
    _held: (Seat, Place, Connection),
}

/// Begins a stream on the connection of its request, with the head of the answer, and runs it until either side ends it. The
/// task that does so is small: there may be tens of thousands.
pub(in crate::http) fn start(opened: Opened, head: Bytes, connection: RawConnection) {
    let Opened { app, transport, watch } = opened;
    let RawConnection { socket, read_already, patience, place } = connection;
    let mut incoming = Incoming::new(transport, read_already);
    match watch {
        Ok(request) => {
            let stream = OpenStream::new(socket, transport, [head]);
            let mut task = follow(&app, request, stream, incoming, (patience, place));
            app.streams.spawn(async move { task.run().await });
        }
        Err(end) => {
            // A session that the viewer has seen to its end does not count as a stream, as over SSE.
            if end != Close::Ended {
                viewer::refused(transport, end);
            }
            let stream = Arc::new(OpenStream::new(socket, transport, [head, websocket::goodbye(end)]));
            app.streams.spawn(async move {
                let _place = place;
                stream.outgoing().flush(&stream);
                if stream.takes_bytes(patience).await {
                    stream.lets_go(&mut incoming, end).await;
                }
            });
        }
    }
}

fn follow(
    app: &App,
    request: Request,
    stream: OpenStream,
    incoming: Incoming,
    (patience, place): (Duration, Connection),
) -> Task {
    let (session, transport) = (request.session().clone(), stream.transport);
    let stream = Arc::new(stream);
    let (seat, fanout) = session.follow(stream.clone());
    if let Some(fanout) = fanout {
        app.streams.spawn(fanout.run());
    }
    let beats = match transport {
        Transport::Sse => app.sse_heartbeats.join(),
        Transport::WebSocket => app.websocket_heartbeats.join(),
    };
    // Under one lock: an event that comes after the viewer has looked at the session is heard when the viewer is here.
    let mut outgoing = stream.outgoing();
    let (viewer, stream_place) = request.viewer(transport);
    outgoing.viewer = Some(viewer);
    outgoing.flush(&stream);
    drop(outgoing);
    Task {
        stream,
        incoming,
        beats,
        draining: app.drain.enter(),
        patience,
        _held: (seat, stream_place, place),
    }
}

impl Task {
    async fn run(&mut self) {
        let Self { stream, incoming, beats, draining, patience, .. } = self;
        let mut heard = if incoming.has_bytes() { incoming.read(stream) } else { Heard::Nothing };
        loop {
            match heard {
                Heard::Nothing => {}
                Heard::Gone => return,
                Heard::Closing => return stream.reads_to_the_end(incoming).await,
                Heard::Fault(end) => stream.outgoing().tell(stream, |viewer| viewer.fails(end)),
            }
            heard = Heard::Nothing;
            let state = stream.outgoing().state;
            match state {
                State::Writing => {}
                State::Full if stream.takes_bytes(*patience).await => continue,
                State::Full | State::Gone => return,
                State::Ended(end) => return stream.lets_go(incoming, end).await,
            }
            tokio::select! {
                () = stream.attention.notified() => {}
                end = draining.goodbye() => stream.outgoing().tell(stream, |viewer| viewer.leaves(end)),
                () = beats.beat() => if !stream.beat() { return },
                ready = stream.socket.readable() => match ready {
                    Ok(()) => heard = incoming.read(stream),
                    Err(_) => return,
                },
            }
        }
    }
}

impl OpenStream {
    fn new(socket: TcpStream, transport: Transport, unsent: impl Into<VecDeque<Bytes>>) -> Self {
        let outgoing = Outgoing {
            viewer: None,
            unsent: unsent.into(),
            state: State::Writing,
            has_missed: false,
            pong_is_out: false,
            end: None,
        };
        Self { socket, transport, outgoing: Mutex::new(outgoing), attention: Notify::new() }
    }

    /// The socket, to read from it.
    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether the peer takes nothing for now.
    pub(super) fn is_full(&self) -> bool {
        self.outgoing().state == State::Full
    }

    /// The peer has answered a ping.
    pub(super) fn pong_came(&self) {
        self.outgoing().pong_is_out = false;
    }

    /// Sends an answer to what the peer has sent.
    pub(super) fn answers(&self, frame: Bytes) {
        let mut outgoing = self.outgoing();
        outgoing.unsent.push_back(frame);
        outgoing.flush(self);
    }

    /// A heartbeat. False when the last one over WebSocket was not answered: the peer is gone.
    fn beat(&self) -> bool {
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

    /// Waits until the socket has taken all that there was, which may be more by then. False when it accepted nothing for this
    /// long, or is gone.
    async fn takes_bytes(&self, patience: Duration) -> bool {
        while self.is_full() {
            match timeout(patience, self.socket.writable()).await {
                Ok(Ok(())) => self.outgoing().flush(self),
                Ok(Err(_)) => return false,
                Err(_) => {
                    self.outgoing().viewer.iter_mut().for_each(|viewer| viewer.closes(Close::TooSlow));
                    return false;
                }
            }
        }
        self.outgoing().state != State::Gone
    }

    /// After the last frame. Closing at once could reset the connection and take that frame along: the peer may answer first.
    async fn lets_go(self: &Arc<Self>, incoming: &mut Incoming, end: Close) {
        match end {
            // Whatever comes after what was wrong is not read, so an answer would not be seen.
            Close::TooBig | Close::Broken | Close::NoText => tokio::time::sleep(CLOSE_LIMIT).await,
            _ if self.transport == Transport::Sse => {}
            _ => self.reads_to_the_end(incoming).await,
        }
    }

    /// Reads what is still to come and writes what still has to go out, for a while.
    async fn reads_to_the_end(self: &Arc<Self>, incoming: &mut Incoming) {
        let end = async {
            while self.takes_bytes(CLOSE_LIMIT).await && self.socket.readable().await.is_ok() {
                if matches!(incoming.read(self), Heard::Gone | Heard::Fault(_)) {
                    return;
                }
            }
        };
        // Either way there is nothing more to be done.
        let _ = timeout(CLOSE_LIMIT, end).await;
    }

    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock()
    }
}

impl Listener for OpenStream {
    fn hears(&self, event: &Arc<Event>) {
        self.outgoing().hears(self, |viewer| viewer.hears(event));
    }

    fn has_missed(&self) {
        self.outgoing().hears(self, Viewer::catches_up);
    }
}

impl Outgoing {
    /// What was recorded in the session. A viewer whose socket is full misses it for now.
    fn hears(&mut self, stream: &OpenStream, news: impl FnOnce(&mut Viewer)) {
        if self.state == State::Full {
            self.has_missed = true;
        } else {
            self.tell(stream, news);
        }
    }

    /// Lets the viewer know something, and writes what it says to that.
    fn tell(&mut self, stream: &OpenStream, news: impl FnOnce(&mut Viewer)) {
        // Where there is no viewer yet, it will see by itself what this is about.
        if let Some(viewer) = &mut self.viewer {
            news(viewer);
        }
        if self.state == State::Writing {
            self.flush(stream);
        }
    }

    /// Writes what there is until the socket takes no more.
    fn flush(&mut self, stream: &OpenStream) {
        self.state = loop {
            if self.unsent.is_empty() && !self.fill(stream.transport) {
                break self.end.map_or(State::Writing, State::Ended);
            }
            match write(&stream.socket, &mut self.unsent) {
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
        if self.unsent.is_empty() && self.unsent.capacity() > KEPT {
            self.unsent = VecDeque::new();
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
