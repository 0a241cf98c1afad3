//! What has happened to a session up to now, for the dashboard: its log, read once. `stream/` tells what comes next.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::no_store::NoStore;
use super::session_path::SessionPath;
use crate::event::Reason;
use crate::http::app::App;
use crate::http::describe::{Answer, Content, Operation};
use crate::http::error::{ApiError, ErrorCode};
use crate::id::SessionId;

/// The events of a session that the server keeps.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct LogAnswer<'a> {
    session_id: &'a SessionId,
    /// The newest ones, as many as `HISTORY_EVENTS` says, oldest first.
    #[schemars(with = "Vec<LoggedEvent>")]
    events: Vec<Box<RawValue>>,
}

/// An event as the feed has it: a QR has neither `qrString` nor `qrDataUrl`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "an event encodes itself; this is its description")]
struct LoggedEvent {
    id: String,
    event: String,
    /// See `/asyncapi.json`.
    data: Value,
}

pub(in crate::http) const LOG: Operation = Operation {
    errors: &[ErrorCode::SessionEnded],
    ..Operation::new(
        "getSessionLog",
        "What has happened to a session",
        &[Answer::ok(
            "Its log",
            &[Content::json::<LogAnswer<'_>>(
                r#"{"sessionId": "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11", "events": [{"id": "1763985600000-1", "event": "qr",
            "data": {"id": "1763985600000-1", "sessionId": "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11",
            "at": "2025-11-24T12:00:00.000Z", "expiresAt": "2025-11-24T12:01:00.000Z", "attempt": 1, "maxAttempts": 6}}]}"#,
            )],
        )],
    )
};

/// `GET /api/sessions/{id}/log`
pub(in crate::http) async fn log(
    State(app): State<App>,
    SessionPath(id): SessionPath,
) -> Result<Response, ApiError> {
    let session = app.session(&id).await?;
    if session.snapshot().deleted.is_some() {
        return Err(ApiError::session_ended(Reason::Deleted.as_str()));
    }
    let events = session.events().iter().map(|event| event.to_feed_json()).collect();
    Ok(NoStore(Json(LogAnswer { session_id: &id, events })).into_response())
}
