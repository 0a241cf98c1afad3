//! Who the caller is, and who may use a route. `guard.rs` compares the two. A handler that must look closer (a user id in the
//! body, the scope of a new token) takes the caller from its [`Admission`](super::admission::Admission).

use std::sync::Arc;

use super::tokens::Claims;
use crate::config::ApiKey;
use crate::event::Time;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody, also without a key.
    Everyone,
    /// An API key for all user ids.
    Operator,
    /// An API key.
    Key,
    /// A key, or any token of the session, also after its deletion.
    Follow,
    /// A key, or any token of the session.
    Read,
    /// A key, or a token of the session with the scope `link`.
    Link,
}

/// Who sent a request.
#[derive(Clone, Debug)]
pub(in crate::http) enum Caller {
    /// Anybody: this server has no keys.
    Anyone,
    /// Somebody with this key.
    Key(Arc<ApiKey>),
    /// Somebody with this token.
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

    /// The prefix of the user ids that its key is restricted to.
    pub(in crate::http) fn prefix(&self) -> Option<&str> {
        match self {
            Self::Key(key) => key.prefix.as_deref(),
            Self::Anyone | Self::Token(_) => None,
        }
    }

    /// The name of its key; empty without one.
    pub(in crate::http) fn key_name(&self) -> &str {
        match self {
            Self::Key(key) => &key.name,
            Self::Anyone | Self::Token(_) => "",
        }
    }

    /// When its token expires.
    pub(in crate::http) fn expires(&self) -> Option<Time> {
        match self {
            Self::Token(claims) => Some(claims.expires()),
            Self::Anyone | Self::Key(_) => None,
        }
    }
}
