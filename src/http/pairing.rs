//! Links by phone number: asks for a pairing code and reads the answer from the session's own log.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::body::JsonBody;
use super::error::ApiError;
use super::polling::why_not_to_link;
use super::{App, NamedPath};
use crate::event::{Code, Event, Kind, PairingError, PairingMethod};
use crate::id::InvalidSessionId;
use crate::session::registry::Ask;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CodeRequest {
    phone_number: Option<String>,
}

/// `POST /api/sessions/{id}/pairing-code`
pub(super) async fn code(
    State(app): State<App>,
    path: NamedPath,
    JsonBody { value: request, .. }: JsonBody<CodeRequest>,
) -> Result<Response, ApiError> {
    let Path(id) = path.map_err(|_| InvalidSessionId)?;
    let session = app.session(&id).await?;
    // Before the question, so that the answer cannot be missed.
    let watch = session.watch(None);
    if let Some(refusal) = why_not_to_link(&watch.state) {
        return Err(refusal);
    }
    let number = phone_number(request.phone_number.as_deref().unwrap_or_default())?;
    if !app.registry()?.ask(session.id(), Ask::Code { phone_number: number.clone() }).await? {
        return Err(ApiError::qr_not_ready());
    }
    let answer = tokio::time::timeout(PATIENCE, answer(watch.live, &number)).await;
    let code = answer.map_err(|_| ApiError::owner_silent())??;
    let body = json!({ "code": code.code, "expiresAt": code.expires_at });
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// The event that answers: a code for this number, or a refusal.
async fn answer(mut live: Receiver<std::sync::Arc<Event>>, number: &str) -> Result<Code, ApiError> {
    loop {
        let event = match live.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return Err(ApiError::owner_silent()),
        };
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
}

/// The digits of an international phone number. E.164 allows at most 15; WhatsApp takes none with fewer than 7.
pub(super) fn phone_number(text: &str) -> Result<String, ApiError> {
    let separators = [' ', '-', '.', '(', ')', '+'];
    let digits: String = text.chars().filter(|c| !separators.contains(c)).collect();
    let good = (7..=15).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !digits.starts_with('0');
    let allowed =
        "an international phone number, 7 to 15 digits with the country code, such as +905551234567";
    if good { Ok(digits) } else { Err(ApiError::invalid_body("phoneNumber", allowed)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_as_people_write_them() {
        for text in ["905551234567", "+90 555 123 45 67", "+1 (555) 123-4567"] {
            assert!(phone_number(text).unwrap().bytes().all(|b| b.is_ascii_digit()));
        }
        for text in ["", "123456", "0555 123 45 67", "+90 x", "1234567890123456", "٩٠٥٥٥١٢٣٤٥٦٧"]
        {
            assert!(phone_number(text).is_err(), "{text:?}");
        }
    }
}
