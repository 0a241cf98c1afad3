//! Why a request is not let in, and how the client is told.

use std::time::Duration;

use crate::close::Close;
use crate::http::error::{ApiError, ErrorCode};

/// Why a caller is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum AuthFailure {
    /// No key and no token.
    Missing,
    /// A wrong key, or something that is not a token of this deployment.
    Invalid,
    /// A token that was good.
    Expired,
    /// A key or a token that does not allow this.
    Forbidden,
}

impl AuthFailure {
    /// The metrics' word.
    pub(in crate::http) fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::Expired => "expired",
            Self::Forbidden => "forbidden",
        }
    }

    fn error(self) -> ApiError {
        match self {
            Self::Missing | Self::Invalid => ApiError::from(ErrorCode::Unauthorized),
            Self::Expired => ApiError::from(ErrorCode::TokenExpired),
            Self::Forbidden => ApiError::from(ErrorCode::Forbidden),
        }
    }
}

/// How a route tells a refusal that passes with time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Telling {
    /// By the status of the answer.
    Status,
    /// By a stream that says when to come back, and ends: an `EventSource` never comes back after another status than 200.
    Close,
}

/// Why a request goes no further.
pub(in crate::http) enum Refusal {
    /// The caller may not make it.
    Failed(AuthFailure),
    /// A limit is used up; one more request is allowed after this long.
    Limited(Duration),
    /// Another reason.
    Other(ApiError),
}

impl Refusal {
    /// As a route of this kind tells it.
    pub(in crate::http) fn told(self, telling: Telling) -> Result<Close, ApiError> {
        match self.close() {
            Some(close) if telling == Telling::Close => Ok(close),
            _ => Err(self.into_error()),
        }
    }

    /// What a stream is told, where the refusal passes with time.
    fn close(&self) -> Option<Close> {
        match self {
            Self::Failed(AuthFailure::Expired) => Some(Close::TokenExpired),
            Self::Limited(wait) => Some(Close::Overloaded { pause: *wait }),
            Self::Other(error) if error.code() == ErrorCode::StoreAway => Some(Close::StoreAway),
            Self::Failed(_) | Self::Other(_) => None,
        }
    }

    /// Whether the same request may succeed later.
    pub(in crate::http) fn passes(&self) -> bool {
        match self {
            Self::Failed(_) => false,
            Self::Limited(_) => true,
            Self::Other(error) => error.code() == ErrorCode::StoreAway,
        }
    }

    fn into_error(self) -> ApiError {
        match self {
            Self::Failed(failure) => failure.error(),
            Self::Limited(wait) => ApiError::rate_limited(wait),
            Self::Other(error) => error,
        }
    }
}

impl From<AuthFailure> for Refusal {
    fn from(failure: AuthFailure) -> Self {
        Self::Failed(failure)
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Other(error)
    }
}
