//! What goes wrong at a phone: with its own keys and stores, and in what a client or a device sends it.

use wacore::libsignal::protocol::{CurveError, SignalProtocolError};

/// What a phone could not do with the keys it was given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PhoneError {
    #[error("signing failed: {0}")]
    Sign(#[from] CurveError),
    #[error("encrypting for the device failed: {0}")]
    Encrypt(#[from] SignalProtocolError),
    #[error("the device left no usable keys: {0}")]
    Bundle(String),
    #[error("a store in memory made Signal wait")]
    Waited,
    #[error("the app state patch does not add up: {0}")]
    Patch(String),
    #[error("encrypting a blob failed: {0}")]
    Blob(String),
    #[error("a message of the device cannot be read: {0}")]
    Unreadable(String),
}

/// What a client did wrong in the passkey step.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum PasskeyError {
    #[error("{0} is missing or malformed")]
    Malformed(&'static str),
    #[error("the assertion has the field {0:?}, which WhatsApp does not take")]
    Extra(String),
    #[error("the assertion answers another challenge")]
    Challenge,
    #[error("the assertion was made for the page {0:?}")]
    Origin(String),
    #[error("the authenticator data are of another relying party, or nobody was verified")]
    Unverified,
    #[error("the signature is not of the account's passkey")]
    Signature,
    #[error("the reference is not the one that was given")]
    Reference,
    #[error("the nonce does not fit the commitment")]
    Commitment,
    #[error("the pairing request does not open")]
    Sealed,
    #[error("the pairing request names other keys than the registration")]
    Keys,
    #[error("{0} came before its turn")]
    Order(&'static str),
}
