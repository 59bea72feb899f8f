//! Lanes: the deliveries that wait, one queue a subscription, served in turn.
//!
//! A lane has a place in the ring while it can send; so a subscription with a thousand waiting deliveries gets one turn
//! when another with a single one gets one. It can't while its limit of attempts in flight is reached, its rate is used
//! up, or a breaker is open: then it holds no slot that another could use. What would wait long goes to the tiers: all
//! of a lane whose endpoint is left alone, and the oldest of one that holds up a partition's window while others could go on.

mod breaker;
mod lane;
mod limit;
mod rate;
mod ring;
mod sites;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustc_hash::FxHashMap;
use serde::Serialize;

use super::{Delivery, PartitionId};
use crate::domain::outcome::Attempted;
use crate::domain::subscription::{Subscription, SubscriptionId};
use lane::{Gate, Lane, Place};
pub use ring::Fairness;
use ring::Ring;
use sites::{Learnt, Sites};

/// What a turn came to.
#[derive(Debug)]
pub(super) enum Turn {
    /// An attempt is to be made; its lane counts it as in flight until [`Lanes::landed`].
    Attempt(Delivery),
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

#[derive(Debug)]
pub(super) struct Lanes {
    lanes: FxHashMap<SubscriptionId, Lane>,
    sites: Sites,
    ring: Ring,
    asleep: BTreeSet<(Timestamp, SubscriptionId)>,
    queued: usize,
    /// The limit of lanes whose subscriptions set none.
    max: NonZeroU32,
    /// The shortest wait that is spent in the tiers.
    away: Duration,
}

impl Lanes {
    pub(super) fn new(max: NonZeroU32, away: Duration, fairness: Fairness) -> Self {
        let (lanes, sites, asleep) = Default::default();
        Self { lanes, sites, ring: Ring::new(fairness), asleep, queued: 0, max, away }
    }

    /// Queues a delivery to a subscription, if there is one still; or returns it with the time until which it is to
    /// wait in the tiers, when its lane holds others up.
    #[must_use]
    pub(super) fn push(
        &mut self,
        delivery: Delivery,
        subscription: Option<&Arc<Subscription>>,
        now: Timestamp,
    ) -> Option<(Delivery, Timestamp)> {
        let id = delivery.subscription.clone();
        let max = self.max;
        let lane = self.lanes.entry(id.clone());
        let lane = lane.or_insert_with(|| Lane::new(subscription, max, now));
        if let Some(until) = lane.overflow(self.away, now) {
            return Some((delivery, until));
        }
        lane.queue.push_back(delivery);
        self.queued += 1;
        self.offer_turn(&id);
        None
    }

    /// Takes the next delivery in turn.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<Turn> {
        loop {
            let id = self.ring.pop()?;
            let lane = self.lanes.get_mut(&id).expect("a lane in the ring exists");
            lane.place = Place::Aside;
            // A purge may have emptied it since.
            if lane.queue.is_empty() {
                self.forget_if_idle(&id);
                continue;
            }
            let gate = lane.gate(&self.sites, now, self.away);
            match gate {
                Gate::Shut => continue,
                Gate::Probed => {
                    let subscription = lane.subscription.as_ref();
                    let subscription = subscription.expect("a probe is somebody's");
                    self.sites.wait(&subscription.url, &id);
                    continue;
                }
                Gate::Sleep(until) => {
                    lane.place = Place::Asleep(until);
                    self.asleep.insert((until, id));
                    continue;
                }
                Gate::Go | Gate::Away(_) => {}
            }
            let delivery = lane.queue.pop_front().expect("it isn't empty");
            self.queued -= 1;
            if let Gate::Away(until) = gate {
                self.offer_turn(&id);
                self.forget_if_idle(&id);
                return Some(Turn::Away(delivery, until));
            }
            lane.started(now);
            if let Some(subscription) = &lane.subscription {
                self.sites.started(&subscription.url);
            }
            self.offer_turn(&id);
            return Some(Turn::Attempt(delivery));
        }
    }

    /// Takes note of how a delivery's attempt ended; `alone` is how long the endpoint wants to be left alone.
    pub(super) fn landed(
        &mut self,
        subscription: &Subscription,
        attempted: &Attempted,
        alone: Option<Duration>,
        now: Timestamp,
    ) {
        let Subscription { id, url, .. } = subscription;
        let learnt = self.sites.learn(url, attempted, alone, now);
        let lane = self.lane(id);
        lane.learn(attempted, now);
        if learnt.has_recovered {
            lane.begin_again();
        }
        self.let_go(id, learnt);
    }

    /// Takes note that a delivery that was taken comes to nothing.
    pub(super) fn abandoned(&mut self, id: &SubscriptionId) {
        let subscription = self.lane(id).subscription.clone();
        let learnt = subscription.map(|it| self.sites.abandoned(&it.url));
        self.let_go(id, learnt.unwrap_or_default());
    }

    fn let_go(&mut self, id: &SubscriptionId, learnt: Learnt) {
        self.lane(id).in_flight -= 1;
        self.offer_turn(id);
        self.forget_if_idle(id);
        self.free(learnt);
    }

    fn free(&mut self, learnt: Learnt) {
        for id in learnt.freed {
            self.offer_turn(&id);
        }
    }

    /// Lets lanes go on whose time has come.
    pub(super) fn wake(&mut self, now: Timestamp) {
        while self.asleep.first().is_some_and(|(until, _)| *until <= now) {
            let (_, id) = self.asleep.pop_first().expect("it was looked at");
            self.lane(&id).place = Place::Aside;
            self.offer_turn(&id);
            self.forget_if_idle(&id);
        }
    }

    /// Returns when [`Lanes::wake`] has something to do.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.asleep.first().map(|(until, _)| *until)
    }

    /// Begins anew with a subscription that was written again, or deleted.
    pub(super) fn renew(&mut self, id: &SubscriptionId, subscription: Option<&Arc<Subscription>>) {
        let Some(lane) = self.lanes.get_mut(id) else {
            return self.forget_sites(subscription);
        };
        let before = lane.subscription.clone();
        lane.renew(subscription, self.max);
        if let Place::Asleep(until) = lane.place {
            lane.place = Place::Aside;
            self.asleep.remove(&(until, id.clone()));
        }
        self.forget_sites(before.as_ref());
        self.forget_sites(subscription);
        self.offer_turn(id);
        self.forget_if_idle(id);
    }

    fn forget_sites(&mut self, subscription: Option<&Arc<Subscription>>) {
        if let Some(subscription) = subscription {
            let learnt = self.sites.forget(&subscription.url);
            self.free(learnt);
        }
    }

    /// Returns the lane that holds up most of a partition's so many open deliveries, if there is one. There is none as
    /// long as one of its deliveries waits for a slot: then it is us whom it waits for.
    pub(super) fn holding_up(
        &self,
        partition: PartitionId,
        open: usize,
        now: Timestamp,
    ) -> Option<SubscriptionId> {
        if self.lanes.values().any(|lane| lane.waits_for_slot(partition)) {
            return None;
        }
        let held = self.lanes.iter().map(|(id, lane)| (id, lane.holds_up(partition, now)));
        let (id, most) = held.max_by(|(a_id, a), (b_id, b)| (a, a_id).cmp(&(b, b_id)))?;
        (most > 0 && most * 2 >= open).then(|| id.clone())
    }

    /// Takes a lane's oldest deliveries of a partition, with the times until which they are to wait.
    pub(super) fn make_room(
        &mut self,
        id: &SubscriptionId,
        partition: PartitionId,
        now: Timestamp,
    ) -> Vec<(Delivery, Timestamp)> {
        let away = self.away;
        let taken = self.lane(id).make_room(partition, away, now);
        self.queued -= taken.len();
        taken
    }

    /// Drops what waits for a partition.
    pub(super) fn purge(&mut self, partition: PartitionId) {
        for lane in self.lanes.values_mut() {
            lane.queue.retain(|delivery| delivery.partition != partition);
        }
        self.lanes.retain(|_, lane| !lane.is_idle());
        self.queued = self.lanes.values().map(|lane| lane.queue.len()).sum();
    }

    /// Returns how many deliveries wait.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// Tells whether a delivery waits for nothing but its turn.
    pub(super) fn is_in_turn(&self) -> bool {
        !self.ring.is_empty()
    }

    /// Counts the lanes.
    pub(super) fn counts(&self) -> LaneCounts {
        let mut counts = LaneCounts { open: self.sites.left_alone(), ..LaneCounts::default() };
        for lane in self.lanes.values() {
            match lane.place {
                _ if lane.is_left_alone(&self.sites) => {}
                Place::Asleep(_) => counts.limited += 1,
                Place::InTurn => counts.active += 1,
                Place::Aside if lane.in_flight > 0 => counts.active += 1,
                Place::Aside => {}
            }
        }
        counts
    }

    fn lane(&mut self, id: &SubscriptionId) -> &mut Lane {
        self.lanes.get_mut(id).expect("a lane with something in flight, or asleep, exists")
    }

    fn offer_turn(&mut self, id: &SubscriptionId) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        if lane.place == Place::Aside && !lane.queue.is_empty() {
            lane.place = Place::InTurn;
            let tenant = lane.subscription.as_ref().and_then(|it| it.tenant.as_ref());
            self.ring.push(id.clone(), tenant);
        }
    }

    fn forget_if_idle(&mut self, id: &SubscriptionId) {
        if self.lanes.get(id).is_some_and(Lane::is_idle) {
            self.lanes.remove(id);
        }
    }
}
