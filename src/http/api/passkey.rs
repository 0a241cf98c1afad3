//! The passkey that WhatsApp asks for before it links some accounts: takes the browser's answer, and the person's word that
//! the phone shows the same code. What follows comes as an event.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::body::JsonBody;
use super::polling::why_not_to_link;
use super::session_path::SessionPath;
use crate::event::{Assertion, Kind, Passkey};
use crate::http::app::App;
use crate::http::describe::{Answer, Content, Operation};
use crate::http::error::{ApiError, ErrorCode, Warnings};
use crate::id::SessionId;
use crate::registry::Ask;
use crate::session::Session;

/// As browsers write bytes in JSON: base64url, usually without padding.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What the browser made of the passkey.
#[derive(Deserialize, JsonSchema)]
pub(in crate::http) struct AnswerRequest {
    #[schemars(required, with = "Credential")]
    credential: Option<Credential>,
}

/// It was passed on; what follows comes as an event.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct PassedOn<'a> {
    session_id: &'a SessionId,
    #[serde(skip_serializing_if = "Warnings::is_empty")]
    warnings: Warnings,
}

/// What `PublicKeyCredential.toJSON()` gives. Its other fields say things about the browser that WhatsApp does not ask for:
/// they are dropped.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Credential {
    raw_id: Option<String>,
    id: Option<String>,
    r#type: Option<String>,
    response: Option<AssertionResponse>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct AssertionResponse {
    #[serde(rename = "clientDataJSON")]
    client_data_json: Option<String>,
    authenticator_data: Option<String>,
    signature: Option<String>,
    user_handle: Option<String>,
}

/// Why a passkey step may not be done.
const ERRORS: &[ErrorCode] = &[
    ErrorCode::NoPasskeyStep,
    ErrorCode::SessionEnded,
    ErrorCode::AlreadyConnected,
    ErrorCode::QrExpired,
    ErrorCode::OwnerSilent,
];

const PASSED_ON: &[Answer] = &[Answer::of(
    StatusCode::ACCEPTED,
    "It goes to WhatsApp; what follows comes on the stream",
    &[Content::json::<PassedOn<'_>>(r#"{"sessionId": "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11"}"#)],
)];

pub(in crate::http) const ANSWER: Operation = Operation {
    body: Some(Content::json::<AnswerRequest>(
        r#"{"credential": {"id": "q83v", "rawId": "q83v", "type": "public-key", "response": {
            "clientDataJSON": "e30", "authenticatorData": "AAAA", "signature": "MEUC", "userHandle": null}}}"#,
    )),
    errors: ERRORS,
    ..Operation::new("answerPasskey", "What a browser made of the account's passkey", PASSED_ON)
};

pub(in crate::http) const CONFIRM: Operation = Operation {
    errors: ERRORS,
    ..Operation::new("confirmPasskey", "The person saw the same code on the phone", PASSED_ON)
};

/// `POST /api/sessions/{id}/passkey`
pub(in crate::http) async fn answer(
    State(app): State<App>,
    SessionPath(id): SessionPath,
    JsonBody { value: request, warnings, .. }: JsonBody<AnswerRequest>,
) -> Result<Response, ApiError> {
    let session = app.session(&id).await?;
    can_be_linked(&session)?;
    let assertion = request.check().map_err(|error| error.warning(warnings.clone()))?;
    waits(&session, |step| matches!(step, Passkey::Required { .. }))?;
    ask(&app, session.id(), Ask::Passkey(assertion), warnings).await
}

/// `POST /api/sessions/{id}/passkey/confirm`
pub(in crate::http) async fn confirm(
    State(app): State<App>,
    SessionPath(id): SessionPath,
) -> Result<Response, ApiError> {
    let session = app.session(&id).await?;
    can_be_linked(&session)?;
    waits(&session, |step| matches!(step, Passkey::Confirmation { .. }))?;
    ask(&app, session.id(), Ask::ConfirmPasskey, Warnings::default()).await
}

fn can_be_linked(session: &Session) -> Result<(), ApiError> {
    why_not_to_link(&session.snapshot().state).map_or(Ok(()), Err)
}

/// Whether the session waits for this step.
fn waits(session: &Session, is_step: impl Fn(&Passkey) -> bool) -> Result<(), ApiError> {
    let snapshot = session.snapshot();
    match snapshot.passkey.as_deref().map(|event| &event.kind) {
        Some(Kind::Passkey(step)) if is_step(step) => Ok(()),
        _ => {
            Err(ApiError::from(ErrorCode::NoPasskeyStep)
                .with_details(json!({ "status": snapshot.state.status })))
        }
    }
}

async fn ask(app: &App, id: &SessionId, ask: Ask, warnings: Warnings) -> Result<Response, ApiError> {
    if !app.registry()?.ask(id, ask).await? {
        return Err(ErrorCode::OwnerSilent.into());
    }
    Ok((StatusCode::ACCEPTED, Json(PassedOn { session_id: id, warnings })).into_response())
}

impl AnswerRequest {
    fn check(self) -> Result<Assertion, ApiError> {
        let credential = self.credential.ok_or_else(|| {
            ApiError::invalid_body(
                "credential",
                "the JSON of PublicKeyCredential.toJSON() of navigator.credentials.get()",
            )
        })?;
        if credential.r#type.as_deref().is_some_and(|r#type| r#type != "public-key") {
            return Err(ApiError::invalid_body("credential.type", "public-key"));
        }
        let id = bytes("credential.rawId", credential.raw_id.or(credential.id))?;
        let response = credential
            .response
            .ok_or_else(|| ApiError::invalid_body("credential.response", "an assertion's response"))?;
        let client_data_json = bytes("credential.response.clientDataJSON", response.client_data_json)?;
        let authenticator_data = bytes("credential.response.authenticatorData", response.authenticator_data)?;
        let signature = bytes("credential.response.signature", response.signature)?;
        let user_handle = match response.user_handle.filter(|text| !text.is_empty()) {
            Some(text) => Some(bytes("credential.response.userHandle", Some(text))?),
            None => None,
        };
        Ok(Assertion { id, client_data_json, authenticator_data, signature, user_handle })
    }
}

/// The bytes of a field, written as WhatsApp takes them.
fn bytes(field: &str, text: Option<String>) -> Result<String, ApiError> {
    let decoded = text.as_deref().and_then(|text| BASE64URL.decode(text).ok());
    match decoded.filter(|bytes| !bytes.is_empty()) {
        Some(bytes) => Ok(BASE64URL.encode(bytes)),
        None => Err(ApiError::invalid_body(field, "base64url, as PublicKeyCredential.toJSON() writes it")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn read(credential: Value) -> Result<Assertion, ApiError> {
        serde_json::from_value::<AnswerRequest>(json!({ "credential": credential })).unwrap().check()
    }

    #[test]
    fn a_browsers_credential_is_read_and_what_it_says_beside_that_is_dropped() {
        let assertion = read(json!({
            "id": "AQID", "rawId": "AQID", "type": "public-key", "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": { "clientDataJSON": "e30=", "authenticatorData": "AA", "signature": "_-8", "userHandle": null },
        }));
        let assertion = assertion.unwrap_or_else(|_| panic!("it was refused"));
        assert_eq!(assertion.id, "AQID");
        assert_eq!((assertion.client_data_json.as_str(), assertion.signature.as_str()), ("e30", "_-8"));
        assert_eq!(assertion.user_handle, None);
        assert!(!format!("{assertion:?}").contains("AQID"));
    }

    #[test]
    fn what_is_not_a_credential_is_refused() {
        let response = json!({ "clientDataJSON": "e30", "authenticatorData": "AA", "signature": "AA" });
        for credential in [
            json!({}),
            json!({ "rawId": "AQID" }),
            json!({ "rawId": "", "response": response }),
            json!({ "rawId": "AQ ID", "response": response }),
            json!({ "rawId": "AQID", "type": "password", "response": response }),
            json!({ "rawId": "AQID", "response": { "clientDataJSON": "e30", "authenticatorData": "AA" } }),
        ] {
            assert!(read(credential.clone()).is_err(), "{credential}");
        }
    }
}
