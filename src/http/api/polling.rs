//! For clients that poll: the QR and the status of a session, as the old service had them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Extracted};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::no_store::NoStore;
use super::session_path::SessionPath;
use crate::clock;
use crate::event::{Event, Kind, Me, Missing, Qr, Reason, State, Status, Time};
use crate::http::app::App;
use crate::http::describe::{Answer, Content, Operation};
use crate::http::error::{ApiError, ErrorCode};
use crate::http::pages::CROSS_ORIGIN;
use crate::id::{InvalidSessionId, SessionId};
use crate::qr;
use crate::registry::Registry;
use crate::session::{Session, Snapshot};

/// The QR that can be scanned now.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct QrAnswer<'a> {
    session_id: &'a SessionId,
    qr_string: &'a str,
    /// A PNG.
    qr_data_url: Option<&'a str>,
    expires_at: Time,
    /// Milliseconds.
    time_remaining: i64,
    is_valid: bool,
}

/// Where a session stands, for one that polls and in the list of all.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct StatusAnswer<'a> {
    session_id: &'a SessionId,
    status: Status,
    /// Since when it has this status.
    since: Time,
    user_id: &'a str,
    connected_at: Option<Time>,
    has_qr_code: bool,
    client_active: bool,
    /// Milliseconds since connected.
    uptime: Option<i64>,
    last_event_id: Option<String>,
    me: Option<Me>,
    /// Of the last `disconnected`.
    reason: Option<Reason>,
    /// Of the last `disconnected`.
    detail: Option<String>,
    /// Of the last `disconnected`.
    help: Option<String>,
    /// Whether something of the account could not be fetched yet, though it is linked.
    incomplete: bool,
    /// What.
    missing: Option<Missing>,
    owner: Option<String>,
    metadata: Option<&'a Map<String, Value>>,
}

impl<'a> StatusAnswer<'a> {
    pub(in crate::http) fn of(session: &'a Session, registry: &Registry) -> Self {
        let Snapshot { state, last, qr, owner, .. } = session.snapshot();
        Self {
            session_id: session.id(),
            status: state.status,
            since: state.since,
            user_id: session.id().user_id(),
            connected_at: state.connected_at,
            has_qr_code: qr.is_some(),
            client_active: state.runs() && registry.is_attended(session.id(), owner.as_deref()),
            uptime: state.connected_at.map(|since| clock::millis(since.elapsed(Time::now()))),
            last_event_id: last.map(|cursor| cursor.to_string()),
            me: state.me,
            reason: state.reason,
            detail: state.detail,
            help: state.help,
            incomplete: state.missing.is_some(),
            missing: state.missing,
            owner,
            metadata: session.about().metadata.as_ref(),
        }
    }
}

pub(in crate::http) const QR_CODE: Operation = Operation {
    errors: &[
        ErrorCode::QrNotReady,
        ErrorCode::AlreadyConnected,
        ErrorCode::QrExpired,
        ErrorCode::SessionEnded,
    ],
    ..Operation::new(
        "getQrCode",
        "The QR that can be scanned now; with `.png` or `.svg` behind the id, as a picture",
        &[Answer::ok(
            "The QR",
            &[
                Content::json::<QrAnswer<'_>>(
                    r#"{"sessionId": "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11",
                    "qrString": "2@ref,noise,identity,secret,1", "qrDataUrl": "data:image/png;base64,iVBORw0KGgo=",
                    "expiresAt": "2025-11-24T12:01:00.000Z", "timeRemaining": 41250, "isValid": true}"#,
                ),
                Content::text("image/png", ""),
                Content::text("image/svg+xml", "<svg xmlns=\"http://www.w3.org/2000/svg\"/>"),
            ],
        )],
    )
};

pub(in crate::http) const STATUS: Operation = Operation::new(
    "getSessionStatus",
    "Where a session stands",
    &[Answer::ok(
        "Its status",
        &[Content::json::<StatusAnswer<'_>>(
            r#"{"sessionId": "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11", "status": "connected", "since": "2025-11-24T12:00:00.000Z", "userId": "ada",
            "connectedAt": "2025-11-24T12:00:00.000Z", "hasQrCode": false, "clientActive": true, "uptime": 61000,
            "lastEventId": "1763985600000-3",
            "me": {"id": "905551112233:1@s.whatsapp.net", "pushName": "Ada", "platform": "android"},
            "reason": null, "detail": null, "help": null, "incomplete": false, "missing": null,
            "owner": "b7e3", "metadata": {"order": 7}}"#,
        )],
    )],
);

/// `GET /api/qr-code/{id}`, also with `.png` or `.svg` behind the id.
pub(in crate::http) async fn qr_code(
    Extracted(app): Extracted<App>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path(name) = path.map_err(|_| InvalidSessionId)?;
    let (id, format) = match name.rsplit_once('.') {
        Some((id, "png")) => (id, Format::Png),
        Some((id, "svg")) => (id, Format::Svg),
        _ => (name.as_str(), Format::Json),
    };
    let session = app.session(&id.parse()?).await?;
    let event = live_qr(&session.snapshot())?;
    let Kind::Qr(qr) = &event.kind else { return Err(ErrorCode::QrNotReady.into()) };
    let kind = |kind| ([(header::CONTENT_TYPE, kind)], CROSS_ORIGIN);
    let picture = event.encoded().qr_data_url.as_deref();
    Ok(match format {
        Format::Png => NoStore((kind("image/png"), qr::png_of(picture.unwrap_or_default())).into_response()),
        Format::Svg => NoStore((kind("image/svg+xml"), qr::svg(&qr.qr_string)).into_response()),
        Format::Json => NoStore(Json(qr_answer(session.id(), qr, picture)).into_response()),
    }
    .into_response())
}

enum Format {
    Json,
    Png,
    Svg,
}

/// `GET /api/session-status/{id}`
pub(in crate::http) async fn status(
    Extracted(app): Extracted<App>,
    SessionPath(id): SessionPath,
) -> Result<Response, ApiError> {
    let session = app.session(&id).await?;
    let answer = StatusAnswer::of(&session, app.registry()?);
    Ok(NoStore(Json(answer)).into_response())
}

fn qr_answer<'a>(session_id: &'a SessionId, qr: &'a Qr, qr_data_url: Option<&'a str>) -> QrAnswer<'a> {
    let remaining = qr.expires_at.remaining(Time::now());
    QrAnswer {
        session_id,
        qr_string: &qr.qr_string,
        qr_data_url,
        expires_at: qr.expires_at,
        time_remaining: clock::millis(remaining),
        is_valid: !remaining.is_zero(),
    }
}

/// The QR that can be scanned now, or why there is none.
fn live_qr(snapshot: &Snapshot) -> Result<Arc<Event>, ApiError> {
    match &snapshot.qr {
        Some(event) => Ok(event.clone()),
        None => Err(why_not_to_link(&snapshot.state).unwrap_or(ErrorCode::QrNotReady.into())),
    }
}

/// Why nobody can link this session now; `None` when somebody can, or soon.
pub(super) fn why_not_to_link(state: &State) -> Option<ApiError> {
    match state.status {
        _ if state.ended => Some(ApiError::session_ended(state.reason.map_or("unknown", Reason::as_str))),
        _ if state.me.is_some() => Some(ErrorCode::AlreadyConnected.into()),
        Status::Authenticated | Status::Connected => Some(ErrorCode::AlreadyConnected.into()),
        Status::Disconnected | Status::Failed => Some(ErrorCode::QrExpired.into()),
        Status::Initializing | Status::Reconnecting | Status::ScanQr | Status::PasskeyRequired => None,
    }
}
