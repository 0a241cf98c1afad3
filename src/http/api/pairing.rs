//! Links by phone number: asks for a pairing code and reads the answer from the session's own log.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::Receiver;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::BroadcastStream;

use super::body::JsonBody;
use super::no_store::NoStore;
use super::phone::phone_number;
use super::polling::why_not_to_link;
use super::session_path::SessionPath;
use crate::event::{Code, Event, Kind, PairingError, PairingMethod, Time};
use crate::http::app::App;
use crate::http::describe::{Answer, Content, Operation};
use crate::http::error::{ApiError, ErrorCode, Warnings};
use crate::registry::Ask;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whose phone is to be asked.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct CodeRequest {
    /// As people write it, with the country's code.
    #[schemars(required, with = "String")]
    phone_number: Option<String>,
}

/// A code to type on the phone.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct CodeAnswer {
    /// `ABCD-1234`
    code: String,
    /// As it was understood.
    phone_number: String,
    expires_at: Time,
    #[serde(skip_serializing_if = "Warnings::is_empty")]
    warnings: Warnings,
}

pub(in crate::http) const PAIRING_CODE: Operation = Operation {
    body: Some(Content::json::<CodeRequest>(r#"{"phoneNumber": "+90 555 111 22 33"}"#)),
    errors: &[
        ErrorCode::SessionEnded,
        ErrorCode::AlreadyConnected,
        ErrorCode::QrNotReady,
        ErrorCode::QrExpired,
        ErrorCode::OwnerSilent,
        ErrorCode::CodeBadRequest,
        ErrorCode::CodeInvalidNumber,
        ErrorCode::CodeForbidden,
        ErrorCode::CodeRateOverlimit,
        ErrorCode::CodeNotAvailable,
        ErrorCode::CodeExpired,
        ErrorCode::CodeFailed,
    ],
    ..Operation::new(
        "requestPairingCode",
        "Asks WhatsApp for a code to type on the phone of this number",
        &[Answer::ok(
            "The code",
            &[Content::json::<CodeAnswer>(
                r#"{"code": "ABCD-1234", "phoneNumber": "905551112233", "expiresAt": "2025-11-24T12:03:00.000Z"}"#,
            )],
        )],
    )
};

/// `POST /api/sessions/{id}/pairing-code`
pub(in crate::http) async fn code(
    State(app): State<App>,
    SessionPath(id): SessionPath,
    JsonBody { value: request, warnings, .. }: JsonBody<CodeRequest>,
) -> Result<Response, ApiError> {
    let session = app.session(&id).await?;
    // Before the question, so that the answer cannot be missed.
    let watch = session.watch(None);
    if let Some(refusal) = why_not_to_link(&watch.state) {
        return Err(refusal);
    }
    let number = phone_number(request.phone_number.as_deref().unwrap_or_default());
    let number = number.map_err(|error| error.warning(warnings.clone()))?;
    let taken = app.limits.take_code(Some(session.id()), &number)?;
    let asked = app.registry()?.ask(session.id(), Ask::Code { phone_number: number.clone() }).await;
    if !matches!(asked, Ok(true)) {
        // No phone was asked to link.
        taken.give_back();
        return Err(asked.map_or_else(ApiError::from, |_| ApiError::from(ErrorCode::QrNotReady)));
    }
    let answer = tokio::time::timeout(PATIENCE, answer(watch.live, &number)).await;
    let code = answer.map_err(|_| ErrorCode::OwnerSilent)??;
    let answer = CodeAnswer { code: code.code, phone_number: number, expires_at: code.expires_at, warnings };
    Ok(NoStore(Json(answer)).into_response())
}

/// The event that answers: a code for this number, or a refusal.
async fn answer(live: Receiver<Arc<Event>>, number: &str) -> Result<Code, ApiError> {
    // A moment's lag costs nothing: the events that come next say as much.
    let mut events = BroadcastStream::new(live).filter_map(Result::ok);
    while let Some(event) = events.next().await {
        match &event.kind {
            Kind::Code(code) if code.phone_number == number => return Ok(code.clone()),
            Kind::PairingError(refusal @ PairingError { method: PairingMethod::Code, .. }) => {
                return Err(ApiError::no_code(refusal));
            }
            _ => {}
        }
        if let Some(refusal) = why_not_to_link(&event.state) {
            return Err(refusal);
        }
    }
    Err(ErrorCode::OwnerSilent.into())
}
