//! Room: what waits for its lane makes way for what could go on, and waits in the tiers instead.

use jiff::Timestamp;

use super::partition::{Head, Partition, PartitionId, Role};
use super::{Delivery, Engine, Policy};
use crate::domain::ending::Next;
use crate::domain::outcome::Reason;
use crate::domain::tiers;

/// How often a full partition is looked at.
const LOOK: std::time::Duration = std::time::Duration::from_millis(50);

impl Engine {
    /// Makes room in partitions that are full of deliveries to one lane that can't take them soon, if there are
    /// subscriptions whose deliveries could go on. One that is alone is left to wait: its backlog stays in its topic.
    pub(super) fn make_room(&mut self, now: Timestamp) {
        if self.next_look > now {
            return;
        }
        self.next_look = tiers::add(now, LOOK);
        let is_short = self.bytes >= self.policy.max_bytes_in_flight;
        let full = |partition: &Partition| is_short || partition.is_full(now);
        let ids = self.partitions.iter().filter(|(_, partition)| full(partition));
        let ids: Vec<_> = ids.map(|(id, _)| *id).collect();
        for id in ids {
            self.make_room_in(id, now);
        }
    }

    fn make_room_in(&mut self, id: PartitionId, now: Timestamp) {
        let partition = &self.partitions[&id];
        let open = partition.window.unsettled();
        let Some(lane) = self.lanes.holding_up(id, open, now) else { return };
        let topic = &partition.name().topic;
        let is_alone = match partition.role() {
            Role::Events => !self.registry.serves_another(topic, &lane),
            Role::Deliver | Role::Tier(_) => self.registry.len() < 2,
            // Nothing of it is delivered.
            Role::Audit => return,
        };
        if is_alone {
            return;
        }
        for (delivery, until) in self.lanes.make_room(&lane, id, now) {
            self.send_away(delivery, until, now);
        }
    }

    /// Has a delivery wait in the tiers.
    pub(super) fn send_away(&mut self, mut delivery: Delivery, until: Timestamp, now: Timestamp) {
        let next = away(&mut delivery, until, &self.policy, now);
        self.end(delivery, None, next, now);
    }
}

/// Decides where a delivery waits that its lane can't take before `until`. It is no attempt; but a delivery's age counts
/// from the first time that it could have been one.
pub(super) fn away(
    delivery: &mut Delivery,
    until: Timestamp,
    policy: &Policy,
    now: Timestamp,
) -> Next {
    let first_at = *delivery.first_at.get_or_insert(now);
    let due = tiers::ceil_ms(until);
    if due > tiers::add(first_at, policy.retry.expire_after) {
        return Next::DeadLetter(Reason::Expired);
    }
    Next::Move(due, policy.wheel.tier_for(tiers::until(due, now)))
}

impl Partition {
    /// Tells whether something could be admitted but for a lack of room.
    fn is_full(&self, now: Timestamp) -> bool {
        let ready = |head: &Head| head.ready_at <= now;
        !self.window.has_room() && (self.fan.is_some() || self.head.as_ref().is_some_and(ready))
    }
}
