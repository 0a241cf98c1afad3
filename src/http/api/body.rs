//! A JSON request body, read so that a refusal names the field, and an answer the fields that were ignored.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse as _;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::json;
use crate::http::error::{ApiError, ErrorCode, Warnings};

/// Largest request body, in bytes.
pub(in crate::http) const MAX_BODY: usize = 16 * 1024;

/// How long a body may take to come.
const LIMIT: Duration = Duration::from_secs(10);

/// The body of a request, as JSON.
pub(in crate::http) struct JsonBody<T> {
    pub(in crate::http) value: T,
    /// As it came.
    pub(in crate::http) bytes: Bytes,
    pub(in crate::http) warnings: Warnings,
}

/// The same, or nothing at all: no body, an empty one (over HTTP/2 that is not known before), or `null`.
pub(in crate::http) struct OptionalJsonBody<T>(pub(super) T, pub(super) Warnings);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let kind = check_kind(request.headers());
        let bytes = read(request, state).await?;
        if matches!(bytes.trim_ascii(), b"" | b"null") {
            return Ok(Self(T::default(), Warnings::default()));
        }
        kind?;
        let (value, warnings) = parse(&bytes)?;
        Ok(Self(value, warnings))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        check_kind(request.headers())?;
        let bytes = read(request, state).await?;
        let (value, warnings) = parse(&bytes)?;
        Ok(Self { value, bytes, warnings })
    }
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    let bytes = timeout(LIMIT, Bytes::from_request(request, state)).await;
    bytes.map_err(|_| ErrorCode::RequestTimeout)?.map_err(|rejection| {
        if rejection.into_response().status() == StatusCode::PAYLOAD_TOO_LARGE {
            ApiError::body_too_large(MAX_BODY)
        } else {
            ApiError::invalid_body("", "the body ended early")
        }
    })
}

/// Whether the headers promise JSON, in UTF-8 and as it is.
fn check_kind(headers: &HeaderMap) -> Result<(), ApiError> {
    let is_plain = |coding: &[u8]| {
        coding.trim_ascii().is_empty() || coding.trim_ascii().eq_ignore_ascii_case(b"identity")
    };
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    if !codings.all(|value| value.as_bytes().split(|byte| *byte == b',').all(is_plain)) {
        return Err(ApiError::not_allowed(
            ErrorCode::UnsupportedMediaType,
            "Content-Encoding",
            "none: a body is taken as it is, not compressed",
        ));
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mut parts = content_type.unwrap_or_default().split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    let is_utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, charset)) if name.trim().eq_ignore_ascii_case("charset") => {
            let charset = charset.trim().trim_matches('"');
            ["utf-8", "utf8", "us-ascii"].into_iter().any(|known| known.eq_ignore_ascii_case(charset))
        }
        _ => true,
    });
    if is_json && is_utf8 {
        return Ok(());
    }
    Err(ApiError::not_allowed(ErrorCode::UnsupportedMediaType, "Content-Type", "application/json, in UTF-8"))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, Warnings), ApiError> {
    json::check(bytes).map_err(|unfit| ApiError::invalid_body(&unfit.field, unfit.allowed))?;
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let mut unknown = Vec::new();
    // Deeper ones are not the caller's: a browser's credential has more than is asked for.
    let mut ignored = |path: serde_ignored::Path<'_>| {
        if let serde_ignored::Path::Map { parent: serde_ignored::Path::Root, key } = path {
            unknown.push(key);
        }
    };
    let reader = serde_ignored::Deserializer::new(&mut json, &mut ignored);
    let body = serde_path_to_error::deserialize(reader).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { "" } else { &path };
        ApiError::invalid_body(field, error.inner().to_string())
    })?;
    json.end().map_err(|error| ApiError::invalid_body("", error.to_string()))?;
    Ok((body, Warnings::unknown_fields(&unknown)))
}
