//! Who may come in: whose key or token a request has, where it comes from, what that client has used, and which pages may use
//! this server.
//!
//! Nothing here knows a session or a route. The guard (`guard.rs`) and the layers of `http.rs` ask these files.

pub(super) mod admission;
pub(super) mod author;
pub(super) mod caller;
pub(super) mod client;
pub(super) mod credentials;
pub(super) mod host;
pub(super) mod limits;
pub(super) mod origins;
pub(super) mod refusal;
pub(super) mod tokens;
