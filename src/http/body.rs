//! A JSON request body, read so that a refusal names the field.

use std::time::Duration;

use axum::body::{Bytes, HttpBody as _};
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::MAX_BODY;
use super::error::ApiError;

/// How long a body may take to come.
const LIMIT: Duration = Duration::from_secs(10);

/// The body of a request, as JSON.
pub(super) struct JsonBody<T> {
    pub(super) value: T,
    /// As it came.
    pub(super) bytes: Bytes,
}

/// The same, or nothing at all.
pub(super) struct OptionalJsonBody<T>(pub(super) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        if request.body().is_end_stream() {
            return Ok(Self(T::default()));
        }
        JsonBody::from_request(request, state).await.map(|body| Self(body.value))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        if !is_json(&request) {
            return Err(ApiError::not_json());
        }
        let bytes = timeout(LIMIT, Bytes::from_request(request, state)).await;
        let bytes = bytes.map_err(|_| ApiError::request_timeout())?.map_err(|rejection| {
            if rejection.into_response().status() == StatusCode::PAYLOAD_TOO_LARGE {
                ApiError::body_too_large(MAX_BODY)
            } else {
                ApiError::invalid_body("", "the body ended early")
            }
        })?;
        Ok(Self { value: parse(&bytes)?, bytes })
    }
}

fn is_json(request: &Request) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let body = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { "" } else { &path };
        ApiError::invalid_body(field, error.inner().to_string())
    })?;
    json.end().map_err(|error| ApiError::invalid_body("", error.to_string()))?;
    Ok(body)
}
