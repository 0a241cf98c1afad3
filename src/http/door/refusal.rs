//! Why a request is not let in, and how it is told.

use std::time::Duration;

use crate::close::Close;
use crate::http::error::ApiError;

/// Why somebody is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum AuthFailure {
    /// No key and no token.
    Missing,
    /// A wrong key, or no token of ours.
    Invalid,
    /// A token that was good.
    Expired,
    /// A key or a token that is not good for this.
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
            Self::Missing | Self::Invalid => ApiError::unauthorized(),
            Self::Expired => ApiError::token_expired(),
            Self::Forbidden => ApiError::forbidden(),
        }
    }
}

/// Why a request goes no further.
pub(in crate::http) enum Refusal {
    /// Whoever sent it has not the right.
    Failed(AuthFailure),
    /// It came too soon after others.
    Limited(Duration),
    /// Another reason.
    Other(ApiError),
}

impl Refusal {
    /// What a stream is told instead, where it passes with time.
    pub(in crate::http) fn close(&self) -> Option<Close> {
        match self {
            Self::Failed(AuthFailure::Expired) => Some(Close::TokenExpired),
            Self::Limited(wait) => Some(Close::Overloaded { pause: *wait }),
            Self::Other(error) if error.is_store_away() => Some(Close::StoreAway),
            Self::Failed(_) | Self::Other(_) => None,
        }
    }

    /// Whether it is not the request that is wrong.
    pub(in crate::http) fn passes(&self) -> bool {
        match self {
            Self::Failed(_) => false,
            Self::Limited(_) => true,
            Self::Other(error) => error.is_store_away(),
        }
    }

    pub(in crate::http) fn into_error(self) -> ApiError {
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
