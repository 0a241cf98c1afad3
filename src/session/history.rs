//! The end of a session's log in memory: what a returning viewer has missed.
//!
//! Bounded by count. What is trimmed off is remembered as one id, so that a cursor from before it is told of the gap.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::event::{Cursor, Event, Kind, PairingMethod, Status, Time};
use crate::log::LogTail;

/// The last events of one session, oldest first.
#[derive(Debug)]
pub(crate) struct History {
    events: VecDeque<Arc<Event>>,
    /// The newest event that is no longer here.
    trimmed: Option<Cursor>,
    limit: u32,
    /// What a phone can act on now.
    live: Live,
    /// The last event that made a state of its own: `authenticated`, `ready` or `disconnected`.
    made: Option<Arc<Event>>,
}

/// The pictures and codes on screen.
#[derive(Clone, Debug, Default)]
struct Live {
    qr: Option<Arc<Event>>,
    code: Option<Arc<Event>>,
    passkey: Option<Arc<Event>>,
}

impl History {
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            events: VecDeque::new(),
            trimmed: None,
            limit: limit.max(1),
            live: Live::default(),
            made: None,
        }
    }

    /// What a log still holds.
    pub(crate) fn restored(log: LogTail, limit: u32) -> Self {
        let mut history = Self::new(limit);
        history.trimmed = log.trimmed;
        for event in log.events {
            history.push(event);
        }
        history
    }

    /// Nobody can scan or type any more what is on screen: its client has stopped, or stops.
    pub(crate) fn clear_screen(&mut self) {
        self.forget_picture();
        self.live = Live::default();
    }

    /// An empty one has what comes after this event.
    pub(crate) fn begin_after(&mut self, at: Cursor) {
        self.trimmed = Some(at);
    }

    /// Events up to this one are known no more.
    pub(crate) fn cut(&mut self, at: Cursor) {
        self.events.clear();
        self.trimmed = Some(at);
        self.clear_screen();
    }

    pub(crate) fn events(&self) -> Vec<Arc<Event>> {
        self.events.iter().cloned().collect()
    }

    pub(crate) fn last(&self) -> Option<&Arc<Event>> {
        self.events.back()
    }

    /// The QR that can be scanned now.
    pub(crate) fn qr(&self, now: Time) -> Option<&Arc<Event>> {
        self.live.qr.as_ref().filter(|event| !event.expired(now))
    }

    /// The step of a passkey that waits now.
    pub(crate) fn passkey(&self, now: Time) -> Option<&Arc<Event>> {
        self.live.passkey.as_ref().filter(|event| !event.expired(now))
    }

    pub(crate) fn push(&mut self, event: Arc<Event>) {
        match &event.kind {
            Kind::Qr(_) => {
                self.forget_picture();
                self.live.qr = (!event.is_blank()).then(|| event.clone());
            }
            Kind::Code(_) => self.live.code = Some(event.clone()),
            Kind::Passkey(_) => {
                // What was scanned or typed to come here is used up.
                self.clear_screen();
                self.live.passkey = Some(event.clone());
            }
            Kind::PairingError(error) if error.method == PairingMethod::Code => {}
            Kind::PairingError(_) => self.live.passkey = None,
            Kind::Authenticated { .. } | Kind::Ready { .. } | Kind::Disconnected(_) => {
                self.clear_screen();
                self.made = Some(event.clone());
            }
        }
        self.events.push_back(event);
        while self.events.len() > self.limit as usize {
            self.trimmed = self.events.pop_front().map(|event| event.at);
        }
    }

    /// A QR that is no longer shown is seldom replayed: its encoded picture, some 5 KB, need not stay in memory.
    fn forget_picture(&mut self) {
        if let Some(old) = &self.live.qr
            && let Ok(index) = self.events.binary_search_by_key(&old.at, |event| event.at)
        {
            self.events[index] = Arc::new(old.bare());
        }
    }

    /// For a viewer without a cursor: what is on screen or, if nothing is, the event that made the state.
    pub(crate) fn snapshot(&self, status: Status, now: Time) -> Vec<Arc<Event>> {
        let mut live: Vec<_> = [&self.live.qr, &self.live.code, &self.live.passkey]
            .into_iter()
            .flatten()
            .filter(|event| !event.expired(now))
            .cloned()
            .collect();
        live.sort_by_key(|event| event.at);
        if live.is_empty() {
            // A restart makes a state that no event made yet.
            live.extend(self.made.iter().filter(|event| event.state.status == status).cloned());
        }
        live
    }

    /// For a viewer with a cursor: every later event but expired QRs; `None` when that is not known any more.
    pub(crate) fn after(&self, cursor: Cursor, now: Time) -> Option<Vec<Arc<Event>>> {
        self.knows(cursor).then(|| {
            let expired_qr =
                |event: &Event| matches!(event.kind, Kind::Qr(_)) && (event.expired(now) || event.is_blank());
            self.newer_than(cursor).filter(|event| !expired_qr(event)).cloned().collect()
        })
    }

    /// For a viewer that fell behind while watching, after this event or, without one, since before the first: every
    /// later event but QRs that another has replaced.
    pub(crate) fn missed(&self, cursor: Option<Cursor>) -> Option<Vec<Arc<Event>>> {
        let replaced = |event: &Event| {
            matches!(event.kind, Kind::Qr(_)) && self.live.qr.as_ref().is_none_or(|live| live.at != event.at)
        };
        let whole = cursor.map_or(self.trimmed.is_none(), |cursor| self.knows(cursor));
        let start = cursor.unwrap_or(Cursor::start_of(0));
        whole.then(|| self.newer_than(start).filter(|event| !replaced(event)).cloned().collect())
    }

    fn newer_than(&self, cursor: Cursor) -> impl Iterator<Item = &Arc<Event>> {
        let start = self.events.partition_point(|event| event.at <= cursor);
        self.events.range(start..)
    }

    fn knows(&self, cursor: Cursor) -> bool {
        self.trimmed == Some(cursor) || self.events.binary_search_by_key(&cursor, |event| event.at).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Disconnected, Passkey, Qr, Reason, State};

    fn event(seq: u64, kind: Kind) -> Arc<Event> {
        let (now, id) = (Time::now(), "session_ada_7d1f0c36-3f0e-4c5b-9b1e-0a4b4f1f9a11".parse().unwrap());
        Arc::new(Event::new(id, Cursor { epoch: 7, seq }, now, kind, State::initializing(now, None)))
    }

    fn qr(seq: u64) -> Arc<Event> {
        let expires_at = Time::from_millis(Time::now().as_millis() + 60_000);
        event(seq, Kind::Qr(Qr { qr_string: "2@x".into(), expires_at, attempt: 1, max_attempts: 6 }))
    }

    #[test]
    fn a_picture_is_kept_as_long_as_its_qr_is_shown() {
        let passkey = Passkey::Required { options: serde_json::json!({}), expires_at: Time::now() };
        let kept = |then: &dyn Fn(&mut History)| {
            let (mut history, shown) = (History::new(10), qr(1));
            history.push(shown.clone());
            then(&mut history);
            history.events().iter().any(|event| Arc::ptr_eq(event, &shown))
        };
        assert!(kept(&|_| {}));
        assert!(!kept(&|history| history.push(qr(2))));
        assert!(!kept(&|history| history.push(event(2, Kind::Passkey(passkey.clone())))));
        let end = Disconnected::new(Reason::QrExhausted, None);
        assert!(!kept(&|history| history.push(event(2, Kind::Disconnected(end.clone())))));
        assert!(!kept(&History::clear_screen));
    }
}
