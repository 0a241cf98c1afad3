//! Plays WhatsApp's server and any number of phones on loopback, so that the real `whatsapp-rust` client pairs, logs in,
//! is dropped, replaced, banned and logged out without WhatsApp. Accounts are as friendly as they can be until
//! [`Simulator::account`] or [`Config::contacts`] makes them like one that has been in use: app state as encrypted files
//! on the simulator's own media host (which may fail in every way), a phone that is off, collections that are refused,
//! devices that are taken back. Clients are told `https://ADDRESS/…` for that host; ask it in plain HTTP.
//!
//! It is made from what the client of version 0.7.0 accepts and from its sources; it shows what the client does, not what
//! WhatsApp does. It checks what WhatsApp could check (every signature, counter and key) and tells a client that breaks
//! a rule. Nothing leaves loopback, nothing is stored.
//!
//! ```no_run
//! # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
//! use simulator::{Config, Scan, Simulator};
//! let simulator = Simulator::start(Config::default()).await?;
//! println!("point a client at {}", simulator.url());
//! # let qr = String::new();
//! let jid = simulator.scan(Scan { qr, ..Scan::default() }).await?;
//! simulator.logout(&jid)?;
//! simulator.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! `docs/simulator.md` says what a caller must know beyond the controls' fields, and what the client does with each.
//!
//! From below: `noise` (handshake), `phone` (keys and signatures of accounts), `state` (what is remembered), `server`
//! (one client's connection), `simulator` (the handle of a test), `actions` (what a test can make happen), `control`
//! (the same over HTTP), `start` (all of it on a port). A module uses those before it and never one behind it, and no two
//! files use each other: `tests/it/house/simulator.rs` reads this order and compares.

mod actions;
mod control;
mod noise;
mod phone;
mod server;
mod simulator;
mod start;
mod state;

pub use actions::{
    Account, AccountError, ActionError, EnterCode, Fail, LinkError, Network, Noise, Noised, Passkey, Refresh,
    Refs, RefsError, Removal, Scan, Stream, Streamed, Version, What, Write, WriteError, Written,
};
pub use noise::Pattern;
pub use phone::{Authenticator, AuthenticatorError};
pub use simulator::{Simulator, StartError};
pub use start::Config;
pub use state::{Attempt, AttemptKind, Blobs, DeviceState, KeyShare, Latest, PasskeyState, Presence, State};
