//! Device lists: which devices an account has, with the phone's signature over the list.
//!
//! Source: `wacore` 0.7.0 `usync.rs` (a list without `<key-index-list>` is skipped by the client with a warning).

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, NodeRef};

use super::answer::Answer;
use super::stanza::{self, attr};
use crate::phone::Phone;
use crate::state::World;

/// Answers a query for devices. An account the simulator does not have gets a phone without linked devices.
pub(super) fn answer(world: &World, id: &str, iq: &NodeRef<'_>) -> Answer {
    let query = iq.get_optional_child("usync");
    let asked = query.and_then(|query| query.get_optional_child("list")).and_then(|list| list.children());
    let users = asked.unwrap_or_default().iter().filter_map(|user| user.get_attr("jid")?.to_jid());
    let users: Vec<Node> = users.map(|jid| user(world, &jid)).collect();
    let result = NodeBuilder::new("result").children([NodeBuilder::new("devices").build()]).build();
    let list = NodeBuilder::new("list").children(users).build();
    let usync = NodeBuilder::new("usync")
        .attr("mode", "query")
        .attr("context", "message")
        .attr("index", 0)
        .attr("last", "true");
    let usync = match query.and_then(|query| attr(query, "sid")) {
        Some(sid) => usync.attr("sid", sid),
        None => usync,
    };
    Answer::plain(stanza::result(id).children([usync.children([result, list]).build()]).build())
}

fn user(world: &World, jid: &Jid) -> Node {
    let bare = jid.to_non_ad();
    let phone = world.phones.values().find(|phone| phone.jid() == bare || phone.lid() == bare);
    let mut devices = vec![NodeBuilder::new("device").attr("id", 0).build()];
    let mut children = Vec::new();
    if let Some(phone) = phone {
        let linked = linked(world, phone);
        devices.extend(linked.iter().map(|(device, index)| {
            NodeBuilder::new("device").attr("id", *device).attr("key-index", *index).build()
        }));
        match phone.key_index_list(linked.into_iter().map(|(_, index)| index).collect()) {
            Ok(list) => children
                .push(NodeBuilder::new("key-index-list").attr("ts", stanza::now()).bytes(list).build()),
            Err(error) => tracing::error!(%error, "the phone cannot sign its device list"),
        }
    }
    let hash = format!("2:{:08x}", devices.len());
    children.insert(0, NodeBuilder::new("device-list").attr("hash", hash).children(devices).build());
    let devices = NodeBuilder::new("devices").children(children).build();
    NodeBuilder::new("user").attr("jid", &bare).children([devices]).build()
}

fn linked(world: &World, phone: &Phone) -> Vec<(u16, u32)> {
    let own = phone.jid();
    let mine = world.devices.values().filter(|device| device.linked && device.jid.to_non_ad() == own);
    mine.map(|device| (device.jid.device, device.key_index)).collect()
}
