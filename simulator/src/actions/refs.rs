//! References of QRs: how many a pairing gets, and new ones while a QR is shown.

use std::sync::atomic::Ordering;

use crate::server::{Shared, stanza};
use crate::simulator::Simulator;
use crate::state::{ClientId, Order, Role};

/// More than any client shows.
const MOST: usize = 100;

/// What is to be done about references.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refs {
    /// What every client that shows a QR is told now.
    pub refresh: Option<Refresh>,
    /// How many references a pairing gets from now on.
    pub count: Option<usize>,
}

/// How a QR is renewed while it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// `companion_reg_refresh`: the client makes a new secret. Same reference, same deadline, another QR.
    Secret,
    /// A second `pair-device`: other references, and the first one's time begins anew.
    References,
}

/// Not a number of references.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("count is not a number from 1 to 100")]
pub struct RefsError;

impl Simulator {
    /// Renews the references or the secret of every client that shows a QR, and sets how many references the next pairings
    /// get. Returns how many clients were told. A QR from before can no longer be scanned:
    /// [`crate::LinkError::NotWaiting`].
    ///
    /// # Errors
    /// [`RefsError`]; nothing was done then.
    pub fn refs(&self, refs: Refs) -> Result<usize, RefsError> {
        self.shared.refs(refs)
    }
}

impl Shared {
    pub(crate) fn refs(&self, refs: Refs) -> Result<usize, RefsError> {
        if let Some(count) = refs.count {
            if !(1..=MOST).contains(&count) {
                return Err(RefsError);
            }
            self.refs.store(count, Ordering::Relaxed);
        }
        Ok(refs.refresh.map_or(0, |refresh| self.refresh(refresh)))
    }

    fn refresh(&self, refresh: Refresh) -> usize {
        let count = self.refs.load(Ordering::Relaxed);
        let mut world = self.shelf.world();
        let mut orders: Vec<(ClientId, Order)> = Vec::new();
        for (id, client) in &mut world.clients {
            let Role::Waiting(waiting) = &mut client.role else { continue };
            orders.push((
                *id,
                match refresh {
                    Refresh::Secret => {
                        waiting.refreshed = true;
                        Order::RenewSecret
                    }
                    Refresh::References => {
                        waiting.refs = (0..count).map(|_| stanza::fresh_ref()).collect();
                        Order::RenewRefs(waiting.refs.clone())
                    }
                },
            ));
        }
        orders.into_iter().filter_map(|(id, order)| world.order(id, order).then_some(())).count()
    }
}
