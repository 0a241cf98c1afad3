//! The session that a path names: the one extractor for it.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use crate::http::error::ApiError;
use crate::id::{InvalidSessionId, SessionId};

/// The `{id}` of a route.
pub(in crate::http) struct SessionPath(pub(in crate::http) SessionId);

impl<S: Send + Sync> FromRequestParts<S> for SessionPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let Path(id) =
            Path::<String>::from_request_parts(parts, state).await.map_err(|_| InvalidSessionId)?;
        Ok(Self(id.parse()?))
    }
}
