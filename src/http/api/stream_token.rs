//! `POST /api/sessions/{id}/stream-token`: a new token for a key, or for one that is still good.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::body::OptionalJsonBody;
use super::no_store::NoStore;
use super::session_path::SessionPath;
use crate::event::{Reason, Time};
use crate::http::app::App;
use crate::http::describe::{Answer, Content, Operation};
use crate::http::door::admission::Admission;
use crate::http::door::author::Author;
use crate::http::door::caller::Caller;
use crate::http::door::tokens::Scope;
use crate::http::error::{ApiError, ErrorCode, Warnings};

/// What a new token is to be; all of it may be left out.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct TokenRequest {
    /// In seconds, from 1 to `TOKEN_MAX_AGE_SECONDS`; `TOKEN_TTL_SECONDS` where nothing is said.
    #[schemars(with = "Option<u32>", range(min = 1))]
    ttl_seconds: Option<Value>,
    /// The caller's own, or less.
    #[schemars(with = "Option<Scope>")]
    scope: Option<Value>,
}

/// A new token.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct TokenAnswer {
    stream_token: String,
    stream_token_expires_at: Time,
    scope: Scope,
    #[serde(skip_serializing_if = "Warnings::is_empty")]
    warnings: Warnings,
}

pub(in crate::http) const STREAM_TOKEN: Operation = Operation {
    body: Some(Content::json::<TokenRequest>(r#"{"ttlSeconds": 600, "scope": "read"}"#)),
    errors: &[ErrorCode::SessionEnded],
    ..Operation::new(
        "createStreamToken",
        "A new token for the session, for the caller's scope or less",
        &[Answer::ok(
            "The token",
            &[Content::json::<TokenAnswer>(
                r#"{"streamToken": "eyJ…", "streamTokenExpiresAt": "2025-11-24T12:10:00.000Z", "scope": "read"}"#,
            )],
        )],
    )
};

/// `POST /api/sessions/{id}/stream-token`
pub(in crate::http) async fn stream_token(
    State(app): State<App>,
    SessionPath(id): SessionPath,
    Admission { caller, .. }: Admission,
    author: Author,
    OptionalJsonBody(request, warnings): OptionalJsonBody<TokenRequest>,
) -> Result<Response, ApiError> {
    let (ttl, scope) = request.check(&app).map_err(|error| error.warning(warnings.clone()))?;
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
    let answer = TokenAnswer {
        stream_token: issued.token,
        stream_token_expires_at: issued.expires,
        scope: issued.scope,
        warnings,
    };
    author.did("token issued", session.id());
    Ok(NoStore(Json(answer)).into_response())
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
