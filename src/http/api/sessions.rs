//! The sessions as a whole: list them, restart one, delete one.

use std::str::FromStr as _;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::no_store::NoStore;
use super::polling::StatusAnswer;
use super::session_path::SessionPath;
use crate::event::Status;
use crate::http::app::App;
use crate::http::describe::{Answer, Content, Operation, Parameter};
use crate::http::door::admission::Admission;
use crate::http::door::author::Author;
use crate::http::door::caller::Caller;
use crate::http::error::{ApiError, ErrorCode};
use crate::id::{SessionId, UserId};
use crate::registry::Registry;
use crate::registry::mirror::Page;
use crate::session::Error;

/// Sessions on a page of the list, where the caller says nothing else.
const PAGE: usize = 50;

/// Most sessions on a page.
const MAX_PAGE: usize = 200;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct ListQuery {
    cursor: Option<String>,
    limit: Option<String>,
    user_id: Option<String>,
    status: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct ListedSession<'a> {
    #[serde(flatten)]
    status: StatusAnswer<'a>,
    /// Over all replicas, up to 10 s old.
    viewers: usize,
}

/// A page of the list.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct ListAnswer<'a> {
    sessions: Vec<ListedSession<'a>>,
    /// The `cursor` of the next page; null on the last one.
    next_cursor: Option<&'a SessionId>,
}

/// A session that starts anew.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct RestartAnswer {
    session_id: SessionId,
    status: Status,
}

pub(in crate::http) const LIST: Operation = Operation {
    parameters: &[
        Parameter::query(
            "cursor",
            "The `nextCursor` of the page before",
            "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11",
        ),
        Parameter::query("limit", "1 to 200, else 50", "20"),
        Parameter::query("userId", "Of this user alone", "ada"),
        Parameter::query("status", "In this status alone", "connected"),
    ],
    errors: &[
        ErrorCode::InvalidListCursor,
        ErrorCode::InvalidQuery,
        ErrorCode::InvalidUserId,
        ErrorCode::StoreDamaged,
    ],
    ..Operation::new(
        "listSessions",
        "All sessions under the key, in the order of their ids",
        &[Answer::ok(
            "A page of the list",
            &[Content::json::<ListAnswer<'_>>(
                r#"{"sessions": [{"sessionId": "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11", "status": "connected", "since": "2025-11-24T12:00:00.000Z", "userId": "ada",
            "connectedAt": "2025-11-24T12:00:00.000Z", "hasQrCode": false, "clientActive": true, "uptime": 61000,
            "lastEventId": "1763985600000-3",
            "me": {"id": "905551112233:1@s.whatsapp.net", "pushName": "Ada", "platform": "android"},
            "reason": null, "detail": null, "help": null, "incomplete": false, "missing": null,
            "owner": "b7e3", "metadata": {"order": 7}, "viewers": 1}], "nextCursor": null}"#,
            )],
        )],
    )
};

pub(in crate::http) const RESTART: Operation = Operation {
    errors: &[ErrorCode::SessionEnded, ErrorCode::OwnerSilent, ErrorCode::Draining],
    ..Operation::new(
        "restartSession",
        "New QRs for a session that is not linked, a reconnect of one that is; after a logout new keys",
        &[Answer::of(
            StatusCode::ACCEPTED,
            "It starts anew; what follows comes on its stream",
            &[Content::json::<RestartAnswer>(
                r#"{"sessionId": "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11", "status": "initializing"}"#,
            )],
        )],
    )
};

pub(in crate::http) const DELETE: Operation = Operation::new(
    "deleteSession",
    "Logs the device out at WhatsApp, and forgets its keys",
    &[Answer::of(StatusCode::NO_CONTENT, "It is deleted, or never was", &[])],
);

pub(in crate::http) const DELETE_OF_USER: Operation = Operation {
    parameters: &[Parameter::query("userId", "Whose", "ada").required()],
    errors: &[ErrorCode::InvalidQuery, ErrorCode::InvalidUserId, ErrorCode::StoreDamaged],
    ..Operation::new(
        "deleteSessionsOfUser",
        "Deletes every session of a person; one that begins meanwhile stays",
        &[Answer::ok(
            "They are deleted, each as by its own call",
            &[Content::json::<DeleteAnswer>(r#"{"userId": "ada", "deleted": 2}"#)],
        )],
    )
};

/// `GET /api/sessions`, in the order of their ids.
pub(in crate::http) async fn list(
    State(app): State<App>,
    Admission { caller, .. }: Admission,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|_| bad_query())?;
    let filter = query.check()?;
    let takes = |id: &SessionId| caller.has_user(id.user_id()) && filter.takes(id);
    let registry = app.registry()?;
    let page = Page { takes: &takes, status: filter.status, limit: filter.limit };
    let (sessions, more) = registry.list(page).await?;
    let viewers = registry.viewers().await?;
    let listed = sessions
        .iter()
        .map(|session| ListedSession {
            status: StatusAnswer::of(session, registry),
            viewers: viewers.get(session.id()).copied().unwrap_or_default(),
        })
        .collect();
    let next_cursor = if more { sessions.last().map(|session| session.id()) } else { None };
    let answer = ListAnswer { sessions: listed, next_cursor };
    Ok(NoStore(Json(answer)).into_response())
}

/// The query is none.
pub(super) fn bad_query() -> ApiError {
    ApiError::not_allowed(ErrorCode::InvalidQuery, "query", "key=value pairs, each key once")
}

/// How many sessions a page has.
pub(super) fn limit_of(text: Option<String>) -> Result<usize, ApiError> {
    let Some(text) = text else { return Ok(PAGE) };
    text.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit)).ok_or_else(|| {
        ApiError::not_allowed(ErrorCode::InvalidQuery, "limit", "a whole number from 1 to 200")
    })
}

/// What of the list is asked for.
struct Filter {
    after: Option<SessionId>,
    limit: usize,
    user: Option<UserId>,
    status: Option<Status>,
}

impl ListQuery {
    fn check(self) -> Result<Filter, ApiError> {
        let after =
            self.cursor.map(|text| text.parse()).transpose().map_err(|_| ErrorCode::InvalidListCursor)?;
        let limit = limit_of(self.limit)?;
        let user = self.user_id.map(|text| UserId::from_str(&text)).transpose()?;
        let status = match self.status {
            None => None,
            Some(text) => {
                Some(Status::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| {
                    ApiError::not_allowed(
                        ErrorCode::InvalidQuery,
                        "status",
                        Status::ALL.map(Status::as_str).join(", "),
                    )
                })?)
            }
        };
        Ok(Filter { after, limit, user, status })
    }
}

impl Filter {
    fn takes(&self, id: &SessionId) -> bool {
        self.after.as_ref().is_none_or(|after| id > after)
            && self.user.as_ref().is_none_or(|user| user.as_str() == id.user_id())
    }
}

/// `POST /api/sessions/{id}/restart`
pub(in crate::http) async fn restart(
    State(app): State<App>,
    Admission { caller, .. }: Admission,
    SessionPath(id): SessionPath,
    author: Author,
) -> Result<Response, ApiError> {
    if app.links.has_begun() {
        return Err(ErrorCode::Draining.into());
    }
    // A token gets a person through a link. Only the embedder may interrupt one that stands.
    if matches!(caller, Caller::Token(_)) && app.session(&id).await?.snapshot().state.has_device() {
        return Err(ErrorCode::Forbidden.into());
    }
    let (registry, restarted) = (app.registry()?.clone(), id.clone());
    app.finish(async move {
        registry.restart(&restarted).await.map_err(|error| match error {
            Error::Failed(error) => {
                tracing::error!(sessionId = %restarted, %error, "session error");
                ErrorCode::StoreAway.into()
            }
            error => ApiError::from(error),
        })?;
        author.did("session restarted", &restarted);
        Ok(())
    })
    .await?;
    let answer = RestartAnswer { session_id: id, status: Status::Initializing };
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// `DELETE /api/sessions/{id}`
pub(in crate::http) async fn delete(
    State(app): State<App>,
    SessionPath(id): SessionPath,
    author: Author,
) -> Result<StatusCode, ApiError> {
    let registry = app.registry()?.clone();
    app.finish(async move { delete_one(&registry, &author, &id).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether there was something to delete.
async fn delete_one(registry: &Arc<Registry>, author: &Author, id: &SessionId) -> Result<bool, ApiError> {
    let deleted = registry.delete(id).await?;
    if deleted {
        author.did("session deleted", id);
    }
    Ok(deleted)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::http) struct DeleteQuery {
    user_id: String,
}

/// What of a person is gone.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct DeleteAnswer {
    user_id: String,
    /// Sessions that this call has deleted.
    deleted: usize,
}

/// `DELETE /api/sessions?userId=`: one that cannot be deleted keeps no other.
pub(in crate::http) async fn delete_of_user(
    State(app): State<App>,
    Admission { caller, .. }: Admission,
    author: Author,
    query: Result<Query<DeleteQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|_| {
        ApiError::not_allowed(
            ErrorCode::InvalidQuery,
            "query",
            "userId, and nothing else: whose sessions to delete",
        )
    })?;
    let user = UserId::from_str(&query.user_id)?;
    if !caller.has_user(user.as_str()) {
        return Err(ErrorCode::Forbidden.into());
    }
    let registry = app.registry()?.clone();
    let deleted = app.finish(async move {
        let mut ids = registry.ids().await.map_err(Error::from)?;
        ids.retain(|id| id.user_id() == user.as_str());
        let mut deletions = Vec::new();
        for id in &ids {
            deletions.push(delete_one(&registry, &author, id));
        }
        let deleted: Result<Vec<_>, _> = join_all(deletions).await.into_iter().collect();
        Ok(deleted?.into_iter().filter(|deleted| *deleted).count())
    });
    let answer = DeleteAnswer { user_id: query.user_id, deleted: deleted.await? };
    Ok(NoStore(Json(answer)).into_response())
}
