//! What both streams need of a request: which session, and from where on.

use std::sync::Arc;

use axum::extract::{Extension, FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::Deserialize;

use super::App;
use super::caller::Caller;
use super::client::Client;
use super::error::ApiError;
use super::limits::Place;
use crate::close::Close;
use crate::event::{Cursor, Time};
use crate::id::InvalidSessionId;
use crate::session::Session;
use crate::stream::Viewer;
use crate::stream::open::{OpenStream, Transport};
use crate::stream::pulse::Pulse;

/// A request to follow a session.
pub(super) enum Follow {
    /// It can be followed.
    Session(Request),
    /// Not now: the viewer is told when to come back, in a way that an `EventSource` understands.
    Refused(Close),
}

/// Whom to follow, and from where on.
pub(super) struct Request {
    app: App,
    session: Arc<Session>,
    after: Option<Cursor>,
    /// When the viewer's token expires.
    until: Option<Time>,
    place: Place,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resume {
    last_event_id: Option<String>,
}

impl Request {
    /// Whether the viewer already has the last event of a session that has ended: there is nothing to follow.
    pub(super) fn is_over(&self) -> bool {
        let snapshot = self.session.snapshot();
        snapshot.state.ended && self.after.is_some() && self.after == snapshot.last
    }

    /// Begins to watch, in a place that is to be kept as long.
    pub(super) fn viewer(self, pulse: Pulse, transport: Transport) -> (Viewer, Place) {
        let Self { app, session, after, until, place } = self;
        let viewer = Viewer::new(session, after, pulse, OpenStream::new(transport), &app.inner.drain);
        (viewer.until(until), place)
    }
}

/// Counts a stream that says nothing but its end.
pub(super) fn refused(transport: Transport, end: Close) {
    OpenStream::new(transport).closes(end);
}

impl FromRequestParts<App> for Follow {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        // What the door says of it.
        if let Some(close) = parts.extensions.get::<Close>() {
            return Ok(Self::Refused(*close));
        }
        let caller = Caller::from_request_parts(parts, app).await?;
        let client = Extension::<Client>::from_request_parts(parts, app).await;
        let Extension(client) = client.map_err(|_| ApiError::unauthorized())?;
        let Path(id) = Path::<String>::from_request_parts(parts, app).await.map_err(|_| InvalidSessionId)?;
        let session = app.session(&id).await;
        let query = Query::<Resume>::from_request_parts(parts, app).await;
        let query = query.map_err(|_| ApiError::invalid_cursor())?.0.last_event_id;
        let header = match parts.headers.get("last-event-id") {
            Some(value) => Some(value.to_str().map_err(|_| ApiError::invalid_cursor())?.to_owned()),
            None => None,
        };
        // The header is what a browser itself remembers: newer than a page's query. An empty one counts as none.
        let given = [header, query].into_iter().flatten().find(|text| !text.is_empty());
        let after = given.map(|text| text.parse()).transpose().map_err(|_| ApiError::invalid_cursor())?;
        match session {
            Ok(_) if app.inner.drain.has_begun() => Ok(Self::Refused(Close::Draining)),
            Ok(session) => match app.inner.limits.enter(&client) {
                Ok(place) => {
                    let until = caller.expires();
                    Ok(Self::Session(Request { app: app.clone(), session, after, until, place }))
                }
                Err(close) => Ok(Self::Refused(close)),
            },
            Err(error) if error.is_store_away() => Ok(Self::Refused(Close::StoreAway)),
            Err(error) => Err(error),
        }
    }
}
