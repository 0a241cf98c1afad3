//! Stands between what is stored in memory and its callers: a test decides whether an answer comes, and when.
//!
//! As with Redis a caller waits a second at most, and what it asked for may be done after it has given up.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::storage::StorageError;
use crate::storage::redis::LIMIT;

/// What becomes of a call.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// It is not done.
    Refused,
    /// It is done, and nobody hears of it.
    AnswerLost,
    /// It is done when the test lets go.
    Held(Hold),
    /// It is done, and the answer comes when the test lets go.
    AnswerHeld(Hold),
}

/// One call that is held back.
#[derive(Clone, Debug)]
pub(crate) struct Hold(Arc<watch::Sender<Held>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Held {
    Expected,
    Here,
    Free,
}

impl Default for Hold {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Held::Expected)))
    }
}

impl Hold {
    /// Waits until the call has come.
    pub(crate) async fn comes(&self) {
        // The sender is right here.
        let _ = self.0.subscribe().wait_for(|held| *held >= Held::Here).await;
    }

    /// Lets it go on.
    pub(crate) fn lets_go(&self) {
        self.0.send_replace(Held::Free);
    }

    async fn waits(&self) {
        self.0.send_if_modified(|held| std::mem::replace(held, (*held).max(Held::Here)) != *held);
        let _ = self.0.subscribe().wait_for(|held| *held == Held::Free).await;
    }
}

/// The rules of one deployment, each for one call.
#[derive(Default)]
pub(crate) struct Gate(Mutex<Vec<Rule>>);

struct Rule {
    caller: String,
    call: &'static str,
    fate: Fate,
}

impl Gate {
    /// The next call of this name by this replica.
    pub(crate) fn next(&self, caller: &str, call: &'static str, fate: Fate) {
        self.rules().push(Rule { caller: caller.to_owned(), call, fate });
    }

    /// Does `work`, or not, as the test has it.
    pub(crate) async fn pass<T: Send + 'static>(
        &self,
        caller: &str,
        call: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StorageError> {
        let Some(fate) = self.take(caller, call) else { return Ok(work()) };
        let (answer, answered) = oneshot::channel();
        #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
        tokio::spawn(async move {
            match &fate {
                Fate::Refused => return,
                Fate::Held(hold) => hold.waits().await,
                Fate::AnswerLost | Fate::AnswerHeld(_) => {}
            }
            let done = work();
            match fate {
                Fate::AnswerLost => return,
                Fate::AnswerHeld(hold) => hold.waits().await,
                Fate::Refused | Fate::Held(_) => {}
            }
            // The caller has given up.
            let _ = answer.send(done);
        });
        match timeout(LIMIT, answered).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) | Err(_) => Err(StorageError::Away),
        }
    }

    fn take(&self, caller: &str, call: &str) -> Option<Fate> {
        let mut rules = self.rules();
        let at = rules.iter().position(|rule| rule.caller == caller && rule.call == call)?;
        Some(rules.remove(at).fate)
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.0.lock()
    }
}
