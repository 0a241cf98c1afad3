//! How the control API answers what goes wrong: a status, a code, and the error's own words. Every handler uses it.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::actions::{AccountError, ActionError, LinkError, RefsError, WriteError};
use crate::simulator::StartError;

/// An error as the control API answers it.
pub(super) struct Refused(pub(super) StatusCode, pub(super) &'static str, pub(super) String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.2, "code": self.1 }))).into_response()
    }
}

/// The answer of most calls.
pub(super) type Answer = Result<Json<Value>, Refused>;

pub(super) fn bad_request(error: String) -> Refused {
    Refused(StatusCode::BAD_REQUEST, "bad_request", error)
}

impl From<LinkError> for Refused {
    fn from(error: LinkError) -> Self {
        let (status, code) = match error {
            LinkError::Number | LinkError::PasskeyKey => (StatusCode::BAD_REQUEST, "bad_request"),
            LinkError::NotWaiting => (StatusCode::CONFLICT, "not_waiting"),
            LinkError::Busy => (StatusCode::CONFLICT, "busy"),
            LinkError::Gone => (StatusCode::CONFLICT, "client_gone"),
            LinkError::WrongCode => (StatusCode::UNPROCESSABLE_ENTITY, "wrong_code"),
            LinkError::Refused { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "refused_by_client"),
            LinkError::Signature(_) => (StatusCode::UNPROCESSABLE_ENTITY, "wrong_signature"),
            LinkError::Paused => (StatusCode::SERVICE_UNAVAILABLE, "paused"),
            LinkError::Phone(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self(status, code, error.to_string())
    }
}

impl From<WriteError> for Refused {
    fn from(error: WriteError) -> Self {
        let (status, code) = match error {
            WriteError::Unknown(_) => (StatusCode::NOT_FOUND, "unknown_jid"),
            WriteError::Unlinked(_) => (StatusCode::CONFLICT, "not_linked"),
            WriteError::Count => (StatusCode::BAD_REQUEST, "bad_request"),
            WriteError::Ended => (StatusCode::SERVICE_UNAVAILABLE, "ended"),
            WriteError::Silent(_) => (StatusCode::GATEWAY_TIMEOUT, "not_acknowledged"),
            WriteError::Phone(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self(status, code, error.to_string())
    }
}

impl From<ActionError> for Refused {
    fn from(error: ActionError) -> Self {
        let (status, code) = match error {
            ActionError::Unknown(_) => (StatusCode::NOT_FOUND, "unknown_jid"),
            ActionError::Offline(_) => (StatusCode::CONFLICT, "not_connected"),
            ActionError::Unlinked(_) => (StatusCode::CONFLICT, "not_linked"),
            ActionError::Reason | ActionError::CodeError => (StatusCode::BAD_REQUEST, "bad_request"),
        };
        Self(status, code, error.to_string())
    }
}

impl From<AccountError> for Refused {
    fn from(error: AccountError) -> Self {
        let (status, code) = match error {
            AccountError::Number | AccountError::Contacts | AccountError::Refuse(_) => {
                (StatusCode::BAD_REQUEST, "bad_request")
            }
            AccountError::Phone(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self(status, code, error.to_string())
    }
}

impl From<RefsError> for Refused {
    fn from(error: RefsError) -> Self {
        bad_request(error.to_string())
    }
}

impl From<StartError> for Refused {
    fn from(error: StartError) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
    }
}
