//! Lanes: the deliveries that wait, one queue a subscription, served in turn.
//!
//! A lane has a place in the ring while it has something to send and is below its limit; so a subscription with a
//! thousand waiting deliveries gets one turn when another with a single one gets one.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use rustc_hash::FxHashMap;

use super::{Delivery, PartitionId};
use crate::domain::subscription::SubscriptionId;

#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: FxHashMap<SubscriptionId, Lane>,
    /// The lanes that can send, in the order of their turns.
    ring: VecDeque<SubscriptionId>,
    queued: usize,
}

#[derive(Debug)]
struct Lane {
    queue: VecDeque<Delivery>,
    in_flight: u32,
    limit: NonZeroU32,
    in_ring: bool,
}

impl Lane {
    fn wants_turn(&self) -> bool {
        !self.in_ring && !self.queue.is_empty() && self.in_flight < self.limit.get()
    }
}

impl Lanes {
    /// Queues a delivery; `limit` is the lane's from now on.
    pub(super) fn push(&mut self, delivery: Delivery, limit: NonZeroU32) {
        let id = delivery.subscription.clone();
        let lane = self.lanes.entry(id.clone()).or_insert_with(|| Lane {
            queue: VecDeque::new(),
            in_flight: 0,
            limit,
            in_ring: false,
        });
        lane.limit = limit;
        lane.queue.push_back(delivery);
        self.queued += 1;
        self.offer_turn(&id);
    }

    /// Takes the next delivery in turn; its lane counts it as in flight until [`Lanes::landed`].
    pub(super) fn next(&mut self) -> Option<Delivery> {
        loop {
            let id = self.ring.pop_front()?;
            let lane = self.lanes.get_mut(&id).expect("a lane in the ring exists");
            lane.in_ring = false;
            // A purge may have emptied it since.
            let Some(delivery) = lane.queue.pop_front() else {
                self.forget_if_idle(&id);
                continue;
            };
            lane.in_flight += 1;
            self.queued -= 1;
            self.offer_turn(&id);
            return Some(delivery);
        }
    }

    /// Takes note that a delivery that was taken has ended.
    pub(super) fn landed(&mut self, id: &SubscriptionId) {
        let lane = self.lanes.get_mut(id).expect("a lane with something in flight exists");
        lane.in_flight -= 1;
        self.offer_turn(id);
        self.forget_if_idle(id);
    }

    /// Drops what waits for a partition.
    pub(super) fn purge(&mut self, partition: PartitionId) {
        for lane in self.lanes.values_mut() {
            lane.queue.retain(|delivery| delivery.partition != partition);
        }
        self.lanes.retain(|_, lane| lane.in_ring || lane.in_flight > 0 || !lane.queue.is_empty());
        self.queued = self.lanes.values().map(|lane| lane.queue.len()).sum();
    }

    /// Returns how many deliveries wait.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    fn offer_turn(&mut self, id: &SubscriptionId) {
        let lane = self.lanes.get_mut(id).expect("the caller has just looked at it");
        if lane.wants_turn() {
            lane.in_ring = true;
            self.ring.push_back(id.clone());
        }
    }

    fn forget_if_idle(&mut self, id: &SubscriptionId) {
        let idle = |lane: &Lane| !lane.in_ring && lane.in_flight == 0 && lane.queue.is_empty();
        if self.lanes.get(id).is_some_and(idle) {
            self.lanes.remove(id);
        }
    }
}
