//! Builders for what the server says, and small readers for what it hears. Pure: no state, no socket.
//!
//! Source: the parsers of `whatsapp-rust` 0.7.0, named at each builder.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt as _;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, NodeRef, SERVER_JID};

use crate::phone::{Offer, Sealed};
use crate::state::Failure;

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// An id for a stanza of the server's own.
pub(crate) fn fresh_id() -> String {
    format!("{:016X}", rand::rng().random::<u64>())
}

/// A reference of a QR, like WhatsApp's: no comma, which separates the fields of a QR.
pub(crate) fn fresh_ref() -> String {
    let bytes: [u8; 48] = rand::rng().random();
    format!("2@{}", STANDARD.encode(bytes))
}

/// An attribute as text.
pub(super) fn attr(node: &NodeRef<'_>, name: &str) -> Option<String> {
    node.get_attr(name).map(|value| value.as_str().into_owned())
}

pub(super) fn result(id: &str) -> NodeBuilder {
    NodeBuilder::new("iq").attr("from", SERVER_JID).attr("type", "result").attr("id", id)
}

/// Whether an answer is a result.
pub(super) fn is_result(answer: &Node) -> bool {
    answer.attrs.get("type").is_some_and(|kind| kind == "result")
}

/// Refuses an iq.
pub(super) fn error(id: &str, code: u16, text: &str) -> Node {
    let error = NodeBuilder::new("error").attr("code", code).attr("text", text).build();
    NodeBuilder::new("iq")
        .attr("from", SERVER_JID)
        .attr("type", "error")
        .attr("id", id)
        .children([error])
        .build()
}

/// Source: `pair.rs` `handle_iq`.
pub(super) fn pair_device(id: &str, refs: &[String]) -> Node {
    let refs = refs.iter().map(|text| NodeBuilder::new("ref").bytes(text.as_bytes()).build());
    md_set(id).children([NodeBuilder::new("pair-device").children(refs).build()]).build()
}

/// Source: `pair.rs` `handle_pair_success`.
pub(super) fn pair_success(id: &str, offer: &Offer) -> Node {
    let children = [
        NodeBuilder::new("device-identity").bytes(offer.container.clone()).build(),
        NodeBuilder::new("device").attr("jid", &offer.jid).attr("lid", &offer.lid).build(),
        NodeBuilder::new("platform").attr("name", offer.platform).build(),
    ];
    md_set(id)
        .attr("t", now())
        .children([NodeBuilder::new("pair-success").children(children).build()])
        .build()
}

fn md_set(id: &str) -> NodeBuilder {
    NodeBuilder::new("iq").attr("from", SERVER_JID).attr("type", "set").attr("id", id).attr("xmlns", "md")
}

/// Source: `client/node_io.rs` `handle_success`.
pub(super) fn success(lid: &Jid) -> Node {
    NodeBuilder::new("success")
        .attr("t", now())
        .attr("props", "27")
        .attr("companion_enc_static", "c2ltdWxhdG9y")
        .attr("location", "sim")
        .attr("lid", lid)
        .build()
}

/// Source: `wacore` `stanza/connect_failure.rs`; `code` and `expire` make a 402 a temporary ban.
pub(super) fn failure(failure: &Failure) -> Node {
    let mut node = NodeBuilder::new("failure").attr("reason", failure.reason).attr("location", "sim");
    if failure.reason == 402 {
        node = node.attr("code", failure.code).attr("expire", failure.expire);
    }
    let texts = [
        ("message", &failure.message),
        ("url", &failure.url),
        ("logout_message_header", &failure.header),
        ("logout_message_subtext", &failure.subtext),
        // The client of WhatsApp Web shows the texts only in its own language, so the server names theirs.
        (
            "logout_message_locale",
            &failure.header.as_ref().or(failure.subtext.as_ref()).map(|_| "en".to_owned()),
        ),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            node = node.attr(name, text.as_str());
        }
    }
    node.build()
}

/// Source: `client/node_io.rs` `handle_stream_error`.
pub(super) fn stream_error(code: u16) -> Node {
    NodeBuilder::new("stream:error").attr("code", code).build()
}

/// `code` is left out for `replaced`, where the conflict's type alone decides.
pub(super) fn conflict(code: Option<u16>, kind: &'static str) -> Node {
    let node = NodeBuilder::new("stream:error");
    let node = match code {
        Some(code) => node.attr("code", code),
        None => node,
    };
    node.children([NodeBuilder::new("conflict").attr("type", kind).build()]).build()
}

/// A stream that broke the rules, with the reason in words.
pub(super) fn bad_stream(why: &str) -> Node {
    let text = NodeBuilder::new("text").string_content(why).build();
    NodeBuilder::new("stream:error").children([NodeBuilder::new("xml-not-well-formed").build(), text]).build()
}

/// Tells a client something it must acknowledge.
pub(crate) fn notification(kind: &'static str, child: Node) -> Node {
    NodeBuilder::new("notification")
        .attr("from", SERVER_JID)
        .attr("type", kind)
        .attr("id", fresh_id())
        .attr("t", now())
        .children([child])
        .build()
}

/// Tells a device that collections have newer versions. Source: `handlers/notification/groups.rs`.
pub(crate) fn server_sync(changed: &[(String, u64)]) -> Node {
    let collections = changed.iter().map(|(name, version)| {
        NodeBuilder::new("collection").attr("name", name.as_str()).attr("version", *version).build()
    });
    NodeBuilder::new("notification")
        .attr("from", SERVER_JID)
        .attr("type", "server_sync")
        .attr("id", fresh_id())
        .attr("t", now())
        .children(collections)
        .build()
}

/// Ends the offline delivery, without which a client waits for 60 s. Source: `handlers/ib.rs`.
pub(super) fn offline(count: usize) -> Node {
    ib(NodeBuilder::new("offline").attr("count", count).build())
}

/// Announces it, kind by kind.
pub(super) fn offline_preview(letters: &[Node]) -> Node {
    let of = |tag: &str| letters.iter().filter(|letter| letter.tag == tag).count();
    let preview = NodeBuilder::new("offline_preview")
        .attr("count", letters.len())
        .attr("message", of("message"))
        .attr("notification", of("notification"))
        .attr("receipt", of("receipt"))
        .attr("appdata", 0);
    ib(preview.build())
}

/// Bytes the client puts before its intro from the next connection on. Source: `handlers/ib.rs`.
pub(super) fn edge_routing(bytes: Vec<u8>) -> Node {
    let info = NodeBuilder::new("routing_info").bytes(bytes).build();
    ib(NodeBuilder::new("edge_routing").children([info]).build())
}

/// Announces the day on which the client's build is refused. The client of 0.7.0 logs it
/// as unhandled (`handlers/ib.rs`).
pub(super) fn client_expiration(at: u64) -> Node {
    ib(NodeBuilder::new("client_expiration").attr("t", at).build())
}

fn ib(child: Node) -> Node {
    NodeBuilder::new("ib").attr("from", SERVER_JID).children([child]).build()
}

/// Acknowledges a stanza of the client.
pub(super) fn ack(node: &NodeRef<'_>, class: &'static str) -> Option<Node> {
    let id = attr(node, "id")?;
    let ack = NodeBuilder::new("ack").attr("class", class).attr("id", id).attr("t", now());
    Some(match attr(node, "to") {
        Some(to) => ack.attr("from", to).build(),
        None => ack.attr("from", SERVER_JID).build(),
    })
}

/// A message of a phone to its own device.
pub(crate) fn peer_message(id: &str, from: &Jid, sealed: &Sealed) -> Node {
    message(id, from, sealed).attr("category", "peer").build()
}

/// A message, still open for more attributes.
pub(crate) fn message(id: &str, from: &Jid, sealed: &Sealed) -> NodeBuilder {
    let enc =
        NodeBuilder::new("enc").attr("v", "2").attr("type", sealed.kind).bytes(sealed.ciphertext.clone());
    NodeBuilder::new("message")
        .attr("from", from)
        .attr("id", id)
        .attr("type", "text")
        .attr("t", now())
        .children([enc.build()])
}
