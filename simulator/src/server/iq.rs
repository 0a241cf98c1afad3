//! Answers to what a logged-in device asks (iq), each as WhatsApp would give it to an empty account.
//! Pure but for the [`World`]: the connection sends the answer and does what [`After`] says.
//!
//! Source: the `IqSpec`s of `wacore` 0.7.0 `iq/`, whose `parse_response` these answers must satisfy.

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Node, NodeRef};

use super::stanza::{self, attr};
use super::{prekeys, usync};
use crate::state::World;

/// What is to be sent, noted and done.
pub(super) struct Answer {
    pub(super) node: Node,
    pub(super) after: After,
    pub(super) complaint: Option<String>,
}

/// What follows an answer.
pub(super) enum After {
    Nothing,
    /// The device is active: it gets what it missed.
    Offline,
    /// The device removed itself.
    Removed,
}

impl Answer {
    pub(super) fn plain(node: Node) -> Self {
        Self { node, after: After::Nothing, complaint: None }
    }

    /// Refuses, and says why in the log.
    pub(super) fn refuse(id: &str, code: u16, text: &str, complaint: String) -> Self {
        Self { node: stanza::error(id, code, text), after: After::Nothing, complaint: Some(complaint) }
    }
}

/// Answers the question `iq` of the device `jid`.
pub(super) fn answer(world: &mut World, jid: &str, id: &str, kind: &str, iq: &NodeRef<'_>) -> Answer {
    if kind != "get" && kind != "set" {
        return Answer::refuse(id, 400, "bad-request", format!("iq of type {kind:?}"));
    }
    let child = iq.children().and_then(|children| children.first());
    let tag = child.map(|child| child.tag.to_string()).unwrap_or_default();
    let xmlns = attr(iq, "xmlns").unwrap_or_default();
    match (xmlns.as_str(), kind, tag.as_str()) {
        ("passive", "set", "active") => {
            Answer { after: After::Offline, ..Answer::plain(stanza::result(id).build()) }
        }
        ("w:sync:app:state", "set", _) => app_state(world, jid, id, iq),
        ("encrypt", "set", "rotate") => prekeys::rotate(world, jid, id, iq),
        ("encrypt", "set", _) => prekeys::upload(world, jid, id, iq),
        ("encrypt", "get", "digest") => prekeys::digest(world, jid, id),
        ("encrypt", "get", "count") => prekeys::count(world, jid, id),
        ("encrypt", "get", "key") => prekeys::fetch(id, iq),
        ("abt", "get", _) => Answer::plain(stanza::result(id).children([props()]).build()),
        ("privacy", "get", _) => Answer::plain(stanza::result(id).children([privacy()]).build()),
        ("blocklist", "get", _) => {
            Answer::plain(stanza::result(id).children([NodeBuilder::new("list").build()]).build())
        }
        ("usync", "get", _) => usync::answer(world, id, iq),
        ("md", "set", "remove-companion-device") => remove(world, jid, id, child),
        // Keep-alive pings (`w:p`), and everything that an empty result satisfies.
        _ => Answer::plain(stanza::result(id).build()),
    }
}

/// A device may take only itself off the account.
fn remove(world: &mut World, jid: &str, id: &str, request: Option<&NodeRef<'_>>) -> Answer {
    let named = request.and_then(|request| attr(request, "jid")).unwrap_or_default();
    if named != jid {
        return Answer::refuse(id, 403, "forbidden", format!("{jid} asks to remove {named:?}"));
    }
    world.unlink(jid);
    Answer { after: After::Removed, ..Answer::plain(stanza::result(id).build()) }
}

fn app_state(world: &mut World, jid: &str, id: &str, iq: &NodeRef<'_>) -> Answer {
    let asked = iq.get_optional_child("sync").and_then(|sync| sync.children()).unwrap_or_default();
    let collections: Vec<Node> = asked.iter().map(|asked| collection(world, jid, asked)).collect();
    let sync = NodeBuilder::new("sync").children(collections).build();
    Answer::plain(stanza::result(id).children([sync]).build())
}

/// One `<collection>`: the patches the device lacks, or the new version after it brought a patch.
fn collection(world: &mut World, jid: &str, asked: &NodeRef<'_>) -> Node {
    let name = attr(asked, "name").unwrap_or_default();
    let since = attr(asked, "version").and_then(|version| version.parse().ok()).unwrap_or_default();
    let node = NodeBuilder::new("collection").attr("name", name.as_str());
    let number = world.devices.get(jid).map(|device| device.number.clone()).unwrap_or_default();
    let Some(phone) = world.phones.get_mut(&number) else { return node.attr("version", 0).build() };
    let brought = asked.get_optional_child("patch").and_then(|patch| patch.content_bytes());
    let result = match brought {
        Some(patch) => match phone.patch_app_state(&name, since, patch) {
            Ok(Some(version)) => return node.attr("version", version).build(),
            Ok(None) => Err((409, "conflict")),
            Err(_) => Err((400, "bad-request")),
        },
        None => phone.app_state(&name, since).map_err(|_| (500, "internal-server-error")),
    };
    match result {
        Ok(update) if update.patches.is_empty() => node.attr("version", update.version).build(),
        Ok(update) => {
            let patches =
                update.patches.into_iter().map(|patch| NodeBuilder::new("patch").bytes(patch).build());
            let patches = NodeBuilder::new("patches").children(patches).build();
            node.attr("version", update.version).children([patches]).build()
        }
        Err((code, text)) => {
            let error = NodeBuilder::new("error").attr("code", code).attr("text", text).build();
            node.attr("type", "error").children([error]).build()
        }
    }
}

fn props() -> Node {
    NodeBuilder::new("props")
        .attr("protocol", "1")
        .attr("hash", "simulator")
        .attr("ab_key", "simulator")
        .attr("refresh", 86_400)
        .attr("refresh_id", 1)
        .build()
}

/// The settings of a new account.
fn privacy() -> Node {
    let category = |name: &'static str, value: &'static str| {
        NodeBuilder::new("category").attr("name", name).attr("value", value).build()
    };
    NodeBuilder::new("privacy")
        .children([
            category("last", "all"),
            category("online", "all"),
            category("profile", "all"),
            category("status", "contacts"),
            category("readreceipts", "all"),
            category("groupadd", "all"),
            category("calladd", "all"),
        ])
        .build()
}
