//! The task of one open stream: heartbeats, what the browser sends, the end, and a socket that is full. Events go out without
//! it (`socket.rs`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::handover::Opened;
use super::incoming::{Heard, Incoming};
use super::socket::{RawConnection, State, StreamSocket};
use super::viewer::Request;
use super::{viewer, websocket};
use crate::close::Close;
use crate::http::app::App;
use crate::http::door::limits::Place;
use crate::session::Seat;
use crate::stream::drain::DrainingStream;
use crate::stream::guard::Transport;
use crate::stream::heartbeat::Heartbeat;

/// How long a peer has to answer a close frame.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// The stream's own task.
struct Task {
    stream: Arc<StreamSocket>,
    incoming: Incoming,
    beats: Heartbeat,
    draining: DrainingStream,
    _held: (Seat, Place),
}

/// Begins a stream on the connection of its request, with the head of the answer, and runs it until either side ends it. The
/// task that does so is small: there may be tens of thousands. `read_already`: what hyper has read beyond the request.
pub(in crate::http) fn start(opened: Opened, head: Bytes, connection: RawConnection, read_already: Bytes) {
    let Opened { app, transport, watch } = opened;
    let mut incoming = Incoming::new(transport, read_already);
    match watch {
        Ok(request) => {
            let stream = StreamSocket::new(connection, transport, [head], None);
            let mut task = follow(&app, request, Arc::new(stream), incoming);
            app.streams.spawn(async move { task.run().await });
        }
        Err(end) => {
            // A session that the viewer has seen to its end does not count as a stream, as over SSE.
            if end != Close::Ended {
                viewer::refused(transport, end);
            }
            let frames = [head, websocket::goodbye(end)];
            let stream = Arc::new(StreamSocket::new(connection, transport, frames, Some(end)));
            app.streams.spawn(async move {
                stream.flush();
                if stream.takes_bytes().await {
                    lets_go(&stream, &mut incoming, end).await;
                }
            });
        }
    }
}

fn follow(app: &App, request: Request, stream: Arc<StreamSocket>, incoming: Incoming) -> Task {
    let transport = stream.transport();
    let seat = request.join(app, stream.clone());
    let beats = match transport {
        Transport::Sse => app.sse_heartbeats.join(),
        Transport::WebSocket => app.websocket_heartbeats.join(),
    };
    let place = stream.begin(|| request.viewer(transport));
    Task { stream, incoming, beats, draining: app.drain.enter(), _held: (seat, place) }
}

impl Task {
    async fn run(&mut self) {
        let Self { stream, incoming, beats, draining, .. } = self;
        let mut heard = Heard::Nothing;
        loop {
            match heard {
                Heard::Nothing => {}
                Heard::Gone => return,
                Heard::Closing => {
                    // The answer is on its way; whether it arrives changes nothing.
                    let _ = timeout(CLOSE_LIMIT, stream.takes_bytes()).await;
                    return;
                }
                Heard::Fault(end) => stream.tell(|viewer| viewer.fails(end)),
            }
            heard = Heard::Nothing;
            match stream.state() {
                State::Writing => {}
                State::Full if stream.takes_bytes().await => continue,
                State::Full | State::Gone => return,
                State::Ended(end) => return lets_go(stream, incoming, end).await,
            }
            tokio::select! {
                () = stream.changes() => {}
                end = draining.goodbye() => stream.tell(|viewer| viewer.leaves(end)),
                () = beats.beat() => if !stream.beat() { return },
                () = yield_now(), if incoming.has_bytes() => heard = incoming.read(stream),
                ready = stream.socket().readable() => match ready {
                    Ok(()) => heard = incoming.read(stream),
                    Err(_) => return,
                },
            }
        }
    }
}

/// After the last frame. Closing at once could reset the connection and take that frame along: the peer may answer first.
async fn lets_go(stream: &Arc<StreamSocket>, incoming: &mut Incoming, end: Close) {
    match end {
        // Whatever comes after what was wrong is not read, so an answer would not be seen.
        Close::TooBig | Close::Broken | Close::NoText => tokio::time::sleep(CLOSE_LIMIT).await,
        _ if stream.transport() == Transport::Sse => {}
        _ => reads_to_the_end(stream, incoming).await,
    }
}

/// Reads what is still to come and writes what still has to go out, for a while.
async fn reads_to_the_end(stream: &Arc<StreamSocket>, incoming: &mut Incoming) {
    let end = async {
        while stream.takes_bytes().await
            && (incoming.has_bytes() || stream.socket().readable().await.is_ok())
            && incoming.read(stream) == Heard::Nothing
        {}
    };
    // Either way there is nothing more to be done.
    let _ = timeout(CLOSE_LIMIT, end).await;
}
