//! The `encrypt` questions: a device uploads its keys, rotates one, asks what the server has, or asks for others' keys.
//! What is checked is in `state::registration`.
//!
//! Source: `wacore` 0.7.0 `iq/prekeys.rs`, `prekeys.rs`.

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Node, NodeRef};

use super::answer::Answer;
use super::stanza;
use crate::phone::PublicBundle;
use crate::state::{Digest, PreKeyError, SignedPreKey, World, exactly, three_byte_id};

/// Takes an upload.
pub(super) fn upload(world: &mut World, jid: &str, id: &str, iq: &NodeRef<'_>) -> Answer {
    settle(id, try_upload(world, jid, iq))
}

fn try_upload(world: &mut World, jid: &str, iq: &NodeRef<'_>) -> Result<(), PreKeyError> {
    let device = world.devices.get_mut(jid).ok_or(PreKeyError::Field("device"))?;
    let registration_id = u32::from_be_bytes(exactly(bytes(iq, "registration"), "registration")?);
    if bytes(iq, "type") != Some(&[crate::state::DJB_TYPE]) {
        return Err(PreKeyError::KeyType);
    }
    let identity = exactly(bytes(iq, "identity"), "identity")?;
    let signed = signed_pre_key(iq)?;
    let list = iq.get_optional_child("list").and_then(|list| list.children()).unwrap_or_default();
    let one_time: Result<Vec<_>, PreKeyError> = list
        .iter()
        .map(|key| {
            Ok((three_byte_id(bytes(key, "id"), "key/id")?, exactly(bytes(key, "value"), "key/value")?))
        })
        .collect();
    device.keys.upload(registration_id, identity, signed, &one_time?)
}

/// Takes another signed pre-key.
pub(super) fn rotate(world: &mut World, jid: &str, id: &str, iq: &NodeRef<'_>) -> Answer {
    let rotated = || {
        let device = world.devices.get_mut(jid).ok_or(PreKeyError::Field("device"))?;
        let rotate = iq.get_optional_child("rotate").ok_or(PreKeyError::Field("rotate"))?;
        device.keys.rotate(signed_pre_key(rotate)?)
    };
    settle(id, { rotated }())
}

fn settle(id: &str, result: Result<(), PreKeyError>) -> Answer {
    match result {
        Ok(()) => Answer::plain(stanza::result(id).build()),
        Err(error) => Answer::refuse(id, 406, "not-acceptable", format!("pre-keys: {error}")),
    }
}

/// What the server has of the device's keys.
pub(super) fn digest(world: &World, jid: &str, id: &str) -> Answer {
    let digest = world.devices.get(jid).and_then(|device| device.keys.digest());
    Answer::plain(match digest {
        Some(digest) => stanza::result(id).children([digest_node(&digest)]).build(),
        None => stanza::error(id, 404, "item-not-found"),
    })
}

fn digest_node(digest: &Digest<'_>) -> Node {
    let leaf = |tag: &'static str, bytes: &[u8]| NodeBuilder::new(tag).bytes(bytes).build();
    let key = digest.signed_pre_key;
    let skey = NodeBuilder::new("skey").children([
        leaf("id", &key.id.to_be_bytes()[1..]),
        leaf("value", &key.public),
        leaf("signature", &key.signature),
    ]);
    let ids = digest.ids.iter().map(|id| leaf("id", &id.to_be_bytes()[1..]));
    NodeBuilder::new("digest")
        .children([
            leaf("registration", &digest.registration_id.to_be_bytes()),
            leaf("type", &[crate::state::DJB_TYPE]),
            leaf("identity", digest.identity),
            skey.build(),
            NodeBuilder::new("list").children(ids).build(),
            leaf("hash", &digest.hash),
        ])
        .build()
}

/// How many one-time pre-keys are left.
pub(super) fn count(world: &World, jid: &str, id: &str) -> Answer {
    let left = world.devices.get(jid).map(|device| device.keys.left()).unwrap_or_default();
    Answer::plain(
        stanza::result(id).children([NodeBuilder::new("count").attr("value", left).build()]).build(),
    )
}

/// Only the phone of the asking device reads messages here, so nobody else has keys to give.
pub(super) fn fetch(world: &World, jid: &str, id: &str, iq: &NodeRef<'_>) -> Answer {
    let asked = iq.get_optional_child("key").and_then(|key| key.children()).unwrap_or_default();
    let own = world.devices.get(jid).and_then(|device| world.phones.get(&device.number));
    let users = asked.iter().filter_map(|user| user.get_attr("jid")).map(|jid| {
        let phone =
            own.filter(|phone| jid.to_jid().is_some_and(|jid| jid == phone.jid() || jid == phone.lid()));
        let keys = phone.and_then(|phone| phone.bundle().ok());
        let user = NodeBuilder::new("user").attr("jid", jid.as_str().into_owned());
        let error = || NodeBuilder::new("error").attr("code", 404).attr("text", "item-not-found").build();
        user.children(keys.map_or_else(|| vec![error()], |keys| bundle(&keys))).build()
    });
    Answer::plain(stanza::result(id).children([NodeBuilder::new("list").children(users).build()]).build())
}

fn bundle(keys: &PublicBundle) -> Vec<Node> {
    let leaf = |tag: &'static str, bytes: &[u8]| NodeBuilder::new(tag).bytes(bytes.to_vec()).build();
    let skey = [
        leaf("id", &keys.id.to_be_bytes()[1..]),
        leaf("value", &keys.public),
        leaf("signature", &keys.signature),
    ];
    vec![
        leaf("registration", &keys.registration_id.to_be_bytes()),
        leaf("type", &[crate::state::DJB_TYPE]),
        leaf("identity", &keys.identity),
        NodeBuilder::new("skey").children(skey).build(),
    ]
}

fn signed_pre_key(parent: &NodeRef<'_>) -> Result<SignedPreKey, PreKeyError> {
    let skey = parent.get_optional_child("skey").ok_or(PreKeyError::Field("skey"))?;
    Ok(SignedPreKey {
        id: three_byte_id(bytes(skey, "id"), "skey/id")?,
        public: exactly(bytes(skey, "value"), "skey/value")?,
        signature: exactly(bytes(skey, "signature"), "skey/signature")?,
    })
}

fn bytes<'a>(parent: &'a NodeRef<'_>, tag: &str) -> Option<&'a [u8]> {
    parent.get_optional_child(tag).and_then(|child| child.content_bytes())
}
