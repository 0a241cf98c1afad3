//! How many sessions a replica may have, and which it gives away: the arithmetic of `ownership`. Pure.

use std::time::Duration;

use crate::cluster::Replica;

/// When no replica has appeared for this long, a rolling restart is over or has not begun.
const SETTLED: Duration = Duration::from_secs(60);

/// A session that may be given away: linked, and connected at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate<T> {
    pub(crate) what: T,
    pub(crate) viewers: usize,
}

/// The share of each of so many replicas, rounded up.
pub(crate) fn fair(sessions: usize, living: usize) -> usize {
    sessions.div_ceil(living.max(1))
}

/// Whether sessions may move just to be shared better.
pub(crate) fn is_settled(living: &[Replica]) -> bool {
    living.len() > 1 && living.iter().all(|replica| replica.age >= SETTLED)
}

/// One that nobody watches comes first.
pub(crate) fn to_give<T>(candidates: impl Iterator<Item = Candidate<T>>) -> Option<T> {
    candidates.min_by_key(|candidate| candidate.viewers).map(|candidate| candidate.what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(age: u64) -> Replica {
        Replica { name: String::new(), age: Duration::from_secs(age) }
    }

    #[test]
    fn the_shares_of_all_hold_everything() {
        for (sessions, living, share) in [(0, 3, 0), (50, 3, 17), (50, 2, 25), (1, 2, 1), (7, 0, 7)] {
            assert_eq!(fair(sessions, living), share);
            assert!(fair(sessions, living) * living.max(1) >= sessions);
        }
    }

    #[test]
    fn nothing_moves_while_a_replica_is_new_or_alone() {
        assert!(is_settled(&[replica(60), replica(600)]));
        assert!(!is_settled(&[replica(59), replica(600)]));
        assert!(!is_settled(&[replica(600)]));
    }

    #[test]
    fn one_without_viewers_is_given_first() {
        let candidate = |what, viewers| Candidate { what, viewers };
        let all = [candidate("a", 2), candidate("b", 0), candidate("c", 1)];
        assert_eq!(to_give(all.into_iter()), Some("b"));
        assert_eq!(to_give(std::iter::empty::<Candidate<()>>()), None);
    }
}
