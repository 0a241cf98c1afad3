//! The phone of an account and its devices: the key share that a phone owes a fresh device, and the requests with which a
//! device asks for it again. Whether the phone answers is in the account's rules.
//!
//! Source: `whatsapp-rust` 0.7.0 `client/app_state.rs` (`request_app_state_keys`), `message/special.rs`.

use wacore_binary::NodeRef;

use super::connection::Connection;
use super::stanza::{self, attr};
use crate::phone::PhoneError;
use crate::state::{KeyShare, Letter, World};

/// Puts into the mailbox what the phone owes the device, if the phone is on; true when there is something new.
pub(crate) fn settle(world: &mut World, jid: &str) -> bool {
    let settled = try_settle(world, jid);
    settled.unwrap_or_else(|error| {
        tracing::error!(%error, jid, "the phone cannot share its app state key");
        false
    })
}

fn try_settle(world: &mut World, jid: &str) -> Result<bool, PhoneError> {
    let Some(number) = world.devices.get(jid).map(|device| device.number.clone()) else { return Ok(false) };
    let on = world.rules(&number).key_share == KeyShare::Now;
    let (Some(device), Some(phone)) = (world.devices.get_mut(jid), world.phones.get(&number)) else {
        return Ok(false);
    };
    // The one share also answers a device that asked before the phone had written anything.
    if !on || device.key_share_written && !device.key_asked {
        return Ok(false);
    }
    let device_number = device.jid.device;
    let keys = &mut device.keys;
    let session = device.phone_session.get_or_insert_with(|| phone.sender());
    let sealed = session.seal(&phone.key_share(), || {
        keys.bundle(device_number).map_err(|error| PhoneError::Bundle(error.to_string()))
    })?;
    let id = stanza::fresh_id();
    let stanza = stanza::peer_message(&id, &phone.jid(), &sealed);
    device.mailbox.push(Letter { id, stanza, report: None });
    device.key_share_written = true;
    device.key_asked = false;
    Ok(true)
}

/// Reads what a device writes to its own phone; true when an answer waits in the mailbox.
pub(super) fn hear(connection: &Connection, jid: &str, message: &NodeRef<'_>) -> bool {
    if attr(message, "category").as_deref() != Some("peer") {
        return false;
    }
    let mut world = connection.shared.shelf.world();
    match read(&mut world, jid, message) {
        Ok(()) => settle(&mut world, jid),
        Err(error) => {
            drop(world);
            connection.complain(&format!("a peer message of {jid}: {error}"));
            false
        }
    }
}

fn read(world: &mut World, jid: &str, message: &NodeRef<'_>) -> Result<(), PhoneError> {
    let Some(device) = world.devices.get_mut(jid) else { return Ok(()) };
    let Some(phone) = world.phones.get(&device.number) else { return Ok(()) };
    let to = message.get_attr("to").and_then(|to| to.to_jid());
    if !to.is_some_and(|to| to == phone.jid() || to == phone.lid()) {
        // To another device of the account.
        return Ok(());
    }
    let Some(enc) = message.get_optional_child("enc") else { return Ok(()) };
    let kind = attr(enc, "type").unwrap_or_default();
    let session = device.phone_session.get_or_insert_with(|| phone.sender());
    let opened = session.open(phone.own_keys(), &kind, enc.content_bytes().unwrap_or_default())?;
    let asked = opened.protocol_message.as_option().and_then(|it| it.app_state_sync_key_request.as_option());
    if asked.is_some() {
        device.key_asked = true;
        device.key_requests += 1;
    }
    Ok(())
}
