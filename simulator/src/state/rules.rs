//! What WhatsApp and the phone of one account do, as `POST /control/account` says. Accounts nobody spoke of do what every
//! account does: everything works, at once.

use std::time::Duration;

/// What the media host does with an account's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Blobs {
    /// Serves the files.
    #[default]
    Ok,
    /// Answers 404.
    Missing,
    /// Serves them over about ten seconds.
    Slow,
    /// Takes the request and never answers.
    Silent,
    /// Serves them with a byte changed, so that their MAC is wrong.
    BadBlob,
    /// Serves them unchanged, but the snapshot in them has a wrong MAC.
    BadSnapshot,
}

/// When the phone shares its app state key with a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyShare {
    /// When the device is first active, and whenever it asks.
    #[default]
    Now,
    /// The phone is off: everything it owes its devices comes when this becomes `Now`.
    Late,
    /// As `Late`, for a test that never changes it.
    Never,
}

/// One account's rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) blobs: Blobs,
    /// Collections that are refused, each with its code.
    pub(crate) refuse: Vec<(String, u16)>,
    pub(crate) key_share: KeyShare,
    /// How long after its linking a fresh device is removed.
    pub(crate) remove_after: Option<Duration>,
}

impl Rules {
    /// The code with which a collection is refused.
    pub(crate) fn refusal(&self, collection: &str) -> Option<u16> {
        self.refuse.iter().find(|(name, _)| name == collection).map(|(_, code)| *code)
    }
}
