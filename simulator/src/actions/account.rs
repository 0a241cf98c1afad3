//! An account with a history, and what WhatsApp and its phone do to its devices. What the client makes of it is in
//! `docs/simulator-accounts.md`.

use std::time::Duration;

use crate::phone::{AppState, PhoneError, normalize_number};
use crate::server::{Shared, peer, stanza};
use crate::simulator::Simulator;
use crate::state::{Blobs, KeyShare, Order, Rules, World};

/// The codes with which WhatsApp refuses a collection for good. After any other code from 400 to 599 a client tries
/// again.
const REFUSED: u16 = 400;
/// The most contacts of an account: more than WhatsApp allows, and some hundred megabytes here.
const MOST_CONTACTS: usize = 100_000;

/// The settings of an account from now on; `None` leaves a setting as it is. An account without settings exists all the
/// same, without a history and with everything working.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Its number, digits with an optional `+`. It may have devices already, or not exist yet.
    pub phone: String,
    /// How many contacts it has. With at least one, a fresh device gets snapshots; a device that is linked already gets
    /// patches and a notification about them.
    pub contacts: Option<usize>,
    /// What the media host does with its files.
    pub blobs: Option<Blobs>,
    /// Collections that are refused: `NAME`, with code 400, or `NAME:CODE`. 400 and 404 are final for a client, others not.
    pub refuse: Option<Vec<String>>,
    /// When the phone shares its key. Becoming [`KeyShare::Now`] delivers all that waited.
    pub key_share: Option<KeyShare>,
    /// Whether it is a business account beside the Cloud API. The client of version 0.7.0 refuses to be linked to one.
    pub hosted: Option<bool>,
    /// What happens to devices that are linked from now on.
    pub remove: Option<Removal>,
}

/// What happens to a device that has just been linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It stays.
    Never,
    /// It is removed this long after it has signed, online or not.
    After(Duration),
}

/// Why an account was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// No account can have this number.
    #[error("phone is not a phone number: 7 to 15 digits, no leading zero")]
    Number,
    /// Too many contacts.
    #[error("contacts is not a number from 0 to 100000")]
    Contacts,
    /// Not a collection, or not a code.
    #[error("refuse has {0:?}, which is not a collection, nor one with a code from 400 to 599 (NAME:404)")]
    Refuse(String),
    /// The history could not be encrypted.
    #[error("the phone failed: {0}")]
    Phone(String),
}

impl From<PhoneError> for AccountError {
    fn from(error: PhoneError) -> Self {
        Self::Phone(error.to_string())
    }
}

impl Simulator {
    /// Makes an account one with a history, or changes what happens to it. Its history is ready when this returns, which
    /// takes a moment for thousands of contacts.
    ///
    /// # Errors
    /// See [`AccountError`]; nothing was changed then.
    pub async fn account(&self, account: Account) -> Result<(), AccountError> {
        self.shared.account(account).await
    }

    /// How often anybody asked the media host for anything.
    #[must_use]
    pub fn media_requests(&self) -> usize {
        self.shared.shelf.world().media.requests
    }

    /// How often a device has asked its phone for app state keys.
    #[must_use]
    pub fn key_requests(&self, jid: &str) -> usize {
        self.shared.shelf.world().devices.get(jid).map(|device| device.key_requests).unwrap_or_default()
    }
}

impl Shared {
    pub(crate) async fn account(&self, account: Account) -> Result<(), AccountError> {
        let number = normalize_number(&account.phone).ok_or(AccountError::Number)?;
        if account.contacts.is_some_and(|contacts| contacts > MOST_CONTACTS) {
            return Err(AccountError::Contacts);
        }
        let refuse = account.refuse.as_deref().map(refusals).transpose()?;
        let to_write = {
            let mut world = self.shelf.world();
            let phone = world.phone(&number);
            let history = account.contacts.and_then(|contacts| phone.rewritten(contacts));
            history.map(|history| (history, phone.push_name.clone()))
        };
        let history = match to_write {
            Some((history, push_name)) => Some(prepare(history, push_name).await?),
            None => None,
        };
        let mut world = self.shelf.world();
        if let Some(history) = history {
            let changed = world.phone(&number).adopt(history)?;
            announce(&world, &number, &changed);
        }
        if let Some(hosted) = account.hosted {
            world.phone(&number).hosted = hosted;
        }
        rule(world.rules.entry(number.clone()).or_default(), &account, refuse);
        settle_keys(&mut world, &number);
        Ok(())
    }
}

/// Applies the settings.
fn rule(rules: &mut Rules, account: &Account, refuse: Option<Vec<(String, u16)>>) {
    rules.blobs = account.blobs.unwrap_or(rules.blobs);
    rules.key_share = account.key_share.unwrap_or(rules.key_share);
    if let Some(refuse) = refuse {
        rules.refuse = refuse;
    }
    match account.remove {
        Some(Removal::Never) => rules.remove_after = None,
        Some(Removal::After(time)) => rules.remove_after = Some(time),
        None => {}
    }
}

/// Encrypts a history outside the lock and on a thread of its own.
async fn prepare(mut history: AppState, push_name: String) -> Result<AppState, AccountError> {
    let work = move || history.prepare(&push_name).map(|()| history);
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| AccountError::Phone(error.to_string()))??)
}

fn refusals(texts: &[String]) -> Result<Vec<(String, u16)>, AccountError> {
    let read = |text: &String| {
        let (name, code) = match text.split_once(':') {
            Some((name, code)) => (name, code.parse().ok().filter(|code| (400..600).contains(code))),
            None => (text.as_str(), Some(REFUSED)),
        };
        let known = crate::phone::COLLECTIONS.contains(&name);
        let code = code.filter(|_| known).ok_or_else(|| AccountError::Refuse(text.clone()))?;
        Ok((name.to_owned(), code))
    };
    texts.iter().map(read).collect()
}

/// Tells the devices that are online what is new in the app state.
fn announce(world: &World, number: &str, changed: &[(String, u64)]) {
    if changed.is_empty() {
        return;
    }
    for (jid, _) in linked(world, number) {
        let stanza = stanza::server_sync(changed);
        world.online(&jid).for_each(|(id, _)| {
            world.order(id, Order::Tell(Box::new(stanza.clone())));
        });
    }
}

/// Delivers the keys for which devices wait, if the phone is on.
fn settle_keys(world: &mut World, number: &str) {
    for (jid, active) in linked(world, number) {
        // A device gets the key only after it has been active once.
        if active && peer::settle(world, &jid) {
            world.online(&jid).for_each(|(id, _)| {
                world.order(id, Order::Deliver);
            });
        }
    }
}

/// The account's linked devices, and whether each has been logged in.
fn linked(world: &World, number: &str) -> Vec<(String, bool)> {
    let devices = world.devices.iter().filter(|(_, device)| device.linked && device.number == number);
    devices.map(|(jid, device)| (jid.clone(), device.logins > 0)).collect()
}
