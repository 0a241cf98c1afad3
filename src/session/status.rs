//! The status machine: what a signal makes of a session. Pure: no clock, no channel, no store.
//!
//! [`facts`] says what happened, [`apply`] what that makes of the state. The runner stamps and stores the facts.

use std::time::Duration;

use crate::event::{
    Code, Disconnected, Kind, Me, Missing, PairingError, PairingMethod, PairingRefusal, Passkey, Qr, Reason,
    State, Status, Time,
};
use crate::whatsapp::Signal;

/// The facts that a signal adds to a session in this state, in order; often none.
///
/// Nothing follows an end, and nothing that a viewer already knows is said twice.
pub(crate) fn facts(state: &State, signal: Signal, now: Time) -> Vec<Kind> {
    if state.ended {
        return Vec::new();
    }
    match signal {
        Signal::Qr { qr_string, attempt, max_attempts, expires_in } => {
            let qr = Qr { qr_string, expires_at: now.after(expires_in), attempt, max_attempts };
            unless_paired(state, Kind::Qr(qr))
        }
        Signal::PasskeyRequired { options, expires_in } => {
            let expires_at = now.after(expires_in);
            unless_paired(state, Kind::Passkey(Passkey::Required { options, expires_at }))
        }
        Signal::PasskeyConfirmation { code, automatic } => {
            unless_paired(state, Kind::Passkey(Passkey::Confirmation { code, automatic }))
        }
        Signal::Code { code, phone_number, expires_in } => {
            unless_paired(state, Kind::Code(Code { code, phone_number, expires_at: now.after(expires_in) }))
        }
        Signal::PairingRefused { method, code, detail, retry_after } => {
            let retry_after_ms = retry_after.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
            unless_paired(state, Kind::PairingError(PairingError { method, code, detail, retry_after_ms }))
        }
        Signal::Paired { me } => unless_paired(state, Kind::Authenticated { me }),
        Signal::Connected { id, push_name, missing } => connected(state, id, push_name, missing, now),
        // What these mean depends on what is stored: the link task asks.
        Signal::LoggedIn | Signal::KeyStored | Signal::SettingsStored => Vec::new(),
        Signal::Connecting if state.status == Status::Connected => {
            vec![cut_off(Reason::ConnectionLost, Some("the client opens a new connection".into()))]
        }
        Signal::ConnectFailed { detail } if state.status == Status::Connected => {
            vec![cut_off(Reason::ConnectionLost, Some(detail))]
        }
        Signal::Connecting | Signal::ConnectFailed { .. } => Vec::new(),
        Signal::Lost { .. } if state.status == Status::Reconnecting => Vec::new(),
        Signal::Lost { detail } => vec![cut_off(Reason::ConnectionLost, Some(detail))],
        Signal::TurnedAway { code, again_in, .. } => turned_away(state, code, again_in),
        Signal::Unreachable { detail } => unreachable(state, detail),
        // While a pairing code still waits for a phone, the link has not ended.
        Signal::QrExhausted { stops } if stops && state.runs() => vec![cut_off(Reason::QrExhausted, None)],
        Signal::QrExhausted { .. } => Vec::new(),
        Signal::LoggedOut { detail, help } => vec![ended(Reason::LoggedOut, detail, help)],
        Signal::Replaced => vec![cut_off(Reason::Replaced, None)],
        Signal::Banned { until, detail, help } => vec![banned(until, detail, help)],
        Signal::Outdated { detail, .. } => outdated(state, detail),
        Signal::Rejected { detail, help } => vec![ended(Reason::Rejected, detail, help)],
    }
}

/// Whether this is the end of a pairing that was cut short, and not of a link: WhatsApp knows nothing of a device that
/// was never logged in, because a crash came between the phone's signature and ours.
pub(crate) fn is_unfinished_pairing(state: &State, signal: &Signal) -> bool {
    matches!(signal, Signal::LoggedOut { .. }) && !state.linked && !state.ended
}

/// The device that a phone has just linked was taken back before its first login: a new QR follows.
pub(crate) fn device_removed() -> Kind {
    let (method, code) = (PairingMethod::Qr, PairingRefusal::DeviceRemoved);
    let detail = "WhatsApp took the new device back; scan the next code".to_owned();
    Kind::PairingError(PairingError { method, code, detail, retry_after_ms: None })
}

/// The state right after a fact.
pub(crate) fn apply(state: &State, kind: &Kind, now: Time) -> State {
    let (status, me) = match kind {
        Kind::Qr(_) | Kind::Code(_) | Kind::PairingError(_) => (Status::ScanQr, None),
        Kind::Passkey(_) => (Status::PasskeyRequired, None),
        Kind::Authenticated { me } => (Status::Authenticated, Some(me.clone())),
        Kind::Ready { me, .. } => (Status::Connected, Some(me.clone())),
        Kind::Disconnected(disconnected) => (disconnected.status(), state.me.clone()),
    };
    let linked = match kind {
        Kind::Ready { .. } => true,
        Kind::Disconnected(_) => state.linked,
        _ => false,
    };
    let connected_at = match kind {
        Kind::Ready { connected_at, .. } => Some(*connected_at),
        _ => None,
    };
    let missing = match kind {
        Kind::Ready { missing, .. } => *missing,
        Kind::Disconnected(_) => state.missing,
        _ => None,
    };
    let (reason, detail, help, ended) = match kind {
        Kind::Disconnected(d) => (Some(d.reason), d.detail.clone(), d.help.clone(), d.ends()),
        _ => (state.reason, state.detail.clone(), state.help.clone(), false),
    };
    let since = if status == state.status { state.since } else { now };
    State { status, since, me, linked, connected_at, missing, reason, detail, help, ended }
}

fn cut_off(reason: Reason, detail: Option<String>) -> Kind {
    Kind::Disconnected(Disconnected::new(reason, detail))
}

fn ended(reason: Reason, detail: Option<String>, help: Option<String>) -> Kind {
    Kind::Disconnected(Disconnected { help, ..Disconnected::new(reason, detail) })
}

fn banned(until: Option<Time>, detail: Option<String>, help: Option<String>) -> Kind {
    Kind::Disconnected(Disconnected { until, help, ..Disconnected::new(Reason::Banned, detail) })
}

/// Viewers hear once that WhatsApp cannot be reached.
fn unreachable(state: &State, detail: String) -> Vec<Kind> {
    match state.reason {
        Some(Reason::WhatsappUnreachable) if state.status == Status::Reconnecting => Vec::new(),
        _ => vec![cut_off(Reason::WhatsappUnreachable, Some(detail))],
    }
}

/// The client rotates its QRs on while a phone links the device; a linked session shows none.
fn unless_paired(state: &State, kind: Kind) -> Vec<Kind> {
    let paired = matches!(state.status, Status::Authenticated | Status::Connected) || state.me.is_some();
    // Nor is there one, or a code to type, while WhatsApp waits for a passkey.
    let superseded = state.status == Status::PasskeyRequired
        && match &kind {
            Kind::Qr(_) | Kind::Code(_) => true,
            Kind::PairingError(error) => error.method == PairingMethod::Code,
            _ => false,
        };
    if paired || superseded { Vec::new() } else { vec![kind] }
}

/// A second login without a break between is the client's own silent reconnect: viewers are told of the break. Not where
/// it was made to fetch what was missing: then the only news is that nothing is missing any more.
fn connected(
    state: &State,
    id: String,
    push_name: Option<String>,
    missing: Option<Missing>,
    now: Time,
) -> Vec<Kind> {
    let known = state.me.as_ref();
    let me = Me {
        id,
        push_name: push_name.or_else(|| known.and_then(|me| me.push_name.clone())),
        platform: known.and_then(|me| me.platform.clone()),
    };
    if state.status == Status::Connected && state.missing.is_some() {
        let connected_at = state.connected_at.unwrap_or(now);
        let complete = Kind::Ready { me, connected_at, missing: None };
        return if missing.is_none() { vec![complete] } else { Vec::new() };
    }
    let ready = Kind::Ready { me, connected_at: now, missing };
    if state.status == Status::Connected {
        return vec![cut_off(Reason::ConnectionLost, Some("the client reconnected".into())), ready];
    }
    vec![ready]
}

/// WhatsApp refuses the client's version: an end only where no phone has linked the device. It is refused again at every
/// try, of which viewers hear once in a row.
fn outdated(state: &State, detail: String) -> Vec<Kind> {
    let outdated = Disconnected::new(Reason::ClientOutdated, Some(detail));
    if !state.was_paired() {
        return vec![Kind::Disconnected(outdated)];
    }
    let told = state.reason == Some(Reason::ClientOutdated) && state.status == Status::Reconnecting;
    if told { Vec::new() } else { vec![Kind::Disconnected(outdated.coming_back())] }
}

/// WhatsApp refuses a login for now, again at every try: viewers hear of each code once in a row, with the first pause.
fn turned_away(state: &State, code: i32, again_in: Duration) -> Vec<Kind> {
    let code = code.to_string();
    let last = state.detail.as_deref().and_then(|detail| detail.split_once("; ")).map(|(code, _)| code);
    let known = state.reason == Some(Reason::ConnectionLost) && last == Some(&code);
    if known && state.status == Status::Reconnecting {
        return Vec::new();
    }
    vec![cut_off(Reason::ConnectionLost, Some(format!("{code}; tried again in {}", words(again_in))))]
}

/// For people: seconds, or minutes where those are many.
fn words(pause: Duration) -> String {
    let seconds = pause.as_secs_f64().ceil().max(1.0) as u64;
    if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds.div_ceil(60)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::whatsapp::version::Version;

    fn now() -> Time {
        Time::from_millis(1_763_985_600_000)
    }

    fn signal() -> impl Strategy<Value = Signal> {
        let me = || Me {
            id: "905551234567:1@s.whatsapp.net".into(),
            push_name: None,
            platform: Some("android".into()),
        };
        let detail = || "[0-9]{0,3}".prop_map(String::from);
        prop_oneof![
            4 => (1..=6u32).prop_map(|attempt| Signal::Qr {
                qr_string: format!("2@{attempt}"), attempt, max_attempts: 6, expires_in: Duration::from_secs(20),
            }),
            1 => Just(Signal::Code {
                code: "ABCD-1234".into(), phone_number: "905551234567".into(), expires_in: Duration::from_secs(180),
            }),
            2 => Just(Signal::Paired { me: me() }),
            4 => (proptest::option::of("[a-z]{1,5}"), prop_oneof![Just(None), Just(Some(Missing::Settings))])
                .prop_map(move |(push_name, missing)| Signal::Connected { id: me().id, push_name, missing }),
            2 => Just(Signal::PasskeyRequired {
                options: serde_json::json!({ "rpId": "whatsapp.com" }), expires_in: Duration::from_secs(600),
            }),
            1 => any::<bool>().prop_map(|automatic| Signal::PasskeyConfirmation {
                code: "ABCD-EFGH".into(), automatic,
            }),
            1 => Just(Signal::LoggedIn),
            1 => detail().prop_map(|detail| Signal::PairingRefused {
                method: PairingMethod::Qr, code: PairingRefusal::HmacMismatch, detail, retry_after: None,
            }),
            3 => Just(Signal::Connecting),
            2 => detail().prop_map(|detail| Signal::ConnectFailed { detail }),
            3 => detail().prop_map(|detail| Signal::Lost { detail }),
            2 => prop_oneof![Just(429), Just(500), Just(503)].prop_map(|code| Signal::TurnedAway {
                code, again_in: Duration::from_secs(8), by_client: true,
            }),
            2 => detail().prop_map(|detail| Signal::Unreachable { detail }),
            1 => prop_oneof![
                any::<bool>().prop_map(|stops| Signal::QrExhausted { stops }),
                Just(Signal::LoggedOut { detail: None, help: None }),
                Just(Signal::Replaced),
                Just(Signal::Banned { until: None, detail: None, help: None }),
                Just(Signal::Outdated { version: Version(7), detail: "2.3000.7".into() }),
                detail().prop_map(|detail| Signal::Rejected { detail: Some(detail), help: None }),
            ],
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn whatever_whatsapp_signals_the_story_makes_sense(signals in prop::collection::vec(signal(), 0..60)) {
            let mut state = State::initializing(now(), None);
            let mut last_disconnected: Option<Disconnected> = None;
            let mut ready_since_break = false;
            for signal in signals {
                for kind in facts(&state, signal, now()) {
                    prop_assert!(!state.ended, "{kind:?} after the end");
                    let next = apply(&state, &kind, now());
                    let expected = match &kind {
                        Kind::Qr(_) | Kind::Code(_) | Kind::PairingError(_) => Status::ScanQr,
                        Kind::Passkey(_) => Status::PasskeyRequired,
                        Kind::Authenticated { .. } => Status::Authenticated,
                        Kind::Ready { .. } => Status::Connected,
                        Kind::Disconnected(d) => d.status(),
                    };
                    prop_assert_eq!(next.status, expected);
                    prop_assert_eq!(next.connected_at.is_some(), next.status == Status::Connected);
                    match &kind {
                        Kind::Ready { missing, .. } => {
                            let completes = state.missing.is_some() && missing.is_none();
                            prop_assert!(completes || !ready_since_break, "a second ready without a disconnected");
                            ready_since_break = true;
                        }
                        Kind::Disconnected(d) => {
                            prop_assert_ne!(Some(d), last_disconnected.as_ref(), "said twice");
                            prop_assert_eq!(d.will_reconnect, d.status() == Status::Reconnecting);
                            prop_assert_eq!(next.ended, d.ends());
                            prop_assert_eq!(next.reason, Some(d.reason));
                            ready_since_break = false;
                        }
                        Kind::Qr(_) => {
                            prop_assert!(state.me.is_none(), "a QR on a linked session");
                            prop_assert_ne!(state.status, Status::PasskeyRequired, "a QR in a passkey step");
                        }
                        _ => {}
                    }
                    last_disconnected = match kind { Kind::Disconnected(d) => Some(d), _ => None };
                    state = next;
                }
            }
        }
    }

    #[test]
    fn a_silent_reconnect_becomes_visible() {
        let connected = |state: &State| {
            facts(state, Signal::Connected { id: "a".into(), push_name: None, missing: None }, now())
        };
        let mut state = State::initializing(now(), None);
        for kind in connected(&state) {
            state = apply(&state, &kind, now());
        }
        let names: Vec<_> = connected(&state).iter().map(Kind::name).collect();
        assert_eq!(names, ["disconnected", "ready"]);
    }

    #[test]
    fn each_code_of_a_login_refused_for_now_is_told_once() {
        let mut state = State::initializing(now(), None);
        let mut told = Vec::new();
        for (code, seconds) in [(503, 1), (503, 1), (500, 2), (500, 900), (429, 121), (503, 8)] {
            let again_in = Duration::from_secs(seconds);
            for kind in facts(&state, Signal::TurnedAway { code, again_in, by_client: true }, now()) {
                state = apply(&state, &kind, now());
                told.extend(state.detail.clone());
            }
        }
        let pauses = ["503; tried again in 1 s", "500; tried again in 2 s", "429; tried again in 3 min"];
        assert_eq!(told[..3], pauses);
        assert_eq!(told[3..], ["503; tried again in 8 s"]);
    }

    #[test]
    fn an_outdated_client_ends_only_what_no_phone_has_linked() {
        let outdated = || Signal::Outdated { version: Version(7), detail: "2.3000.7".into() };
        let mut state = State::initializing(now(), None);
        let [Kind::Disconnected(end)] = &facts(&state, outdated(), now())[..] else { unreachable!() };
        assert!(end.ends() && end.status() == Status::Failed);

        let id = "a:1".into();
        for kind in facts(&state, Signal::Connected { id, push_name: None, missing: None }, now()) {
            state = apply(&state, &kind, now());
        }
        let told = facts(&state, outdated(), now());
        let [Kind::Disconnected(pause)] = &told[..] else { unreachable!() };
        assert!(pause.will_reconnect && pause.status() == Status::Reconnecting);
        state = apply(&state, &told[0], now());
        assert_eq!(facts(&state, outdated(), now()), [], "told at every try");
    }

    #[test]
    fn a_name_and_a_platform_outlive_a_login_that_does_not_tell_them() {
        let me = Me { id: "a:1".into(), push_name: Some("Ada".into()), platform: Some("ios".into()) };
        let state = State::initializing(now(), Some(me.clone()));
        let kinds =
            facts(&state, Signal::Connected { id: "a:1".into(), push_name: None, missing: None }, now());
        assert_eq!(kinds, [Kind::Ready { me, connected_at: now(), missing: None }]);
    }
}
