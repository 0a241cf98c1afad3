//! Login failures that were ordered and have not happened yet.

/// A `<failure>` to come. `code` and `expire` go with reason 402.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: u16,
    pub(crate) code: u32,
    /// Seconds.
    pub(crate) expire: u64,
}

/// In the order in which they were asked for.
#[derive(Default)]
pub(crate) struct Failures(Vec<(Option<String>, Failure)>);

impl Failures {
    /// `None`: whoever logs in next.
    pub(crate) fn push(&mut self, jid: Option<String>, failure: Failure) {
        self.0.push((jid, failure));
    }

    /// The failure that a login of `jid` meets, if any; each is met once.
    pub(crate) fn take(&mut self, jid: &str) -> Option<Failure> {
        let at =
            self.0.iter().position(|(target, _)| target.as_deref().is_none_or(|target| target == jid))?;
        Some(self.0.remove(at).1)
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, Failures};

    fn failure(reason: u16) -> Failure {
        Failure { reason, code: 101, expire: 3600 }
    }

    #[test]
    fn a_failure_is_met_once_and_only_by_its_device() {
        let mut failures = Failures::default();
        failures.push(Some("a".into()), failure(401));
        failures.push(None, failure(500));
        assert_eq!(failures.take("b"), Some(failure(500)));
        assert_eq!(failures.take("b"), None);
        assert_eq!(failures.take("a"), Some(failure(401)));
        assert_eq!(failures.take("a"), None);
    }
}
