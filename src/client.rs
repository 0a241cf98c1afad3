//! The commands that ask a running server over its public API: `qrcast sessions`, `link`, `logout`, `events`.
//!
//! `main` alone calls it. It opens no data and knows nothing of the server's inside: what it can do, any client can.

mod api;
mod arguments;
mod events;
mod failure;
mod follow;
mod link;
mod screen;
mod sessions;
mod words;

use self::api::Api;
pub use self::arguments::{Command, Link, Server};
pub use self::failure::Failure;
use crate::config::ClientSettings;

/// Does what the command line says.
///
/// # Errors
/// Says what went wrong and what to do next, without a credential.
pub async fn run(command: Command, settings: ClientSettings) -> Result<(), Failure> {
    let api = Api::new(settings);
    match command {
        Command::Sessions { json, .. } => sessions::list(&api, json).await,
        Command::Link(wanted) => link::run(&api, &wanted).await,
        Command::Logout { session, yes, .. } => sessions::log_out(&api, &session, yes).await,
        Command::Events { session, json, .. } => events::run(&api, session.as_deref(), json).await,
    }
}
