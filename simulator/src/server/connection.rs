//! One client's connection: what it is and how the server speaks on it. `serve` reads it and hands whole stanzas to what
//! the client has become (`pairing`, `login`), and those speak through it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use tokio::sync::oneshot;
use tokio::time::Instant;
use wacore_binary::{Node, marshal};

use super::outbox::{self, Outbox};
use super::phase::{Alarm, Phase};
use super::{Shared, stanza};
use crate::noise::{Responder, Transport, frame};
use crate::state::ClientId;

/// How long the server still reads after its last stanza, so that a reset does not overtake the stanza.
const LINGER: Duration = Duration::from_millis(150);

/// Whether to continue or end this connection.
pub(super) type Flow = ControlFlow<()>;
pub(super) const GO_ON: Flow = ControlFlow::Continue(());
pub(super) const END: Flow = ControlFlow::Break(());

/// A client's connection.
pub(super) struct Connection {
    pub(super) id: ClientId,
    pub(super) shared: Arc<Shared>,
    pub(super) phase: Phase,
    /// What happens next if the client does nothing.
    pub(super) alarm: Option<(Instant, Alarm)>,
    /// Until this moment the connection is read and nothing is sent.
    pub(super) silent_until: Option<Instant>,
    /// Pings that were not answered yet.
    pub(super) pings: Vec<(String, oneshot::Sender<()>)>,
    /// The ciphers, once the handshake is done.
    pub(super) transport: Option<Transport>,
    socket: WebSocket,
    outbox: Outbox,
}

impl Connection {
    /// A connection on which nothing was said yet.
    pub(super) fn new(id: ClientId, shared: Arc<Shared>, socket: WebSocket) -> Self {
        Self {
            id,
            phase: Phase::Handshake(Box::new(Responder::new(shared.identity()))),
            shared,
            alarm: None,
            silent_until: None,
            pings: Vec::new(),
            transport: None,
            socket,
            outbox: Outbox::default(),
        }
    }

    /// The next WebSocket message of the client; `None` when it has gone.
    pub(super) async fn receive(&mut self) -> Option<Result<Message, axum::Error>> {
        self.socket.recv().await
    }

    /// Queues a stanza for the client.
    pub(super) async fn say(&mut self, mut node: Node) -> Flow {
        self.shared.conditions.stamp(&mut node);
        let Ok(plain) = marshal(&node) else {
            tracing::error!(tag = %node.tag, "a stanza of the simulator's own cannot be encoded");
            return END;
        };
        let plain = if self.shared.conditions.compresses() { outbox::compress(plain) } else { plain };
        let Some(transport) = &mut self.transport else { return END };
        match transport.seal(&plain) {
            Ok(body) => self.write(&body).await,
            Err(error) => {
                tracing::error!(%error, "a stanza of the simulator's own cannot be sealed");
                END
            }
        }
    }

    /// Says something and ends: the client is given [`LINGER`] to close first.
    pub(super) async fn last_word(&mut self, node: Node) -> Flow {
        self.say(node).await?;
        self.phase = Phase::Over;
        // The stanza takes one delay to arrive, and the client's close another.
        let linger = LINGER + 2 * self.shared.conditions.delay();
        self.alarm = Some((Instant::now() + linger, Alarm::Drop));
        GO_ON
    }

    /// Tells a client that its stream is broken, and ends.
    pub(super) async fn break_off(&mut self, why: &str) -> Flow {
        self.complain(why);
        self.last_word(stanza::bad_stream(why)).await
    }

    /// Notes that a client broke a rule.
    pub(super) fn complain(&self, what: &str) {
        tracing::warn!(client = self.id, "{what}");
        self.shared.shelf.world().complain(what.to_owned());
    }

    /// Queues the body of a frame, as it is.
    pub(super) async fn write(&mut self, body: &[u8]) -> Flow {
        let Ok(bytes) = frame(body) else { return END };
        if self.shared.conditions.splits() {
            self.outbox.put(&bytes);
            return GO_ON;
        }
        self.empty().await?;
        self.send(bytes).await
    }

    /// Sends what waits in the outbox.
    pub(super) async fn empty(&mut self) -> Flow {
        for message in self.outbox.empty() {
            self.send(message).await?;
        }
        GO_ON
    }

    async fn send(&mut self, message: Vec<u8>) -> Flow {
        match self.socket.send(Message::Binary(message.into())).await {
            Ok(()) => GO_ON,
            Err(_) => END,
        }
    }
}
