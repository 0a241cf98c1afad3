//! One browser: opening, replay, live, heartbeat, goodbye.
//!
//! A [`Viewer`] yields [`Frame`]s and knows no socket; `http/stream/sse.rs` and `http/stream/websocket.rs` are its two encoders.

pub(crate) mod drain;
pub(crate) mod guard;
pub(crate) mod heartbeat;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use metrics::counter;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tracing::{Span, debug, debug_span};

use self::drain::{Drain, DrainingStream};
use self::guard::StreamGuard;
use self::heartbeat::Heartbeat;
use crate::close::Close;
use crate::event::{Cursor, Event, Me, Status, Time};
use crate::session::{CatchUp, Session, Watch};
use crate::telemetry::metrics::{GAPS, REPLAYS, VIEWER_LAGS};

/// One message to a browser.
#[derive(Debug)]
pub(crate) enum Frame {
    /// The status of the session; the first frame of every stream.
    Opening(Opening),
    /// An event of the session.
    Event(Arc<Event>),
    /// A sign of life while nothing happens.
    Heartbeat,
    /// The last frame.
    Goodbye(Close),
}

/// The `status` control frame. It carries no id: it is not history.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Opening {
    status: Status,
    since: Time,
    resumed: bool,
    gap: bool,
    me: Option<Me>,
    now: Time,
}

/// One viewer of one session, from its opening to its goodbye.
#[derive(Debug)]
pub(crate) struct Viewer {
    session: Arc<Session>,
    live: tokio::sync::broadcast::Receiver<Arc<Event>>,
    /// Events to send before anything new. Freed once it is empty.
    queue: VecDeque<Frame>,
    /// The last event that this viewer has.
    last: Option<Cursor>,
    heartbeat: Heartbeat,
    /// When its token expires.
    until: Option<Time>,
    /// Tells it when to end after the server has begun to stop.
    drain: DrainingStream,
    open: StreamGuard,
    span: Span,
    done: bool,
}

impl Viewer {
    /// Begins to watch a session after a cursor, or from now, until `drain` sends it away at its moment.
    pub(crate) fn new(
        session: Arc<Session>,
        after: Option<Cursor>,
        heartbeat: Heartbeat,
        open: StreamGuard,
        drain: &Drain,
    ) -> Self {
        let Watch { state, resumed, gap, last, replay, live } = session.watch(after);
        if resumed {
            counter!(REPLAYS).increment(1);
        }
        if gap {
            counter!(GAPS).increment(1);
        }
        let opening = Opening {
            status: state.status,
            since: state.since,
            resumed,
            gap,
            me: state.me,
            now: Time::now(),
        };
        let mut queue = VecDeque::with_capacity(replay.len() + 2);
        queue.push_back(Frame::Opening(opening));
        queue.extend(replay.into_iter().map(Frame::Event));
        if state.ended {
            queue.push_back(Frame::Goodbye(Close::Ended));
        }
        // The span exists at `debug` only: a recorded span costs memory in each of thousands of idle streams.
        let span = debug_span!("stream", sessionId = %session.id(), transport = open.transport().as_str());
        debug!(parent: &span, sessionId = %session.id(), resumed, gap, "stream opened");
        Self {
            session,
            live,
            queue,
            last,
            heartbeat,
            until: None,
            drain: drain.enter(),
            open,
            span,
            done: false,
        }
    }

    /// Ends the stream when its token has expired. This is checked at each heartbeat, which needs no timer of its own.
    #[must_use]
    pub(crate) fn until(mut self, until: Option<Time>) -> Self {
        self.until = until;
        self
    }

    /// The span in which the stream's transport runs.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Notes a reason of the transport for the end.
    pub(crate) fn closes(&mut self, end: Close) {
        self.open.closes(end);
    }

    /// The next frame; `None` after the goodbye.
    ///
    /// Cancel-safe: nothing is lost if it is dropped while it waits.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        if self.done {
            return None;
        }
        let frame = match self.queue.pop_front() {
            Some(frame) => frame,
            None => self.wait().await,
        };
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        if let Frame::Goodbye(end) = frame {
            self.open.closes(end);
            self.done = true;
        }
        Some(frame)
    }

    async fn wait(&mut self) -> Frame {
        loop {
            // The order matters: the last event of a session comes before the server's goodbye.
            let received = tokio::select! {
                biased;
                received = self.live.recv() => received,
                goodbye = self.drain.goodbye() => return Frame::Goodbye(goodbye),
                () = self.heartbeat.beat() => return self.heartbeat(),
            };
            match received {
                Ok(event) => self.enqueue([event]),
                // The channel is closed: the session itself has missed events.
                Err(error) => match self.session.catch_up(self.last) {
                    Some(CatchUp { missed, live }) => {
                        if let RecvError::Lagged(_) = error {
                            counter!(VIEWER_LAGS).increment(1);
                        }
                        self.live = live;
                        self.enqueue(missed);
                    }
                    None => return Frame::Goodbye(Close::TooSlow),
                },
            }
            if let Some(frame) = self.queue.pop_front() {
                return frame;
            }
        }
    }

    fn heartbeat(&self) -> Frame {
        match self.until {
            Some(until) if until <= Time::now() => Frame::Goodbye(Close::TokenExpired),
            _ => Frame::Heartbeat,
        }
    }

    fn enqueue(&mut self, events: impl IntoIterator<Item = Arc<Event>>) {
        for event in events {
            self.last = Some(event.at);
            let ended = event.state.ended;
            self.queue.push_back(Frame::Event(event));
            if ended {
                self.queue.push_back(Frame::Goodbye(Close::Ended));
            }
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let reason = self.open.reason();
        debug!(parent: &self.span, sessionId = %self.session.id(), reason, "stream closed");
    }
}
