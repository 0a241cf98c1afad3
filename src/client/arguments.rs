//! What can be said on the command line of the commands that ask a running server.

use std::path::PathBuf;

use clap::{Args, Subcommand};

const EXIT_CODES: &str = "\
Exit codes: 0 it is done, 1 it is refused or has ended, 2 and 64 a wrong command line or variable,
69 the server does not answer or cannot now, 77 the API key is missing or not allowed to, 130 stopped by Ctrl-C.
QRCAST_API_KEY holds the API key; the server that runs here is asked with the first of its API_KEYS.";

/// What to ask a running server for.
#[derive(Subcommand)]
pub enum Command {
    /// Lists the sessions of a running server.
    #[command(after_help = EXIT_CODES)]
    Sessions {
        /// Says it as one JSON object.
        #[arg(long)]
        json: bool,
        /// The server to ask.
        #[command(flatten)]
        server: Server,
    },
    /// Links an account: shows the QR in the terminal for as long as it takes, or a code to type on the phone.
    #[command(after_help = EXIT_CODES)]
    Link(Link),
    /// Logs a session's device out at WhatsApp, and forgets its keys.
    #[command(after_help = EXIT_CODES)]
    Logout {
        /// The session's id.
        session: String,
        /// Does not ask whether it is meant.
        #[arg(long)]
        yes: bool,
        /// The server to ask.
        #[command(flatten)]
        server: Server,
    },
    /// Prints the events of all sessions as they come, or those of one.
    #[command(after_help = EXIT_CODES)]
    Events {
        /// This session alone, with what is on its screen now.
        #[arg(long, value_name = "ID")]
        session: Option<String>,
        /// Prints each as one JSON object. With --session, QR codes and pairing codes are in it.
        #[arg(long)]
        json: bool,
        /// The server to ask.
        #[command(flatten)]
        server: Server,
    },
}

/// Which server.
#[derive(Args)]
pub struct Server {
    /// The server to ask; without it, the one that runs here with this environment.
    #[arg(long = "server", value_name = "URL")]
    pub(super) url: Option<String>,
}

impl Command {
    /// The server that the command line names.
    pub fn server(&self) -> Option<&str> {
        let server = match self {
            Self::Link(link) => &link.server,
            Self::Sessions { server, .. } | Self::Logout { server, .. } | Self::Events { server, .. } => {
                server
            }
        };
        server.url.as_deref()
    }
}

/// Which account, and how.
#[derive(Args)]
pub struct Link {
    /// Whose account it is to the server: a new session is made for this user id.
    #[arg(long, value_name = "ID", default_value = "terminal", conflicts_with = "session")]
    pub(super) user_id: String,
    /// Takes this session instead of a new one. One that has ended, or has no QR left, is started anew.
    #[arg(long, value_name = "ID")]
    pub(super) session: Option<String>,
    /// Shows a code to type on the phone of this number, instead of a QR.
    #[arg(long, value_name = "NUMBER")]
    pub(super) phone: Option<String>,
    /// Writes each QR to this file as a PNG, instead of showing it. Whoever can read the file can link the account.
    #[arg(long, value_name = "FILE", conflicts_with = "phone")]
    pub(super) png: Option<PathBuf>,
    #[command(flatten)]
    pub(super) server: Server,
}
