//! What can happen to a session, and the words for it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Status, Time};

/// The linked account, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Me {
    /// The device's JID, `<number>:<device>@s.whatsapp.net`.
    pub id: String,
    /// The name the account shows to others; arrives with the first login.
    pub push_name: Option<String>,
    /// The phone's platform, as it said when it linked the device.
    pub platform: Option<String>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "snake_case")]
pub enum Kind {
    /// A QR to scan.
    Qr(Qr),
    /// A pairing code to type on the phone.
    Code(Code),
    /// A phone or WhatsApp refused a pairing; the session can still be linked.
    PairingError(PairingError),
    /// A phone has linked the device.
    Authenticated {
        /// The account.
        me: Me,
    },
    /// Logged in.
    #[serde(rename_all = "camelCase")]
    Ready {
        /// The account.
        me: Me,
        /// Since when.
        connected_at: Time,
    },
    /// Cut off, for a while or for good.
    Disconnected(Disconnected),
}

impl Kind {
    /// Every name there is.
    pub const NAMES: [&'static str; 6] =
        ["qr", "code", "pairing_error", "authenticated", "ready", "disconnected"];

    /// The event's name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Qr(_) => "qr",
            Kind::Code(_) => "code",
            Kind::PairingError(_) => "pairing_error",
            Kind::Authenticated { .. } => "authenticated",
            Kind::Ready { .. } => "ready",
            Kind::Disconnected(_) => "disconnected",
        }
    }

    /// When what it shows stops being of use, for a QR or a code.
    pub fn expires_at(&self) -> Option<Time> {
        match self {
            Kind::Qr(qr) => Some(qr.expires_at),
            Kind::Code(code) => Some(code.expires_at),
            Kind::PairingError(_)
            | Kind::Authenticated { .. }
            | Kind::Ready { .. }
            | Kind::Disconnected(_) => None,
        }
    }
}

/// A QR that a phone can scan. Its string is a credential: `Debug` masks it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Qr {
    /// As WhatsApp sent it.
    pub qr_string: String,
    /// When WhatsApp shows the next one.
    pub expires_at: Time,
    /// Which of the references this is, from 1.
    pub attempt: u32,
    /// How many references WhatsApp gave; 6 when that was not seen.
    pub max_attempts: u32,
}

impl fmt::Debug for Qr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Qr {{ attempt: {}/{}, expires_at: {}, .. }}",
            self.attempt, self.max_attempts, self.expires_at
        )
    }
}

/// A pairing code for "link with phone number". A credential: `Debug` masks it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Code {
    /// As a person types it, `ABCD-1234`.
    pub code: String,
    /// The number whose phone was asked, digits only.
    pub phone_number: String,
    /// When WhatsApp stops taking it.
    pub expires_at: Time,
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code {{ expires_at: {}, .. }}", self.expires_at)
    }
}

/// By which way somebody tried to link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairingMethod {
    /// A phone scanned the QR.
    Qr,
    /// A phone number and a code.
    Code,
}

/// Why a pairing failed. The words are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairingRefusal {
    /// The phone signed for another QR.
    HmacMismatch,
    /// The account's signature does not hold.
    SignatureMismatch,
    /// WhatsApp: malformed, or too many codes for this number.
    BadRequest,
    /// WhatsApp: this number may not.
    Forbidden,
    /// WhatsApp: too fast.
    RateOverlimit,
    /// WhatsApp: this account cannot link by number.
    FeatureNotAvailable,
    /// WhatsApp or the client failed.
    InternalError,
    /// Not a phone number.
    InvalidNumber,
    /// Nobody entered the code in time.
    CodeExpired,
}

/// A pairing that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PairingError {
    /// By which way.
    pub method: PairingMethod,
    /// The stable word.
    pub code: PairingRefusal,
    /// In words, for a person who operates this.
    pub detail: String,
    /// How long WhatsApp wants to be left alone, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// Why a session is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The connection to WhatsApp broke.
    ConnectionLost,
    /// The process that ran the link task died.
    OwnerLost,
    /// The process that ran the link task was stopped.
    Shutdown,
    /// WhatsApp cannot be reached.
    WhatsappUnreachable,
    /// Nobody scanned; WhatsApp gives no more QRs.
    QrExhausted,
    /// The phone (or we) removed the device.
    LoggedOut,
    /// Another client took the device's place.
    Replaced,
    /// Somebody deleted the session here.
    Deleted,
    /// WhatsApp banned the account.
    Banned,
    /// WhatsApp no longer takes this version of the client.
    ClientOutdated,
    /// WhatsApp refused the login for another reason.
    Rejected,
}

impl Reason {
    /// Every reason there is.
    pub const ALL: [Reason; 11] = [
        Reason::ConnectionLost,
        Reason::OwnerLost,
        Reason::Shutdown,
        Reason::WhatsappUnreachable,
        Reason::QrExhausted,
        Reason::LoggedOut,
        Reason::Replaced,
        Reason::Deleted,
        Reason::Banned,
        Reason::ClientOutdated,
        Reason::Rejected,
    ];

    /// The word clients see.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::ConnectionLost => "connection_lost",
            Reason::OwnerLost => "owner_lost",
            Reason::Shutdown => "shutdown",
            Reason::WhatsappUnreachable => "whatsapp_unreachable",
            Reason::QrExhausted => "qr_exhausted",
            Reason::LoggedOut => "logged_out",
            Reason::Replaced => "replaced",
            Reason::Deleted => "deleted",
            Reason::Banned => "banned",
            Reason::ClientOutdated => "client_outdated",
            Reason::Rejected => "rejected",
        }
    }

    /// The status after it.
    pub fn status(self) -> Status {
        match self {
            Reason::ConnectionLost | Reason::OwnerLost | Reason::Shutdown | Reason::WhatsappUnreachable => {
                Status::Reconnecting
            }
            Reason::QrExhausted | Reason::LoggedOut | Reason::Replaced | Reason::Deleted => {
                Status::Disconnected
            }
            Reason::Banned | Reason::ClientOutdated | Reason::Rejected => Status::Failed,
        }
    }

    /// Whether the session comes back by itself.
    pub fn will_reconnect(self) -> bool {
        self.status() == Status::Reconnecting
    }

    /// Whether the session has ended: its streams are closed, only a restart revives it.
    pub fn ends(self) -> bool {
        !self.will_reconnect() && self != Reason::QrExhausted
    }
}

/// A session cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Disconnected {
    /// Why.
    pub reason: Reason,
    /// Whether it comes back by itself.
    pub will_reconnect: bool,
    /// What WhatsApp or the socket said, for a person who operates this.
    pub detail: Option<String>,
    /// For a ban with an end: when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

impl Disconnected {
    /// For this reason, without an end.
    pub fn new(reason: Reason, detail: Option<String>) -> Self {
        Self { reason, will_reconnect: reason.will_reconnect(), detail, until: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_credential() {
        let qr = Qr {
            qr_string: "2@secret".into(),
            expires_at: Time::from_millis(0),
            attempt: 1,
            max_attempts: 6,
        };
        let code =
            Code { code: "ABCD-1234".into(), phone_number: "905".into(), expires_at: Time::from_millis(0) };
        let shown = format!("{qr:?} {code:?}");
        assert!(!shown.contains("secret") && !shown.contains("ABCD"), "{shown}");
    }
}
