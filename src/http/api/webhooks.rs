//! How webhooks stand, and sending some of them again.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::body::JsonBody;
use super::no_store::NoStore;
use super::sessions::{self, limit_of};
use crate::event::{Cursor, Time};
use crate::http::app::App;
use crate::http::describe::{Answer, Content, Operation, Parameter};
use crate::http::door::admission::Admission;
use crate::http::door::author::Author;
use crate::http::door::caller::Caller;
use crate::http::error::{ApiError, ErrorCode, Warnings};
use crate::id::SessionId;
use crate::registry::mirror::Page;
use crate::webhooks::{Listed, ResendError};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct ListQuery {
    cursor: Option<String>,
    limit: Option<String>,
    session_id: Option<String>,
}

/// One receiver of one session.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ReceiverAnswer {
    session_id: SessionId,
    url: String,
    /// Whether it is one of `WEBHOOK_URLS`.
    shared: bool,
    state: &'static str,
    last_error: Option<String>,
    last_delivery_at: Option<Time>,
    next_try_at: Option<Time>,
    /// How many events wait.
    waiting: usize,
    /// How many events it never got.
    lost: u64,
}

/// How webhooks stand, for the sessions of a page.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct WebhooksAnswer<'a> {
    /// What signs the events that are sent to the `webhookUrl` of this key's sessions.
    secret: Option<String>,
    receivers: Vec<ReceiverAnswer>,
    /// The `cursor` of the next page; null on the last one.
    next_cursor: Option<&'a SessionId>,
}

/// It will be sent again.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct ResendAnswer {
    session_id: SessionId,
    /// To how many receivers.
    receivers: usize,
    #[serde(skip_serializing_if = "Warnings::is_empty")]
    warnings: Warnings,
}

impl ReceiverAnswer {
    /// A URL of all sessions is the operator's: a key that is not for all of them sees no path, where a secret may be.
    fn of(session: &SessionId, listed: Listed, caller: &Caller) -> Self {
        let hidden = listed.is_shared && caller.prefix().is_some();
        Self {
            session_id: session.clone(),
            url: if hidden { listed.url.origin() } else { listed.url.as_str().to_owned() },
            shared: listed.is_shared,
            state: listed.state,
            last_error: listed.error,
            last_delivery_at: listed.delivered,
            next_try_at: listed.next,
            waiting: listed.waiting,
            lost: listed.lost,
        }
    }
}

pub(in crate::http) const LIST: Operation = Operation {
    parameters: &[
        Parameter::query(
            "cursor",
            "The `nextCursor` of the page before",
            "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11",
        ),
        Parameter::query("limit", "Sessions: 1 to 200, else 50", "20"),
        Parameter::query(
            "sessionId",
            "Of this session alone",
            "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11",
        ),
    ],
    errors: &[
        ErrorCode::InvalidListCursor,
        ErrorCode::InvalidSessionId,
        ErrorCode::InvalidQuery,
        ErrorCode::StoreDamaged,
    ],
    ..Operation::new(
        "listWebhooks",
        "How each receiver stands",
        &[Answer::ok(
            "A page of receivers, in the order of their sessions' ids",
            &[Content::json::<WebhooksAnswer<'_>>(
                r#"{"secret": "whsec_…", "receivers": [{
                    "sessionId": "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11", "url": "https://shop.example/hooks",
                    "shared": false, "state": "failing", "lastError": "HTTP 500",
                    "lastDeliveryAt": "2025-11-24T12:00:00.000Z", "nextTryAt": "2025-11-24T12:00:05.000Z",
                    "waiting": 2, "lost": 0}], "nextCursor": null}"#,
            )],
        )],
    )
};

pub(in crate::http) const RESEND: Operation = Operation {
    body: Some(Content::json::<ResendRequest>(
        r#"{"sessionId": "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11", "after": "1763985600000-3"}"#,
    )),
    errors: &[ErrorCode::SessionNotFound, ErrorCode::StoreDamaged],
    ..Operation::new(
        "resendWebhooks",
        "Sends a session's events again, from one on",
        &[Answer::of(
            StatusCode::ACCEPTED,
            "They are on their way",
            &[Content::json::<ResendAnswer>(
                r#"{"sessionId": "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11", "receivers": 1}"#,
            )],
        )],
    )
};

/// `GET /api/webhooks`, in the order of the sessions' ids; `limit` counts sessions.
pub(in crate::http) async fn list(
    State(app): State<App>,
    Admission { caller, .. }: Admission,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|_| sessions::bad_query())?;
    let after: Option<SessionId> =
        query.cursor.map(|text| text.parse()).transpose().map_err(|_| ErrorCode::InvalidListCursor)?;
    let only: Option<SessionId> = query.session_id.map(|text| text.parse()).transpose()?;
    let takes = |id: &SessionId| {
        caller.has_user(id.user_id())
            && after.as_ref().is_none_or(|after| id > after)
            && only.as_ref().is_none_or(|only| id == only)
    };
    let page = Page { takes: &takes, status: None, limit: limit_of(query.limit)? };
    let (sessions, more) = app.registry()?.list(page).await?;
    let webhooks = app.webhooks()?;
    let mut receivers = Vec::new();
    for session in &sessions {
        let listed = webhooks.list(session.id()).await.map_err(error_of)?;
        receivers.extend(listed.into_iter().map(|listed| ReceiverAnswer::of(session.id(), listed, &caller)));
    }
    let answer = WebhooksAnswer {
        secret: webhooks.secret_of(caller.key_name()).map(|secret| secret.to_text()),
        receivers,
        next_cursor: if more { sessions.last().map(|session| session.id()) } else { None },
    };
    Ok(NoStore(Json(answer)).into_response())
}

/// What is to be sent again.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct ResendRequest {
    #[schemars(required, with = "String")]
    session_id: Option<String>,
    /// The id of an event: those after it are sent again, to each receiver of the session.
    #[schemars(required, with = "String")]
    after: Option<String>,
}

/// `POST /api/webhooks/resend`
pub(in crate::http) async fn resend(
    State(app): State<App>,
    Admission { caller, .. }: Admission,
    author: Author,
    JsonBody { value, warnings, .. }: JsonBody<ResendRequest>,
) -> Result<Response, ApiError> {
    let (session, after) = value.check().map_err(|error| error.warning(warnings.clone()))?;
    if !caller.has_user(session.user_id()) {
        return Err(ErrorCode::Forbidden.into());
    }
    app.session(&session).await?;
    let (webhooks, id) = (app.webhooks()?.clone(), session.clone());
    let receivers = app.finish(async move {
        let receivers = webhooks.resend(&id, after).await.map_err(error_of)?;
        author.did("webhooks are sent again", &id);
        Ok(receivers)
    });
    let answer = ResendAnswer { session_id: session, receivers: receivers.await?, warnings };
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

impl ResendRequest {
    fn check(self) -> Result<(SessionId, Cursor), ApiError> {
        let session = self.session_id.and_then(|id| id.parse().ok());
        let session = session.ok_or_else(|| ApiError::invalid_body("sessionId", "the id of a session"))?;
        let after = self.after.and_then(|after| after.parse::<Cursor>().ok());
        let after = after.filter(|after| after.epoch <= Cursor::LAST_EPOCH).ok_or_else(|| {
            ApiError::invalid_body("after", "the id of an event: those after it are sent again")
        })?;
        Ok((session, after))
    }
}

fn error_of(error: ResendError) -> ApiError {
    match error {
        ResendError::Unknown => ErrorCode::SessionNotFound.into(),
        ResendError::NotYet(last) => ApiError::invalid_body(
            "after",
            format!("the id of an event up to the session's last one, {last}"),
        ),
        ResendError::Away => ErrorCode::StoreAway.into(),
        ResendError::Failed(error) if error.is_damage() => ErrorCode::StoreDamaged.into(),
        ResendError::Failed(error) => {
            tracing::error!(%error, "session error");
            ErrorCode::Internal.into()
        }
    }
}
