//! How many pairing codes may be asked for. Each makes WhatsApp ask the phone of that number to link, and the phone may be a
//! stranger's.
//!
//! Counted in this process, for every caller, by session and by number.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::id::SessionId;

/// Most codes of one session, and for one number, in [`WINDOW`].
const MOST: usize = 5;

/// How long a code counts.
const WINDOW: Duration = Duration::from_secs(15 * 60);

/// For what a code counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Of {
    Session(SessionId),
    Number(String),
}

/// Every code of the last minutes.
#[derive(Clone, Debug, Default)]
pub(super) struct Codes {
    asked: Arc<Mutex<HashMap<Of, Vec<Instant>>>>,
}

/// One code that counts. Dropping this does not give it back.
#[must_use]
pub(super) struct Taken {
    codes: Codes,
    of: Vec<Of>,
    at: Instant,
}

impl Codes {
    /// Counts one more code, unless it is too many; then how long to wait.
    pub(in crate::http) fn take(&self, session: Option<&SessionId>, number: &str) -> Result<Taken, Duration> {
        self.take_at(session, number, Instant::now())
    }

    fn take_at(&self, session: Option<&SessionId>, number: &str, now: Instant) -> Result<Taken, Duration> {
        let of = session.map(|session| Of::Session(session.clone()));
        let of: Vec<Of> = of.into_iter().chain([Of::Number(number.to_owned())]).collect();
        let mut asked = self.asked();
        for of in &of {
            let Some(times) = asked.get_mut(of) else { continue };
            times.retain(|time| now.duration_since(*time) < WINDOW);
            if times.len() >= MOST {
                let oldest = times.first().map_or(Duration::ZERO, |time| now.duration_since(*time));
                return Err(WINDOW.saturating_sub(oldest));
            }
        }
        for of in &of {
            asked.entry(of.clone()).or_default().push(now);
        }
        drop(asked);
        Ok(Taken { codes: self.clone(), of, at: now })
    }

    /// Forgets what no longer counts.
    pub(super) fn forget(&self) {
        let now = Instant::now();
        let mut asked = self.asked();
        asked.retain(|_, times| {
            times.retain(|time| now.duration_since(*time) < WINDOW);
            !times.is_empty()
        });
        asked.shrink_to_fit();
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<Of, Vec<Instant>>> {
        self.asked.lock()
    }
}

impl Taken {
    /// It counts for this session as well, which has just been made.
    pub(in crate::http) fn also_of(self, session: &SessionId) {
        self.codes.asked().entry(Of::Session(session.clone())).or_default().push(self.at);
    }

    /// It no longer counts: no phone was asked to link.
    pub(in crate::http) fn give_back(self) {
        let mut asked = self.codes.asked();
        for of in &self.of {
            let Some(times) = asked.get_mut(of) else { continue };
            if let Some(at) = times.iter().position(|time| *time == self.at) {
                times.remove(at);
            }
            if times.is_empty() {
                asked.remove(of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: &str = "905551234567";

    fn session() -> SessionId {
        SessionId::new(&"ada".parse().unwrap())
    }

    #[test]
    fn so_many_codes_of_a_session_and_for_a_number() {
        let (codes, id, now) = (Codes::default(), session(), Instant::now());
        let later = |seconds| now + Duration::from_secs(seconds);
        for n in 0..5 {
            assert!(codes.take_at(Some(&id), &format!("90555123456{n}"), later(n)).is_ok());
        }
        // Of the session, whatever the number.
        let wait = codes.take_at(Some(&id), "905551234569", later(60)).err();
        assert_eq!(wait, Some(Duration::from_secs(840)));
        // For the number, whatever the session; what was refused does not count.
        for _ in 0..4 {
            assert!(codes.take_at(Some(&session()), "905551234560", later(60)).is_ok());
        }
        assert!(codes.take_at(Some(&session()), "905551234560", later(61)).is_err());
        assert!(codes.take_at(None, "905551234560", later(61)).is_err());
        assert!(codes.take_at(None, "905551234569", later(61)).is_ok());
        // As the window goes on, one after the other.
        assert!(codes.take_at(Some(&id), "905551234561", later(900)).is_ok());
        assert!(codes.take_at(Some(&id), "905551234561", later(900)).is_err());
    }

    #[test]
    fn what_was_given_back_does_not_count_and_leaves_nothing() {
        let (codes, id) = (Codes::default(), session());
        for _ in 0..20 {
            codes.take(Some(&id), NUMBER).unwrap_or_else(|_| panic!("it counted")).give_back();
        }
        assert!(codes.asked().is_empty());
        codes.take(None, NUMBER).unwrap_or_else(|_| panic!("it counted")).also_of(&id);
        assert_eq!(codes.asked().len(), 2);
        codes.forget();
        assert_eq!(codes.asked().len(), 2);
    }
}
