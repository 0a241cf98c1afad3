//! One browser: opening, replay, live, heartbeat, goodbye. It watches one session, or the feed of all of them.
//!
//! A [`Viewer`] yields [`Frame`]s and knows no socket: `http/stream/socket.rs` writes them, in the words of its two encoders,
//! `http/stream/sse.rs` and `http/stream/websocket.rs`.

pub(crate) mod drain;
pub(crate) mod guard;
pub(crate) mod heartbeat;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use metrics::counter;
use schemars::JsonSchema;
use serde::Serialize;
use tracing::{Span, debug, debug_span};

use self::guard::StreamGuard;
use crate::close::Close;
use crate::event::{Cursor, Event, Me, Status, Time};
use crate::session::{Session, Watch};
use crate::telemetry::metrics::{GAPS, REPLAYS, VIEWER_LAGS};

/// An idle stream keeps room for this many frames.
pub(crate) const IDLE_FRAMES: usize = 4;

/// How many events of the feed may wait for a viewer whose socket is full. Each is encoded once for all viewers.
const FEED_BACKLOG: usize = 1024;

/// One message to a browser.
#[derive(Debug)]
pub(crate) enum Frame {
    /// The status of the session; the first frame of its stream.
    Opening(Box<Opening>),
    /// An event of the session.
    Event(Arc<Event>),
    /// The first frame of the feed, which has nothing to say.
    FeedOpening,
    /// An event of any session.
    FeedEvent(Arc<Event>),
    /// A sign of life while nothing happens.
    Heartbeat,
    /// The last frame.
    Goodbye(Close),
}

/// The `status` control frame. It carries no id: it is not history.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Opening {
    status: Status,
    since: Time,
    resumed: bool,
    gap: bool,
    me: Option<Me>,
    now: Time,
}

/// One viewer, from its opening to its goodbye. It waits for nothing: its transport tells it what happens, and takes the frames
/// that follow from that.
pub(crate) struct Viewer {
    source: Source,
    /// Frames to send.
    queue: VecDeque<Frame>,
    /// When its token expires.
    until: Option<Time>,
    open: StreamGuard,
    span: Span,
    done: bool,
}

/// Which events a viewer of the feed may see.
pub(crate) type Takes = Box<dyn Fn(&Event) -> bool + Send + Sync>;

/// What a viewer watches.
enum Source {
    /// One session. `last`: the last event that was put in the queue.
    Session { session: Arc<Session>, last: Option<Cursor> },
    /// All sessions whose events this takes.
    Feed { takes: Takes },
}

impl Viewer {
    /// Begins to watch a session after a cursor, or from now.
    pub(crate) fn new(session: Arc<Session>, after: Option<Cursor>, open: StreamGuard) -> Self {
        let Watch { state, resumed, gap, last, replay, .. } = session.watch(after);
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
        queue.push_back(Frame::Opening(Box::new(opening)));
        queue.extend(replay.into_iter().map(Frame::Event));
        if state.ended {
            queue.push_back(Frame::Goodbye(Close::Ended));
        }
        // The span exists at `debug` only: a recorded span costs memory in each of thousands of idle streams.
        let span = debug_span!("stream", sessionId = %session.id(), transport = open.transport().as_str());
        debug!(parent: &span, sessionId = %session.id(), resumed, gap, "stream opened");
        Self { source: Source::Session { session, last }, queue, until: None, open, span, done: false }
    }

    /// Begins to watch all sessions whose events `takes` lets through, from now on.
    pub(crate) fn of_feed(takes: Takes, open: StreamGuard) -> Self {
        let span = debug_span!("stream", transport = open.transport().as_str());
        debug!(parent: &span, "stream of all sessions opened");
        let queue = VecDeque::from([Frame::FeedOpening]);
        Self { source: Source::Feed { takes }, queue, until: None, open, span, done: false }
    }

    /// Ends the stream when its token has expired. This is checked at each heartbeat, which needs no timer of its own.
    #[must_use]
    pub(crate) fn until(mut self, until: Option<Time>) -> Self {
        self.until = until;
        self
    }

    /// Notes a reason of the transport for the end.
    pub(crate) fn closes(&mut self, end: Close) {
        self.open.closes(end);
    }

    /// An event was recorded. The viewer was told of all before it: see [`Viewer::catches_up`].
    pub(crate) fn hears(&mut self, event: &Arc<Event>) {
        match &self.source {
            Source::Session { last, .. } if last.is_none_or(|last| last < event.at) => {
                self.enqueue(event.clone());
            }
            Source::Feed { takes } if takes(event) => {
                self.queue.push_back(Frame::FeedEvent(event.clone()));
            }
            Source::Session { .. } | Source::Feed { .. } => {}
        }
    }

    /// An event was recorded while its socket is full. False where it has to catch up later.
    pub(crate) fn hears_later(&mut self, event: &Arc<Event>) -> bool {
        match self.source {
            // It reads the session's history.
            Source::Session { .. } => false,
            Source::Feed { .. } if self.queue.len() >= FEED_BACKLOG => false,
            Source::Feed { .. } => {
                self.hears(event);
                true
            }
        }
    }

    /// It fell behind: events may have been recorded that it did not hear.
    pub(crate) fn catches_up(&mut self) {
        counter!(VIEWER_LAGS).increment(1);
        match self.source {
            Source::Session { .. } => self.reads_history(),
            // Nothing keeps them in one order. It reads the list of sessions when it is back.
            Source::Feed { .. } => self.fails(Close::Missed),
        }
    }

    fn reads_history(&mut self) {
        let Source::Session { session, last } = &self.source else { return };
        match session.missed(*last) {
            Some(missed) => missed.into_iter().for_each(|event| self.enqueue(event)),
            None => self.queue.push_back(Frame::Goodbye(Close::TooSlow)),
        }
    }

    /// It is time for a sign of life.
    pub(crate) fn beat(&mut self) {
        self.queue.push_back(match self.until {
            Some(until) if until <= Time::now() => Frame::Goodbye(Close::TokenExpired),
            _ => Frame::Heartbeat,
        });
    }

    /// It ends at once, for this reason of its transport.
    pub(crate) fn fails(&mut self, end: Close) {
        self.queue = VecDeque::from([Frame::Goodbye(end)]);
    }

    /// It has to go. The session's last event comes before the goodbye.
    pub(crate) fn leaves(&mut self, end: Close) {
        self.reads_history();
        self.queue.push_back(Frame::Goodbye(end));
    }

    /// The next frame that is there. Nothing comes after the goodbye.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        if self.done {
            return None;
        }
        let frame = self.queue.pop_front();
        if self.queue.is_empty() {
            self.queue.shrink_to(IDLE_FRAMES);
        }
        if let Some(Frame::Goodbye(end)) = frame {
            self.open.closes(end);
            self.done = true;
        }
        frame
    }

    fn enqueue(&mut self, event: Arc<Event>) {
        if let Source::Session { last, .. } = &mut self.source {
            *last = Some(event.at);
        }
        let ended = event.state.ended;
        self.queue.push_back(Frame::Event(event));
        if ended {
            self.queue.push_back(Frame::Goodbye(Close::Ended));
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let reason = self.open.reason();
        match &self.source {
            Source::Session { session, .. } => {
                debug!(parent: &self.span, sessionId = %session.id(), reason, "stream closed");
            }
            Source::Feed { .. } => debug!(parent: &self.span, reason, "stream of all sessions closed"),
        }
    }
}
