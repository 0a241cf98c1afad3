//! What the guard has found out about a request, handed to its handler.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::caller::Caller;
use super::client::Client;
use crate::close::Close;
use crate::http::error::{ApiError, ErrorCode};

/// A request that may go on.
#[derive(Clone, Debug)]
pub(in crate::http) struct Admission {
    pub(in crate::http) caller: Caller,
    /// The client that limits count it for.
    pub(in crate::http) client: Client,
}

/// What a request carries behind the guard; an `Err` only on a route of [`Telling::Close`](super::refusal::Telling::Close).
pub(in crate::http) type Admitted = Result<Admission, Close>;

/// For the routes of streams, which tell a `Close` themselves.
pub(in crate::http) fn admitted(parts: &Parts) -> Result<Admitted, ApiError> {
    parts.extensions.get::<Admitted>().cloned().ok_or_else(|| {
        tracing::error!("a route without a guard asks who its caller is");
        ApiError::from(ErrorCode::Internal)
    })
}

impl<S: Send + Sync> FromRequestParts<S> for Admission {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        admitted(parts)?.map_err(|_| ApiError::from(ErrorCode::Internal))
    }
}
