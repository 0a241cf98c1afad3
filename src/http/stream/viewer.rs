//! What both transports need of a request: which session, and from where on, or all sessions.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;

use crate::close::Close;
use crate::event::{Cursor, Event, InvalidCursor, Time};
use crate::http::api::session_path::SessionPath;
use crate::http::app::App;
use crate::http::describe::Parameter;
use crate::http::door::admission::{Admission, admitted};
use crate::http::door::caller::Caller;
use crate::http::door::limits::Place;
use crate::http::error::{ApiError, ErrorCode};
use crate::registry::Registry;
use crate::session::{Listener, Seat, Session};
use crate::stream::Viewer;
use crate::stream::guard::{StreamGuard, Transport};

/// Where a client says from where on.
pub(super) const CURSOR: &[Parameter] = &[
    Parameter::header("Last-Event-ID", "The id of the last event that the viewer has", "1763985600000-3"),
    Parameter::query(
        "lastEventId",
        "The same, for a client that cannot set the header, which wins",
        "1763985600000-3",
    ),
];

/// A request for a stream.
pub(in crate::http) enum Follow {
    /// It can be opened.
    Stream(Request),
    /// Not now: the viewer is told when to come back, in a way that an `EventSource` understands.
    Refused(Close),
}

/// A request for the stream of all sessions.
pub(in crate::http) struct FollowFeed(pub(super) Follow);

/// What to follow.
pub(in crate::http) struct Request {
    source: Source,
    /// When the viewer's token expires.
    until: Option<Time>,
    place: Place,
}

enum Source {
    /// A session, from after this event on.
    Session { session: Arc<Session>, after: Option<Cursor> },
    /// All sessions that the caller may see.
    Feed { caller: Caller, registry: Arc<Registry>, _opened: Seat },
}

impl Request {
    /// Whether the viewer already has the last event of a session that has ended: there is nothing to follow.
    pub(super) fn is_over(&self) -> bool {
        let Source::Session { session, after } = &self.source else { return false };
        let snapshot = session.snapshot();
        snapshot.state.ended && after.is_some() && *after == snapshot.last
    }

    /// Tells the stream every event from now on.
    pub(super) fn join(&self, app: &App, stream: Arc<dyn Listener>) -> Seat {
        match &self.source {
            Source::Session { session, .. } => {
                let (seat, fanout) = session.follow(stream);
                if let Some(fanout) = fanout {
                    app.streams.spawn(fanout.run());
                }
                seat
            }
            Source::Feed { registry, .. } => registry.feed.follow(stream),
        }
    }

    /// Begins to watch. The place must be kept as long as the viewer.
    pub(super) fn viewer(self, transport: Transport) -> (Viewer, Place) {
        let Self { source, until, place } = self;
        let open = StreamGuard::new(transport);
        let viewer = match source {
            Source::Session { session, after } => Viewer::new(session, after, open),
            Source::Feed { caller, .. } => {
                let takes = move |event: &Event| caller.has_user(event.session.user_id());
                Viewer::of_feed(Box::new(takes), open)
            }
        };
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
        let admission = match admitted(parts)? {
            Ok(admission) => admission,
            Err(close) => return Ok(Self::Refused(close)),
        };
        let SessionPath(id) = SessionPath::from_request_parts(parts, app).await?;
        let after = cursor(parts).map_err(|_| ErrorCode::InvalidCursor)?;
        let session = app.session(&id).await.map(|session| Source::Session { session, after });
        Self::of(app, &admission, session)
    }
}

impl FromRequestParts<App> for FollowFeed {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        let admission = match admitted(parts)? {
            Ok(admission) => admission,
            Err(close) => return Ok(Self(Follow::Refused(close))),
        };
        let feed = async {
            let registry = app.registry()?.clone();
            let _opened = registry.feed.open().await?;
            Ok(Source::Feed { caller: admission.caller.clone(), registry, _opened })
        };
        let feed = feed.await;
        Follow::of(app, &admission, feed).map(Self)
    }
}

impl Follow {
    /// A stream of what was found, if there is room for it.
    fn of(app: &App, admission: &Admission, found: Result<Source, ApiError>) -> Result<Self, ApiError> {
        let source = match found {
            Ok(source) => source,
            Err(error) if error.code() == ErrorCode::StoreAway => return Ok(Self::Refused(Close::StoreAway)),
            Err(error) => return Err(error),
        };
        Ok(match app.drain.goodbye().map_or_else(|| app.limits.enter(&admission.client), Err) {
            Ok(place) => Self::Stream(Request { source, until: admission.caller.expires(), place }),
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
