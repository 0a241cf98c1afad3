//! What a client is told when a request cannot be done: a status, a stable code, and words.
//!
//! A 5xx body never holds a cause: that goes to the log, once, where it happened.

use std::any::Any;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::event::{PairingError, PairingRefusal, Reason, Status, Time};
use crate::id::{InvalidSessionId, InvalidUserId, USER_ID_RULE};
use crate::session;

/// When a store that cannot be used is worth asking again.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// A refusal.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    details: Option<Value>,
    retry_after: Option<Duration>,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), details: None, retry_after: None }
    }

    fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    fn with_retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }

    pub(super) fn no_such_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", "no such route")
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "METHOD_NOT_ALLOWED",
            "this route has no such method; see Allow",
        )
    }

    /// No key, or none that is known here.
    pub(super) fn unauthorized() -> Self {
        let message = "this needs an API key, or a stream token of the session";
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message)
    }

    pub(super) fn token_expired() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "TOKEN_EXPIRED", "the stream token has expired; get a new one")
    }

    /// Known, and not allowed to do this.
    pub(super) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", "this key or token is not good for this")
    }

    /// `own`: what this server takes for its own origin, or only its `Host`.
    pub(super) fn foreign_origin(origin: &str, own: &str) -> Self {
        let message = format!(
            "Origin: pages of {origin} may not use this server, which is {own} to itself; if both are this server, set \
             PUBLIC_URL to the address that browsers have, else see ALLOWED_ORIGINS"
        );
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
            .with_details(json!({ "field": "Origin", "origin": origin, "own": own }))
    }

    /// A proxy that is trusted says in this header who the client is, and it cannot be read.
    pub(super) fn unreadable_client(header: &str) -> Self {
        let allowed = "addresses, as the proxy saw them";
        Self::new(StatusCode::BAD_REQUEST, "INVALID_FORWARDED", format!("{header}: {allowed}"))
            .with_details(json!({ "field": header, "allowed": allowed }))
    }

    pub(super) fn misdirected() -> Self {
        let allowed = "localhost, 127.0.0.1 or [::1], for this server has no API_KEYS";
        Self::new(StatusCode::MISDIRECTED_REQUEST, "MISDIRECTED_REQUEST", format!("Host: {allowed}"))
            .with_details(json!({ "field": "Host", "allowed": allowed }))
    }

    /// In the old service's words.
    pub(super) fn rate_limited(wait: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", "Too many requests").with_retry_after(wait)
    }

    /// What went wrong is in the log.
    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "internal error")
    }

    pub(super) fn session_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "SESSION_NOT_FOUND", "no such session")
    }

    pub(super) fn invalid_cursor() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_CURSOR", crate::event::InvalidCursor.to_string())
            .with_details(json!({ "field": "lastEventId" }))
    }

    /// A body that does not hold what the route needs; names the field and what is allowed.
    pub(super) fn invalid_body(field: &str, allowed: impl Into<String>) -> Self {
        let allowed = allowed.into();
        let message =
            if field.is_empty() { format!("body: {allowed}") } else { format!("{field}: {allowed}") };
        Self::new(StatusCode::BAD_REQUEST, "INVALID_BODY", message)
            .with_details(json!({ "field": field, "allowed": allowed }))
    }

    pub(super) fn body_too_large(limit: usize) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", format!("the body is over {limit} bytes"))
    }

    /// The body did not come in time. The connection closes: what is left of it is not waited for.
    pub(super) fn request_timeout() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", "the body did not come within 10 s")
    }

    pub(super) fn bad_target() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_TARGET", "the request target must be a path")
    }

    pub(super) fn bad_host() -> Self {
        let message = "there must be one Host, and the request target must not name another";
        Self::new(StatusCode::BAD_REQUEST, "INVALID_HOST", message).with_details(json!({ "field": "Host" }))
    }

    pub(super) fn not_json() -> Self {
        Self::unsupported("Content-Type", "application/json, in UTF-8")
    }

    pub(super) fn encoded_body() -> Self {
        Self::unsupported("Content-Encoding", "none: a body is taken as it is, not compressed")
    }

    fn unsupported(field: &str, allowed: &str) -> Self {
        let message = format!("{field}: {allowed}");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message)
            .with_details(json!({ "field": field, "allowed": allowed }))
    }

    pub(super) fn init_failed() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INIT_ERROR", "Session başlatma hatası")
    }

    /// The store cannot be used now, as [`ApiError::store_away`] says elsewhere.
    pub(super) fn init_not_now() -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, ..Self::init_failed() }.with_retry_after(STORE_PAUSE)
    }

    pub(super) fn draining() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "DRAINING", "this server is about to stop")
            .with_retry_after(Duration::from_secs(1))
    }

    pub(super) fn qr_not_ready() -> Self {
        Self::new(StatusCode::CONFLICT, "QR_NOT_READY", "WhatsApp has given no QR yet")
            .with_retry_after(Duration::from_secs(1))
    }

    pub(super) fn already_connected() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "ALREADY_CONNECTED",
            "the session is linked; there is nothing to scan",
        )
    }

    pub(super) fn qr_expired() -> Self {
        Self::new(
            StatusCode::GONE,
            "QR_EXPIRED",
            "every QR of this session has expired; restart it for a new one",
        )
    }

    pub(super) fn session_ended(reason: &str) -> Self {
        Self::new(StatusCode::GONE, "SESSION_ENDED", format!("the session has ended: {reason}"))
            .with_details(json!({ "reason": reason }))
    }

    pub(super) fn no_room(error: &session::Error) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "SESSION_LIMIT", format!("{error}; delete one first"))
            .with_retry_after(Duration::from_secs(60))
    }

    pub(super) fn key_reused() -> Self {
        let message = "this Idempotency-Key was used with another body";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "IDEMPOTENCY_KEY_REUSED", message)
            .with_details(json!({ "field": "Idempotency-Key" }))
    }

    pub(super) fn key_running() -> Self {
        let message = "the first request with this Idempotency-Key is still running";
        Self::new(StatusCode::CONFLICT, "IDEMPOTENCY_KEY_RUNNING", message)
            .with_details(json!({ "field": "Idempotency-Key" }))
    }

    pub(super) fn invalid_idempotency_key() -> Self {
        let allowed = "1 to 255 visible ASCII characters";
        Self::new(StatusCode::BAD_REQUEST, "INVALID_IDEMPOTENCY_KEY", format!("Idempotency-Key: {allowed}"))
            .with_details(json!({ "field": "Idempotency-Key", "allowed": allowed }))
    }

    pub(super) fn invalid_query(field: &str, allowed: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_QUERY", format!("{field}: {allowed}"))
            .with_details(json!({ "field": field, "allowed": allowed }))
    }

    pub(super) fn invalid_list_cursor() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_CURSOR", "cursor: take nextCursor as it came")
            .with_details(json!({ "field": "cursor" }))
    }

    /// Nothing can be stored or read just now; the cause is in the log.
    pub(super) fn store_away() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "STORE_AWAY", "the store cannot be used now; try again")
            .with_retry_after(STORE_PAUSE)
    }

    /// No waiting mends it, so nobody is told to come back.
    pub(super) fn store_damaged() -> Self {
        let said = "what is stored of this session is damaged; `qrcast check-store` says what";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "STORE_DAMAGED", said)
    }

    /// Whether it is [`ApiError::store_away`].
    pub(super) fn is_store_away(&self) -> bool {
        self.code == "STORE_AWAY"
    }

    pub(super) fn owner_silent() -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "OWNER_SILENT", "no answer within 20 s; try again")
    }

    /// WhatsApp gives no pairing code, in its own word.
    pub(super) fn no_code(refusal: &PairingError) -> Self {
        let (status, code) = match refusal.code {
            PairingRefusal::BadRequest => (StatusCode::BAD_REQUEST, "BAD_REQUEST"),
            PairingRefusal::InvalidNumber => (StatusCode::BAD_REQUEST, "INVALID_NUMBER"),
            PairingRefusal::Forbidden => (StatusCode::FORBIDDEN, "FORBIDDEN"),
            PairingRefusal::RateOverlimit => (StatusCode::TOO_MANY_REQUESTS, "RATE_OVERLIMIT"),
            PairingRefusal::FeatureNotAvailable => {
                (StatusCode::UNPROCESSABLE_ENTITY, "FEATURE_NOT_AVAILABLE")
            }
            PairingRefusal::CodeExpired => (StatusCode::CONFLICT, "CODE_EXPIRED"),
            PairingRefusal::HmacMismatch
            | PairingRefusal::SignatureMismatch
            | PairingRefusal::PasskeyRefused
            | PairingRefusal::PasskeyExpired
            | PairingRefusal::DeviceRemoved
            | PairingRefusal::InternalError => (StatusCode::BAD_GATEWAY, "INTERNAL_ERROR"),
        };
        let error = Self::new(status, code, "WhatsApp gives no pairing code for this number").with_details(
            json!({ "method": refusal.method, "code": refusal.code, "retryAfterMs": refusal.retry_after_ms }),
        );
        match refusal.retry_after_ms {
            Some(pause) => error.with_retry_after(Duration::from_millis(pause)),
            None => error,
        }
    }

    /// Nobody is waiting for a passkey of this session, or not for this step of it.
    pub(super) fn no_passkey_step(status: Status) -> Self {
        let message = "no passkey step of this session waits for this call; follow its `passkey` events";
        Self::new(StatusCode::CONFLICT, "NO_PASSKEY_STEP", message).with_details(json!({ "status": status }))
    }

    pub(super) fn not_an_upgrade() -> Self {
        Self::new(StatusCode::UPGRADE_REQUIRED, "UPGRADE_REQUIRED", "this route speaks WebSocket only")
    }

    pub(super) fn unknown_subprotocol() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "INVALID_SUBPROTOCOL",
            "Sec-WebSocket-Protocol must offer qrcast.v1, or nothing",
        )
        .with_details(json!({ "field": "Sec-WebSocket-Protocol" }))
    }
}

impl From<InvalidUserId> for ApiError {
    fn from(error: InvalidUserId) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_USER_ID", error.to_string())
            .with_details(json!({ "field": "userId", "allowed": USER_ID_RULE }))
    }
}

impl From<InvalidSessionId> for ApiError {
    fn from(error: InvalidSessionId) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_SESSION_ID", error.to_string())
            .with_details(json!({ "field": "sessionId" }))
    }
}

impl From<session::Error> for ApiError {
    fn from(error: session::Error) -> Self {
        use session::Error as E;
        match error {
            E::NotFound => Self::session_not_found(),
            E::Deleted => Self::session_ended(Reason::Deleted.as_str()),
            E::UserLimit(_) | E::Limit(_) => Self::no_room(&error),
            E::KeyReused => Self::key_reused(),
            E::KeyRunning => Self::key_running(),
            E::Metadata => Self::invalid_body("metadata", "JSON that can be stored as it is"),
            E::OwnerSilent => Self::owner_silent(),
            E::Damaged => Self::store_damaged(),
            E::Away => Self::store_away(),
            E::Failed(error) => {
                tracing::error!(%error, "session error");
                Self::store_away()
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": self.message, "code": self.code, "timestamp": Time::now() });
        if let Some(details) = self.details {
            body["details"] = details;
        }
        let mut response = (self.status, Json(body)).into_response();
        if let Some(pause) = self.retry_after {
            // Rounded up: a second too early would be refused again.
            let seconds = (pause + Duration::from_millis(999)).as_secs().max(1);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UPGRADE_REQUIRED {
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            // Whoever speaks another version of it learns which one is spoken here: RFC 6455, section 4.4.
            response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A handler panicked: the client gets a plain 500, the log the panic (by the panic hook).
pub(super) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::internal().into_response()
}
