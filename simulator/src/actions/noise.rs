//! The traffic of an account in use: messages, groups, calls, device lists, receipts.
//! Each stanza goes into the device's mailbox, so it waits for a device that is offline and is delivered again until it
//! is acknowledged.
//!
//! Source: the parsers of `wacore` 0.7.0 `stanza/` (`call.rs`, `devices.rs`, `groups.rs`) and `whatsapp-rust` 0.7.0
//! `handlers/notification`.

use serde::Serialize;
use tokio::task::yield_now;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};
use waproto::whatsapp::Message;

use super::message::{MOST, TEXT, WriteError, device, post, seal};
use crate::phone::{Friend, Group, Phone, made_up_number};
use crate::server::{Shared, stanza};
use crate::simulator::Simulator;
use crate::state::{Letter, Order, World};

/// How many stanzas are made in one hold of the lock, for which all others wait.
const STANZAS_PER_LOCK: usize = 50;
/// One of this many messages was written by the account itself and brings a receipt.
const MESSAGES_PER_RECEIPT: usize = 10;
/// One-time pre-keys that are left when the server says that they run low.
const LOW: usize = 5;

/// How much of what a device gets. Each at most 10,000.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noise {
    /// The JID of the device.
    pub jid: String,
    /// Messages of a friend. For every ten, a receipt comes too.
    pub messages: usize,
    /// Groups: each changes its subject, and somebody writes there.
    pub groups: usize,
    /// Calls that nobody takes.
    pub calls: usize,
    /// Contacts that link another device; and the account's own list, once.
    pub devices: usize,
    /// Others have used up the one-time pre-keys but for five, and the server says so.
    pub prekeys_low: bool,
}

/// What was put into the device's mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Noised {
    /// Stanzas of all kinds. [`crate::DeviceState::queued`] falls as the device acknowledges them.
    pub queued: usize,
}

impl Simulator {
    /// Makes noise. Returns when everything is in the device's mailbox; whether the device has taken it is in the state.
    ///
    /// # Errors
    /// [`WriteError::Unknown`], [`WriteError::Unlinked`], [`WriteError::Count`], [`WriteError::Phone`].
    pub async fn noise(&self, noise: Noise) -> Result<Noised, WriteError> {
        self.shared.noise(noise).await
    }
}

impl Shared {
    pub(crate) async fn noise(&self, noise: Noise) -> Result<Noised, WriteError> {
        let Noise { jid, messages, groups, calls, devices, prekeys_low } = noise;
        if [messages, groups, calls, devices].iter().any(|count| *count > MOST) {
            return Err(WriteError::Count);
        }
        device(&mut self.shelf.world(), &jid)?;
        let mut queued = 0;
        let mut left = messages;
        while left > 0 {
            let count = left.min(STANZAS_PER_LOCK);
            post(&mut self.shelf.world(), &jid, TEXT, count, None)?;
            queued += count;
            left -= count;
            yield_now().await;
        }
        let receipts = messages.div_ceil(MESSAGES_PER_RECEIPT);
        queued += self.each(&jid, receipts, receipt).await?;
        queued += self.each(&jid, groups, group).await?;
        queued += self.each(&jid, calls, call).await?;
        queued += self.each(&jid, devices, contact_device).await?;
        queued += self.each(&jid, usize::from(devices > 0), own_devices).await?;
        queued += self.each(&jid, usize::from(prekeys_low), pre_keys_low).await?;
        Ok(Noised { queued })
    }

    /// Puts `count` times what `make` makes into the mailbox, and delivers it.
    async fn each(&self, jid: &str, count: usize, make: Make) -> Result<usize, WriteError> {
        let mut queued = 0;
        for _ in 0..count {
            {
                let mut world = self.shelf.world();
                let made = make(&mut world, jid)?;
                let device = device(&mut world, jid)?;
                for stanza in made {
                    queued += 1;
                    let id = stanza.attrs.get("id").map(|id| id.as_str().into_owned()).unwrap_or_default();
                    device.mailbox.push(Letter { id, stanza, report: None });
                }
            }
            yield_now().await;
        }
        let world = self.shelf.world();
        world.online(jid).for_each(|(id, _)| {
            world.order(id, Order::Deliver);
        });
        Ok(queued)
    }
}

/// Makes the stanzas of one event.
type Make = fn(&mut World, &str) -> Result<Vec<Node>, WriteError>;

fn friend(world: &mut World, jid: &str) -> Result<Jid, WriteError> {
    Ok(device(world, jid)?.friend.get_or_insert_with(Friend::new).jid.clone())
}

/// A stanza with an id and a time, which the device acknowledges.
fn from(tag: &'static str, jid: &Jid) -> NodeBuilder {
    NodeBuilder::new(tag).attr("from", jid).attr("id", stanza::fresh_id()).attr("t", stanza::now())
}

fn receipt(world: &mut World, jid: &str) -> Result<Vec<Node>, WriteError> {
    Ok(vec![from("receipt", &friend(world, jid)?).attr("type", "read").build()])
}

fn group(world: &mut World, jid: &str) -> Result<Vec<Node>, WriteError> {
    let member = friend(world, jid)?;
    let failed = |error: crate::phone::PhoneError| WriteError::Phone(error.to_string());
    let mut group = Group::new(&member);
    let subject = NodeBuilder::new("subject")
        .attr("subject", "A group")
        .attr("s_o", &member)
        .attr("s_t", stanza::now())
        .build();
    let renamed = from("notification", &group.jid)
        .attr("type", "w:gp2")
        .attr("participant", &member)
        .attr("notify", "A friend")
        .children([subject])
        .build();
    let key = seal(device(world, jid)?, &group.key().map_err(failed)?)?;
    let text = Message { conversation: Some(TEXT.to_owned()), ..Message::default() };
    let enc = |kind: &'static str, ciphertext: Vec<u8>| {
        NodeBuilder::new("enc").attr("v", "2").attr("type", kind).bytes(ciphertext).build()
    };
    let text = group.seal(&text).map_err(failed)?;
    let written = from("message", &group.jid)
        .attr("type", "text")
        .attr("participant", &member)
        .attr("notify", "A friend")
        .children([enc(key.kind, key.ciphertext), enc("skmsg", text)])
        .build();
    Ok(vec![renamed, written])
}

fn call(world: &mut World, jid: &str) -> Result<Vec<Node>, WriteError> {
    let caller = friend(world, jid)?;
    let id = stanza::fresh_id();
    let action =
        |tag: &'static str| NodeBuilder::new(tag).attr("call-id", id.as_str()).attr("call-creator", &caller);
    let audio = NodeBuilder::new("audio").attr("enc", "opus").attr("rate", 16_000).build();
    let rings = from("call", &caller).children([action("offer").children([audio]).build()]).build();
    let ends =
        from("call", &caller).children([action("terminate").attr("reason", "timeout").build()]).build();
    Ok(vec![rings, ends])
}

fn contact_device(_: &mut World, _: &str) -> Result<Vec<Node>, WriteError> {
    let mut contact = Phone::new(made_up_number(), String::new(), 0);
    let number = contact.next_device();
    let index = u32::from(number);
    let list = contact.key_index_list(vec![index]).map_err(|error| WriteError::Phone(error.to_string()))?;
    let added = NodeBuilder::new("device")
        .attr("jid", contact.jid().with_device(number))
        .attr("key-index", index)
        .build();
    let list = NodeBuilder::new("key-index-list").attr("ts", stanza::now()).bytes(list).build();
    let add = NodeBuilder::new("add").children([added, list]).build();
    Ok(vec![from("notification", &contact.jid()).attr("type", "devices").children([add]).build()])
}

fn own_devices(world: &mut World, jid: &str) -> Result<Vec<Node>, WriteError> {
    let own = device(world, jid)?.jid.to_non_ad();
    let linked = world.devices.values().filter(|device| device.linked && device.jid.to_non_ad() == own);
    let mut list = vec![NodeBuilder::new("device").attr("jid", &own).build()];
    list.extend(linked.map(|device| {
        NodeBuilder::new("device").attr("jid", &device.jid).attr("key-index", device.key_index).build()
    }));
    let hash = format!("2:{:08x}", list.len());
    let devices = NodeBuilder::new("devices").attr("dhash", hash).children(list).build();
    Ok(vec![from("notification", &own).attr("type", "account_sync").children([devices]).build()])
}

fn pre_keys_low(world: &mut World, jid: &str) -> Result<Vec<Node>, WriteError> {
    let keys = &mut device(world, jid)?.keys;
    keys.use_up(LOW);
    let count = NodeBuilder::new("count").attr("value", keys.left()).build();
    Ok(vec![stanza::notification("encrypt", count)])
}
