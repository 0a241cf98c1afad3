//! One errand: what a session's log has for one receiver, event by event, each after the one before.
//!
//! What the receiver took is stored before the next one is sent. A process that dies between the two sends that event again,
//! with the same id.

use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use tracing::{debug, info, warn};

use super::Webhooks;
use super::lanes::{Errand, Receiver};
use super::post::{Answer, Letter};
use super::standing::{Failed, Failure, Standing, is_stale};
use super::store::Change;
use crate::backoff::random;
use crate::event::{Cursor, Event};
use crate::log::LogTail;
use crate::receiver::SigningKey;
use crate::storage::StorageError;
use crate::telemetry::metrics::{WEBHOOK_SECONDS, WEBHOOKS};

/// What an errand holds: what is stored, and what it has made of it.
struct Progress {
    stored: String,
    standing: Standing,
}

/// Whether an errand goes on.
#[derive(PartialEq, Eq)]
enum Step {
    On,
    /// Nothing more is to be done now.
    Over,
}

impl Webhooks {
    /// Sends what waits, and what comes meanwhile.
    pub(super) async fn run_errand(&self, errand: &Errand) {
        let Errand { session, receiver } = errand;
        loop {
            match self.send_all(errand).await {
                Ok(()) => {}
                // It stays on the list.
                Err(error) if error.passes() || matches!(error, StorageError::Closed) => return,
                Err(error) => {
                    warn!(sessionId = %session, receiver = ?receiver.url, %error, "webhooks cannot be sent");
                    return;
                }
            }
            if self.0.shutdown.has_begun() || !self.0.lanes.stays(errand) {
                return;
            }
        }
    }

    async fn send_all(&self, errand: &Errand) -> Result<(), StorageError> {
        let Errand { session, receiver } = errand;
        let Some(stored) = self.0.store.claim(session, &receiver.id).await? else { return Ok(()) };
        let mut progress = Progress { standing: Standing::read(&stored), stored };
        let sent = self.send_claimed(errand, &mut progress).await;
        let released = self.0.store.release(session, &receiver.id).await;
        sent.and(released)
    }

    async fn send_claimed(&self, errand: &Errand, progress: &mut Progress) -> Result<(), StorageError> {
        loop {
            let standing = &progress.standing;
            if standing.gone || standing.next.is_some_and(|next| next > (self.0.now)()) {
                return Ok(());
            }
            let log = self.0.log.after(&errand.session, standing.cursor).await?;
            self.note_missing(errand, &mut progress.standing, &log);
            if log.events.is_empty() {
                return self.save(errand, progress).await.map(|_| ());
            }
            for event in log.events {
                if self.send_one(errand, progress, &event).await? == Step::Over {
                    return Ok(());
                }
            }
        }
    }

    /// Events that the log no longer has were lost to this receiver.
    fn note_missing(&self, errand: &Errand, standing: &mut Standing, log: &LogTail) {
        let missing = standing.missing(log);
        if missing == 0 {
            return;
        }
        standing.lost += missing;
        // It was counted. What comes next has failed as often as what is gone: the receiver is the same.
        standing.cursor = log.events.first().map(|first| just_before(first.at)).or(log.trimmed);
        counter!(WEBHOOKS, "outcome" => "lost").increment(missing);
        self.0.losses.add(missing);
        warn!(
            sessionId = %errand.session,
            receiver = ?errand.receiver.url,
            events = missing,
            "webhooks were lost: the session's log does not reach back far enough"
        );
    }

    async fn send_one(
        &self,
        errand: &Errand,
        progress: &mut Progress,
        event: &Event,
    ) -> Result<Step, StorageError> {
        let Progress { standing, .. } = progress;
        standing.cursor.get_or_insert(just_before(event.at));
        if !self.is_for(&errand.receiver, event) {
            standing.pass(event.at);
            return Ok(Step::On);
        }
        let now = (self.0.now)();
        if is_stale(event, now) {
            counter!(WEBHOOKS, "outcome" => "expired").increment(1);
            standing.pass(event.at);
            return Ok(Step::On);
        }
        let Some(letter) = self.letter(errand, event) else { return Ok(Step::Over) };
        let Some(answer) = self.post(errand, letter).await else { return Ok(Step::Over) };
        self.take_answer(errand, standing, event, answer);
        let is_stored = self.save(errand, progress).await?;
        let over = !is_stored || progress.standing.gone || progress.standing.next.is_some();
        Ok(if over { Step::Over } else { Step::On })
    }

    /// Whether a receiver gets this event.
    pub(super) fn is_for(&self, receiver: &Receiver, event: &Event) -> bool {
        let events = &self.0.settings.events;
        let since = self.0.since.read().get(&receiver.id).copied();
        (events.is_empty() || events.iter().any(|name| name == event.kind.name()))
            && (receiver.key.is_some() || since.is_some_and(|since| event.time >= since))
    }

    /// Signed; `None` while the secret is not known.
    fn letter(&self, errand: &Errand, event: &Event) -> Option<Letter> {
        let id = format!("{}:{}", errand.session, event.at);
        let (timestamp, body) = ((self.0.now)().as_millis() / 1000, event.to_webhook());
        let keys = match &errand.receiver.key {
            None => self.0.settings.secrets.clone(),
            Some(key) => vec![self.secret_of(key)?],
        };
        let signatures: Vec<_> = keys.iter().map(|key| key.sign(&id, timestamp, &body)).collect();
        Some(Letter {
            url: errand.receiver.url.clone(),
            signature: signatures.join(" "),
            id,
            timestamp,
            body,
        })
    }

    /// What signs for the sessions of an API key.
    pub(crate) fn secret_of(&self, key: &str) -> Option<SigningKey> {
        self.0.secret.read().as_ref().map(|secret| SigningKey::of_key(secret, key))
    }

    /// `None` when this process stops first.
    async fn post(&self, errand: &Errand, letter: Letter) -> Option<Answer> {
        let begun = Instant::now();
        let answer = tokio::select! {
            answer = self.0.post.post(letter) => answer,
            () = self.0.shutdown.begun() => return None,
        };
        let outcome = if answer == Answer::Taken { "delivered" } else { "failed" };
        histogram!(WEBHOOK_SECONDS, "outcome" => outcome).record(begun.elapsed());
        let down = match &answer {
            Answer::Unreachable(_) => true,
            Answer::Refused { status, .. } => *status == 429 || *status >= 500,
            Answer::Taken | Answer::Gone => false,
        };
        self.0.lanes.heard(&errand.receiver, !down);
        Some(answer)
    }

    fn take_answer(&self, errand: &Errand, standing: &mut Standing, event: &Event, answer: Answer) {
        let (session, now) = (&errand.session, (self.0.now)());
        let (why, wait) = match answer {
            Answer::Taken => {
                counter!(WEBHOOKS, "outcome" => "delivered").increment(1);
                standing.took(event.at, now);
                debug!(sessionId = %session, id = %event.at, receiver = ?errand.receiver.url, "webhook delivered");
                return;
            }
            Answer::Gone => {
                counter!(WEBHOOKS, "outcome" => "failed").increment(1);
                standing.gone = true;
                standing.error = Some("HTTP 410: it wants no more".to_owned());
                info!(sessionId = %session, receiver = ?errand.receiver.url, "a receiver of webhooks wants no more");
                return;
            }
            Answer::Refused { status, wait } if (300..400).contains(&status) => {
                (format!("HTTP {status}: a redirection is not followed"), wait)
            }
            Answer::Refused { status, wait } => (format!("HTTP {status}"), wait),
            Answer::Unreachable(why) => (why, None),
        };
        let failure = Failure { why, wait: wait.unwrap_or(Duration::ZERO), luck: random() };
        let (first, why) = (standing.tries == 0, failure.why.clone());
        let receiver = &errand.receiver.url;
        match standing.failed(event.at, failure, now, self.0.speed) {
            Failed::Again => {
                counter!(WEBHOOKS, "outcome" => "failed").increment(1);
                if first {
                    info!(sessionId = %session, id = %event.at, ?receiver, error = why, "a webhook failed");
                }
            }
            Failed::GivenUp => {
                counter!(WEBHOOKS, "outcome" => "given_up").increment(1);
                self.0.losses.add(1);
                warn!(sessionId = %session, id = %event.at, ?receiver, error = why, "a webhook was given up");
            }
        }
    }

    /// Stores what has changed; false where somebody else has changed it since.
    async fn save(&self, errand: &Errand, progress: &mut Progress) -> Result<bool, StorageError> {
        let after = progress.standing.to_text();
        if after == progress.stored {
            return Ok(true);
        }
        let change = Change { before: &progress.stored, after: &after, claimed: true };
        let is_stored = self.0.store.save(&errand.session, &errand.receiver.id, change).await?;
        progress.stored = after;
        Ok(is_stored)
    }
}

/// A cursor after which this event is the next.
fn just_before(at: Cursor) -> Cursor {
    Cursor { seq: at.seq.saturating_sub(1), ..at }
}
