//! `GET /control/state`: what of the [`World`] the outside may see. Its shape is fixed by the contract.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{PasskeyState, Presence, Role, World};

/// A snapshot of the simulator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct State {
    /// Clients connected now, paired or not.
    pub clients: usize,
    /// QR references that a phone could scan now.
    pub waiting: Vec<String>,
    /// Every device that was ever linked.
    pub devices: Vec<DeviceState>,
    /// Links that wait for a passkey.
    pub passkey: Vec<PasskeyState>,
    /// Whether an outage is being played.
    pub paused: bool,
    /// Requests for `sw.js`.
    pub lookups: u64,
    /// Clients refused with 405 because their build is below the lowest.
    pub outdated: u64,
    /// WebSockets that clients tried to open.
    pub attempts: u64,
    /// Connections that were reset at their first word, while nobody could be reached.
    pub refused: u64,
    /// Logins that were refused because they were above the rate.
    pub throttled: u64,
}

/// One device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceState {
    /// `NUMBER:D@s.whatsapp.net`.
    pub jid: String,
    /// The name it gave itself, which WhatsApp shows in the phone's list of linked devices.
    pub name: String,
    /// The kind of client it said it is (`CHROME`, `DESKTOP`, …), which decides the icon in that list.
    pub platform: String,
    /// False after a logout from either side.
    pub linked: bool,
    /// The last presence that it sent; `null` before the first one.
    pub presence: Option<Presence>,
    /// Logins that were let in.
    pub logins: u64,
    /// Most logins alive at once.
    pub concurrent: usize,
    /// The longest time that two logins were alive, in milliseconds.
    pub overlap_ms: u64,
    /// Stanzas on their way to it that it has not acknowledged.
    pub queued: usize,
    /// One-time pre-keys that the server has left of it.
    pub pre_keys: usize,
}

impl World {
    pub(crate) fn state(&self) -> State {
        let waiting = self.clients.values().filter_map(|client| match &client.role {
            Role::Waiting(waiting) => Some(waiting.refs.iter().cloned()),
            _ => None,
        });
        State {
            clients: self.clients.len(),
            waiting: waiting.flatten().collect(),
            devices: self.devices.keys().filter_map(|jid| self.device_state(jid)).collect(),
            passkey: self.passkeys.values().cloned().collect(),
            paused: self.paused,
            lookups: self.versions.lookups,
            outdated: self.versions.outdated,
            attempts: self.attempts.connections,
            refused: self.attempts.refused,
            throttled: self.attempts.throttled,
        }
    }

    fn device_state(&self, jid: &str) -> Option<DeviceState> {
        let device = self.devices.get(jid)?;
        let overlap = device.overlap.max(self.running_overlap(jid));
        Some(DeviceState {
            jid: jid.to_owned(),
            name: device.name.clone(),
            platform: device.platform.clone(),
            linked: device.linked,
            presence: device.presence,
            logins: device.logins,
            concurrent: device.concurrent,
            overlap_ms: u64::try_from(overlap.as_millis()).unwrap_or(u64::MAX),
            queued: device.mailbox.len(),
            pre_keys: device.keys.left(),
        })
    }

    /// How long the second-oldest login has been beside the oldest, now.
    fn running_overlap(&self, jid: &str) -> Duration {
        let mut logins: Vec<Instant> = self.online(jid).map(|(_, since)| since).collect();
        logins.sort();
        logins.get(1).map(Instant::elapsed).unwrap_or_default()
    }
}
