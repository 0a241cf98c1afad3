//! What a device asks about its account's app state: the collections it lacks, and where their blobs are. Whether they are
//! to be had is in the account's rules.
//!
//! Source: `wacore-appstate` 0.7.0 `patch_decode.rs` (the parser of `<collection>`), `wacore` 0.7.0 `iq/mediaconn.rs`.

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Node, NodeRef};

use super::answer::Answer;
use super::stanza::{self, attr};
use crate::phone::Update;
use crate::state::{Blobs, World};

/// Seconds for which a client may keep what `<media_conn>` said, as WhatsApp says.
const ROUTE_TTL: u32 = 300;
const AUTH_TTL: u32 = 21_600;

/// Answers `<sync>`, each collection for itself.
pub(super) fn sync(world: &mut World, jid: &str, id: &str, iq: &NodeRef<'_>) -> Answer {
    let asked = iq.get_optional_child("sync").and_then(|sync| sync.children()).unwrap_or_default();
    let collections: Vec<Node> = asked.iter().map(|asked| collection(world, jid, asked)).collect();
    let sync = NodeBuilder::new("sync").children(collections).build();
    Answer::plain(stanza::result(id).children([sync]).build())
}

/// Says where the media hosts are: here, and the same once more as the fallback that WhatsApp always names.
pub(super) fn media_conn(world: &World, id: &str) -> Answer {
    let host = |kind: &'static str| {
        NodeBuilder::new("host").attr("hostname", world.media.host.as_str()).attr("type", kind).build()
    };
    let media_conn = NodeBuilder::new("media_conn")
        .attr("auth", world.media.auth.as_str())
        .attr("ttl", ROUTE_TTL)
        .attr("auth_ttl", AUTH_TTL)
        .attr("max_buckets", 12)
        .children([host("primary"), host("fallback")])
        .build();
    Answer::plain(stanza::result(id).children([media_conn]).build())
}

/// One `<collection>`: a refusal, a snapshot, the patches the device lacks, or the new version after it brought a patch.
fn collection(world: &mut World, jid: &str, asked: &NodeRef<'_>) -> Node {
    let name = attr(asked, "name").unwrap_or_default();
    let since = attr(asked, "version").and_then(|version| version.parse().ok()).unwrap_or_default();
    let node = NodeBuilder::new("collection").attr("name", name.as_str());
    let number = world.devices.get(jid).map(|device| device.number.clone()).unwrap_or_default();
    let rules = world.rules(&number);
    if let Some(code) = rules.refusal(&name) {
        return refused(node, code);
    }
    let wrong = rules.blobs == Blobs::BadSnapshot;
    let Some(phone) = world.phones.get_mut(&number) else { return node.attr("version", 0).build() };
    let brought = asked.get_optional_child("patch").and_then(|patch| patch.content_bytes());
    match brought {
        Some(patch) => match phone.patch_app_state(&name, since, patch) {
            Ok(Some(version)) => node.attr("version", version).build(),
            Ok(None) => refused(node, 409),
            Err(_) => refused(node, 400),
        },
        None => match phone.app_state(&name, since, wrong) {
            Ok(update) => told(node, update),
            Err(error) => {
                tracing::error!(%error, name, "the app state cannot be told");
                refused(node, 500)
            }
        },
    }
}

fn told(node: NodeBuilder, update: Update) -> Node {
    let node = node.attr("version", update.version);
    let snapshot = update.snapshot.map(|reference| NodeBuilder::new("snapshot").bytes(reference).build());
    let patches = update.patches.into_iter().map(|patch| NodeBuilder::new("patch").bytes(patch).build());
    let patches: Vec<Node> = patches.collect();
    let patches = (!patches.is_empty()).then(|| NodeBuilder::new("patches").children(patches).build());
    let children: Vec<Node> = snapshot.into_iter().chain(patches).collect();
    if children.is_empty() { node.build() } else { node.children(children).build() }
}

fn refused(node: NodeBuilder, code: u16) -> Node {
    let text = match code {
        400 => "bad-request",
        404 => "item-not-found",
        409 => "conflict",
        _ => "internal-server-error",
    };
    let error = NodeBuilder::new("error").attr("code", code).attr("text", text).build();
    node.attr("type", "error").children([error]).build()
}
