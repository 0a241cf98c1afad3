//! Port: what we ask of WhatsApp, and what it signals back.
//!
//! A [`Link`] is one running client of one session. The session's runner starts it, listens to its [`Signal`]s and
//! stops it; nobody else touches it. Only `whatsapp/client.rs` makes one
//! of the library's clients; `whatsapp/translate.rs` hears what it says.

pub(crate) mod checkup;
pub(crate) mod client;
mod connection;
pub mod egress;
mod login_backoff;
mod login_queue;
mod reach;
mod runtime;
#[cfg(any(test, feature = "simulator"))]
pub mod script;
pub(crate) mod store;
mod translate;
pub(crate) mod version;
mod words;

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use self::version::{Version, VersionReport};
use crate::event::{Assertion, Me, Missing, PairingMethod, PairingRefusal, Time};
use crate::id::SessionId;
use crate::proxy::ProxyUrl;

/// The account to run, and what to run it with.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    /// The session of the account.
    pub session: SessionId,
    /// The epoch under which its keys are written.
    pub epoch: u64,
    /// The name of the device in the phone's list; the deployment's name if `None`.
    pub device_name: Option<String>,
    /// The session's own proxy to WhatsApp; the deployment's if `None`.
    pub proxy: Option<ProxyUrl>,
    /// The account's name, as far as it is known.
    pub push_name: Option<String>,
}

/// The channel for a link's signals, in the order in which they happened. It is unbounded, so that none is dropped: a
/// link signals only its own life, a few times a minute, and never messages. Boxed, because the channel has room for 32
/// from the start, and there is one for each session.
pub(crate) type Signals = mpsc::UnboundedSender<Box<Signal>>;

/// The other end of [`Signals`].
pub(crate) type Heard = mpsc::UnboundedReceiver<Box<Signal>>;

/// Ends when it is this session's turn to log in. Dropping it leaves the queue.
pub(crate) type LoginTurn = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// The port to WhatsApp, as sessions use it.
#[async_trait]
pub(crate) trait WhatsApp: Send + Sync {
    /// Starts the client of an account. Returns before WhatsApp answers.
    async fn start(&self, account: &Account, signals: Signals) -> Result<Box<dyn Link>, StartError>;

    /// Enters the login queue, for a session that comes back and for which no person waits.
    fn turn(&self) -> LoginTurn;

    /// Forgets the keys of an account: the next start makes new ones.
    async fn forget(&self, session: &SessionId) -> Result<(), StartError>;

    /// Whether a phone has linked the device to which the keys of an account belong.
    async fn is_linked(&self, session: &SessionId) -> Result<bool, StartError>;

    /// Every session that has keys.
    async fn sessions(&self) -> Result<Vec<SessionId>, StartError>;

    /// Whether the keys of an account can be read; true if there are none.
    async fn is_whole(&self, session: &SessionId) -> Result<bool, StartError>;

    /// The version of WhatsApp Web that new clients claim, and how current it is.
    fn version(&self) -> VersionReport;

    /// A version newer than this one, which WhatsApp has refused. If none is known it is looked up at once, in one
    /// look-up for all callers. New clients claim it.
    async fn newer_version(&self, refused: Version) -> Option<Version>;

    /// Ends as soon as a version newer than this one is known.
    async fn until_newer_version(&self, refused: Version);
}

/// Why a client did not start. Nothing runs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// Another owner has the keys: end the link task.
    #[error("another owner has the keys of this account")]
    Fenced,
    /// Try again later.
    #[error("the WhatsApp client did not start: {0}")]
    Failed(String),
}

/// Why a client has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It ended by itself.
    Ended,
    /// Its keys have another owner, so nothing that it does is stored.
    Fenced,
}

/// One running client.
#[async_trait]
pub(crate) trait Link: Send + Sync {
    /// Whether WhatsApp has answered on the current connection.
    fn is_reached(&self) -> bool;

    /// Whether WhatsApp has accepted the login on the current connection.
    fn is_logged_in(&self) -> bool;

    /// Whether a phone has linked the device, as far as the client knows. It knows before that is stored and before
    /// anybody is told.
    fn is_linked(&self) -> bool;

    /// What of the account is not stored yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn missing(&self) -> Result<Option<Missing>, StartError>;

    /// Asks for what is missing again, over a new connection that waits for its turn. The client offers no other way.
    fn fetch_again(&self);

    /// Hands the passkey's answer to WhatsApp. What follows, including a refusal, comes as a signal.
    fn answer_passkey(&self, assertion: Assertion);

    /// Confirms that the phone shows the same code. What follows, including a refusal, comes as a signal.
    fn confirm_passkey(&self);

    /// Ends the passkey step, so that QRs rotate again.
    fn end_passkey(&self);

    /// Whether there is a client that may dial. A client that was built before its way out failed may not dial again:
    /// another one is built in turn.
    fn may_dial(&self) -> bool;

    /// The longest time that the client's own back-off may take before it tries again.
    fn back_off(&self) -> Duration;

    /// Enters the login queue as soon as WhatsApp can be reached, as far as is known.
    fn turn(&self) -> LoginTurn;

    /// Stops the client; [`Link::retry`] builds another.
    async fn halt(&mut self);

    /// Builds another client, which tries to connect at once.
    async fn retry(&mut self) -> Result<(), StartError>;

    /// Forgets the keys and starts with new ones.
    async fn start_over(&mut self) -> Result<(), StartError>;

    /// Writes again what a store may have lost: the right to write the keys, and the device itself. What came from
    /// others, that is ratchets and used pre-keys, cannot be recovered.
    async fn reopen(&mut self) -> Result<(), StartError>;

    /// Ends when the client has stopped, or must be.
    async fn stopped(&mut self) -> Stopped;

    /// Asks for a pairing code. The code or a refusal comes as a signal. An earlier code becomes void.
    fn request_code(&self, phone_number: String);

    /// Makes the pairing code void.
    fn cancel_code(&self);

    /// Removes the device at WhatsApp, if WhatsApp can be reached, and stops.
    async fn log_out(self: Box<Self>);

    /// Stops the client and waits until its state is stored, within the time limit of a stop.
    async fn stop(self: Box<Self>);
}

/// Something that happened at WhatsApp or to the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// A QR that a phone can scan now.
    Qr {
        /// As WhatsApp sent it.
        qr_string: String,
        /// The number of this reference within the connection, from 1.
        attempt: u32,
        /// How many references the connection got.
        max_attempts: u32,
        /// How long it can be scanned.
        expires_in: Duration,
    },
    /// WhatsApp gives no more QRs; the client stops, unless a pairing code is still waiting for a phone.
    QrExhausted {
        /// Whether the client stops.
        stops: bool,
    },
    /// A pairing code that somebody can type on a phone now.
    Code {
        /// As a person types it, `ABCD-1234`.
        code: String,
        /// The phone number that it is for.
        phone_number: String,
        /// How long it can be typed.
        expires_in: Duration,
    },
    /// A phone or WhatsApp refused a pairing; the client keeps running.
    PairingRefused {
        /// The method of pairing.
        method: PairingMethod,
        /// The stable code of the refusal.
        code: PairingRefusal,
        /// The message of the refusal.
        detail: String,
        /// How long WhatsApp asks to wait before the next try.
        retry_after: Option<Duration>,
    },
    /// WhatsApp asks for the account's passkey; [`Link::answer_passkey`] answers.
    PasskeyRequired {
        /// `PublicKeyCredentialRequestOptions`, as WhatsApp sent them.
        options: serde_json::Value,
        /// How long WhatsApp waits.
        expires_in: Duration,
    },
    /// WhatsApp accepted the passkey; [`Link::confirm_passkey`] continues.
    PasskeyConfirmation {
        /// The code that the phone shows.
        code: String,
        /// Whether the client continues by itself, so that nobody needs to compare the code.
        automatic: bool,
    },
    /// A phone has linked the device. The client logs in next, over a connection of its own.
    Paired {
        /// The account, as the phone gave it.
        me: Me,
    },
    /// WhatsApp accepted the login. The data of a fresh device comes next. The client signals [`Signal::Connected`]
    /// when it has that, which may never happen.
    LoggedIn,
    /// The phone's key to the account's settings was stored.
    KeyStored,
    /// Settings of the account were stored.
    SettingsStored,
    /// The client has logged in and reports no problem. Whether everything is stored is answered by [`Link::missing`].
    Connected {
        /// The device's JID.
        id: String,
        /// The account's name, if it is known.
        push_name: Option<String>,
        /// What is not stored yet. The link task fills it in, because it can ask the store.
        missing: Option<Missing>,
    },
    /// The client opens a connection; an earlier one is gone.
    Connecting,
    /// The connection could not be opened, or WhatsApp did not answer on it.
    ConnectFailed {
        /// What went wrong.
        detail: String,
    },
    /// The connection broke; the client opens another.
    Lost {
        /// What WhatsApp or the socket said.
        detail: String,
    },
    /// WhatsApp refused the login or ended the connection, temporarily.
    TurnedAway {
        /// WhatsApp's code: 429, 500 or 503.
        code: i32,
        /// The pause before the next try.
        again_in: Duration,
        /// Whether the client waits that long by itself. Otherwise it must be halted, and built anew after the pause.
        by_client: bool,
    },
    /// WhatsApp has been unreachable for too long. The link task's own timer finds this, because the client does not
    /// report it.
    Unreachable {
        /// The error of the last failed try.
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
        /// When the ban ends, if WhatsApp said so.
        until: Option<Time>,
        /// What WhatsApp said.
        detail: Option<String>,
        /// A page of WhatsApp's.
        help: Option<String>,
    },
    /// WhatsApp no longer takes the version that this client claims; the client stops.
    Outdated {
        /// The refused version.
        version: Version,
        /// A text for the operator, with what can be done.
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
