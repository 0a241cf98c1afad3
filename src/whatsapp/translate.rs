//! Translates the library's events into our signals: every kind that concerns a link's life, in the order of the
//! library's event bus, without dropping any.
//!
//! It runs inline on the library's dispatch path and passes signals on to an unbounded channel; no other delivery of
//! the library never drops. It subscribes to the few kinds of a link's life only, so a burst of messages cannot fill
//! the channel.

use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tracing::{Instrument as _, debug};
use whatsapp_rust::OwnedNodeRef;
use whatsapp_rust::anyhow;
use whatsapp_rust::pair_code::PairCodeRejection;
use whatsapp_rust::prelude::{Client, Event, EventHandler, EventInterest, EventKind, RawNodeLease};
use whatsapp_rust::types::events::{self, ConnectFailureReason};

use super::login_backoff::{LoginBackoff, THROTTLED};
use super::runtime::Holds;
use super::words::Words;
use super::{Signal, Signals};
use crate::event::{Me, PairingMethod, PairingRefusal, Time};
use crate::shutdown::Shutdown;

/// After a change of the name the library announces *available* in a task of its own. Our *unavailable* is sent after
/// this pause, so that it comes later.
const AFTER_AVAILABLE: Duration = Duration::from_millis(500);

/// How long WhatsApp waits for a passkey if its options do not say. The value is from options seen in September 2026.
const PASSKEY_WAIT: Duration = Duration::from_secs(600);

/// How long a passkey step may take, whatever WhatsApp says.
const PASSKEY_LONGEST: Duration = Duration::from_secs(3600);

/// The kinds of events that concern a link's life.
const KINDS: &[EventKind] = &[
    EventKind::RawNode,
    EventKind::PairingQrCode,
    EventKind::PairingQrCodesExhausted,
    EventKind::PairingCode,
    EventKind::PairingCodeRefresh,
    EventKind::PairingCodeError,
    EventKind::PairSuccess,
    EventKind::PairError,
    EventKind::PairPasskeyRequest,
    EventKind::PairPasskeyConfirmation,
    EventKind::PairPasskeyError,
    EventKind::Connected,
    EventKind::SelfPushNameUpdated,
    EventKind::Disconnected,
    EventKind::StreamError,
    EventKind::LoggedOut,
    EventKind::StreamReplaced,
    EventKind::TemporaryBan,
    EventKind::ClientOutdated,
    EventKind::ConnectFailure,
];

/// What the translator must remember between two events.
#[derive(Default)]
struct Memory {
    /// The references of the current connection. The library also keeps rotating those of a lost connection, which
    /// nobody can scan.
    refs: Vec<String>,
    /// The reference that is shown, and when it expires.
    shown: Option<(String, Instant)>,
    /// The last `<stream:error>` of this connection, for the words of the break that follows.
    stream_error: Option<String>,
    /// The phone number for which a pairing code was requested.
    code_for: String,
    /// Whether WhatsApp has refused something on this connection, which shows that it was reached.
    refused: bool,
    /// How many times in a row the client had failed before this connection.
    failures: u32,
    /// Whether WhatsApp has accepted the login on this connection.
    logged_in: bool,
    /// Whether a phone has linked the device on this connection. The next message sent confirms it to the phone.
    pairing: bool,
    /// Keeps the raw stanzas coming while the device is not paired.
    raw_nodes: Option<RawNodeLease>,
    me: Option<String>,
    push_name: Option<String>,
    /// Whether the client is being replaced by another, so that its events are ignored.
    retired: bool,
}

/// Passes the library's events to the link task as signals.
pub(super) struct Translator {
    signals: Signals,
    factor: f64,
    memory: Mutex<Memory>,
    client: OnceLock<Weak<Client>>,
    tasks: Shutdown,
    holds: Arc<Holds>,
    backoff: Arc<LoginBackoff>,
    /// What to signal when WhatsApp refuses this client's version.
    outdated: Signal,
}

impl Translator {
    /// Makes the translator of one client. `factor` is how much faster than real its timers run; `tasks` counts the
    /// small tasks that it starts; `holds` controls its sleeps; `backoff` is the login back-off of its link; `outdated`
    /// is signalled when WhatsApp refuses its version.
    pub(super) fn new(
        signals: Signals,
        factor: f64,
        tasks: Shutdown,
        holds: Arc<Holds>,
        backoff: Arc<LoginBackoff>,
        outdated: Signal,
    ) -> Self {
        let (memory, client) = (Mutex::default(), OnceLock::new());
        Self { signals, factor, memory, client, tasks, holds, backoff, outdated }
    }

    /// Subscribes to a client that does not run yet.
    pub(super) fn attach(self: &Arc<Self>, client: &Arc<Client>) {
        let device = client.persistence_manager().get_device_snapshot();
        let mut memory = self.memory();
        memory.me = device.pn.as_ref().map(ToString::to_string);
        memory.push_name = Some(device.push_name.clone()).filter(|name| !name.is_empty());
        memory.raw_nodes = device.pn.is_none().then(|| client.acquire_raw_node_forwarding());
        drop(memory);
        // This is called once; a second call would find the same client.
        let _ = self.client.set(Arc::downgrade(client));
        client.subscribe_handler(self.clone()).detach();
    }

    /// Signals nothing from now on.
    pub(super) fn retire(&self) {
        self.memory().retired = true;
        self.holds.release();
    }

    /// Notes that a pairing code for this number was requested; it or a refusal comes next.
    pub(super) fn expect_code_for(&self, phone_number: &str) {
        phone_number.clone_into(&mut self.memory().code_for);
    }

    /// Notes a new connection. What the last one gave is void.
    pub(super) fn connecting(&self) {
        let mut memory = self.memory();
        memory.refs.clear();
        memory.shown = None;
        memory.stream_error = None;
        memory.pairing = false;
        memory.logged_in = false;
        memory.refused = false;
        memory.failures = self.failures();
        drop(memory);
        self.backoff.lost();
        // A passkey step ends with its connection.
        self.holds.resume();
        self.signal(Signal::Connecting);
    }

    /// Notes that something is being sent. The library has no event for an accepted login; what it sends right after it
    /// is the first sign.
    pub(super) fn sending(&self) {
        let logged_in =
            || self.client.get().and_then(Weak::upgrade).is_some_and(|client| client.is_logged_in());
        if !self.memory().logged_in && logged_in() {
            self.memory().logged_in = true;
            self.backoff.logged_in();
            self.signal(Signal::LoggedIn);
        }
    }

    /// Whether WhatsApp has refused something on this connection. It may refuse a known device right after the hello.
    pub(super) fn was_refused(&self) -> bool {
        self.memory().refused
    }

    /// Stores a pairing before anything else is sent, that is before the phone learns that we signed it. The library
    /// itself stores it a moment later, and after a crash in between the phone would list a device whose keys are lost.
    pub(super) async fn store_pairing(&self) -> anyhow::Result<()> {
        let pairing = self.memory().pairing;
        match self.client.get().and_then(Weak::upgrade) {
            Some(client) if pairing => Ok(client.persistence_manager().flush().await?),
            _ => Ok(()),
        }
    }

    /// Signals the link task.
    pub(super) fn signal(&self, signal: Signal) {
        if !self.memory().retired {
            // The link task may have ended; then nobody needs the signal.
            let _ = self.signals.send(signal.into());
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock()
    }

    fn qr(&self, qr: &events::PairingQrCode) -> Option<Signal> {
        let mut memory = self.memory();
        let (reference, _) = qr.code.split_once(',')?;
        let position = memory.refs.iter().position(|known| known == reference)?;
        // The same reference comes again with a new secret; its time is not extended.
        let until = match &memory.shown {
            Some((shown, until)) if shown == reference => *until,
            _ => Instant::now() + qr.timeout.div_f64(self.factor),
        };
        let max_attempts = count(memory.refs.len());
        if memory.shown.as_ref().is_none_or(|(shown, _)| shown != reference) {
            self.holds.mark_last();
        }
        memory.shown = Some((reference.to_owned(), until));
        Some(Signal::Qr {
            qr_string: qr.code.clone(),
            attempt: count(position + 1),
            max_attempts,
            expires_in: until.saturating_duration_since(Instant::now()),
        })
    }

    /// The library stops when its references run out. If they were those of a lost connection, WhatsApp has not said
    /// that, so the link task is told of the stop and starts the client again.
    fn exhausted(&self, exhausted: &events::PairingQrCodesExhausted) -> Option<Signal> {
        let ours = !self.memory().refs.is_empty();
        ours.then_some(Signal::QrExhausted { stops: exhausted.disconnected })
    }

    fn code(&self, code: &events::PairingCode) -> Signal {
        let (first, second) = code.code.split_at_checked(4).unwrap_or((&code.code, ""));
        Signal::Code {
            code: format!("{first}-{second}"),
            phone_number: self.memory().code_for.clone(),
            expires_in: code.timeout.div_f64(self.factor),
        }
    }

    fn raw(&self, node: &OwnedNodeRef) {
        let node = node.get();
        if node.get_optional_child("pair-success").is_some() {
            self.memory().pairing = true;
        }
        let Some(pair_device) = node.get_optional_child("pair-device") else { return };
        let refs = pair_device
            .get_children_by_tag("ref")
            .filter_map(|child| std::str::from_utf8(child.content_bytes()?).ok().map(str::to_owned));
        self.memory().refs = refs.collect();
    }

    /// A passkey step may take longer than the remaining QRs, so their rotation is held.
    fn passkey_required(&self, request: &events::PairPasskeyRequest) -> Signal {
        match serde_json::from_str::<serde_json::Value>(&request.request_options_json) {
            Ok(options) => {
                self.holds.hold();
                let wait = options["timeout"].as_u64().map_or(PASSKEY_WAIT, Duration::from_millis);
                let expires_in = wait.min(PASSKEY_LONGEST).div_f64(self.factor);
                Signal::PasskeyRequired { options, expires_in }
            }
            Err(error) => passkey_refused(&format!("WhatsApp's request for a passkey is not JSON: {error}")),
        }
    }

    /// Notes that no passkey step is open any more.
    pub(super) fn passkey_over(&self) {
        self.holds.resume();
    }

    fn paired(&self, success: &events::PairSuccess) -> Signal {
        let mut memory = self.memory();
        memory.raw_nodes = None;
        memory.refs.clear();
        memory.me = Some(success.id.to_string());
        let name = Some(&success.business_name).filter(|name| !name.is_empty());
        memory.push_name = name.cloned();
        let platform = Some(&success.platform).filter(|platform| !platform.is_empty()).cloned();
        Signal::Paired { me: Me { id: success.id.to_string(), push_name: name.cloned(), platform } }
    }

    fn connected(&self) -> Signal {
        self.become_unavailable(Duration::ZERO);
        let memory = self.memory();
        let (id, push_name) = (memory.me.clone().unwrap_or_default(), memory.push_name.clone());
        Signal::Connected { id, push_name, missing: None }
    }

    fn renamed(&self, update: &events::SelfPushNameUpdated) {
        self.memory().push_name = Some(update.new_name.clone());
        self.become_unavailable(AFTER_AVAILABLE);
    }

    /// Makes the account *unavailable* again. The library makes it *available* at each login and with each name, and
    /// while any device is available, the person's phone does not notify of messages.
    fn become_unavailable(&self, pause: Duration) {
        let Some(client) = self.client.get().cloned() else { return };
        let set = async move {
            tokio::time::sleep(pause).await;
            let Some(client) = client.upgrade() else { return };
            if let Err(error) = client.presence().set_unavailable().await {
                // Without a name the library has not announced *available* either; without a connection it will
                // announce it again, and this runs again.
                debug!(%error, "presence not set");
            }
        };
        self.tasks.spawn_until_begun(set.in_current_span());
    }

    fn disconnected(&self, disconnected: &events::Disconnected) -> Signal {
        let mut memory = self.memory();
        memory.refs.clear();
        let said = memory.stream_error.take();
        // The library has no event for a 429 in the middle of a stream, and counts one as several failures.
        if self.failures() >= memory.failures.saturating_add(THROTTLED) {
            return self.turned_away(429, self.failures(), true);
        }
        self.backoff.lost();
        let detail = said.unwrap_or_else(|| disconnected.reason.to_string());
        Signal::Lost { detail }
    }
}

impl Translator {
    /// How many times in a row the client has failed.
    fn failures(&self) -> u32 {
        self.client.get().and_then(Weak::upgrade).map_or(0, |client| client.stats().reconnect_errors)
    }

    fn turned_away(&self, code: i32, failures: u32, goes_on: bool) -> Signal {
        let wait = self.backoff.turned_away(failures, goes_on);
        Signal::TurnedAway { code, again_in: wait.pause, by_client: wait.by_client }
    }

    fn refused(&self, failure: &events::ConnectFailure) -> Signal {
        let code = failure.reason.code();
        let Words { detail, help } = Words::of(Some(code), failure.raw.as_ref());
        match failure.reason {
            ConnectFailureReason::InternalServerError | ConnectFailureReason::ServiceUnavailable => {
                self.turned_away(code, self.failures(), true)
            }
            // The library ends after this one, which is the worst time to try again at once.
            _ if code == 429 => self.turned_away(code, self.failures().saturating_add(THROTTLED), false),
            // Without the fields of a ban the library reports it as a plain failure.
            ConnectFailureReason::TempBanned => Signal::Banned { until: None, detail, help },
            _ => Signal::Rejected { detail, help },
        }
    }
}

impl EventHandler for Translator {
    fn interest(&self) -> EventInterest {
        EventInterest::of(KINDS)
    }

    fn handle_event(&self, event: Arc<Event>) {
        if refuses(&event) {
            self.memory().refused = true;
        }
        let signal = match &*event {
            Event::RawNode(node) => return self.raw(node),
            Event::SelfPushNameUpdated(update) => return self.renamed(update),
            Event::StreamError(error) => {
                self.memory().stream_error = Some(format!("stream error {}", error.code));
                return;
            }
            Event::PairingQrCode(qr) => self.qr(qr),
            Event::PairingQrCodesExhausted(exhausted) => self.exhausted(exhausted),
            Event::PairingCode(code) => Some(self.code(code)),
            Event::PairingCodeError(error) => Some(code_refused(error)),
            Event::PairingCodeRefresh(_) => Some(code_void()),
            Event::PairPasskeyRequest(request) => Some(self.passkey_required(request)),
            Event::PairPasskeyConfirmation(confirmation) => Some(Signal::PasskeyConfirmation {
                code: confirmation.code.clone(),
                automatic: confirmation.skip_handoff_ux,
            }),
            Event::PairPasskeyError(error) => Some(passkey_refused(&error.error)),
            Event::PairSuccess(success) => Some(self.paired(success)),
            Event::PairError(error) => Some(pairing_refused(&error.error)),
            Event::Connected(_) => Some(self.connected()),
            Event::Disconnected(disconnected) => Some(self.disconnected(disconnected)),
            Event::StreamReplaced(_) => Some(Signal::Replaced),
            Event::ClientOutdated(_) => Some(self.outdated.clone()),
            Event::TemporaryBan(ban) => Some(banned(ban)),
            Event::LoggedOut(out) => Some(logged_out(out)),
            Event::ConnectFailure(failure) => Some(self.refused(failure)),
            _ => None,
        };
        if let Some(signal) = signal {
            self.signal(signal);
        }
    }
}

fn refuses(event: &Event) -> bool {
    matches!(
        event,
        Event::ConnectFailure(_)
            | Event::LoggedOut(_)
            | Event::TemporaryBan(_)
            | Event::ClientOutdated(_)
            | Event::StreamReplaced(_)
            | Event::StreamError(_)
    )
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The library distinguishes the two mismatches only in its text. Source: wacore 0.7.0, `pair.rs`.
fn pairing_refused(error: &str) -> Signal {
    let code = if error.contains("hmac-mismatch") {
        PairingRefusal::HmacMismatch
    } else if error.contains("signature-mismatch") {
        PairingRefusal::SignatureMismatch
    } else {
        PairingRefusal::InternalError
    };
    Signal::PairingRefused { method: PairingMethod::Qr, code, detail: error.to_owned(), retry_after: None }
}

fn code_refused(error: &events::PairingCodeError) -> Signal {
    let code = match error.rejection {
        Some(PairCodeRejection::BadRequest) => PairingRefusal::BadRequest,
        Some(PairCodeRejection::Forbidden) => PairingRefusal::Forbidden,
        Some(PairCodeRejection::RateOverlimit) => PairingRefusal::RateOverlimit,
        Some(PairCodeRejection::FeatureNotAvailable) => PairingRefusal::FeatureNotAvailable,
        _ => PairingRefusal::InternalError,
    };
    let (method, detail) = (PairingMethod::Code, error.error.clone());
    Signal::PairingRefused { method, code, detail, retry_after: error.backoff }
}

/// WhatsApp or the client refused a step of the passkey.
pub(super) fn passkey_refused(error: &str) -> Signal {
    let (method, code) = (PairingMethod::Passkey, PairingRefusal::PasskeyRefused);
    Signal::PairingRefused { method, code, detail: error.to_owned(), retry_after: None }
}

/// The phone opened the link and did not finish: a wrong code was typed, or WhatsApp asks for a new one.
fn code_void() -> Signal {
    let (method, code) = (PairingMethod::Code, PairingRefusal::CodeExpired);
    let detail = "the phone did not finish, as after a wrong code; ask for a new one".to_owned();
    Signal::PairingRefused { method, code, detail, retry_after: None }
}

fn banned(ban: &events::TemporaryBan) -> Signal {
    let expire = u64::try_from(ban.expire.num_seconds()).unwrap_or(0);
    let Words { detail, help } = Words::of(None, ban.raw.as_ref());
    let detail = detail.unwrap_or_else(|| ban.code.to_string());
    Signal::Banned { until: Some(Time::now().after(Duration::from_secs(expire))), detail: Some(detail), help }
}

/// Among the permanent refusals of a login the library calls 401, 403 and 406 a logout. 406 is a ban. 403 says that the
/// primary device was logged out, for example because the account was locked or moved to a new phone.
/// Source: `ConnectFailureReason` in whatsmeow's `types/events/events.go`.
fn logged_out(out: &events::LoggedOut) -> Signal {
    let Words { detail, help } = Words::of(out.on_connect.then(|| out.reason.code()), out.raw.as_ref());
    match out.reason {
        ConnectFailureReason::AccountLocked => Signal::Rejected { detail, help },
        ConnectFailureReason::UnknownLogout => Signal::Banned { until: None, detail, help },
        _ => Signal::LoggedOut { detail, help },
    }
}
