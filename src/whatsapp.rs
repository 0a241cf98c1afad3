//! Port: what we ask of WhatsApp, and what it signals back.
//!
//! A [`Link`] is one running client of one session. The session's runner starts it, listens to its [`Signal`]s and
//! stops it; nobody else touches it. `whatsapp/client.rs` is the only file that names the library's client.

pub mod checkup;
pub mod client;
mod connection;
pub mod egress;
mod login_backoff;
mod login_queue;
mod reach;
mod runtime;
#[cfg(any(test, feature = "simulator"))]
pub mod script;
pub mod store;
mod translate;
pub mod version;
mod words;

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use self::version::{Version, VersionReport};
use crate::event::{Assertion, Me, Missing, PairingMethod, PairingRefusal, Time};
use crate::id::SessionId;
use crate::proxy::ProxyUrl;

/// Which account to run, and with what.
#[derive(Clone, Debug)]
pub struct Account {
    /// Whose account.
    pub session: SessionId,
    /// The ownership in whose name its keys are written.
    pub epoch: u64,
    /// What the phone lists the device as; the deployment's name when `None`.
    pub device_name: Option<String>,
    /// Its own way to WhatsApp; the deployment's when `None`.
    pub proxy: Option<ProxyUrl>,
    /// The account's name, as far as it is known.
    pub push_name: Option<String>,
}

/// Where a link's signals go, in the order in which they happened. Unbounded, so that none is ever dropped: a link
/// signals its life only, a few a minute, never messages.
pub type Signals = mpsc::UnboundedSender<Signal>;

/// Ends when it is this session's turn to log in. To drop it is to leave the queue.
pub type LoginTurn = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// WhatsApp, as the sessions see it.
#[async_trait]
pub trait WhatsApp: Send + Sync {
    /// Starts the client of an account. Returns before WhatsApp answers.
    async fn start(&self, account: &Account, signals: Signals) -> Result<Box<dyn Link>, StartError>;

    /// A place in the queue of those who log in, for a session that nobody waits for: one that comes back.
    fn turn(&self) -> LoginTurn;

    /// Forgets the keys of an account: the next start makes new ones.
    async fn forget(&self, session: &SessionId) -> Result<(), StartError>;

    /// Whether the keys of an account are those of a device that a phone has linked.
    async fn is_linked(&self, session: &SessionId) -> Result<bool, StartError>;

    /// Every session of which there are keys.
    async fn sessions(&self) -> Result<Vec<SessionId>, StartError>;

    /// Whether the keys of an account can be read, where there are any.
    async fn is_whole(&self, session: &SessionId) -> Result<bool, StartError>;

    /// Which version of WhatsApp Web new clients claim, and how good that is.
    fn version(&self) -> VersionReport;

    /// A version newer than this one, which WhatsApp has refused; looked up at once where none is known, once for all who
    /// ask. New clients claim it.
    async fn newer_version(&self, refused: Version) -> Option<Version>;

    /// Ends as soon as a version newer than this one is known.
    async fn until_newer_version(&self, refused: Version);
}

/// It was not done; nothing runs.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another owner has the keys: give up.
    #[error("another owner has the keys of this account")]
    Fenced,
    /// Try again later.
    #[error("the WhatsApp client did not start: {0}")]
    Failed(String),
}

/// Why a client runs no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It ended by itself.
    Ended,
    /// Its keys have another owner: whatever it does now is lost.
    Fenced,
}

/// One running client.
#[async_trait]
pub trait Link: Send + Sync {
    /// Whether WhatsApp has answered on the connection of this moment.
    fn is_reached(&self) -> bool;

    /// Whether WhatsApp has taken the login on the connection of this moment.
    fn is_logged_in(&self) -> bool;

    /// Whether a phone has linked the device, as far as the client knows: before it is stored, and before anybody is told.
    fn is_linked(&self) -> bool;

    /// What of the account is not stored yet.
    ///
    /// # Errors
    /// When the store does not say.
    async fn missing(&self) -> Result<Option<Missing>, StartError>;

    /// Asks for what is missing again, over a new connection, in turn: the client has no other way.
    fn fetch_again(&self);

    /// Hands the passkey's answer to WhatsApp. What follows, a refusal too, comes as a signal.
    fn answer_passkey(&self, assertion: Assertion);

    /// A person has seen the same code on the phone. What follows, a refusal too, comes as a signal.
    fn confirm_passkey(&self);

    /// The passkey step is over, however it ended: QRs rotate again.
    fn end_passkey(&self);

    /// Whether there is a client, and it may dial. Where WhatsApp could not be reached it may not, and not afterwards either:
    /// another one is built, in turn.
    fn may_dial(&self) -> bool;

    /// How long the client's own back-off may take before it tries again, at most.
    fn back_off(&self) -> Duration;

    /// A place in the queue of those who log in, from the moment on at which WhatsApp can be reached as far as is known.
    fn turn(&self) -> LoginTurn;

    /// Stops the client; [`Link::retry`] builds another.
    async fn halt(&mut self);

    /// Builds another client, which tries to connect at once.
    async fn retry(&mut self) -> Result<(), StartError>;

    /// Forgets the keys and starts with new ones.
    async fn start_over(&mut self) -> Result<(), StartError>;

    /// Writes again what a store that came back may have lost: the right to write the keys, and the device itself. What
    /// came from others, ratchets and used pre-keys, cannot be had again.
    async fn reopen(&mut self) -> Result<(), StartError>;

    /// Ends when the client has stopped, or must be.
    async fn stopped(&mut self) -> Stopped;

    /// Asks for a pairing code, which comes as a signal, as does a refusal. One that was asked for before is void.
    fn request_code(&self, phone_number: String);

    /// Makes the pairing code void.
    fn cancel_code(&self);

    /// Removes the device at WhatsApp, as far as WhatsApp can be reached, and stops.
    async fn log_out(self: Box<Self>);

    /// Stops the client and waits until its state is stored, at most as long as a link may take to stop.
    async fn stop(self: Box<Self>);
}

/// What happened at WhatsApp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A QR that a phone can scan now.
    Qr {
        /// As WhatsApp sent it.
        qr_string: String,
        /// Which of this connection's references, from 1.
        attempt: u32,
        /// How many references this connection got.
        max_attempts: u32,
        /// How long it can be scanned.
        expires_in: Duration,
    },
    /// WhatsApp gives no more QRs; the client stops, unless a pairing code is still waiting for a phone.
    QrExhausted {
        /// Whether it stops.
        stops: bool,
    },
    /// A pairing code that somebody can type on a phone now.
    Code {
        /// As a person types it, `ABCD-1234`.
        code: String,
        /// For which number.
        phone_number: String,
        /// How long it can be typed.
        expires_in: Duration,
    },
    /// A phone or WhatsApp refused a pairing; the client goes on.
    PairingRefused {
        /// By which way.
        method: PairingMethod,
        /// The stable word.
        code: PairingRefusal,
        /// What was said.
        detail: String,
        /// How long WhatsApp wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// WhatsApp asks for the account's passkey; [`Link::answer_passkey`] goes on.
    PasskeyRequired {
        /// `PublicKeyCredentialRequestOptions`, as WhatsApp sent them.
        options: serde_json::Value,
        /// How long WhatsApp waits.
        expires_in: Duration,
    },
    /// WhatsApp took the passkey; [`Link::confirm_passkey`] goes on.
    PasskeyConfirmation {
        /// As the phone shows it.
        code: String,
        /// Whether nobody needs to compare it; the client goes on by itself.
        automatic: bool,
    },
    /// A phone has linked the device. The client logs in next, over a connection of its own.
    Paired {
        /// The account, as the phone gave it.
        me: Me,
    },
    /// WhatsApp took the login. What it owes a fresh device comes next; the client says [`Signal::Connected`] when it has
    /// that, or never.
    LoggedIn,
    /// The phone's key to the account's settings was stored.
    KeyStored,
    /// Settings of the account were stored.
    SettingsStored,
    /// Logged in, and the client is content. Whether everything is there says the store: [`Link::missing`].
    Connected {
        /// The device's JID.
        id: String,
        /// The account's name, where it is known.
        push_name: Option<String>,
        /// What the store lacks; filled in by the link task, which can ask it.
        missing: Option<Missing>,
    },
    /// The client opens a connection: whatever it had before is gone.
    Connecting,
    /// The connection could not be opened, or WhatsApp said nothing on it.
    ConnectFailed {
        /// What went wrong.
        detail: String,
    },
    /// The connection broke; the client opens another.
    Lost {
        /// What WhatsApp or the socket said.
        detail: String,
    },
    /// WhatsApp refused the login, or ended the connection, for now.
    TurnedAway {
        /// WhatsApp's code: 429, 500 or 503.
        code: i32,
        /// The pause before the next try.
        again_in: Duration,
        /// Whether the client keeps that pause by itself. Otherwise it must be halted, and built anew after it.
        by_client: bool,
    },
    /// WhatsApp has been out of reach for too long. The runner's own timer: the client says nothing.
    Unreachable {
        /// Of the last failed try.
        detail: String,
    },
    /// The device was removed; the client stops.
    LoggedOut {
        /// What WhatsApp said.
        detail: Option<String>,
        /// A page of WhatsApp's, or a next step in words.
        help: Option<String>,
    },
    /// Another client took the device's place; the client stops.
    Replaced,
    /// WhatsApp banned the account; the client stops.
    Banned {
        /// When the ban ends, where WhatsApp said.
        until: Option<Time>,
        /// What WhatsApp said.
        detail: Option<String>,
        /// A page of WhatsApp's.
        help: Option<String>,
    },
    /// WhatsApp no longer takes the version that this client claims; the client stops.
    Outdated {
        /// Which.
        version: Version,
        /// In words, with what an operator can do.
        detail: String,
    },
    /// WhatsApp refused the login; the client stops.
    Rejected {
        /// WhatsApp's code, and what it said.
        detail: Option<String>,
        /// A page of WhatsApp's.
        help: Option<String>,
    },
}
