//! A session's events, sent to one browser as they come: over SSE or WebSocket.
//!
//! What a viewer is told and when is decided in `src/stream.rs`; these files encode it.

pub(super) mod sse;
mod viewer;
pub(super) mod websocket;
