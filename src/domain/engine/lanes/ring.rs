//! The ring: whose turn it is.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::domain::subscription::SubscriptionId;

/// Between whom slots are shared evenly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fairness {
    /// Between subscriptions.
    #[default]
    Subscription,
    /// Between tenants, and then between the subscriptions of each. Those without tenant share as one.
    Tenant,
}

/// The lanes that wait for their turn, in its order.
#[derive(Debug)]
pub(super) struct Ring {
    fairness: Fairness,
    /// Who is next; each is there once, and has lanes.
    parties: VecDeque<Party>,
    lanes: FxHashMap<Party, VecDeque<SubscriptionId>>,
}

/// Who shares: a tenant, or all together.
type Party = Option<Arc<str>>;

impl Ring {
    pub(super) fn new(fairness: Fairness) -> Self {
        let (parties, lanes) = Default::default();
        Self { fairness, parties, lanes }
    }

    /// Puts a lane at the end.
    pub(super) fn push(&mut self, id: SubscriptionId, tenant: Option<&Arc<str>>) {
        let party = match self.fairness {
            Fairness::Subscription => None,
            Fairness::Tenant => tenant.cloned(),
        };
        let lanes = self.lanes.entry(party.clone()).or_default();
        if lanes.is_empty() {
            self.parties.push_back(party);
        }
        lanes.push_back(id);
    }

    /// Takes the lane whose turn it is.
    pub(super) fn pop(&mut self) -> Option<SubscriptionId> {
        let party = self.parties.pop_front()?;
        let lanes = self.lanes.get_mut(&party).expect("a party in the ring has lanes");
        let id = lanes.pop_front().expect("a party in the ring has lanes");
        if !lanes.is_empty() {
            self.parties.push_back(party);
        } else if party.is_some() {
            self.lanes.remove(&party);
        }
        Some(id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parties.is_empty()
    }
}
