//! Room: what waits for its lane makes way for what could go on, and waits in the tiers instead.

use jiff::Timestamp;

use super::lanes::{FEW, Slots};
use super::partition::{Head, Partition, PartitionId, Role};
use super::{Delivery, Engine, Policy};
use crate::domain::ending::Next;
use crate::domain::outcome::Reason;
use crate::domain::subscription::SubscriptionId;
use crate::domain::tiers;

/// How often a full partition is looked at, at most.
const LOOK: std::time::Duration = std::time::Duration::from_millis(50);

/// How many deliveries make way in a partition at one look, beside those that are more than it needs. All at once would keep
/// the threads and the brokers busy while the deliveries that they make way for wait.
const AT_ONCE: usize = 128;

/// What a partition has no room for want of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lack {
    /// Its own window's.
    Window,
    /// Those that all share.
    Bytes,
}

impl Engine {
    /// Makes room in partitions that are full of deliveries to lanes that can't take them soon, and in all that hold such
    /// while the bytes are used up, if there are subscriptions whose deliveries could go on. One that is alone is left to
    /// wait: its backlog stays in its topic.
    pub(super) fn make_room(&mut self, now: Timestamp) {
        let lack = |partition: &Partition| match () {
            () if partition.next_look > now => None,
            () if self.is_short_of_bytes() => Some(Lack::Bytes),
            () if partition.has_more_to_move || partition.is_full(self.enough, now) => {
                Some(Lack::Window)
            }
            () => None,
        };
        let full = self.partitions.iter().filter_map(|(id, it)| Some((*id, lack(it)?)));
        let full: Vec<_> = full.collect();
        if full.is_empty() {
            return;
        }
        for (id, lack) in full {
            let has_more_to_move = self.make_room_in(id, lack, now);
            let partition = self.partition(id);
            partition.has_more_to_move = has_more_to_move;
            partition.next_look = tiers::add(now, LOOK);
        }
        for partition in self.partitions.values_mut() {
            partition.wants_room = false;
        }
    }

    /// Makes room in one partition, and tells whether there is more to make.
    fn make_room_in(&mut self, id: PartitionId, lack: Lack, now: Timestamp) -> bool {
        // It is us whom deliveries wait for that wait for a slot, unless it is left to others.
        let fewer = match self.slots() {
            Some(Slots::ForFew) if !self.capacity.is_lowered() => FEW,
            _ => u32::MAX,
        };
        if self.lanes.wait_for_slots(id, fewer) {
            return false;
        }
        let (least, mut most) = match lack {
            Lack::Window => {
                let open = self.partitions[&id].window.unsettled();
                (open.div_ceil(2), AT_ONCE + open.saturating_sub(self.enough))
            }
            Lack::Bytes => (0, usize::MAX),
        };
        for lane in self.lanes.holding_up(id, least, now) {
            if most == 0 {
                break;
            }
            if self.keeps_others_waiting(&lane, id, lack) {
                let away = self.lanes.make_room(&lane, id, most, now);
                most -= away.len();
                for (delivery, until) in away {
                    self.send_away(delivery, until, now);
                }
            }
        }
        most == 0
    }

    /// Tells whether there are others who could have the room that a lane's deliveries take in a partition.
    fn keeps_others_waiting(&self, lane: &SubscriptionId, id: PartitionId, lack: Lack) -> bool {
        let serves_another = |partition: &Partition| match partition.role() {
            Role::Events => self.registry.serves_another(&partition.name().topic, lane),
            Role::Deliver | Role::Tier(_) => self.registry.len() > 1,
            Role::Audit => false,
        };
        let waits = |partition: &Partition| partition.wants_room && partition.has_room();
        let mut elsewhere = self.partitions.values().filter(|it| waits(it));
        serves_another(&self.partitions[&id])
            || lack == Lack::Bytes && elsewhere.any(serves_another)
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
    fn is_full(&self, enough: usize, now: Timestamp) -> bool {
        let ready = |head: &Head| head.ready_at <= now;
        match &self.fan {
            Some(_) => !self.window.has_room(),
            None => !self.admits(enough) && self.head.as_ref().is_some_and(ready),
        }
    }
}
