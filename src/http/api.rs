//! The calls that are answered once, in JSON or with a picture. What they share (bodies, phone numbers, paths) is here as well.
//!
//! Streams are in `stream/`, what monitors ask in `ops/`.

pub(super) mod body;
pub(super) mod init;
mod json;
pub(super) mod no_store;
pub(super) mod pairing;
pub(super) mod passkey;
pub(super) mod paths;
mod phone;
pub(super) mod polling;
pub(super) mod session_log;
pub(super) mod session_path;
pub(super) mod sessions;
pub(super) mod stream_token;
pub(super) mod webhooks;
