//! How a stream leaves HTTP: its answer is only a head, marked with what is to come after it. The connection
//! (`serve/connection.rs`) takes its socket back from hyper and starts the stream on it with [`super::task`].
//!
//! hyper's buffers would be most of what a stream costs that waits for its next event. To every layer around the handlers the
//! answer is one like any other.

use std::sync::Arc;

use axum::http::Extensions;
use axum::response::Response;
use parking_lot::Mutex;

use super::viewer::Request;
use crate::close::Close;
use crate::http::app::App;
use crate::stream::guard::Transport;

/// A stream whose head was decided.
pub(in crate::http) struct Opened {
    pub(super) app: App,
    pub(super) transport: Transport,
    /// Whom to follow, or why it ends at once.
    pub(super) watch: Result<Request, Close>,
}

/// Marks an answer.
#[derive(Clone)]
struct Handover(Arc<Mutex<Option<Opened>>>);

/// An answer that is the head of this stream.
pub(super) fn mark(mut head: Response, opened: Opened) -> Response {
    head.extensions_mut().insert(Handover(Arc::new(Mutex::new(Some(opened)))));
    head
}

/// Takes the stream out of an answer that is the head of one.
pub(in crate::http) fn take(answer: &mut Extensions) -> Option<Opened> {
    let Handover(opened) = answer.remove()?;
    opened.lock().take()
}
