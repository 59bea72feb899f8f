//! Lanes: the deliveries that wait, one queue a subscription, served in turn.
//!
//! A lane has a place in the ring while it can send, and turns go to those with the fewest attempts in flight; so one
//! with a thousand waiting deliveries leaves its slots to one with a single one. It can't send while its limit of
//! attempts in flight is reached, its rate is used up, half of the bytes are in its attempts, or a breaker is open: then
//! it holds no slot that another could use. What would wait long goes to the tiers: all of a lane whose endpoint is left
//! alone, and the oldest of those that hold up a partition's window, or the bytes, while others could go on.

mod breaker;
mod lane;
mod limit;
mod rate;
mod ring;
mod sites;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustc_hash::FxHashMap;
use serde::Serialize;
use slab::Slab;

use super::{Delivery, PartitionId, Policy};
use crate::domain::outcome::Attempted;
use crate::domain::subscription::{Subscription, SubscriptionId};
use lane::{Bounds, Gate, Lane, Place};
pub use ring::Fairness;
use ring::Ring;
pub(super) use ring::{FEW, Slots};
use sites::{Learnt, Sites};

/// Names a lane for as long as it exists; then it may be the name of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneKey(usize);

/// What a turn came to.
#[derive(Debug)]
pub(super) enum Turn {
    /// An attempt is to be made to the subscription, if there is one still; the lane counts it as in flight until
    /// [`Lanes::landed`] or [`Lanes::abandoned`], and exists until then.
    Attempt { lane: LaneKey, delivery: Delivery, subscription: Option<Arc<Subscription>> },
    /// The delivery is to wait in the tiers until then.
    Away(Delivery, Timestamp),
}

/// How many lanes there are, by what they do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LaneCounts {
    /// Those with attempts in flight or in turn.
    pub active: usize,
    /// Those whose rate is used up.
    pub limited: usize,
    /// Endpoints and origins that are left alone.
    pub open: usize,
}

/// How many deliveries wait in lanes, by what they wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// A slot: so many attempts run that their turn hasn't come.
    pub slot: usize,
    /// The end of one of their lane's own attempts: as many run as it may have.
    pub limit: usize,
    /// The rate of their subscription.
    pub rate: usize,
    /// Their endpoint or its origin, which is left alone.
    pub endpoint: usize,
}

#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Slab<Lane>,
    by_id: FxHashMap<SubscriptionId, LaneKey>,
    sites: Sites,
    ring: Ring,
    asleep: BTreeSet<(Timestamp, LaneKey)>,
    queued: usize,
    bounds: Bounds,
}

impl Lanes {
    pub(super) fn new(policy: &Policy) -> Self {
        let (lanes, by_id, sites, asleep) = Default::default();
        let bounds = Bounds {
            attempts: policy.max_in_flight_per_subscription,
            bytes: policy.max_bytes_in_flight / 2,
            away: policy.wheel.shortest(),
        };
        let ring = Ring::new(policy.fairness);
        Self { lanes, by_id, sites, ring, asleep, queued: 0, bounds }
    }

    /// Queues a delivery to its subscription as the registry has it, if it does still; or returns it with the time until
    /// which it is to wait in the tiers, when its lane holds others up.
    #[must_use]
    pub(super) fn push(
        &mut self,
        delivery: Delivery,
        subscription: Option<&Arc<Subscription>>,
        now: Timestamp,
    ) -> Option<(Delivery, Timestamp)> {
        let bounds = self.bounds;
        let key = match self.by_id.get(&delivery.subscription) {
            Some(key) => *key,
            None => self.open(&delivery.subscription, subscription, now),
        };
        let lane = &mut self.lanes[key.0];
        let known = lane.subscription.as_ref();
        assert_eq!(known.map(Arc::as_ptr), subscription.map(Arc::as_ptr), "lanes are renewed");
        if let Some(until) = lane.overflow(bounds, now) {
            return Some((delivery, until));
        }
        lane.push(delivery, now);
        lane.take_place(&mut self.ring, key);
        self.queued += 1;
        None
    }

    fn open(
        &mut self,
        id: &SubscriptionId,
        subscription: Option<&Arc<Subscription>>,
        now: Timestamp,
    ) -> LaneKey {
        let party = self.ring.party(subscription.and_then(|it| it.tenant.as_ref()));
        let lane = Lane::new(id.clone(), subscription, party, self.bounds, now);
        let key = LaneKey(self.lanes.insert(lane));
        self.by_id.insert(id.clone(), key);
        key
    }

    /// Takes the next delivery in turn of those that the slots are for.
    pub(super) fn next(&mut self, slots: Slots, now: Timestamp) -> Option<Turn> {
        loop {
            let key = self.ring.pop(slots)?;
            let lane = &mut self.lanes[key.0];
            lane.place = Place::Aside;
            // A purge may have emptied it since.
            if lane.queue.is_empty() {
                self.forget_if_idle(key);
                continue;
            }
            let gate = lane.gate(&self.sites, self.bounds, now);
            match gate {
                Gate::Shut => continue,
                Gate::Probed => {
                    let subscription = lane.subscription.as_ref();
                    let subscription = subscription.expect("a probe is somebody's");
                    self.sites.wait(&subscription.url, &lane.id);
                    continue;
                }
                Gate::Sleep(until) => {
                    lane.place = Place::Asleep(until);
                    self.asleep.insert((until, key));
                    continue;
                }
                Gate::Go | Gate::Away(_) => {}
            }
            let delivery = lane.queue.pop_front().expect("it isn't empty");
            self.queued -= 1;
            if let Gate::Away(until) = gate {
                lane.take_place(&mut self.ring, key);
                self.forget_if_idle(key);
                return Some(Turn::Away(delivery, until));
            }
            lane.started(delivery.bytes, now);
            self.ring.started(&lane.party, 1);
            if let Some(subscription) = &lane.subscription {
                self.sites.started(&subscription.url);
            }
            lane.take_place(&mut self.ring, key);
            let subscription = lane.subscription.clone();
            return Some(Turn::Attempt { lane: key, delivery, subscription });
        }
    }

    /// Takes note of how the attempt of a delivery of so many bytes to a subscription ended; `alone` is how long the
    /// endpoint wants to be left alone.
    pub(super) fn landed(
        &mut self,
        lane: LaneKey,
        subscription: &Subscription,
        bytes: usize,
        attempted: &Attempted,
        alone: Option<Duration>,
        now: Timestamp,
    ) {
        let learnt = self.sites.learn(&subscription.url, attempted, alone, now);
        self.let_go(lane, bytes, |lane| {
            lane.learn(attempted, now);
            if learnt.has_recovered {
                lane.begin_again();
            }
        });
        self.free(learnt);
    }

    /// Takes note that a delivery that was taken comes to nothing.
    pub(super) fn abandoned(&mut self, lane: LaneKey, delivery: &Delivery) {
        let subscription = self.let_go(lane, delivery.bytes, |lane| lane.subscription.clone());
        if let Some(subscription) = subscription {
            let learnt = self.sites.abandoned(&subscription.url);
            self.free(learnt);
        }
    }

    fn let_go<T>(&mut self, key: LaneKey, bytes: usize, learn: impl FnOnce(&mut Lane) -> T) -> T {
        let lane = &mut self.lanes[key.0];
        let learnt = learn(lane);
        let before = lane.in_flight;
        lane.ended(bytes);
        if let Place::InTurn(order) = lane.place {
            self.ring.reorder(&lane.party, order, before, lane.in_flight);
        }
        self.ring.ended(&lane.party, 1);
        lane.take_place(&mut self.ring, key);
        self.forget_if_idle(key);
        learnt
    }

    fn free(&mut self, learnt: Learnt) {
        for id in learnt.freed {
            if let Some(key) = self.by_id.get(&id) {
                self.offer_turn(*key);
            }
        }
    }

    /// Lets lanes go on whose time has come.
    pub(super) fn wake(&mut self, now: Timestamp) {
        while self.asleep.first().is_some_and(|(until, _)| *until <= now) {
            let (_, key) = self.asleep.pop_first().expect("it was looked at");
            self.lanes[key.0].place = Place::Aside;
            self.offer_turn(key);
            self.forget_if_idle(key);
        }
    }

    /// Returns when [`Lanes::wake`] has something to do.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.asleep.first().map(|(until, _)| *until)
    }

    /// Begins anew with a subscription that was written again, or deleted.
    pub(super) fn renew(&mut self, id: &SubscriptionId, subscription: Option<&Arc<Subscription>>) {
        let Some(key) = self.by_id.get(id).copied() else {
            return self.forget_sites(subscription);
        };
        let lane = &mut self.lanes[key.0];
        let before = lane.subscription.clone();
        lane.renew(subscription, self.bounds);
        let party = self.ring.party(subscription.and_then(|it| it.tenant.as_ref()));
        if party != lane.party {
            if let Place::InTurn(order) = lane.place {
                lane.place = Place::Aside;
                self.ring.remove(&lane.party, order, lane.in_flight);
            }
            self.ring.started(&party, lane.in_flight);
            self.ring.ended(&lane.party, lane.in_flight);
            lane.party = party;
        }
        if let Place::Asleep(until) = lane.place {
            lane.place = Place::Aside;
            self.asleep.remove(&(until, key));
        }
        self.forget_sites(before.as_ref());
        self.forget_sites(subscription);
        self.offer_turn(key);
        self.forget_if_idle(key);
    }

    fn forget_sites(&mut self, subscription: Option<&Arc<Subscription>>) {
        if let Some(subscription) = subscription {
            let learnt = self.sites.forget(&subscription.url);
            self.free(learnt);
        }
    }

    /// Tells whether a delivery of a partition waits for a slot in a lane with fewer attempts in flight than this.
    pub(super) fn wait_for_slots(&self, partition: PartitionId, fewer: u32) -> bool {
        let mut fewer = self.all().filter(|lane| lane.in_flight < fewer);
        fewer.any(|lane| lane.waits_for_slot(partition, self.bounds))
    }

    /// Returns the lanes that hold up at least so many deliveries of a partition together and can spare some of them: the
    /// one that can spare most first, and as many as it takes.
    pub(super) fn holding_up(
        &self,
        partition: PartitionId,
        least: usize,
        now: Timestamp,
    ) -> Vec<SubscriptionId> {
        let mut all = 0;
        let mut lanes = Vec::new();
        for lane in self.all() {
            let (held, spare) = lane.holds_up(partition, self.bounds, now);
            all += held;
            if spare > 0 {
                lanes.push((spare, &lane.id));
            }
        }
        if all < least {
            return Vec::new();
        }
        lanes.sort_unstable_by(|a, b| b.cmp(a));
        let mut freed = 0;
        let enough = lanes.into_iter().take_while(|(spare, _)| {
            let is_missing = freed < least.max(1);
            freed += spare;
            is_missing
        });
        enough.map(|(_, id)| id.clone()).collect()
    }

    /// Takes a lane's oldest deliveries of a partition, at most so many, with the times until which they are to wait.
    pub(super) fn make_room(
        &mut self,
        id: &SubscriptionId,
        partition: PartitionId,
        most: usize,
        now: Timestamp,
    ) -> Vec<(Delivery, Timestamp)> {
        let key = self.by_id[id];
        let taken = self.lanes[key.0].make_room(partition, most, self.bounds, now);
        self.queued -= taken.len();
        taken
    }

    /// Drops what waits for a partition.
    pub(super) fn purge(&mut self, partition: PartitionId) {
        for (_, lane) in &mut self.lanes {
            lane.queue.retain(|delivery| delivery.partition != partition);
        }
        self.lanes.retain(|_, lane| !lane.is_idle());
        self.by_id.retain(|_, key| self.lanes.contains(key.0));
        self.queued = self.all().map(|lane| lane.queue.len()).sum();
    }

    /// Returns how many deliveries wait.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// Tells whether a delivery waits for nothing but its turn.
    pub(super) fn is_in_turn(&self) -> bool {
        !self.ring.is_empty()
    }

    /// Tells why deliveries wait.
    pub(super) fn waiting(&self) -> Waiting {
        let mut waiting = Waiting::default();
        for lane in self.all() {
            let its = match lane.place {
                _ if lane.is_left_alone(&self.sites) => &mut waiting.endpoint,
                Place::Asleep(_) => &mut waiting.rate,
                Place::InTurn(_) if !lane.is_full(self.bounds) => &mut waiting.slot,
                Place::InTurn(_) | Place::Aside => &mut waiting.limit,
            };
            *its += lane.queue.len();
        }
        waiting
    }

    /// Counts the lanes.
    pub(super) fn counts(&self) -> LaneCounts {
        let mut counts = LaneCounts { open: self.sites.left_alone(), ..LaneCounts::default() };
        for lane in self.all() {
            match lane.place {
                _ if lane.is_left_alone(&self.sites) => {}
                Place::Asleep(_) => counts.limited += 1,
                Place::InTurn(_) => counts.active += 1,
                Place::Aside if lane.in_flight > 0 => counts.active += 1,
                Place::Aside => {}
            }
        }
        counts
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lanes.len()
    }

    /// Returns all lanes. The slab itself is as long as it ever was.
    fn all(&self) -> impl Iterator<Item = &Lane> {
        self.by_id.values().map(|key| &self.lanes[key.0])
    }

    fn offer_turn(&mut self, key: LaneKey) {
        self.lanes[key.0].take_place(&mut self.ring, key);
    }

    fn forget_if_idle(&mut self, key: LaneKey) {
        if self.lanes[key.0].is_idle() {
            let lane = self.lanes.remove(key.0);
            self.by_id.remove(&lane.id);
        }
    }
}
