//! `POST /api/sessions/{id}/stream-token`: a new token for a key, or for one that is still good.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::OptionalJsonBody;
use super::no_store::NoStore;
use super::session_path::SessionPath;
use crate::event::Reason;
use crate::http::app::App;
use crate::http::door::admission::Admission;
use crate::http::door::caller::Caller;
use crate::http::door::tokens::Scope;
use crate::http::error::{ApiError, ErrorCode};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct TokenRequest {
    ttl_seconds: Option<Value>,
    scope: Option<Value>,
}

/// `POST /api/sessions/{id}/stream-token`
pub(in crate::http) async fn stream_token(
    State(app): State<App>,
    SessionPath(id): SessionPath,
    Admission { caller, .. }: Admission,
    OptionalJsonBody(request): OptionalJsonBody<TokenRequest>,
) -> Result<Response, ApiError> {
    let (ttl, scope) = request.check(&app)?;
    let session = app.session(&id).await?;
    if session.snapshot().deleted.is_some() {
        return Err(ApiError::session_ended(Reason::Deleted.as_str()));
    }
    let renews = match &caller {
        Caller::Token(claims) => Some(claims),
        Caller::Anyone | Caller::Key(_) => None,
    };
    let most = renews.map_or(Scope::Link, |claims| claims.scope);
    let scope = scope.unwrap_or(most);
    if scope == Scope::Link && most == Scope::Read {
        return Err(ErrorCode::Forbidden.into());
    }
    let signer = app.signer().ok_or(ErrorCode::StoreAway)?;
    let issued = signer.issue(session.id(), scope, ttl, renews)?;
    let body = json!({
        "streamToken": issued.token,
        "streamTokenExpiresAt": issued.expires,
        "scope": issued.scope,
    });
    Ok(NoStore(Json(body)).into_response())
}

impl TokenRequest {
    fn check(self, app: &App) -> Result<(Duration, Option<Scope>), ApiError> {
        let security = &app.config.security;
        let most = security.token_max_age.as_secs();
        let ttl = match self.ttl_seconds {
            None => security.token_ttl,
            Some(value) => {
                let seconds = value.as_u64().filter(|seconds| (1..=most).contains(seconds));
                let allowed = format!("a whole number from 1 to {most}");
                Duration::from_secs(seconds.ok_or_else(|| ApiError::invalid_body("ttlSeconds", allowed))?)
            }
        };
        let scope = match self.scope {
            None => None,
            Some(value) => {
                let scope = serde_json::from_value(value);
                Some(scope.map_err(|_| ApiError::invalid_body("scope", "read or link"))?)
            }
        };
        Ok((ttl, scope))
    }
}
