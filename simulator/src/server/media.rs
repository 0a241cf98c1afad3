//! The media host, on the simulator's own port: gives the files that app state refers to, or fails as the account's rules
//! say. A client uses `https`; a test that directs a client here replaces that by plain HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::{Stream, stream};
use serde::Deserialize;
use tokio::select;
use tokio::time::sleep;

use super::Shared;
use crate::phone::Blob;
use crate::state::Blobs;

/// The number of pieces of a slow body ...
const PIECES: usize = 20;
/// ... and the pause between two of them.
const BETWEEN_PIECES: Duration = Duration::from_millis(500);

/// The proof with which a client requests a file.
#[derive(Deserialize)]
pub(crate) struct Credentials {
    auth: Option<String>,
    token: Option<String>,
}

/// Answers one request, once the outage, if any, is over.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    at: Path<(String, String)>,
    shown: Query<Credentials>,
) -> Response {
    let mut paused = shared.paused.subscribe();
    select! {
        _resumed = paused.wait_for(|paused| !paused) => {}
        () = shared.stop.cancelled() => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
    let Path((number, name)) = at;
    let (found, blobs) = {
        let mut world = shared.shelf.world();
        world.media.requests += 1;
        if shown.auth.as_ref() != Some(&world.media.auth) {
            return StatusCode::FORBIDDEN.into_response();
        }
        let found = world.phones.get(&number).and_then(|phone| phone.blob(&name));
        (found, world.rules(&number).blobs)
    };
    let Some(blob) = found else { return StatusCode::NOT_FOUND.into_response() };
    if shown.token.as_ref() != Some(&blob.token) {
        return StatusCode::FORBIDDEN.into_response();
    }
    give(&shared, &blob, blobs).await
}

async fn give(shared: &Arc<Shared>, blob: &Blob, blobs: Blobs) -> Response {
    let mut bytes = blob.bytes.to_vec();
    match blobs {
        Blobs::Ok | Blobs::BadSnapshot => bytes.into_response(),
        Blobs::Missing => StatusCode::NOT_FOUND.into_response(),
        Blobs::Slow => {
            let length = [(header::CONTENT_LENGTH, bytes.len())];
            (length, Body::from_stream(trickle(Arc::clone(shared), bytes.into()))).into_response()
        }
        Blobs::Silent => {
            // A client that stops waiting closes the connection, which drops this future.
            shared.stop.cancelled().await;
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Blobs::BadBlob => {
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
            bytes.into_response()
        }
    }
}

/// The bytes, a piece at a time; an error when the simulator ends before them.
fn trickle(shared: Arc<Shared>, bytes: Bytes) -> impl Stream<Item = Result<Bytes, &'static str>> {
    let piece = bytes.len().div_ceil(PIECES).max(1);
    stream::unfold((shared, bytes), move |(shared, mut rest)| async move {
        if rest.is_empty() {
            return None;
        }
        select! {
            () = sleep(BETWEEN_PIECES) => {}
            () = shared.stop.cancelled() => return Some((Err("the simulator ended"), (shared, Bytes::new()))),
        }
        let next = rest.split_to(piece.min(rest.len()));
        Some((Ok(next), (shared, rest)))
    })
}
