//! A stream as WebSocket. An encoder without logic: `stream.rs` decides what is said.

use std::io::ErrorKind;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::HeaderMap;
use axum::http::header::SEC_WEBSOCKET_PROTOCOL;
use axum::response::Response;
use futures::SinkExt as _;
use serde_json::json;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tracing::Instrument as _;

use super::viewer::{self, Follow};
use crate::clock;
use crate::close::Close;
use crate::event::{Encoded, Time};
use crate::http::app::App;
use crate::http::door::credentials::offered_protocols;
use crate::http::door::origins;
use crate::http::error::{ApiError, ErrorCode};
use crate::stream::guard::Transport;
use crate::stream::{Frame, Viewer};

/// The one subprotocol this server speaks.
const PROTOCOL: &str = "qrcast.v1";

/// Most that a client may send at once, in bytes: it has nothing to say.
const MAX_INCOMING: usize = 4 * 1024;

/// tungstenite would reserve 128 KiB for reading, per connection; a viewer sends control frames.
const READ_BUFFER: usize = 512;

/// Most that may wait to be sent, in bytes: a frame of ours and a pong. Only a back-stop, for [`answered`] waits until a pong
/// is gone before the next frame is read; tungstenite's own limit is none at all.
const MAX_OUTGOING: usize = 256 * 1024;

/// How long a peer has to answer a close frame.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// `GET /api/sessions/{id}/ws`
pub(in crate::http) async fn upgrade(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    origins::check(&app.config, &parts.headers)?;
    check_subprotocol(&parts.headers)?;
    // After what the headers alone decide: it looks up a session and takes a place among the streams.
    let follow = Follow::from_request_parts(&mut parts, &app).await?;
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &app).await;
    let upgrade = upgrade.map_err(|_| ErrorCode::UpgradeRequired)?;
    let streams = app.streams.clone();
    let follow = match follow {
        Follow::Session(request) if request.is_over() => Err(Close::Ended),
        Follow::Session(request) => Ok(request.viewer(app.websocket_heartbeats.join(), Transport::WebSocket)),
        Follow::Refused(close) => Err(close),
    };
    let upgrade = upgrade
        .protocols([PROTOCOL])
        .read_buffer_size(READ_BUFFER)
        // Each frame is written at once.
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_OUTGOING)
        .max_message_size(MAX_INCOMING)
        .max_frame_size(MAX_INCOMING);
    Ok(upgrade.on_upgrade(move |socket| {
        streams.track(async move {
            match follow {
                Ok((viewer, _place)) => {
                    let span = viewer.span().clone();
                    run(socket, viewer).instrument(span).await;
                }
                Err(end) => {
                    // A session that the viewer has seen to its end does not count as a stream, as over SSE.
                    if end != Close::Ended {
                        viewer::refused(Transport::WebSocket, end);
                    }
                    close(socket, end).await;
                }
            }
        })
    }))
}

fn check_subprotocol(headers: &HeaderMap) -> Result<(), ApiError> {
    if !headers.contains_key(SEC_WEBSOCKET_PROTOCOL)
        || offered_protocols(headers).any(|name| name == PROTOCOL)
    {
        Ok(())
    } else {
        Err(ErrorCode::InvalidSubprotocol.into())
    }
}

/// The whole life of one connection: what the viewer is told, what it answers, and its end.
async fn run(mut socket: WebSocket, mut viewer: Viewer) {
    let mut pong_is_out = false;
    let end = loop {
        tokio::select! {
            frame = viewer.next() => {
                let message = match frame {
                    Some(Frame::Heartbeat) if pong_is_out => return,
                    Some(Frame::Heartbeat) => {
                        pong_is_out = true;
                        if let Err(error) = socket.send(Message::Ping(Default::default())).await {
                            return cannot_send(&mut viewer, &error);
                        }
                        // A page cannot see a ping.
                        control("heartbeat", json!({ "now": Time::now() }))
                    }
                    Some(Frame::Goodbye(end)) => break end,
                    Some(Frame::Opening(opening)) => control("status", json!(opening)),
                    Some(Frame::Event(event)) => text(event.encoded()),
                    None => return,
                };
                if let Err(error) = socket.send(message).await {
                    return cannot_send(&mut viewer, &error);
                }
            }
            received = socket.recv() => match received {
                Some(Ok(Message::Pong(_))) => pong_is_out = false,
                Some(Ok(Message::Ping(_))) => {
                    if let Err(error) = answered(&mut socket).await {
                        return cannot_send(&mut viewer, &error);
                    }
                }
                // A client has nothing else to say.
                Some(Ok(Message::Text(_) | Message::Binary(_))) => {}
                // The same frame is on its way back already, and has to go out: RFC 6455, section 5.5.1.
                Some(Ok(Message::Close(_))) => return read_to_the_end(&mut socket).await,
                Some(Err(error)) => match fault(&error) {
                    Some(end) => break end,
                    None => return,
                },
                None => return,
            },
        }
    };
    viewer.closes(end);
    close(socket, end).await;
}

/// Waits until the pong that tungstenite gives by itself is on its way. It would go on reading while the peer takes no bytes,
/// and keep a pong for each ping: so nothing more is read from a peer that asks and does not listen.
async fn answered(socket: &mut WebSocket) -> Result<(), axum::Error> {
    socket.flush().await
}

async fn close(mut socket: WebSocket, close: Close) {
    if let Some((code, pause)) = close.drain() {
        let pause = clock::millis(pause);
        // The close frame follows in any case, and fails if this did.
        let _ = socket.send(control("drain", json!({ "retryAfterMs": pause, "code": code }))).await;
    }
    let frame = CloseFrame { code: close.code(), reason: Utf8Bytes::from_static(close.reason()) };
    if socket.send(Message::Close(Some(frame))).await.is_err() {
        return;
    }
    // Closing at once could reset the connection and take the last frames with it: the peer may answer first.
    match close {
        // Whatever comes after what was wrong is not read, so an answer would not be seen.
        Close::TooBig | Close::Broken | Close::NoText => tokio::time::sleep(CLOSE_LIMIT).await,
        _ => read_to_the_end(&mut socket).await,
    }
}

/// Reads what is still to come and writes what still has to go out, for a while.
async fn read_to_the_end(socket: &mut WebSocket) {
    let end = async { while let Some(Ok(_)) = socket.recv().await {} };
    // Either way there is nothing more to be done.
    let _ = tokio::time::timeout(CLOSE_LIMIT, end).await;
}

fn text(encoded: &Encoded) -> Message {
    // Made from a `String`, so it is valid; the check costs a pass over a few hundred bytes to 10 KB.
    match Utf8Bytes::try_from(encoded.websocket.clone()) {
        Ok(text) => Message::Text(text),
        Err(_) => Message::Binary(encoded.websocket.clone()),
    }
}

/// A control frame: no id, it is not history.
fn control(event: &str, data: serde_json::Value) -> Message {
    Message::Text(json!({ "event": event, "data": data }).to_string().into())
}

/// What a viewer did wrong whose bytes cannot be read; `None` when it is just gone.
fn fault(error: &axum::Error) -> Option<Close> {
    match cause(error)? {
        tungstenite::Error::Capacity(_) => Some(Close::TooBig),
        tungstenite::Error::Utf8(_) => Some(Close::NoText),
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        tungstenite::Error::Protocol(_) => Some(Close::Broken),
        _ => None,
    }
}

/// Notes why nothing can be sent: the viewer is gone, or accepts no data.
fn cannot_send(viewer: &mut Viewer, error: &axum::Error) {
    if is_time_out(error) {
        viewer.closes(Close::TooSlow);
    }
}

/// Whether the listener gave up on a viewer that accepts no data.
fn is_time_out(error: &axum::Error) -> bool {
    matches!(cause(error), Some(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::TimedOut)
}

fn cause(error: &axum::Error) -> Option<&tungstenite::Error> {
    use std::error::Error as _;
    error.source().and_then(|source| source.downcast_ref())
}
