//! Who changes something: what the log keeps of a request that does. The handlers of `api/` that change a session take it.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tracing::info;

use super::admission::Admission;
use super::caller::Caller;
use super::client;
use crate::http::error::ApiError;
use crate::id::SessionId;

/// The target of these lines, so that a filter can keep them alone.
const AUDIT: &str = "qrcast::audit";

/// Whoever sent a request.
#[derive(Clone, Debug)]
pub(in crate::http) struct Author {
    by: &'static str,
    /// The name of the key; empty without one.
    key: String,
    address: IpAddr,
    user_agent: Option<String>,
}

impl Author {
    /// Writes the line of a change. Call it where the change is certain, also when the client has left meanwhile: see
    /// [`App::finish`](crate::http::app::App::finish).
    pub(in crate::http) fn did(&self, change: &'static str, id: &SessionId) {
        info!(
            target: AUDIT,
            sessionId = %id,
            userId = id.user_id(),
            by = self.by,
            key = self.key,
            clientIp = %self.address,
            userAgent = self.user_agent,
            "{change}"
        );
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Author {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let Admission { caller, .. } = Admission::from_request_parts(parts, state).await?;
        Ok(Self {
            by: match caller {
                Caller::Anyone => "anyone",
                Caller::Key(_) => "key",
                Caller::Token(_) => "token",
            },
            key: caller.key_name().to_owned(),
            address: client::address_of(&parts.extensions),
            user_agent: client::user_agent(&parts.headers).map(str::to_owned),
        })
    }
}
