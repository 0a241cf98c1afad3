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
pub mod backoff;
/// What time it is.
pub mod clock;

/// The id of a session.
pub mod id;

/// The facts and their JSON.
pub mod event;
/// The platform that a linked device claims to be.
pub mod platform;

/// A proxy between this process and WhatsApp.
pub mod proxy;
/// A QR string as a picture.
pub mod qr;

/// A session: its state and its history.
pub mod session;

/// Port: WhatsApp.
pub mod whatsapp;

/// What the stores stand on.
pub mod storage;

/// Port: the log.
pub mod log;
/// Port: records and ownership.
pub mod records;

/// Who else there is.
pub mod cluster;
/// One owner's life of a session: the link task.
pub mod link;
/// The stores of many replicas, in memory: for tests.
#[cfg(any(test, feature = "simulator"))]
pub mod memory;
/// Which of them this replica runs, where there are others.
pub mod ownership;
/// All sessions of this process.
pub mod registry;

/// Why a stream ends.
pub mod close;
/// One browser.
pub mod stream;

/// Routes and handlers.
pub mod http;

/// From SQLite to Redis, once: `qrcast migrate`.
pub mod migrate;

/// Which stored records cannot be read: `qrcast check-store`.
pub mod check_store;

/// Whether this machine can do the job: `qrcast doctor`.
pub mod doctor;
