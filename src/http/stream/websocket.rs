//! A stream as WebSocket: the routes, and an encoder without logic. `src/stream.rs` decides what is said.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::header::SEC_WEBSOCKET_PROTOCOL;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::json;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame as WebSocketFrame;

use super::handover::{self, Opened};
use super::viewer::{CURSOR, Follow, FollowFeed};
use crate::clock;
use crate::close::Close;
use crate::event::{Time, frame, text_frame};
use crate::http::app::App;
use crate::http::describe::{Answer, Operation};
use crate::http::door::credentials::offered_protocols;
use crate::http::door::origins;
use crate::http::error::{ApiError, ErrorCode};
use crate::stream::Frame;
use crate::stream::guard::Transport;

/// The one subprotocol this server speaks.
const PROTOCOL: &str = "qrcast.v1";

const UPGRADE: &[Answer] = &[Answer::of(
    StatusCode::SWITCHING_PROTOCOLS,
    "A WebSocket. A refusal that passes with time is told on it as well",
    &[],
)];

pub(in crate::http) const WS: Operation = Operation {
    parameters: CURSOR,
    errors: &[ErrorCode::UpgradeRequired, ErrorCode::InvalidSubprotocol, ErrorCode::InvalidCursor],
    ..Operation::new("followSessionByWebSocket", "A session's events as they come, as WebSocket", UPGRADE)
};

pub(in crate::http) const FEED: Operation = Operation {
    errors: &[ErrorCode::UpgradeRequired, ErrorCode::InvalidSubprotocol],
    ..Operation::new(
        "followAllByWebSocket",
        "The events of all sessions under the key, as WebSocket",
        UPGRADE,
    )
};

/// `GET /api/sessions/{id}/ws`
pub(in crate::http) async fn upgrade(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    answer(app, request, async |parts, app| Follow::from_request_parts(parts, app).await).await
}

/// `GET /api/ws`
pub(in crate::http) async fn feed(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    answer(app, request, async |parts, app| Ok(FollowFeed::from_request_parts(parts, app).await?.0)).await
}

async fn answer(
    app: App,
    request: Request,
    follow: impl AsyncFnOnce(&mut Parts, &App) -> Result<Follow, ApiError>,
) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    origins::check(&app.config, &parts.headers)?;
    let protocol = subprotocol(&parts.headers)?;
    // After what the headers alone decide: it looks up a session and takes a place among the streams.
    let watch = match follow(&mut parts, &app).await? {
        Follow::Stream(request) if request.is_over() => Err(Close::Ended),
        Follow::Stream(request) => Ok(request),
        Follow::Refused(close) => Err(close),
    };
    let request = Request::from_parts(parts, ());
    let mut response =
        create_response_with_body(&request, Body::empty).map_err(|_| ErrorCode::UpgradeRequired)?;
    response.headers_mut().extend(protocol.map(|protocol| (SEC_WEBSOCKET_PROTOCOL, protocol)));
    Ok(handover::mark(response, Opened { app, transport: Transport::WebSocket, watch }))
}

/// What the answer says of a subprotocol: nothing if nothing was offered.
fn subprotocol(headers: &HeaderMap) -> Result<Option<HeaderValue>, ApiError> {
    if !headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        Ok(None)
    } else if offered_protocols(headers).any(|name| name == PROTOCOL) {
        Ok(Some(HeaderValue::from_static(PROTOCOL)))
    } else {
        Err(ErrorCode::InvalidSubprotocol.into())
    }
}

/// What goes out for a frame.
pub(super) fn encode(shown: &Frame) -> Bytes {
    match shown {
        Frame::Opening(opening) => control("status", json!(opening)),
        Frame::Event(event) => event.encoded().websocket.clone(),
        Frame::FeedOpening => Bytes::new(),
        Frame::FeedEvent(event) => event.in_feed().websocket.clone(),
        Frame::Heartbeat => {
            // A page cannot see a ping.
            let heartbeat = control("heartbeat", json!({ "now": Time::now() }));
            [frame(WebSocketFrame::ping(Bytes::new())), heartbeat].concat().into()
        }
        Frame::Goodbye(close) => goodbye(*close),
    }
}

/// The last frames: when to come back, and why it ends.
pub(super) fn goodbye(close: Close) -> Bytes {
    let drain = close
        .drain()
        .map(|(code, pause)| control("drain", json!({ "retryAfterMs": clock::millis(pause), "code": code })));
    let reason = CloseFrame { code: close.code().into(), reason: close.reason().into() };
    [drain.unwrap_or_default(), frame(WebSocketFrame::close(Some(reason)))].concat().into()
}

/// A control frame: no id, it is not history.
fn control(event: &str, data: serde_json::Value) -> Bytes {
    text_frame(json!({ "event": event, "data": data }).to_string())
}
