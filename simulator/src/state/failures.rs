//! Login failures that were ordered and have not happened yet.

/// A `<failure>` to come. `code` and `expire` go with reason 402, the texts with every reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: u16,
    pub(crate) code: u32,
    /// How long a ban lasts, in seconds.
    pub(crate) expire: u64,
    pub(crate) message: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) header: Option<String>,
    pub(crate) subtext: Option<String>,
}

impl Failure {
    /// A failure with a reason only.
    pub(crate) fn of(reason: u16) -> Self {
        Self { reason, ..Self::default() }
    }
}

/// In the order in which they were asked for.
#[derive(Default)]
pub(crate) struct Failures(Vec<Order>);

struct Order {
    /// The device; `None` is the next one that logs in.
    jid: Option<String>,
    failure: Failure,
    /// How many logins are still to meet it; `None`: all, until it is forgotten.
    left: Option<u32>,
}

impl Failures {
    /// Orders a failure. `jid` `None` means the next device that logs in; `times` 0 means every login until it is
    /// forgotten.
    pub(crate) fn push(&mut self, jid: Option<String>, failure: Failure, times: u32) {
        self.0.push(Order { jid, failure, left: (times > 0).then_some(times) });
    }

    /// Forgets what was ordered for `jid`, or everything if it is `None`.
    pub(crate) fn forget(&mut self, jid: Option<&str>) {
        self.0.retain(|order| jid.is_some() && order.jid.as_deref() != jid);
    }

    /// The failure that a login of `jid` meets, if any.
    pub(crate) fn take(&mut self, jid: &str) -> Option<Failure> {
        let at = self.0.iter().position(|order| order.jid.as_deref().is_none_or(|target| target == jid))?;
        let order = self.0.get_mut(at)?;
        let failure = order.failure.clone();
        if let Some(left) = &mut order.left {
            *left -= 1;
            if *left == 0 {
                self.0.remove(at);
            }
        }
        Some(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, Failures};

    #[test]
    fn a_failure_is_met_as_often_as_ordered_and_only_by_its_device() {
        let mut failures = Failures::default();
        failures.push(Some("a".into()), Failure::of(401), 1);
        failures.push(None, Failure::of(500), 2);
        assert_eq!(failures.take("b"), Some(Failure::of(500)));
        assert_eq!(failures.take("a"), Some(Failure::of(401)));
        assert_eq!(failures.take("a"), Some(Failure::of(500)));
        assert_eq!((failures.take("a"), failures.take("b")), (None, None));
    }

    #[test]
    fn a_failure_without_end_stays_until_it_is_forgotten() {
        let mut failures = Failures::default();
        failures.push(None, Failure::of(503), 0);
        failures.push(Some("a".into()), Failure::of(401), 0);
        failures.forget(Some("a"));
        for _ in 0..3 {
            assert_eq!(failures.take("a"), Some(Failure::of(503)));
        }
        failures.forget(None);
        assert_eq!(failures.take("a"), None);
    }
}
