//! Everything the simulator remembers: phones, linked devices, clients that are connected, failures to come.
//! Plain data behind one lock that is never held across an await; no socket and no stanza is touched here.
//! `server` and `actions` call it.

mod attempts;
mod clients;
mod device;
mod failures;
mod mailbox;
mod outages;
mod registration;
mod rules;
mod version;
mod view;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use crate::noise::Pattern;
use crate::phone::{Offer, Phone};

pub(crate) use attempts::Attempts;
pub use attempts::{Attempt, AttemptKind};
pub use clients::PasskeyState;
pub(crate) use clients::{Client, ClientId, LinkCode, Order, Refusal, Role, Waiting};
pub(crate) use device::Device;
pub use device::Presence;
pub(crate) use failures::{Failure, Failures};
pub(crate) use mailbox::{Letter, Outcome};
pub(crate) use outages::{Happening, Outages};
pub(crate) use registration::{
    DJB_TYPE, Digest, PreKeyError, Registration, SignedPreKey, exactly, id as three_byte_id,
};
pub(crate) use rules::Rules;
pub use rules::{Blobs, KeyShare};
pub use version::Latest;
pub(crate) use version::Versions;
pub use view::{DeviceState, State};

/// Push name of a phone that was given none.
const PUSH_NAME: &str = "Ada";
/// How many complaints and handshakes are kept; older ones are dropped.
const KEPT: usize = 1000;

/// The lock around [`World`]. A panic of another holder does not make the data unusable.
#[derive(Default)]
pub(crate) struct Shelf(Mutex<World>);

impl Shelf {
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock()
    }
}

/// All that is remembered.
#[derive(Default)]
pub(crate) struct World {
    /// All phones, by number.
    pub(crate) phones: HashMap<String, Phone>,
    /// The rules of accounts that have any, by number.
    pub(crate) rules: HashMap<String, Rules>,
    /// How many contacts an account without rules has.
    pub(crate) contacts: usize,
    pub(crate) media: Media,
    /// All devices, by JID, including unlinked ones.
    pub(crate) devices: BTreeMap<String, Device>,
    pub(crate) clients: BTreeMap<ClientId, Client>,
    pub(crate) failures: Failures,
    /// Codes, each with its text, with which the next requests for a pairing code are refused.
    pub(crate) code_refusals: VecDeque<(u16, &'static str)>,
    /// Links that wait for a passkey.
    pub(crate) passkeys: BTreeMap<ClientId, PasskeyState>,
    pub(crate) paused: bool,
    pub(crate) versions: Versions,
    pub(crate) outages: Outages,
    pub(crate) attempts: Attempts,
    complaints: VecDeque<String>,
    handshakes: VecDeque<Pattern>,
    last_client: ClientId,
}

/// The media host, as clients are told of it.
#[derive(Default)]
pub(crate) struct Media {
    pub(crate) host: String,
    pub(crate) auth: String,
    /// The number of requests to the media host so far.
    pub(crate) requests: usize,
}

/// Result of a login that was let in.
pub(crate) struct LoggedIn {
    /// Older logins of the same device: they are to be told that they were replaced.
    pub(crate) replaced: Vec<ClientId>,
}

impl World {
    pub(crate) fn connect(&mut self, client: Client) -> ClientId {
        self.last_client += 1;
        self.clients.insert(self.last_client, client);
        self.last_client
    }

    /// The phone with this number, created if it does not exist.
    pub(crate) fn phone(&mut self, number: &str) -> &mut Phone {
        let new = || Phone::new(number.to_owned(), PUSH_NAME.to_owned(), self.contacts);
        self.phones.entry(number.to_owned()).or_insert_with(new)
    }

    pub(crate) fn rules(&self, number: &str) -> Rules {
        self.rules.get(number).cloned().unwrap_or_default()
    }

    /// Whether a waiting client was told to renew its secret.
    pub(crate) fn refreshed(&self, id: ClientId) -> bool {
        let role = self.clients.get(&id).map(|client| &client.role);
        matches!(role, Some(Role::Waiting(waiting)) if waiting.refreshed)
    }

    /// Forgets a client that is gone, and notes how long another login of its device lived beside it.
    pub(crate) fn disconnect(&mut self, id: ClientId) {
        self.passkeys.remove(&id);
        let Some(gone) = self.clients.remove(&id) else { return };
        let Role::Online { jid, since } = gone.role else { return };
        let overlap = self
            .online(&jid)
            .map(|(_, other)| Instant::now().saturating_duration_since(since.max(other)))
            .max();
        if let (Some(overlap), Some(device)) = (overlap, self.devices.get_mut(&jid)) {
            device.overlap = device.overlap.max(overlap);
        }
    }

    /// Clients that are logged in as `jid`, with the time of their login.
    pub(crate) fn online<'a>(&'a self, jid: &'a str) -> impl Iterator<Item = (ClientId, Instant)> + 'a {
        self.clients.iter().filter_map(move |(id, client)| match &client.role {
            Role::Online { jid: own, since } if own == jid => Some((*id, *since)),
            _ => None,
        })
    }

    /// Lets a client in as a device.
    pub(crate) fn log_in(&mut self, id: ClientId, jid: &str) -> LoggedIn {
        let replaced: Vec<_> =
            self.online(jid).map(|(other, _)| other).filter(|other| *other != id).collect();
        if let Some(client) = self.clients.get_mut(&id) {
            client.role = Role::Online { jid: jid.to_owned(), since: Instant::now() };
        }
        if let Some(device) = self.devices.get_mut(jid) {
            device.logins += 1;
            device.concurrent = device.concurrent.max(replaced.len() + 1);
        }
        LoggedIn { replaced }
    }

    /// Makes a device of a client whose signature was accepted.
    pub(crate) fn link(&mut self, id: ClientId, offer: &Offer, number: String) {
        self.passkeys.remove(&id);
        let Some(client) = self.clients.get_mut(&id) else { return };
        if let Role::Waiting(waiting) = std::mem::replace(&mut client.role, Role::Linked) {
            let device = Device::new(offer, number, &waiting.registration);
            self.devices.insert(offer.jid.to_string(), device);
        }
    }

    /// Takes a device off its account. Clients that are logged in as it stay for their caller to dismiss.
    pub(crate) fn unlink(&mut self, jid: &str) {
        if let Some(device) = self.devices.get_mut(jid) {
            device.linked = false;
            device.mailbox.clear();
        }
    }

    /// Takes a device off its account, and has the clients that are logged in as it told so.
    pub(crate) fn log_out(&mut self, jid: &str) {
        self.unlink(jid);
        self.online(jid).for_each(|(id, _)| {
            self.order(id, Order::LogOut);
        });
    }

    /// Lets a phone link a waiting client that the last one has not linked.
    pub(crate) fn wait_again(&mut self, id: ClientId) {
        if let Some(Role::Waiting(waiting)) = self.clients.get_mut(&id).map(|client| &mut client.role) {
            waiting.offered = false;
        }
    }

    /// Sends an order to a client; false when it is gone.
    pub(crate) fn order(&self, id: ClientId, order: Order) -> bool {
        self.clients.get(&id).is_some_and(|client| client.orders.send(order).is_ok())
    }

    /// Asks every client that is logged in as `jid` for a sign of life.
    pub(crate) fn call(&self, jid: &str) -> Vec<oneshot::Receiver<()>> {
        let ask = |(id, _)| {
            let (answer, answered) = oneshot::channel();
            self.order(id, Order::Answer(answer)).then_some(answered)
        };
        self.online(jid).filter_map(ask).collect()
    }

    /// Keeps what a client did wrong.
    pub(crate) fn complain(&mut self, complaint: String) {
        keep(&mut self.complaints, complaint);
    }

    /// Keeps how a handshake went.
    pub(crate) fn shook_hands(&mut self, pattern: Pattern) {
        keep(&mut self.handshakes, pattern);
    }

    pub(crate) fn handshakes(&self) -> Vec<Pattern> {
        self.handshakes.iter().copied().collect()
    }

    pub(crate) fn complaints(&self) -> Vec<String> {
        self.complaints.iter().cloned().collect()
    }
}

fn keep<T>(kept: &mut VecDeque<T>, new: T) {
    if kept.len() == KEPT {
        kept.pop_front();
    }
    kept.push_back(new);
}
