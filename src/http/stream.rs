//! A session's events, sent to one browser as they come: over SSE or WebSocket.
//!
//! What a viewer is told and when is decided in `src/stream.rs`; these files encode it, and write it to the browser's socket.

pub(super) mod handover;
mod incoming;
pub(super) mod socket;
pub(super) mod sse;
pub(super) mod task;
mod viewer;
pub(super) mod websocket;
