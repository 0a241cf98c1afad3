//! A friend's phone writes to a device.

use std::time::Duration;

use serde::Serialize;
use tokio::select;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use waproto::whatsapp::Message;

use crate::phone::{Friend, PhoneError, Sealed};
use crate::server::{Shared, stanza};
use crate::simulator::Simulator;
use crate::state::{Device, Letter, Order, Outcome, World};

/// How long the friend waits for receipts. Messages that are not acknowledged by then stay in the device's mailbox.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(60);
/// Messages in one call at most.
pub(crate) const MOST: usize = 10_000;
pub(super) const TEXT: &str = "Hello from the simulator";

/// A friend writes.
#[derive(Clone, Debug, Default)]
pub struct Write {
    /// The JID of the device that gets the messages.
    pub jid: String,
    /// The text of each message. Default: a greeting.
    pub text: Option<String>,
    /// How often. Default: 1, at most 10,000.
    pub count: Option<usize>,
}

/// How the device took the messages. `acknowledged` and `retries` add up to `sent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Written {
    /// The number of messages sent.
    pub sent: usize,
    /// Messages the device sent a receipt for.
    pub acknowledged: usize,
    /// Messages it could not decrypt.
    pub retries: usize,
}

/// Why not every message was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// No such device was ever linked.
    #[error("no device {0}")]
    Unknown(String),
    /// It is not linked any more; undelivered messages are gone.
    #[error("{0} is not linked any more")]
    Unlinked(String),
    /// Not a number of messages.
    #[error("count is not a number from 1 to 10000")]
    Count,
    /// Queued, but not acknowledged in time: {0} are missing.
    #[error("{0} messages were not acknowledged within 60 s; they stay queued")]
    Silent(usize),
    /// The simulator ended.
    #[error("the simulator ended")]
    Ended,
    /// The friend's phone failed.
    #[error("the friend's phone failed: {0}")]
    Phone(String),
}

impl Simulator {
    /// A friend's phone sends encrypted messages to a device, through one Signal session per device. Returns when every
    /// message is settled; a device that is offline gets them at its next login.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn write(&self, write: Write) -> Result<Written, WriteError> {
        self.shared.write(write).await
    }
}

impl Shared {
    pub(crate) async fn write(&self, write: Write) -> Result<Written, WriteError> {
        let count = write.count.unwrap_or(1);
        if !(1..=MOST).contains(&count) {
            return Err(WriteError::Count);
        }
        let (report, mut reports) = mpsc::unbounded_channel();
        let text = write.text.as_deref().unwrap_or(TEXT);
        post(&mut self.shelf.world(), &write.jid, text, count, Some(&report))?;
        // From now on only letters hold a sender: when the mailbox is emptied, the wait ends.
        drop(report);
        let mut written = Written { sent: count, acknowledged: 0, retries: 0 };
        let deadline = Instant::now() + RECEIPT_TIMEOUT;
        while written.acknowledged + written.retries < count {
            let outcome = select! {
                outcome = reports.recv() => outcome,
                () = self.stop.cancelled() => return Err(WriteError::Ended),
                () = sleep_until(deadline) => {
                    return Err(WriteError::Silent(count - written.acknowledged - written.retries));
                }
            };
            match outcome {
                Some(Outcome::Acknowledged) => written.acknowledged += 1,
                Some(Outcome::Retry) => written.retries += 1,
                None => return Err(WriteError::Unlinked(write.jid)),
            }
        }
        if written.retries > 0 {
            // The device has lost the session; the next messages open a new one.
            if let Some(device) = self.shelf.world().devices.get_mut(&write.jid) {
                device.friend = None;
            }
        }
        Ok(written)
    }
}

/// The device, as long as it is linked.
pub(super) fn device<'a>(world: &'a mut World, jid: &str) -> Result<&'a mut Device, WriteError> {
    let device = world.devices.get_mut(jid).ok_or_else(|| WriteError::Unknown(jid.to_owned()))?;
    match device.linked {
        true => Ok(device),
        false => Err(WriteError::Unlinked(jid.to_owned())),
    }
}

/// Encrypts a message of the device's friend.
pub(super) fn seal(device: &mut Device, message: &Message) -> Result<Sealed, WriteError> {
    let friend = device.friend.get_or_insert_with(Friend::new);
    let number = device.jid.device;
    let keys = &mut device.keys;
    let bundle = || keys.bundle(number).map_err(|error| PhoneError::Bundle(error.to_string()));
    friend.sender.seal(message, bundle).map_err(|error| WriteError::Phone(error.to_string()))
}

/// Encrypts and queues the messages, and tells the device's connections.
pub(super) fn post(
    world: &mut World,
    jid: &str,
    text: &str,
    count: usize,
    report: Option<&mpsc::UnboundedSender<Outcome>>,
) -> Result<(), WriteError> {
    let device = device(world, jid)?;
    let message = Message { conversation: Some(text.to_owned()), ..Message::default() };
    for _ in 0..count {
        let sealed = seal(device, &message)?;
        let from = device.friend.get_or_insert_with(Friend::new).jid.clone();
        let id = stanza::fresh_id();
        let stanza = stanza::message(&id, &from, &sealed).attr("notify", "A friend").build();
        device.mailbox.push(Letter { id, stanza, report: report.cloned() });
    }
    let online: Vec<_> = world.online(jid).map(|(id, _)| id).collect();
    online.into_iter().for_each(|id| {
        world.order(id, Order::Deliver);
    });
    Ok(())
}
