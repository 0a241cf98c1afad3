//! The one Pub/Sub connection of this process. It is subscribed to the channels that have a listener here.
//!
//! A ping shows that the connection lives. A test message, the pulse, shows that it receives what is published: the
//! pulse is sent over the command connection and must arrive over this one. After a name has moved to another server, a
//! living connection may still lead to the old one.
//!
//! What is published while there is no connection is lost. So each listener is told when its channel was (again)
//! subscribed, and then reads from a log what it may have missed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use parking_lot::{Mutex, MutexGuard};
use redis::aio::{PubSubSink, PubSubStream};
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, warn};

use super::{Inner, LIMIT, RECONNECT};

/// How many messages may wait for a listener, where it says nothing else. One that falls further behind gets [`Heard::Missed`].
pub(super) const WAITING: usize = 64;

/// How often the connection is pinged and a pulse is sent. Nothing else shows that it is dead, or receives nothing.
const PING_EVERY: Duration = Duration::from_secs(2);

/// How many channels one command subscribes.
const CHANNELS_PER_COMMAND: usize = 500;

/// The channels and their listeners. An entry is removed with its last [`Subscription`].
#[derive(Default)]
pub(super) struct Channels {
    wanted: Mutex<HashMap<String, Channel>>,
    changed: Notify,
    /// How many times the command connection was replaced.
    anew: watch::Sender<u64>,
}

struct Channel {
    sender: broadcast::Sender<Heard>,
    listeners: usize,
    subscribed: bool,
}

/// What a listener receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The channel was subscribed just now: what was published before may have been missed.
    Missed,
    /// A message.
    Message(Bytes),
}

/// A listener's end of a channel. Dropping it ends the subscription.
pub(crate) struct Subscription {
    channel: String,
    receiver: broadcast::Receiver<Heard>,
    /// Whether the listener must be told at once that it may have missed something, because the channel was subscribed
    /// already.
    missed: bool,
    inner: Arc<Inner>,
}

impl Subscription {
    /// The next message. `None` when the storage is closed.
    ///
    /// Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Heard> {
        if std::mem::take(&mut self.missed) {
            return Some(Heard::Missed);
        }
        tokio::select! {
            biased;
            heard = self.receiver.recv() => match heard {
                Ok(heard) => Some(heard),
                Err(broadcast::error::RecvError::Lagged(_)) => Some(Heard::Missed),
                Err(broadcast::error::RecvError::Closed) => None,
            },
            () = self.inner.tasks.begun() => None,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut wanted = self.inner.channels.wanted();
        if let Some(channel) = wanted.get_mut(&self.channel) {
            channel.listeners -= 1;
            if channel.listeners == 0 {
                wanted.remove(&self.channel);
                self.inner.channels.changed.notify_one();
            }
        }
    }
}

/// `waiting`: how many messages may wait for a listener; the first one of a channel decides.
pub(super) fn listen(inner: &Arc<Inner>, channel: String, waiting: usize) -> Subscription {
    let mut wanted = inner.channels.wanted();
    let entry = wanted.entry(channel.clone()).or_insert_with(|| {
        inner.channels.changed.notify_one();
        Channel { sender: broadcast::Sender::new(waiting), listeners: 0, subscribed: false }
    });
    entry.listeners += 1;
    let (receiver, missed) = (entry.sender.subscribe(), entry.subscribed);
    drop(wanted);
    Subscription { channel, receiver, missed, inner: inner.clone() }
}

impl Channels {
    fn wanted(&self) -> MutexGuard<'_, HashMap<String, Channel>> {
        self.wanted.lock()
    }

    fn deliver(&self, name: &str, message: &[u8]) {
        if let Some(channel) = self.wanted().get(name) {
            // Without a receiver the subscription is being dropped.
            let _ = channel.sender.send(Heard::Message(Bytes::copy_from_slice(message)));
        }
    }

    fn now_subscribed(&self, names: &[String]) {
        let mut wanted = self.wanted();
        for name in names {
            if let Some(channel) = wanted.get_mut(name) {
                channel.subscribed = true;
                let _ = channel.sender.send(Heard::Missed);
            }
        }
    }

    /// Makes this connection anew, because the command connection leads to another server.
    pub(super) fn connect_anew(&self) {
        self.anew.send_modify(|times| *times += 1);
    }

    fn connection_lost(&self) {
        self.wanted().values_mut().for_each(|channel| channel.subscribed = false);
    }

    /// The channels to subscribe and those to leave. A channel that was left and wanted again meanwhile is subscribed
    /// again, which is harmless and tells its new listener.
    fn difference(&self, subscribed: &HashSet<String>) -> (Vec<String>, Vec<String>) {
        let wanted = self.wanted();
        let come = wanted.iter().filter(|(_, channel)| !channel.subscribed).map(|(name, _)| name.clone());
        let leave = subscribed.iter().filter(|name| !wanted.contains_key(*name)).cloned();
        (come.collect(), leave.collect())
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// There was no connection.
    Never,
    Broke,
    /// It lives, but receives nothing of what is published.
    Deaf,
    /// The command connection was replaced.
    Left,
}

/// Runs until the storage is closed. Connects when the first channel is wanted, and again whenever the connection
/// breaks.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut failures = 0;
    let mut attempt = 0;
    loop {
        let serve = async {
            if inner.channels.wanted().is_empty() {
                inner.channels.changed.notified().await;
            }
            // Subscribed before connecting, so that a replacement of the command connection in between is noticed.
            let anew = inner.channels.anew.subscribe();
            let connected = inner.target.pubsub(attempt).await;
            let Ok(connection) = connected else { return End::Never };
            let (sink, stream) = connection.split();
            serve(&inner, sink, stream, anew).await
        };
        let end = tokio::select! {
            () = inner.tasks.begun() => return,
            end = serve => end,
        };
        inner.channels.connection_lost();
        attempt += 1;
        match end {
            End::Never => debug!("no Pub/Sub connection to Redis"),
            End::Broke => warn!("the Pub/Sub connection to Redis broke"),
            End::Deaf => warn!("the Pub/Sub connection to Redis hears nothing of what is published"),
            End::Left => debug!("the Pub/Sub connection to Redis is made anew"),
        }
        if end != End::Never {
            failures = 0;
        }
        failures += 1;
        if end != End::Left {
            inner.trouble.notify_one();
        }
        tokio::select! {
            () = inner.tasks.begun() => return,
            () = sleep(RECONNECT.after(failures)) => {}
        }
    }
}

/// Serves the listeners until the connection can no longer be used.
async fn serve(
    inner: &Inner,
    mut sink: PubSubSink,
    mut stream: PubSubStream,
    mut anew: watch::Receiver<u64>,
) -> End {
    let channels = &inner.channels;
    let pulse = inner.keys.pulse(uuid::Uuid::new_v4().simple());
    let mut subscribed = HashSet::new();
    let mut end = End::Never;
    // Whether a pulse was sent and has not arrived.
    let mut listening = false;
    if !matches!(timeout(LIMIT, sink.subscribe(&pulse)).await, Ok(Ok(()))) {
        return end;
    }
    let mut ping_at = Instant::now() + PING_EVERY;
    loop {
        if agree(channels, &mut sink, &mut subscribed).await.is_none() {
            return end;
        }
        end = End::Broke;
        tokio::select! {
            biased;
            message = stream.next() => match message {
                Some(message) if message.get_channel_name() == pulse => listening = false,
                Some(message) => channels.deliver(message.get_channel_name(), message.get_payload_bytes()),
                None => return end,
            },
            // The sender lives in `inner`, so this cannot fail.
            _ = anew.changed() => return End::Left,
            () = channels.changed.notified() => {}
            () = sleep_until(ping_at) => {
                if listening {
                    return End::Deaf;
                }
                if !matches!(timeout(LIMIT, sink.ping::<redis::Value>()).await, Ok(Ok(_))) {
                    return end;
                }
                let mut publish = redis::cmd("PUBLISH");
                publish.arg(&pulse).arg("");
                // If Redis is away, the pulse says nothing about this connection.
                listening = matches!(inner.ask::<redis::Value>(&publish).await, Ok(Ok(_)));
                ping_at = Instant::now() + PING_EVERY;
            }
        }
    }
}

/// Subscribes the channels that are newly wanted and leaves those that are no longer wanted; `None` if Redis does not
/// do it.
async fn agree(channels: &Channels, sink: &mut PubSubSink, subscribed: &mut HashSet<String>) -> Option<()> {
    let (come, leave) = channels.difference(subscribed);
    for names in come.chunks(CHANNELS_PER_COMMAND) {
        timeout(LIMIT, sink.subscribe(names)).await.ok()?.ok()?;
        subscribed.extend(names.iter().cloned());
        channels.now_subscribed(names);
    }
    for names in leave.chunks(CHANNELS_PER_COMMAND) {
        timeout(LIMIT, sink.unsubscribe(names)).await.ok()?.ok()?;
        subscribed.retain(|name| !names.contains(name));
    }
    Some(())
}
