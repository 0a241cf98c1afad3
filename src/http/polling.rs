//! For clients that poll: the QR and the status of a session, as the old service had them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};

use super::error::ApiError;
use super::{App, NamedPath};
use crate::event::{Event, Kind, Me, Qr, Reason, Status, Time};
use crate::id::{InvalidSessionId, SessionId};
use crate::qr;
use crate::session::Snapshot;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QrAnswer<'a> {
    session_id: &'a SessionId,
    qr_string: &'a str,
    qr_data_url: String,
    expires_at: Time,
    time_remaining: u64,
    is_valid: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusAnswer<'a> {
    session_id: &'a SessionId,
    status: Status,
    user_id: &'a str,
    connected_at: Option<Time>,
    has_qr_code: bool,
    client_active: bool,
    /// Milliseconds since connected.
    uptime: Option<u64>,
    last_event_id: Option<String>,
    me: Option<Me>,
    reason: Option<Reason>,
    owner: &'a str,
    metadata: Option<&'a Map<String, Value>>,
}

/// `GET /api/qr-code/{id}`, also with `.png` or `.svg` behind the id.
pub(super) async fn qr_code(State(app): State<App>, path: NamedPath) -> Result<Response, ApiError> {
    let Path(name) = path.map_err(|_| InvalidSessionId)?;
    let (id, format) = match name.rsplit_once('.') {
        Some((id, "png")) => (id, Format::Png),
        Some((id, "svg")) => (id, Format::Svg),
        _ => (name.as_str(), Format::Json),
    };
    let session = app.session(id)?;
    let event = live_qr(&session.snapshot())?;
    let Kind::Qr(qr) = &event.kind else { return Err(ApiError::qr_not_ready()) };
    let no_store = (header::CACHE_CONTROL, "no-store");
    Ok(match format {
        Format::Png => {
            ([no_store, (header::CONTENT_TYPE, "image/png")], qr::png(&qr.qr_string)).into_response()
        }
        Format::Svg => {
            ([no_store, (header::CONTENT_TYPE, "image/svg+xml")], qr::svg(&qr.qr_string)).into_response()
        }
        Format::Json => ([no_store], Json(qr_answer(session.id(), qr))).into_response(),
    })
}

enum Format {
    Json,
    Png,
    Svg,
}

/// `GET /api/session-status/{id}`
pub(super) async fn status(State(app): State<App>, path: NamedPath) -> Result<Response, ApiError> {
    let Path(id) = path.map_err(|_| InvalidSessionId)?;
    let session = app.session(&id)?;
    let Snapshot { state, last, qr } = session.snapshot();
    let answer = StatusAnswer {
        session_id: session.id(),
        status: state.status,
        user_id: session.id().user_id(),
        connected_at: state.connected_at,
        has_qr_code: qr.is_some(),
        client_active: !matches!(state.status, Status::Disconnected | Status::Failed),
        uptime: state.connected_at.map(|since| millis(since.elapsed(Time::now()))),
        last_event_id: last.map(|cursor| cursor.to_string()),
        me: state.me,
        reason: state.reason,
        owner: &app.inner.replica,
        metadata: session.about().metadata.as_ref(),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

fn qr_answer<'a>(session_id: &'a SessionId, qr: &'a Qr) -> QrAnswer<'a> {
    let remaining = qr.expires_at.remaining(Time::now());
    QrAnswer {
        session_id,
        qr_string: &qr.qr_string,
        qr_data_url: qr::data_url(&qr.qr_string),
        expires_at: qr.expires_at,
        time_remaining: millis(remaining),
        is_valid: !remaining.is_zero(),
    }
}

/// The QR that can be scanned now, or why there is none.
fn live_qr(snapshot: &Snapshot) -> Result<Arc<Event>, ApiError> {
    let state = &snapshot.state;
    match (&snapshot.qr, state.status) {
        (Some(event), _) => Ok(event.clone()),
        (None, _) if state.ended => {
            Err(ApiError::session_ended(state.reason.map_or("unknown", Reason::as_str)))
        }
        (None, Status::Authenticated | Status::Connected) => Err(ApiError::already_connected()),
        (None, Status::Reconnecting) if state.me.is_some() => Err(ApiError::already_connected()),
        (None, Status::Disconnected | Status::Failed) => Err(ApiError::qr_expired()),
        (None, Status::Initializing | Status::Reconnecting | Status::ScanQr) => Err(ApiError::qr_not_ready()),
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
