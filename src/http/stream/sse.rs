//! A stream as Server-Sent Events: the routes, and an encoder without logic. `src/stream.rs` decides what is said.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::handover::{self, Opened};
use super::viewer::{self, CURSOR, Follow, FollowFeed};
use crate::clock;
use crate::close::Close;
use crate::http::app::App;
use crate::http::describe::{Answer, Content, Operation};
use crate::http::error::ErrorCode;
use crate::stream::Frame;
use crate::stream::guard::Transport;

/// How long an `EventSource` waits before it comes back, in milliseconds.
const RETRY_MS: u64 = 2000;

/// A comment, which belongs to the block that comes next. An empty line behind it would end a block of nothing, and that
/// is an empty message to some clients.
const KEEP_ALIVE: &[u8] = b": keep-alive\n";

const STREAM: Answer = Answer::ok(
    "Server-Sent Events. A refusal that passes with time is told here as well, by `drain`",
    &[Content::text("text/event-stream", "retry: 2000\nevent: status\ndata: {\"status\":\"scan_qr\"}\n\n")],
);

pub(in crate::http) const EVENTS: Operation = Operation {
    parameters: CURSOR,
    errors: &[ErrorCode::InvalidCursor],
    ..Operation::new(
        "followSession",
        "A session's events as they come, as Server-Sent Events",
        &[
            STREAM,
            Answer::of(StatusCode::NO_CONTENT, "The session has ended, and the cursor is at its end", &[]),
        ],
    )
};

pub(in crate::http) const FEED: Operation =
    Operation::new("followAll", "The events of all sessions under the key, as Server-Sent Events", &[STREAM]);

/// `GET /api/sessions/{id}/events`
pub(in crate::http) async fn events(State(app): State<App>, follow: Follow) -> Response {
    answer(app, follow)
}

/// `GET /api/events`
pub(in crate::http) async fn feed(State(app): State<App>, FollowFeed(follow): FollowFeed) -> Response {
    answer(app, follow)
}

fn answer(app: App, follow: Follow) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        // Without a length the end of the connection is the end of the stream.
        (header::CONNECTION, "close"),
        // nginx would hold the events back otherwise.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    match follow {
        // Tells an EventSource to stop.
        Follow::Stream(request) if request.is_over() => StatusCode::NO_CONTENT.into_response(),
        Follow::Stream(request) => {
            let opened = Opened { app, transport: Transport::Sse, watch: Ok(request) };
            handover::mark(headers.into_response(), opened)
        }
        Follow::Refused(close) => {
            viewer::refused(Transport::Sse, close);
            (headers, goodbye(close)).into_response()
        }
    }
}

/// What goes out for a frame.
pub(super) fn encode(frame: &Frame) -> Bytes {
    match frame {
        Frame::Opening(opening) => {
            let data = serde_json::json!(opening);
            // One block: to some clients (httpx-sse, fetch-event-source) one without data is an empty message.
            format!("retry: {RETRY_MS}\nevent: status\ndata: {data}\n\n").into()
        }
        Frame::Event(event) => event.encoded().sse.clone(),
        // A part of the first block: a client knows by it that the stream is open.
        Frame::FeedOpening => format!("retry: {RETRY_MS}\n").into(),
        Frame::FeedEvent(event) => event.in_feed().sse.clone(),
        Frame::Heartbeat => Bytes::from_static(KEEP_ALIVE),
        Frame::Goodbye(close) => goodbye(*close),
    }
}

fn goodbye(close: Close) -> Bytes {
    let Some((code, pause)) = close.drain() else { return Bytes::new() };
    let pause = clock::millis(pause);
    format!("retry: {pause}\nevent: drain\ndata: {{\"retryAfterMs\":{pause},\"code\":\"{code}\"}}\n\n").into()
}
