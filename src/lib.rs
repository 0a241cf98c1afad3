//! qrcast links WhatsApp accounts and pushes each link's life to browsers.
//!
//! A *session* is a numbered list of facts about one WhatsApp account; one task writes it, a log keeps it, streams read
//! it. The modules, in reading order:

// The client's futures nest deeply.
#![recursion_limit = "512"]

/// Every setting.
pub mod config;
/// Puts the pieces together.
pub mod server;
/// Stopping, and the start of every task.
pub mod shutdown;
/// Logging.
pub mod telemetry;

/// How long to pause between two tries.
pub(crate) mod backoff;
/// What time it is.
pub(crate) mod clock;

/// The id of a session.
pub mod id;

/// The facts and their JSON.
pub mod event;
/// The platform that a linked device claims to be.
pub(crate) mod platform;

/// A proxy between this process and WhatsApp.
pub(crate) mod proxy;
/// A receiver of webhooks, as it is named.
pub mod receiver;

/// A QR string as a picture.
pub mod qr;

/// A session: its state and its history.
pub(crate) mod session;

/// Port: WhatsApp.
pub mod whatsapp;

/// A connection, as hyper's client takes it.
pub(crate) mod wire;

/// What the stores stand on.
pub(crate) mod storage;

/// Port: the log.
pub(crate) mod log;
/// Port: records and ownership.
pub(crate) mod records;

/// Sends each session's events to those who asked for them.
pub(crate) mod webhooks;

/// Who else there is.
pub(crate) mod cluster;
/// One owner's life of a session: the link task.
pub(crate) mod link;
/// The stores of many replicas, in memory: for tests.
#[cfg(test)]
pub(crate) mod memory;
/// Which of them this replica runs, where there are others.
pub(crate) mod ownership;
/// All sessions of this process.
pub(crate) mod registry;

/// Why a stream ends.
pub(crate) mod close;
/// One browser.
pub(crate) mod stream;

/// Routes and handlers.
pub mod http;

/// From SQLite to Redis, once: `qrcast migrate`.
pub mod migrate;

/// Which stored records cannot be read: `qrcast check-store`.
pub mod check_store;

/// A copy of a data folder's database: `qrcast backup`.
pub mod backup;

/// Whether this machine can do the job: `qrcast doctor`.
pub mod doctor;

/// Asks a running server: `qrcast sessions`, `link`, `logout`, `events`.
pub mod client;
