//! Who asks, and who may use a route. `guard.rs` finds out. A handler that must look closer (a user id in the body, the scope
//! of a new token) takes [`Caller`] from the request.

use std::sync::Arc;

use axum::extract::{Extension, FromRequestParts};
use axum::http::request::Parts;

use super::tokens::Claims;
use crate::config::ApiKey;
use crate::event::Time;
use crate::http::error::ApiError;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody, also without a key.
    Everyone,
    /// An API key for all user ids.
    Operator,
    /// An API key.
    Key,
    /// The same, for a new session: counted apart.
    Init,
    /// A session's stream: a key, or any token of it, also after its deletion.
    Stream,
    /// A session's status: the same.
    Status,
    /// A key, or any token of the session.
    Read,
    /// A key, or a token of the session with the scope `link`.
    Link,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(in crate::http) enum Caller {
    /// Nobody is asked for a key here.
    Anyone,
    /// Whoever has this key.
    Key(Arc<ApiKey>),
    /// Whoever has this token.
    Token(Claims),
}

impl Caller {
    /// Whether it may do things with the sessions of this user.
    pub(in crate::http) fn has_user(&self, user_id: &str) -> bool {
        match self {
            Self::Anyone => true,
            Self::Key(key) => key.prefix.as_ref().is_none_or(|prefix| user_id.starts_with(prefix.as_str())),
            Self::Token(claims) => claims.session.user_id() == user_id,
        }
    }

    /// What the user ids begin with that it is good for.
    pub(in crate::http) fn prefix(&self) -> Option<&str> {
        match self {
            Self::Key(key) => key.prefix.as_deref(),
            Self::Anyone | Self::Token(_) => None,
        }
    }

    /// When what it may do ends.
    pub(in crate::http) fn expires(&self) -> Option<Time> {
        match self {
            Self::Token(claims) => Some(claims.expires()),
            Self::Anyone | Self::Key(_) => None,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let caller = Extension::<Self>::from_request_parts(parts, state).await;
        caller.map(|Extension(caller)| caller).map_err(|_| ApiError::unauthorized())
    }
}
