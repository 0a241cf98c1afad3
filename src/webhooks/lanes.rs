//! How many webhooks are sent at a time: some to each receiver, some for each API key, so that one that hangs or is down
//! holds up nobody else.
//!
//! Some more wait here for their turn. What finds no room is not kept: its session is on the list of those that are due, and
//! comes again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::id::SessionId;
use crate::receiver::ReceiverUrl;

/// Sessions sent to one receiver at a time.
const OF_RECEIVER: usize = 16;

/// Sessions that wait for their turn with one receiver.
const WAITING: usize = 2048;

/// Sessions that are sent, or wait, at all receivers that one API key has named.
const OF_KEY: usize = 256;

/// How long a receiver that cannot be reached is left alone; then one session tries it.
const REST: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

/// Who is sent to.
#[derive(Clone, Debug)]
pub(super) struct Receiver {
    /// Its name in the store.
    pub(super) id: String,
    pub(super) url: ReceiverUrl,
    /// The API key that named it; `None` for one of `WEBHOOK_URLS`.
    pub(super) key: Option<String>,
}

/// One session, and whom it is sent to.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    pub(super) session: SessionId,
    pub(super) receiver: Receiver,
}

impl Errand {
    /// A session may have a receiver of its own at a URL of all sessions.
    fn place(&self) -> Place {
        (self.session.clone(), self.receiver.key.is_some())
    }
}

type Place = (SessionId, bool);

/// Whether a session may be sent to a receiver now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Yes; [`Lanes::leave`] is to be called.
    Go,
    /// It waits for its turn; or it is being sent, and goes on with what is new.
    Here,
    /// Too many are.
    Full,
    /// The receiver is left alone for so long.
    Rests(Duration),
}

/// Everything that is sent now.
pub(super) struct Lanes {
    all: Mutex<All>,
    /// All rests are so many times shorter.
    speed: f64,
}

#[derive(Default)]
struct All {
    receivers: HashMap<ReceiverUrl, Lane>,
    keys: HashMap<String, usize>,
}

#[derive(Default)]
struct Lane {
    /// Those that are sent, and whether something new has come since.
    running: HashMap<Place, bool>,
    waiting: VecDeque<Errand>,
    /// The places of those that wait.
    waits: HashSet<Place>,
    /// How often in a row nobody was there.
    failures: u32,
    rests_until: Option<Instant>,
}

impl Lane {
    fn rest(&self) -> Duration {
        self.rests_until.map(|until| until.saturating_duration_since(Instant::now())).unwrap_or_default()
    }

    /// After a failure one session tries for all.
    fn has_room(&self) -> bool {
        self.running.len() < if self.failures > 0 { 1 } else { OF_RECEIVER }
    }
}

impl All {
    /// One session less of this key.
    fn leave_key(keys: &mut HashMap<String, usize>, receiver: &Receiver) {
        let Some(key) = &receiver.key else { return };
        if let Some(count) = keys.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                keys.remove(key);
            }
        }
    }
}

impl Lanes {
    pub(super) fn new(speed: f64) -> Self {
        Self { all: Mutex::default(), speed }
    }

    pub(super) fn enter(&self, errand: &Errand) -> Entry {
        let All { receivers, keys } = &mut *self.all.lock();
        let lane = receivers.entry(errand.receiver.url.clone()).or_default();
        let place = errand.place();
        if let Some(again) = lane.running.get_mut(&place) {
            *again = true;
            return Entry::Here;
        }
        if lane.waits.contains(&place) {
            return Entry::Here;
        }
        if !lane.rest().is_zero() {
            return Entry::Rests(lane.rest());
        }
        let goes = lane.has_room();
        // What waits behind one that tries for all would wait for nothing if it fails.
        if !goes && (lane.failures > 0 || lane.waiting.len() >= WAITING) {
            return Entry::Full;
        }
        if let Some(key) = &errand.receiver.key {
            let count = keys.entry(key.clone()).or_default();
            if *count >= OF_KEY {
                return Entry::Full;
            }
            *count += 1;
        }
        if goes {
            lane.running.insert(place, false);
            return Entry::Go;
        }
        lane.waits.insert(place);
        lane.waiting.push_back(errand.clone());
        Entry::Here
    }

    /// Whether something new has come since the session entered, or since this was asked last: then it stays.
    pub(super) fn stays(&self, errand: &Errand) -> bool {
        let mut all = self.all.lock();
        let lane = all.receivers.get_mut(&errand.receiver.url);
        lane.and_then(|lane| lane.running.get_mut(&errand.place())).is_some_and(std::mem::take)
    }

    /// The errand is done; the next one, which has entered in its place.
    pub(super) fn leave(&self, errand: &Errand) -> Option<Errand> {
        let All { receivers, keys } = &mut *self.all.lock();
        All::leave_key(keys, &errand.receiver);
        let lane = receivers.get_mut(&errand.receiver.url)?;
        lane.running.remove(&errand.place());
        let next = if lane.rest().is_zero() && lane.has_room() { lane.waiting.pop_front() } else { None };
        if let Some(next) = &next {
            lane.waits.remove(&next.place());
            lane.running.insert(next.place(), false);
        }
        let forgotten = Instant::now().checked_sub(REST.longest);
        let is_of_use = |lane: &Lane| {
            !lane.running.is_empty()
                || lane.rests_until.is_some_and(|until| forgotten.is_none_or(|ago| until > ago))
        };
        receivers.retain(|_, lane| is_of_use(lane));
        next
    }

    /// Somebody answered there, or nobody did.
    pub(super) fn heard(&self, receiver: &Receiver, reached: bool) {
        let All { receivers, keys } = &mut *self.all.lock();
        let Some(lane) = receivers.get_mut(&receiver.url) else { return };
        if reached {
            (lane.failures, lane.rests_until) = (0, None);
            return;
        }
        // Those that were sent together fail together: that counts once.
        if lane.rest().is_zero() {
            lane.failures = lane.failures.saturating_add(1);
            lane.rests_until = Some(Instant::now() + REST.after(lane.failures).div_f64(self.speed));
        }
        lane.waits.clear();
        lane.waiting.drain(..).for_each(|errand| All::leave_key(keys, &errand.receiver));
    }

    /// How many sessions are sent now or wait for their turn, each receiver counted.
    pub(super) fn count(&self) -> usize {
        self.all.lock().receivers.values().map(|lane| lane.running.len() + lane.waiting.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errands(url: &str, key: Option<&str>, count: usize) -> Vec<Errand> {
        let url = ReceiverUrl::parse(url, true).unwrap();
        let receiver = Receiver { id: "own".into(), url, key: key.map(str::to_owned) };
        let session = || SessionId::new(&"ada".parse().unwrap());
        (0..count).map(|_| Errand { session: session(), receiver: receiver.clone() }).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_is_busy_or_down_is_alone_in_that() {
        let (lanes, slow) = (Lanes::new(1.0), errands("http://slow/", None, OF_RECEIVER + 3));
        let good = &errands("http://good/", None, 1)[0];
        let entries: Vec<_> = slow.iter().map(|errand| lanes.enter(errand)).collect();
        assert_eq!(entries.iter().filter(|entry| **entry == Entry::Go).count(), OF_RECEIVER);
        assert_eq!((entries.last(), lanes.enter(good)), (Some(&Entry::Here), Entry::Go));
        assert!(lanes.enter(&slow[0]) == Entry::Here && lanes.stays(&slow[0]) && !lanes.stays(&slow[0]));
        let next = lanes.leave(&slow[0]).unwrap();
        assert_eq!((&next.session, lanes.count()), (&slow[OF_RECEIVER].session, OF_RECEIVER + 3));
        for errand in &slow[1..=OF_RECEIVER] {
            lanes.heard(&errand.receiver, false);
            assert!(lanes.leave(errand).is_none());
        }
        assert_eq!((lanes.enter(&slow[0]), lanes.count()), (Entry::Rests(REST.first), 1));
        tokio::time::advance(REST.first).await;
        assert_eq!((lanes.enter(&slow[0]), lanes.enter(&slow[1])), (Entry::Go, Entry::Full));
        lanes.heard(&slow[0].receiver, true);
        assert_eq!((lanes.enter(&slow[1]), lanes.enter(&slow[2])), (Entry::Go, Entry::Go));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_with_many_receivers_that_hang_holds_up_no_other() {
        let lanes = Lanes::new(1.0);
        let of = |at: usize, key| errands(&format!("http://{at}.example/"), Some(key), 1).remove(0);
        let hanging: Vec<_> = (0..OF_KEY).map(|at| of(at, "web")).collect();
        assert!(hanging.iter().all(|errand| lanes.enter(errand) == Entry::Go));
        assert_eq!((lanes.enter(&of(999, "web")), lanes.enter(&of(999, "shop"))), (Entry::Full, Entry::Go));
        assert!(lanes.leave(&hanging[0]).is_none());
        assert_eq!(lanes.enter(&of(998, "web")), Entry::Go);
    }
}
