//! A device that a phone has linked, now or once.

use std::time::Duration;

use serde::Serialize;
use wacore_binary::Jid;

use super::mailbox::Mailbox;
use super::registration::{Keys, Registration};
use crate::phone::{Friend, Offer, Sender};

/// The last presence that a device sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// Its owner looks at it; the phone stays silent.
    Available,
    /// The device is inactive, so the phone notifies.
    Unavailable,
}

/// One linked device.
pub(crate) struct Device {
    pub(crate) jid: Jid,
    pub(crate) lid: Jid,
    /// Number of its phone.
    pub(crate) number: String,
    /// `DeviceProps.os` of its registration.
    pub(crate) name: String,
    /// `DeviceProps.platformType` of it.
    pub(crate) platform: String,
    pub(crate) linked: bool,
    pub(crate) presence: Option<Presence>,
    pub(crate) logins: u64,
    /// Most logins alive at once.
    pub(crate) concurrent: usize,
    /// The longest time that two logins were alive, not counting an overlap that still lasts.
    pub(crate) overlap: Duration,
    pub(crate) key_index: u32,
    /// The only Noise key that may log in as this device.
    pub(crate) noise_public: [u8; 32],
    pub(crate) keys: Keys,
    /// `lc` of the last login that was let in.
    pub(crate) login_counter: Option<i32>,
    pub(crate) mailbox: Mailbox,
    /// The friend who writes to it, after the first message.
    pub(crate) friend: Option<Friend>,
    /// The key share was written (not: received).
    pub(crate) key_share_written: bool,
    /// It asked for keys, and has not been answered.
    pub(crate) key_asked: bool,
    /// How often it asked its phone for keys.
    pub(crate) key_requests: usize,
    /// What its phone writes and reads with, once either has.
    pub(crate) phone_session: Option<Sender>,
}

impl Device {
    pub(super) fn new(offer: &Offer, number: String, registration: &Registration) -> Self {
        Self {
            jid: offer.jid.clone(),
            lid: offer.lid.clone(),
            number,
            name: registration.name.clone(),
            platform: registration.platform.clone(),
            linked: true,
            presence: None,
            logins: 0,
            concurrent: 0,
            overlap: Duration::ZERO,
            key_index: offer.key_index,
            noise_public: registration.noise_public,
            keys: Keys::new(registration),
            login_counter: None,
            mailbox: Mailbox::default(),
            friend: None,
            key_share_written: false,
            key_asked: false,
            key_requests: 0,
            phone_session: None,
        }
    }
}
