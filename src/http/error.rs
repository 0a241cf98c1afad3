//! What a client is told when a request cannot be done: a status, a stable code, and words.
//!
//! `error/code.rs` has the table of all codes; here is what a request adds to a row of it. A 5xx body never holds a cause: that
//! goes to the log, once, where it happened.

mod code;
mod warnings;

use std::any::Any;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

pub(super) use self::code::ErrorCode;
pub(super) use self::warnings::Warnings;
use crate::event::{PairingError, PairingRefusal, Reason, Time};
use crate::id::{InvalidSessionId, InvalidUserId, USER_ID_RULE};
use crate::session;

/// The body of every refusal.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub(super) struct ErrorBody<'a> {
    /// For people; may change.
    error: &'a str,
    /// For programs; stable.
    code: &'a str,
    /// What a program may want to know of it: `field` and `allowed` of something that cannot be read, `reason` of an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Value>,
    #[serde(skip_serializing_if = "Warnings::is_empty")]
    warnings: Warnings,
    timestamp: Time,
}

impl ErrorBody<'static> {
    /// As it is where a request has nothing to add to the table's row.
    pub(super) fn example(code: ErrorCode) -> Self {
        let (details, timestamp) = (ApiError::from(code).details, Time::from_millis(1_763_985_600_000));
        Self { error: code.said(), code: code.as_str(), details, warnings: Warnings::default(), timestamp }
    }
}

/// A refusal.
#[derive(Debug)]
pub(super) struct ApiError {
    code: ErrorCode,
    /// Instead of the words of the table.
    message: Option<String>,
    details: Option<Value>,
    warnings: Warnings,
    wait: Option<Duration>,
}

impl From<ErrorCode> for ApiError {
    fn from(code: ErrorCode) -> Self {
        let details = code.field().map(|field| json!({ "field": field }));
        Self { code, message: None, details, warnings: Warnings::default(), wait: None }
    }
}

impl ApiError {
    /// The row of the table.
    pub(in crate::http) fn code(&self) -> ErrorCode {
        self.code
    }

    /// With other words than those of the table.
    fn saying(self, message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), ..self }
    }

    /// With what a program reads.
    pub(super) fn with_details(self, details: Value) -> Self {
        Self { details: Some(details), ..self }
    }

    /// With what of the request had no effect.
    pub(super) fn warning(self, warnings: Warnings) -> Self {
        Self { warnings, ..self }
    }

    /// A header, a parameter or a field of the body that does not hold what is allowed. The body as a whole has no name.
    pub(super) fn not_allowed(code: ErrorCode, field: &str, allowed: impl Into<String>) -> Self {
        let allowed = allowed.into();
        let name = if field.is_empty() { "body" } else { field };
        Self::from(code)
            .saying(format!("{name}: {allowed}"))
            .with_details(json!({ "field": field, "allowed": allowed }))
    }

    /// [`ApiError::not_allowed`], of a body.
    pub(super) fn invalid_body(field: &str, allowed: impl Into<String>) -> Self {
        Self::not_allowed(ErrorCode::InvalidBody, field, allowed)
    }

    /// `own`: the origin that this server takes for its own, or only its `Host`.
    pub(super) fn foreign_origin(origin: &str, own: &str) -> Self {
        let message = format!(
            "Origin: pages of {origin} may not use this server, whose own origin is {own}; if both are this server, set \
             PUBLIC_URL to the address that browsers have, else see ALLOWED_ORIGINS"
        );
        let details = json!({ "field": "Origin", "origin": origin, "own": own });
        Self::from(ErrorCode::ForeignOrigin).saying(message).with_details(details)
    }

    pub(super) fn rate_limited(wait: Duration) -> Self {
        Self { wait: Some(wait), ..ErrorCode::RateLimited.into() }
    }

    /// `limit`: in bytes.
    pub(super) fn body_too_large(limit: usize) -> Self {
        Self::from(ErrorCode::BodyTooLarge).saying(format!("the body is larger than {limit} bytes"))
    }

    pub(super) fn session_ended(reason: &str) -> Self {
        Self::from(ErrorCode::SessionEnded)
            .saying(format!("the session has ended: {reason}"))
            .with_details(json!({ "reason": reason }))
    }

    /// WhatsApp gives no pairing code.
    pub(super) fn no_code(refusal: &PairingError) -> Self {
        let code = match refusal.code {
            PairingRefusal::BadRequest => ErrorCode::CodeBadRequest,
            PairingRefusal::InvalidNumber => ErrorCode::CodeInvalidNumber,
            PairingRefusal::Forbidden => ErrorCode::CodeForbidden,
            PairingRefusal::RateOverlimit => ErrorCode::CodeRateOverlimit,
            PairingRefusal::FeatureNotAvailable => ErrorCode::CodeNotAvailable,
            PairingRefusal::CodeExpired => ErrorCode::CodeExpired,
            PairingRefusal::HmacMismatch
            | PairingRefusal::SignatureMismatch
            | PairingRefusal::PasskeyRefused
            | PairingRefusal::PasskeyExpired
            | PairingRefusal::DeviceRemoved
            | PairingRefusal::InternalError => ErrorCode::CodeFailed,
        };
        let pause = refusal.retry_after_ms;
        let details = json!({ "method": refusal.method, "code": refusal.code, "retryAfterMs": pause });
        Self { wait: pause.map(Duration::from_millis), details: Some(details), ..code.into() }
    }
}

impl From<InvalidUserId> for ApiError {
    fn from(error: InvalidUserId) -> Self {
        let details = json!({ "field": "userId", "allowed": USER_ID_RULE });
        Self::from(ErrorCode::InvalidUserId).saying(error.to_string()).with_details(details)
    }
}

impl From<InvalidSessionId> for ApiError {
    fn from(error: InvalidSessionId) -> Self {
        Self::from(ErrorCode::InvalidSessionId).saying(error.to_string())
    }
}

impl From<session::Error> for ApiError {
    fn from(error: session::Error) -> Self {
        use session::Error as E;
        match error {
            E::NotFound => ErrorCode::SessionNotFound.into(),
            E::Deleted => Self::session_ended(Reason::Deleted.as_str()),
            E::UserLimit(_) | E::Limit(_) => {
                Self::from(ErrorCode::SessionLimit).saying(format!("{error}; delete one first"))
            }
            E::KeyReused => ErrorCode::KeyReused.into(),
            E::KeyRunning => ErrorCode::KeyRunning.into(),
            E::Metadata => Self::invalid_body("metadata", "JSON that can be stored as it is"),
            E::OwnerSilent => ErrorCode::OwnerSilent.into(),
            E::Damaged => ErrorCode::StoreDamaged.into(),
            E::Away => ErrorCode::StoreAway.into(),
            E::Failed(error) => {
                tracing::error!(%error, "session error");
                ErrorCode::StoreAway.into()
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { code, message, details, warnings, wait } = self;
        let message = message.as_deref().unwrap_or(code.said());
        let body =
            ErrorBody { error: message, code: code.as_str(), details, warnings, timestamp: Time::now() };
        let mut response = (code.status(), Json(body)).into_response();
        let headers = response.headers_mut();
        // Rounded up: a second too early would be refused again.
        let seconds = wait.map_or(code.wait(), |wait| (wait + Duration::from_millis(999)).as_secs().max(1));
        if seconds > 0 {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        match code.status() {
            StatusCode::UPGRADE_REQUIRED => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                // A client that speaks another version learns which one is spoken here: RFC 6455, section 4.4.
                headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

/// A handler panicked: the client gets a plain 500, the log the panic (by the panic hook).
pub(super) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::from(ErrorCode::Internal).into_response()
}
