//! Following one session: what its log has after a cursor, then what is published, without a hole; and following all of them,
//! by what is published alone.
//!
//! Pub/Sub says that something is new; the log is what is true. An event is taken from the channel only where it is the
//! very next of the known epoch. After anything else (a jump, a new epoch, a connection that broke, a listener that was
//! too slow) the log is read from the last id on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use futures::stream::unfold;
use tokio::time::{sleep, timeout};

use super::{Part, RedisLog};
use crate::event::{Cursor, Event};
use crate::id::SessionId;
use crate::log::{Appended, Followed};
use crate::storage::StorageError;
use crate::storage::redis::{Heard, Subscription};

/// Between two tries to read a log.
const AGAIN: Duration = Duration::from_millis(100);

/// On a cluster a message can be lost between two nodes without a sign: so often the log is read unasked.
const LOOK_ANYWAY: Duration = Duration::from_secs(10);

/// How many events of all sessions may wait to be read: thousands come at once when a replica hands over what it runs.
const WAITING: usize = 1024;

struct Follower {
    log: RedisLog,
    session: SessionId,
    subscription: Subscription,
    /// The last event told.
    last: Option<Cursor>,
    /// From the log, not told yet: at most what a log keeps.
    ready: VecDeque<Followed>,
    /// Whether the log may have more than was told.
    behind: bool,
    gone: bool,
}

/// Dropping it leaves the channel, when nobody else here follows the session. Ends after [`Followed::Gone`] or when the
/// storage is closed.
pub(super) fn follow(
    log: &RedisLog,
    session: SessionId,
    after: Option<Cursor>,
) -> impl Stream<Item = Followed> + Send + use<> {
    let follower = Follower {
        subscription: log.redis.listen(log.redis.keys().live(&session)),
        log: log.clone(),
        session,
        last: after,
        ready: VecDeque::new(),
        // The log is read when the channel is subscribed, so that nothing falls between the two.
        behind: false,
        gone: false,
    };
    unfold(follower, async |mut follower| follower.next().await.map(|next| (next, follower)))
}

/// Ends when the storage is closed.
pub(super) fn follow_all(log: &RedisLog) -> impl Stream<Item = Appended> + Send + use<> {
    let subscription = log.redis.listen_to_many(log.redis.keys().all_live(), WAITING);
    unfold(subscription, async |mut subscription| {
        let heard = match subscription.next().await? {
            Heard::Missed => Appended::Missed,
            // What cannot be read is as good as missed.
            Heard::Message(message) => {
                told(&message).map_or(Appended::Missed, |event| Appended::Event(event.into()))
            }
        };
        Some((heard, subscription))
    })
}

/// `<session> <id> <event>`
fn told(message: &[u8]) -> Option<Event> {
    let mut words = std::str::from_utf8(message).ok()?.splitn(3, ' ');
    let (session, at) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Event::from_log(session, at, words.next()?).ok()
}

impl Follower {
    async fn next(&mut self) -> Option<Followed> {
        loop {
            if let Some(next) = self.ready.pop_front() {
                return Some(next);
            }
            if self.gone {
                return None;
            }
            if self.behind {
                self.catch_up().await?;
                continue;
            }
            match self.hear().await? {
                Heard::Missed => self.behind = true,
                Heard::Message(message) => self.take(&message),
            }
        }
    }

    async fn hear(&mut self) -> Option<Heard> {
        if !self.log.redis.is_cluster() {
            return self.subscription.next().await;
        }
        timeout(LOOK_ANYWAY, self.subscription.next()).await.unwrap_or(Some(Heard::Missed))
    }

    fn take(&mut self, message: &[u8]) {
        if message.is_empty() {
            self.gone = true;
            self.ready.push_back(Followed::Gone);
            return;
        }
        let Some(event) = self.parse(message) else {
            // Not ours to read; the log tells.
            self.behind = true;
            return;
        };
        match self.last {
            Some(last) if event.at <= last => {}
            Some(last) if event.at == last.next() => self.tell(event),
            _ => self.behind = true,
        }
    }

    fn parse(&self, message: &[u8]) -> Option<Event> {
        let (id, body) = std::str::from_utf8(message).ok()?.split_once(' ')?;
        Event::from_log(self.session.clone(), id.parse().ok()?, body).ok()
    }

    fn tell(&mut self, event: impl Into<Arc<Event>>) {
        let event = event.into();
        self.last = Some(event.at);
        self.ready.push_back(Followed::Event(event));
    }

    /// Reads the log, as often as it takes; `None` when the storage is closed.
    async fn catch_up(&mut self) -> Option<()> {
        match self.log.part(&self.session, self.last).await {
            Ok(part) => {
                self.behind = false;
                self.take_part(part);
            }
            Err(StorageError::Closed) => return None,
            Err(error) => {
                let pause = match error {
                    // Noted where it was read.
                    error if error.is_damage() => LOOK_ANYWAY,
                    StorageError::Failed(_) => {
                        tracing::error!(sessionId = %self.session, %error, "a log cannot be read");
                        LOOK_ANYWAY
                    }
                    _ => AGAIN,
                };
                sleep(pause).await;
            }
        }
        Some(())
    }

    fn take_part(&mut self, part: Part) {
        let missed = part.cut.filter(|cut| self.last.is_none_or(|last| *cut > last));
        if let Some(cut) = missed {
            self.last = Some(cut);
            self.ready.push_back(Followed::Cut(cut));
        }
        for event in part.events {
            if self.last.is_none_or(|last| event.at > last) {
                self.tell(event);
            }
        }
    }
}
