//! Answers to what a logged-in device asks (iq), each as WhatsApp would give it to an empty account.
//! Pure but for the [`World`]: `login` sends the answer and does what it says.
//!
//! Source: the `IqSpec`s of `wacore` 0.7.0 `iq/`, whose `parse_response` these answers must satisfy.

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Node, NodeRef};

use super::answer::{After, Answer};
use super::stanza::{self, attr};
use super::{app_state, prekeys, usync};
use crate::state::World;

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
        ("w:sync:app:state", "set", _) => app_state::sync(world, jid, id, iq),
        ("w:m", "set", "media_conn") => app_state::media_conn(world, id),
        ("encrypt", "set", "rotate") => prekeys::rotate(world, jid, id, iq),
        ("encrypt", "set", _) => prekeys::upload(world, jid, id, iq),
        ("encrypt", "get", "digest") => prekeys::digest(world, jid, id),
        ("encrypt", "get", "count") => prekeys::count(world, jid, id),
        ("encrypt", "get", "key") => prekeys::fetch(world, jid, id, iq),
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
