//! What both streams need of a request: which session, and from where on.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;

use crate::close::Close;
use crate::event::{Cursor, InvalidCursor, Time};
use crate::http::api::session_path::SessionPath;
use crate::http::app::App;
use crate::http::door::admission::{Admission, admitted};
use crate::http::door::limits::Place;
use crate::http::error::{ApiError, ErrorCode};
use crate::session::Session;
use crate::stream::Viewer;
use crate::stream::guard::{StreamGuard, Transport};

/// A request to follow a session.
pub(in crate::http) enum Follow {
    /// It can be followed.
    Session(Request),
    /// Not now: the viewer is told when to come back, in a way that an `EventSource` understands.
    Refused(Close),
}

/// Which session to follow, and from where on.
pub(in crate::http) struct Request {
    session: Arc<Session>,
    after: Option<Cursor>,
    /// When the viewer's token expires.
    until: Option<Time>,
    place: Place,
}

impl Request {
    /// Whether the viewer already has the last event of a session that has ended: there is nothing to follow.
    pub(super) fn is_over(&self) -> bool {
        let snapshot = self.session.snapshot();
        snapshot.state.ended && self.after.is_some() && self.after == snapshot.last
    }

    /// Which session.
    pub(super) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Begins to watch. The place must be kept as long as the viewer.
    pub(super) fn viewer(self, transport: Transport) -> (Viewer, Place) {
        let Self { session, after, until, place } = self;
        let viewer = Viewer::new(session, after, StreamGuard::new(transport));
        (viewer.until(until), place)
    }
}

/// Counts a stream that says nothing but its end.
pub(in crate::http) fn refused(transport: Transport, end: Close) {
    StreamGuard::new(transport).closes(end);
}

/// From where on. The header is what a browser itself remembers: newer than a page's query. Each may come twice, for a
/// polyfill adds its own to what the page has written: the last one is the newest. An empty one counts as none.
fn cursor(parts: &Parts) -> Result<Option<Cursor>, InvalidCursor> {
    let mut headers = parts.headers.get_all("last-event-id").iter();
    let header = headers.rfind(|value| !value.is_empty()).map(|value| value.to_str()).transpose();
    if let Some(header) = header.map_err(|_| InvalidCursor)? {
        return header.parse().map(Some);
    }
    let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map_err(|_| InvalidCursor)?.0;
    let given = query.into_iter().rfind(|(name, value)| name == "lastEventId" && !value.is_empty());
    given.map(|(_, value)| value.parse()).transpose()
}

impl FromRequestParts<App> for Follow {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        let Admission { caller, client } = match admitted(parts)? {
            Ok(admission) => admission,
            Err(close) => return Ok(Self::Refused(close)),
        };
        let SessionPath(id) = SessionPath::from_request_parts(parts, app).await?;
        let after = cursor(parts).map_err(|_| ErrorCode::InvalidCursor)?;
        let session = match app.session(&id).await {
            Ok(session) => session,
            Err(error) if error.code() == ErrorCode::StoreAway => return Ok(Self::Refused(Close::StoreAway)),
            Err(error) => return Err(error),
        };
        Ok(match app.drain.goodbye().map_or_else(|| app.limits.enter(&client), Err) {
            Ok(place) => {
                let until = caller.expires();
                Self::Session(Request { session, after, until, place })
            }
            Err(close) => Self::Refused(close),
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn asked(query: &str, headers: &[&str]) -> Result<Option<String>, InvalidCursor> {
        let mut request = Request::builder().uri(format!("/api/sessions/ID/events{query}"));
        for header in headers {
            request = request.header("Last-Event-ID", *header);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Ok(cursor(&parts)?.map(|cursor| cursor.to_string()))
    }

    #[test]
    fn the_last_cursor_that_is_not_empty_counts_and_a_header_before_any_query() {
        for (query, headers, expected) in [
            ("", &[][..], None),
            ("?lastEventId=", &[], None),
            ("?lastEventId=7-3", &[], Some("7-3")),
            // A page's own, then the one that a polyfill adds.
            ("?lastEventId=7-3&lastEventId=7-9", &[], Some("7-9")),
            ("?lastEventId=7-3&token=t&lastEventId=7-9&lastEventId=", &[], Some("7-9")),
            ("?lastEventId=&lastEventId=7-9", &[], Some("7-9")),
            ("?lastEventId=7-3&lastEventId=&lastEventId", &[], Some("7-3")),
            ("?lastEventId=nonsense&lastEventId=7%2D9", &[], Some("7-9")),
            ("?lastEventId=7-9", &["7-3"], Some("7-3")),
            ("?lastEventId=7-9&lastEventId=nonsense", &["7-3"], Some("7-3")),
            ("?lastEventId=7-9", &[""], Some("7-9")),
            ("", &["7-3", "7-9"], Some("7-9")),
            ("?lastEventId=8-1", &["7-3", ""], Some("7-3")),
        ] {
            assert_eq!(asked(query, headers).unwrap().as_deref(), expected, "{query} {headers:?}");
        }
        for (query, headers) in [
            ("?lastEventId=7-3&lastEventId=nonsense", &[][..]),
            ("?lastEventId=7-3", &["nonsense"]),
            ("", &["7-3", "nonsense"]),
        ] {
            assert!(asked(query, headers).is_err(), "{query} {headers:?}");
        }
    }
}
