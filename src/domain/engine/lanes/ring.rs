//! The ring: whose turn it is.
//!
//! A turn goes to whoever has the fewest attempts in flight, and of equals to whoever has waited longest. So it is slots
//! that are shared evenly and not turns: lanes whose attempts take long would gather all slots otherwise, one turn after
//! the other (max-min fairness: Bertsekas and Gallager, Data Networks, section 6.5.2). The last slots are for those with
//! few attempts, so that lanes that all hang at once don't hold what others wait for.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;
use smol_str::SmolStr;

use super::LaneKey;

/// With fewer attempts in flight than this, a lane may have one of the last slots.
pub(in crate::domain::engine) const FEW: u32 = 4;

/// Between whom slots are shared evenly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fairness {
    /// Between subscriptions.
    #[default]
    Subscription,
    /// Between tenants, and then between the subscriptions of each. Those without tenant share as one.
    Tenant,
}

/// Whom the slots that are left are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::domain::engine) enum Slots {
    /// Anybody.
    ForAll,
    /// Lanes with fewer than [`FEW`] attempts in flight.
    ForFew,
}

/// Who shares: a tenant, or all together.
pub(super) type Party = Option<SmolStr>;

/// A lane's place among those that have waited as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order(u64);

/// The lanes that wait for their turn.
#[derive(Debug)]
pub(super) struct Ring {
    fairness: Fairness,
    /// Those with lanes that wait: attempts in flight, since when it is their turn, who.
    parties: BTreeSet<(u32, Order, Party)>,
    shares: FxHashMap<Party, Share>,
    last: Order,
}

/// What a party has.
#[derive(Debug)]
struct Share {
    /// Attempts in flight; not counted where there is only one party.
    in_flight: u32,
    since: Order,
    /// Its lanes that wait, by their attempts in flight.
    lanes: BTreeMap<(u32, Order), LaneKey>,
}

impl Ring {
    pub(super) fn new(fairness: Fairness) -> Self {
        let (parties, shares) = Default::default();
        Self { fairness, parties, shares, last: Order(0) }
    }

    /// Returns with whom a tenant's lanes share.
    pub(super) fn party(&self, tenant: Option<&SmolStr>) -> Party {
        match self.fairness {
            Fairness::Subscription => None,
            Fairness::Tenant => tenant.cloned(),
        }
    }

    /// Puts a lane with so many attempts in flight behind its equals.
    pub(super) fn push(&mut self, lane: LaneKey, party: &Party, in_flight: u32) -> Order {
        let order = self.next_order();
        let share = self.share(party);
        let is_first = share.lanes.is_empty();
        share.lanes.insert((in_flight, order), lane);
        if is_first {
            share.since = order;
            let place = (share.in_flight, order, party.clone());
            self.parties.insert(place);
        }
        order
    }

    /// Takes the lane whose turn it is, if there is one that the slots are for.
    pub(super) fn pop(&mut self, slots: Slots) -> Option<LaneKey> {
        let place = match slots {
            Slots::ForAll => self.parties.first(),
            // Whoever is passed over has slots itself, so there aren't many.
            Slots::ForFew => self.parties.iter().find(|(_, _, party)| self.has_few(party)),
        };
        let place = place?.clone();
        self.parties.remove(&place);
        let (in_flight, _, party) = place;
        let since = self.next_order();
        let share = self.share(&party);
        let (_, lane) = share.lanes.pop_first().expect("a party in the ring has lanes");
        share.since = since;
        if !share.lanes.is_empty() {
            self.parties.insert((in_flight, since, party));
        } else {
            self.forget_if_idle(&party);
        }
        Some(lane)
    }

    /// Takes note that a lane that waits has so many attempts in flight now.
    pub(super) fn reorder(&mut self, party: &Party, order: Order, before: u32, now: u32) {
        let lanes = &mut self.share(party).lanes;
        let lane = lanes.remove(&(before, order)).expect("it waits with so many in flight");
        lanes.insert((now, order), lane);
    }

    /// Takes a lane out that waits.
    pub(super) fn remove(&mut self, party: &Party, order: Order, in_flight: u32) {
        let share = self.share(party);
        share.lanes.remove(&(in_flight, order)).expect("it waits with so many in flight");
        if share.lanes.is_empty() {
            let place = (share.in_flight, share.since, party.clone());
            self.parties.remove(&place);
            self.forget_if_idle(party);
        }
    }

    /// Takes note that so many attempts of a party start.
    pub(super) fn started(&mut self, party: &Party, attempts: u32) {
        self.weigh(party, |in_flight| in_flight + attempts);
    }

    /// Takes note that so many attempts of a party have ended.
    pub(super) fn ended(&mut self, party: &Party, attempts: u32) {
        self.weigh(party, |in_flight| in_flight - attempts);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parties.is_empty()
    }

    fn weigh(&mut self, party: &Party, change: impl FnOnce(u32) -> u32) {
        if self.fairness == Fairness::Subscription {
            return;
        }
        let share = self.share(party);
        let before = (share.in_flight, share.since, party.clone());
        share.in_flight = change(share.in_flight);
        let now = (share.in_flight, share.since, party.clone());
        if self.parties.remove(&before) {
            self.parties.insert(now);
        }
        self.forget_if_idle(party);
    }

    fn has_few(&self, party: &Party) -> bool {
        let fewest = self.shares[party].lanes.first_key_value();
        fewest.is_some_and(|((in_flight, _), _)| *in_flight < FEW)
    }

    fn share(&mut self, party: &Party) -> &mut Share {
        let since = self.last;
        let new = || Share { in_flight: 0, since, lanes: BTreeMap::new() };
        self.shares.entry(party.clone()).or_insert_with(new)
    }

    fn forget_if_idle(&mut self, party: &Party) {
        let is_idle = |share: &Share| share.in_flight == 0 && share.lanes.is_empty();
        // Where all share as one there is nothing to forget.
        if party.is_some() && self.shares.get(party).is_some_and(is_idle) {
            self.shares.remove(party);
        }
    }

    fn next_order(&mut self) -> Order {
        self.last.0 += 1;
        self.last
    }
}
