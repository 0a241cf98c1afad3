//! How bytes become requests: the listening socket, how long a head may take, and what is written down about each request.

mod connection;
mod head_timeout;
pub(crate) mod listener;
pub(super) mod trace;
