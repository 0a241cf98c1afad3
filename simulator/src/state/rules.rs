//! What WhatsApp and the phone of one account do, as `POST /control/account` says. Accounts nobody spoke of do what every
//! account does: everything works, at once.

use std::time::Duration;

/// What the media host does with an account's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Blobs {
    /// Gives them.
    #[default]
    Ok,
    /// 404.
    Missing,
    /// Gives them, over some ten seconds.
    Slow,
    /// Takes the request and never answers.
    Silent,
    /// Gives them with a byte changed, so that their MAC does not hold.
    BadBlob,
    /// Gives them as they should be, but the snapshot in them has a MAC that does not hold.
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
    /// As `Late`; says that nobody means to change it.
    Never,
}

/// One account's rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) blobs: Blobs,
    /// Collections that are refused, each with its code.
    pub(crate) refuse: Vec<(String, u16)>,
    pub(crate) key_share: KeyShare,
    /// A fresh device is taken back after so long.
    pub(crate) remove_after: Option<Duration>,
}

impl Rules {
    /// The code with which a collection is refused.
    pub(crate) fn refusal(&self, collection: &str) -> Option<u16> {
        self.refuse.iter().find(|(name, _)| name == collection).map(|(_, code)| *code)
    }
}
