//! The kinds of events that can happen to a session, and their names.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Status, Time};

/// The linked account, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Me {
    /// The device's JID, `<number>:<device>@s.whatsapp.net`.
    pub id: String,
    /// The name the account shows to others; arrives with the first login.
    pub push_name: Option<String>,
    /// The phone's platform, as it said when it linked the device.
    pub platform: Option<String>,
}

/// What happened to a session, with its data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "snake_case")]
pub enum Kind {
    /// A QR to scan.
    Qr(Qr),
    /// A pairing code to type on the phone.
    Code(Code),
    /// A phone or WhatsApp refused a pairing; the session can still be linked.
    PairingError(PairingError),
    /// WhatsApp asks for a passkey of the account before it links the device.
    Passkey(Passkey),
    /// A phone has linked the device.
    Authenticated {
        /// The linked account.
        me: Me,
    },
    /// The device has logged in at WhatsApp.
    #[serde(rename_all = "camelCase")]
    Ready {
        /// The linked account.
        me: Me,
        /// When WhatsApp accepted the login.
        connected_at: Time,
        /// What of the account could not be fetched yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        missing: Option<Missing>,
    },
    /// Cut off, for a while or for good.
    Disconnected(Disconnected),
}

impl Kind {
    /// All names of events.
    pub const NAMES: [&'static str; 7] =
        ["qr", "code", "pairing_error", "passkey", "authenticated", "ready", "disconnected"];

    /// The event's name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Qr(_) => "qr",
            Kind::Code(_) => "code",
            Kind::PairingError(_) => "pairing_error",
            Kind::Passkey(_) => "passkey",
            Kind::Authenticated { .. } => "authenticated",
            Kind::Ready { .. } => "ready",
            Kind::Disconnected(_) => "disconnected",
        }
    }

    /// When a QR, a code or the wait for a passkey expires.
    pub fn expires_at(&self) -> Option<Time> {
        match self {
            Kind::Qr(qr) => Some(qr.expires_at),
            Kind::Code(code) => Some(code.expires_at),
            Kind::Passkey(Passkey::Required { expires_at, .. }) => Some(*expires_at),
            Kind::Passkey(Passkey::Confirmation { .. })
            | Kind::PairingError(_)
            | Kind::Authenticated { .. }
            | Kind::Ready { .. }
            | Kind::Disconnected(_) => None,
        }
    }
}

/// A QR that a phone can scan. Its string is a credential: `Debug` masks it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Qr {
    /// The text of the QR, as WhatsApp sent it.
    pub qr_string: String,
    /// When WhatsApp shows the next one.
    pub expires_at: Time,
    /// The number of this reference, from 1.
    pub attempt: u32,
    /// How many references WhatsApp gave; 6 if the number is not known.
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
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Code {
    /// As a person types it, `ABCD-1234`.
    pub code: String,
    /// The number whose phone was asked, digits only.
    pub phone_number: String,
    /// When WhatsApp stops accepting it.
    pub expires_at: Time,
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code {{ expires_at: {}, .. }}", self.expires_at)
    }
}

/// A step of the passkey that WhatsApp asks for. The code is what two people compare: `Debug` masks it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "stage", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Passkey {
    /// The person has to use the passkey, on a page of WhatsApp's.
    Required {
        /// `PublicKeyCredentialRequestOptions`, as WhatsApp sent them.
        options: Value,
        /// When WhatsApp stops waiting.
        expires_at: Time,
    },
    /// The phone shows a code that must be the same as this one.
    Confirmation {
        /// The code that the phone shows, `XXXX-XXXX`.
        code: String,
        /// Whether the server confirms by itself; otherwise a person has to confirm that both codes are the same.
        automatic: bool,
    },
}

impl fmt::Debug for Passkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Required { expires_at, .. } => {
                write!(f, "Passkey::Required {{ expires_at: {expires_at}, .. }}")
            }
            Self::Confirmation { automatic, .. } => {
                write!(f, "Passkey::Confirmation {{ automatic: {automatic}, .. }}")
            }
        }
    }
}

/// What a browser made of the account's passkey, as the parts of its `PublicKeyCredential` that WhatsApp takes, each in
/// base64url without padding. A credential: `Debug` masks it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assertion {
    /// The id of the passkey.
    pub id: String,
    /// `response.clientDataJSON`
    pub client_data_json: String,
    /// `response.authenticatorData`
    pub authenticator_data: String,
    /// `response.signature`
    pub signature: String,
    /// `response.userHandle`, where the passkey gives one.
    pub user_handle: Option<String>,
}

impl fmt::Debug for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Assertion { .. }")
    }
}

/// What of an account could not be fetched yet, though its device is logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The phone has not sent the keys of the account's settings: it is offline.
    Keys,
    /// The settings themselves.
    Settings,
}

/// The method by which somebody tried to link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PairingMethod {
    /// A phone scanned the QR.
    Qr,
    /// A phone number and a code.
    Code,
    /// The account's passkey, after one of the two.
    Passkey,
}

/// Why a pairing failed. The words are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PairingRefusal {
    /// The phone signed for another QR.
    HmacMismatch,
    /// The account's signature is wrong.
    SignatureMismatch,
    /// WhatsApp: malformed, or too many codes for this number.
    BadRequest,
    /// WhatsApp does not allow this number.
    Forbidden,
    /// WhatsApp asks to slow down.
    RateOverlimit,
    /// WhatsApp does not offer linking by number for this account.
    FeatureNotAvailable,
    /// WhatsApp or the client failed.
    InternalError,
    /// Not a phone number.
    InvalidNumber,
    /// Nobody entered the code in time.
    CodeExpired,
    /// WhatsApp did not take the passkey's answer.
    PasskeyRefused,
    /// Nobody used the passkey in time, or the connection broke meanwhile.
    PasskeyExpired,
    /// WhatsApp took the device back right after the pairing.
    DeviceRemoved,
}

/// A pairing that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PairingError {
    /// The method of the pairing.
    pub method: PairingMethod,
    /// The stable code.
    pub code: PairingRefusal,
    /// A text for the operator.
    pub detail: String,
    /// How long WhatsApp asks to wait before the next try, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// Why a session is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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

    /// The word that clients see.
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

    /// The status after it, unless the session comes back by itself nevertheless.
    fn status(self) -> Status {
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
}

/// A session cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Disconnected {
    /// The reason.
    pub reason: Reason,
    /// Whether it comes back by itself.
    pub will_reconnect: bool,
    /// What WhatsApp or the socket said, for the operator.
    pub detail: Option<String>,
    /// When a temporary ban ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// A link to WhatsApp, or a next step in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Disconnected {
    /// A break with this reason and nothing else.
    pub fn new(reason: Reason, detail: Option<String>) -> Self {
        let will_reconnect = reason.status() == Status::Reconnecting;
        Self { reason, will_reconnect, detail, until: None, help: None }
    }

    /// The same for a session that comes back by itself although the reason would end it.
    #[must_use]
    pub fn coming_back(self) -> Self {
        Self { will_reconnect: true, ..self }
    }

    /// The status after it.
    pub fn status(&self) -> Status {
        if self.will_reconnect { Status::Reconnecting } else { self.reason.status() }
    }

    /// Whether the session has ended: its streams are closed, only a restart revives it.
    pub fn ends(&self) -> bool {
        !self.will_reconnect && self.reason != Reason::QrExhausted
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
