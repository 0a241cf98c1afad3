//! What the server does to a stream of its own accord: it recycles it, complains, falls silent, or asks for a pong.
//! A test orders it over `actions::stream`.
//!
//! Source: `whatsapp-rust` 0.7.0 `client/node_io.rs` (`handle_stream_error`, `process_node`, `handle_iq`).

use std::time::Duration;

use tokio::time::Instant;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Node, NodeRef, SERVER_JID};

use super::connection::{Connection, Flow, GO_ON};
use super::phase::Phase;
use super::stanza::{self, attr};
use crate::state::Happening;

/// "For ever", for a clock that needs a time.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

pub(super) async fn happen(connection: &mut Connection, happening: Happening) -> Flow {
    match happening {
        Happening::Recycle => connection.last_word(stream_end()).await,
        Happening::AckError => {
            connection.say(ack_error()).await?;
            connection.last_word(stream_end()).await
        }
        Happening::Silence(time) => {
            connection.silent_until = Some(Instant::now() + time.unwrap_or(FOR_EVER));
            GO_ON
        }
        Happening::Throttle => turn_away(connection, 429).await,
        Happening::Unavailable => turn_away(connection, 503).await,
        Happening::Ping(answer) => {
            let id = stanza::fresh_id();
            let ping = NodeBuilder::new("iq")
                .attr("from", SERVER_JID)
                .attr("type", "get")
                .attr("xmlns", "urn:xmpp:ping")
                .attr("id", id.as_str());
            connection.pings.push((id, answer));
            connection.say(ping.build()).await
        }
    }
}

/// Says a stream error of the server's own; after 503 it leaves the closing to the client.
pub(super) async fn turn_away(connection: &mut Connection, code: u16) -> Flow {
    if code != 503 {
        return connection.last_word(stanza::stream_error(code)).await;
    }
    connection.say(stanza::stream_error(code)).await?;
    connection.phase = Phase::Over;
    connection.alarm = None;
    GO_ON
}

/// Whether this is the answer to a ping. If so, the caller that waits for it is told.
pub(super) fn is_pong(connection: &mut Connection, node: &NodeRef<'_>) -> bool {
    let id = attr(node, "id").filter(|_| node.tag == "iq" && attr(node, "type").as_deref() == Some("result"));
    let at = connection.pings.iter().position(|(ping, _)| Some(ping) == id.as_ref());
    let Some(at) = at else { return false };
    let (_, answer) = connection.pings.swap_remove(at);
    // The caller may have stopped waiting.
    let _gone = answer.send(());
    true
}

fn stream_end() -> Node {
    NodeBuilder::new("xmlstreamend").build()
}

/// The error for a client that has not acknowledged a stanza. The stanza that it names need not exist, because the
/// client of 0.7.0 only logs it.
fn ack_error() -> Node {
    let ack = NodeBuilder::new("ack").attr("class", "message").attr("id", stanza::fresh_id()).build();
    NodeBuilder::new("stream:error").children([ack]).build()
}
