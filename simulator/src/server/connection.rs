//! One client's connection: reads its bytes, takes orders from elsewhere, and hands whole stanzas to what the client has
//! become (`pairing`, `login`). It decides when the connection ends, and nothing about what is said.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use tokio::select;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use wacore_binary::{Node, NodeRef, OwnedNodeRef, marshal};

use super::gate::Refusal;
use super::outbox::{self, Outbox};
use super::pairing::Pairing;
use super::wire::Wire;
use super::{Shared, code, gate, login, pairing, passkey, stanza, stream};
use crate::noise::{Hello, NoiseError, Responder, Step, Transport, frame};
use crate::state::{Client, ClientId, Order, Role};

/// How long the server still reads after its last stanza, so that a reset does not overtake the stanza.
const LINGER: Duration = Duration::from_millis(150);

/// Whether to continue or end this connection.
pub(super) type Flow = ControlFlow<()>;
pub(super) const GO_ON: Flow = ControlFlow::Continue(());
pub(super) const END: Flow = ControlFlow::Break(());

/// A client's connection.
pub(crate) struct Connection {
    pub(super) id: ClientId,
    pub(super) shared: Arc<Shared>,
    pub(super) phase: Phase,
    /// What happens next if the client does nothing.
    pub(super) alarm: Option<(Instant, Alarm)>,
    /// Until this moment the connection is read and nothing is sent.
    pub(super) silent_until: Option<Instant>,
    /// Pings that were not answered yet.
    pub(super) pings: Vec<(String, oneshot::Sender<()>)>,
    socket: WebSocket,
    wire: Wire,
    outbox: Outbox,
    transport: Option<Transport>,
    orders: mpsc::UnboundedReceiver<Order>,
    cut: CancellationToken,
    paused: watch::Receiver<bool>,
}

/// How far the client has come.
pub(super) enum Phase {
    Handshake(Box<Responder>),
    Pairing(Box<Pairing>),
    /// Logged in as `jid`; deliveries begin when the device has said that it is active.
    Online {
        jid: String,
        active: bool,
    },
    /// The last stanza is out; what still comes is not answered.
    Over,
}

/// What happens at a given time.
#[derive(Clone, Copy)]
pub(super) enum Alarm {
    /// A device has signed: it is to reconnect and log in.
    Restart,
    /// A device has removed itself: its stream ends.
    Removed,
    /// A client has proven its passkey: the handshake continues.
    Continue,
    /// A client has sent its new secret: the phone vouches for it.
    Vouch,
    /// Drop the TCP connection.
    Drop,
}

/// Serves a client until either side ends it, or the simulator does.
pub(crate) async fn serve(shared: Arc<Shared>, socket: WebSocket) {
    let mut connection = Connection::open(shared, socket);
    while connection.serve_one().await.is_continue() {}
    // Done before the orders' receiver is dropped: a caller that waits for this client's answer must not find it in the
    // lists again.
    connection.shared.shelf.world().disconnect(connection.id);
}

impl Connection {
    fn open(shared: Arc<Shared>, socket: WebSocket) -> Self {
        let (sender, orders) = mpsc::unbounded_channel();
        let cut = shared.stop.child_token();
        let client = Client { orders: sender, cut: cut.clone(), role: Role::Greeting };
        let id = shared.shelf.world().connect(client);
        Self {
            id,
            phase: Phase::Handshake(Box::new(Responder::new(shared.identity()))),
            alarm: None,
            silent_until: None,
            pings: Vec::new(),
            socket,
            wire: Wire::default(),
            outbox: Outbox::default(),
            transport: None,
            orders,
            cut,
            paused: shared.paused.subscribe(),
            shared,
        }
    }

    /// One thing that happens, and what was said because of it.
    async fn serve_one(&mut self) -> Flow {
        let flow = self.happen().await;
        self.empty().await?;
        flow
    }

    /// One thing that happens, and its consequences. In an outage the socket is still read, so that a client that goes
    /// away is seen to go; what it said waits in `wire`.
    async fn happen(&mut self) -> Flow {
        let paused = *self.paused.borrow_and_update();
        let alarm = self.alarm.map(|(at, _)| at);
        let silent = self.silent_until;
        let mute = paused || silent.is_some();
        select! {
            // The socket is read before orders, so that a client that is gone does not count as alive.
            biased;
            () = self.cut.cancelled() => return END,
            message = self.socket.recv() => self.take(message)?,
            () = sleep_until(alarm.unwrap_or_else(Instant::now)), if alarm.is_some() && !mute => self.ring().await?,
            Some(order) = self.orders.recv(), if !mute => self.obey(order).await?,
            () = sleep_until(silent.unwrap_or_else(Instant::now)), if silent.is_some() => self.silent_until = None,
            changed = self.paused.changed() => if changed.is_err() { return END },
        }
        while !*self.paused.borrow() && self.silent_until.is_none() {
            let Some(body) = self.wire.next() else { break };
            self.read(body).await?;
        }
        GO_ON
    }

    fn take(&mut self, message: Option<Result<Message, axum::Error>>) -> Flow {
        match message {
            Some(Ok(Message::Binary(bytes))) => match self.wire.feed(&bytes) {
                Ok(()) => GO_ON,
                Err(error) => {
                    self.complain(&error.to_string());
                    END
                }
            },
            // Text means nothing here; pings are answered by the WebSocket itself.
            Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_))) => GO_ON,
            Some(Ok(Message::Close(_)) | Err(_)) | None => END,
        }
    }

    async fn ring(&mut self) -> Flow {
        let Some((_, alarm)) = self.alarm.take() else { return GO_ON };
        match alarm {
            Alarm::Restart => self.last_word(stanza::stream_error(515)).await,
            Alarm::Removed => self.last_word(stanza::conflict(Some(401), "device_removed")).await,
            Alarm::Continue => passkey::go_on(self).await,
            Alarm::Vouch => passkey::vouch(self).await,
            Alarm::Drop => END,
        }
    }

    async fn obey(&mut self, order: Order) -> Flow {
        match order {
            Order::Offer { offer, number, answer } => pairing::offer(self, offer, number, answer).await,
            Order::Passkey { number, device, refuse } => passkey::begin(self, number, device, refuse).await,
            Order::PrimaryHello { wrapped, identity, reference, bundle } => {
                code::primary_hello(self, &wrapped, &identity, &reference, bundle).await
            }
            Order::Replace => self.last_word(stanza::conflict(None, "replaced")).await,
            Order::LogOut => self.last_word(stanza::conflict(Some(401), "device_removed")).await,
            Order::Happen(happening) => stream::happen(self, happening).await,
            Order::Deliver => login::deliver(self).await,
            Order::Tell(node) => login::tell(self, *node).await,
            Order::RenewSecret => pairing::renew_secret(self).await,
            Order::RenewRefs(refs) => pairing::renew_refs(self, &refs).await,
            Order::Answer(answer) => {
                // The caller may have stopped waiting.
                let _gone = answer.send(());
                GO_ON
            }
        }
    }

    async fn read(&mut self, mut body: Vec<u8>) -> Flow {
        if let Phase::Handshake(responder) = &mut self.phase {
            let step = responder.read(&body);
            return self.step(step).await;
        }
        let Some(transport) = &mut self.transport else { return END };
        if let Err(error) = transport.open(&mut body) {
            return self.break_off(&error.to_string()).await;
        }
        let decoded =
            wacore_binary::util::unpack(&body).and_then(|plain| OwnedNodeRef::new(plain.into_owned()));
        match decoded {
            Ok(node) => self.hear(node.get()).await,
            Err(error) => self.break_off(&format!("a frame is not binary XML: {error}")).await,
        }
    }

    async fn step(&mut self, step: Result<Step, NoiseError>) -> Flow {
        match step {
            Ok(Step::Reply(reply)) => self.write(&reply).await,
            Ok(Step::Open { reply, transport, hello }) => {
                if let Some(reply) = reply {
                    self.write(&reply).await?;
                    // A client of 0.7.0 loses what follows the ServerHello in the same message.
                    // Source: `handshake.rs` (`recv_frame` reads into a decoder that ends with the handshake).
                    self.empty().await?;
                }
                self.transport = Some(transport);
                self.greet(*hello).await
            }
            Err(error) => {
                self.complain(&format!("handshake: {error}"));
                END
            }
        }
    }

    async fn greet(&mut self, hello: Hello) -> Flow {
        tracing::debug!(client = self.id, pattern = ?hello.pattern, "handshake done");
        self.shared.shelf.world().shook_hands(hello.pattern);
        match gate::pass(&self.shared, &hello) {
            Ok(()) => {}
            Err(Refusal::Failure(failure)) => return self.last_word(stanza::failure(&failure)).await,
            Err(Refusal::StreamError(code)) => return stream::turn_away(self, code).await,
        }
        match hello.payload.username {
            Some(_) => login::begin(self, hello).await,
            None => pairing::begin(self, hello).await,
        }
    }

    async fn hear(&mut self, node: &NodeRef<'_>) -> Flow {
        tracing::trace!(client = self.id, tag = %node.tag, "heard");
        if stream::is_pong(self, node) {
            return GO_ON;
        }
        match &self.phase {
            Phase::Pairing(_) => pairing::hear(self, node).await,
            Phase::Online { jid, .. } => {
                let jid = jid.clone();
                login::hear(self, &jid, node).await
            }
            Phase::Handshake(_) | Phase::Over => GO_ON,
        }
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

    async fn write(&mut self, body: &[u8]) -> Flow {
        let Ok(bytes) = frame(body) else { return END };
        if self.shared.conditions.splits() {
            self.outbox.put(&bytes);
            return GO_ON;
        }
        self.empty().await?;
        self.send(bytes).await
    }

    /// Sends what waits in the outbox.
    async fn empty(&mut self) -> Flow {
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
