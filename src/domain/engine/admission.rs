//! Admission: from a partition's head into its window and the lanes, as far as there is room and time has come.

use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::batch::{Gathering, Telling};
use super::lanes::Lanes;
use super::partition::{Content, Fan, Head, Partition, PartitionId};
use super::room::away;
use super::statuses::Statuses;
use super::{Counts, Delivery, Engine, Policy};
use crate::domain::decode::Unreadable;
use crate::domain::ending::{Ending, Next, UnreadableRecord, Value};
use crate::domain::event::Event;
use crate::domain::expression::Values;
use crate::domain::headers::{Carried, Trigger};
use crate::domain::health::{self, Kind, Observation};
use crate::domain::progress::{Plan, Seq, Settled};
use crate::domain::record::{Offset, Record};
use crate::domain::registry::Registry;
use crate::domain::status::Status;
use crate::domain::subscription::{Subscription, SubscriptionHash};
use crate::domain::tiers::{self, Step};

/// Where the cursor of a fan-out starts: no hash is below it.
const FLOOR: SubscriptionHash = SubscriptionHash(0);

/// Within this time of its commit a definition is in force everywhere.
const IN_FORCE: Duration = Duration::from_secs(1);

/// Between looks for a definition that a record is ahead of.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A delivery that is due within the shortest tier.
#[derive(Debug)]
pub(super) struct Delayed {
    pub(super) due: Timestamp,
    order: u64,
    pub(super) delivery: Delivery,
}

impl Ord for Delayed {
    /// The earliest is the greatest: the heap gives it first; of equals, the one that came first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.due, other.order).cmp(&(self.due, self.order))
    }
}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Delayed {}

/// The parts of the engine that admission works on, for one partition.
struct Admission<'a> {
    id: PartitionId,
    now: Timestamp,
    policy: &'a Policy,
    enough: usize,
    registry: &'a Registry,
    statuses: &'a Statuses,
    lanes: &'a mut Lanes,
    delayed: &'a mut BinaryHeap<Delayed>,
    delayed_so_far: &'a mut u64,
    gathering: &'a mut Gathering,
    counts: &'a mut Counts,
}

impl Engine {
    /// Moves on what time or room has freed: deliveries that came due, heads that can be admitted.
    ///
    /// To be called once before a round of [`Engine::poll_attempt`].
    pub fn advance(&mut self, now: Timestamp) {
        // First, as what comes into turn below waits for no slot yet.
        self.make_room(now);
        while self.delayed.peek().is_some_and(|delayed| delayed.due <= now) {
            let Delayed { mut delivery, .. } = self.delayed.pop().expect("it was peeked at");
            delivery.admitted_at = now;
            let known = self.registry.get(&delivery.subscription);
            if let Some((delivery, until)) = self.lanes.push(delivery, known, now) {
                self.send_away(delivery, until, now);
            }
        }
        self.lanes.wake(now);
        let waiting = |partition: &Partition| partition.head.is_some() || partition.fan.is_some();
        let ids = self.partitions.iter().filter(|(_, partition)| waiting(partition));
        let ids: Vec<_> = ids.map(|(id, _)| *id).collect();
        for id in ids {
            self.admit(id, now);
        }
    }

    /// Admits as much of a partition's head as can be.
    pub(super) fn admit(&mut self, id: PartitionId, now: Timestamp) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let mut admission = Admission {
            id,
            now,
            policy: &self.policy,
            enough: self.enough,
            registry: &self.registry,
            statuses: &self.statuses,
            lanes: &mut self.lanes,
            delayed: &mut self.delayed,
            delayed_so_far: &mut self.delayed_so_far,
            gathering: &mut self.gathering,
            counts: &mut self.counts,
        };
        admission.head(partition);
        admission.fan_out(partition);
    }
}

impl Admission<'_> {
    fn head(&mut self, partition: &mut Partition) {
        let ready = |head: &mut Head| head.ready_at <= self.now;
        let wants_room =
            |head: &Head| !matches!(head.content, Content::Nothing | Content::Observed(_));
        let Some(head) = partition.head.take_if(ready) else { return };
        if wants_room(&head) && !partition.admits(self.enough) {
            partition.head = Some(head);
            return;
        }
        match head.content {
            Content::Observed(seen) if self.is_ahead(&seen) => {
                let ready_at = tiers::add(self.now, LOOK_AGAIN);
                partition.head = Some(Head { ready_at, content: Content::Observed(seen), ..head });
            }
            Content::Nothing => self.skip(partition, head.offset),
            Content::Observed(seen) => self.observe(partition, head.offset, *seen),
            Content::Event(event) => self.event(partition, head.offset, event, head.bytes),
            Content::Delivery(event, carried) => {
                let delivery = self.open(partition, head.offset, head.bytes, event, *carried);
                self.delivery(partition, delivery.0, delivery.1);
            }
            Content::Unreadable(record, delivery, reason) => {
                self.unreadable(partition, head.offset, head.bytes, *record, delivery, reason);
            }
        }
    }

    fn skip(&mut self, partition: &mut Partition, offset: Offset) {
        partition.window.skip(offset);
        partition.dirty = true;
    }

    /// Tells whether what was seen may be of a definition that is on its way to us: it is waited for, not passed over.
    fn is_ahead(&self, seen: &Observation) -> bool {
        let Kind::DeadLettered { definition, .. } = seen.kind else { return false };
        let current = self.registry.get(&seen.subscription);
        let age = Duration::try_from(self.now.duration_since(seen.at));
        current.is_none_or(|current| current.definition_offset < definition)
            && age.is_ok_and(|age| age < IN_FORCE)
    }

    /// Folds what was seen into the status of its subscription. What tells of another definition than the one in force is
    /// passed over, and so is a status that speaks of one before it.
    fn observe(&mut self, partition: &mut Partition, offset: Offset, seen: Observation) {
        let current = self.registry.get(&seen.subscription);
        let is_current = match seen.kind {
            Kind::Delivered => true,
            Kind::DeadLettered { definition, .. } => {
                current.is_some_and(|current| current.definition_offset == definition)
            }
        };
        if is_current {
            let health = partition.health.as_mut();
            let health = health.expect("an audit partition has room only when it is known");
            let is_of_now = |status: &&Status| !current.is_some_and(|it| status.is_before(it));
            let before = health.get(seen.subscription.as_str()).filter(is_of_now);
            if let Some(status) = health::fold(before, &seen, self.policy.disable_after) {
                self.gathering.tell(Telling::folded(
                    self.id,
                    seen.subscription.clone(),
                    before,
                    &status,
                ));
                health.put(seen.subscription, status);
            }
        }
        self.skip(partition, offset);
    }

    fn hold(&mut self, partition: &mut Partition, bytes: usize) {
        partition.bytes += bytes;
        self.gathering.hold(bytes);
    }

    fn event(
        &mut self,
        partition: &mut Partition,
        offset: Offset,
        event: Arc<Event>,
        bytes: usize,
    ) {
        let mut targets = Vec::new();
        let topic = &event.label.origin.topic;
        self.registry.matching(
            topic,
            &event.label.event_type,
            event.label.tenant.as_deref(),
            &mut targets,
        );
        let plan = partition.window.plan(offset);
        targets.retain(|target| plan.needs(target.hash) && !self.statuses.is_disabled(target));
        self.filter(&event, &mut targets);
        let window = &mut partition.window;
        let (seq, listed, cursor) = match (plan, targets.as_slice()) {
            (_, []) => {
                self.counts.unmatched += 1;
                return self.skip(partition, offset);
            }
            (Plan::Whole, [_]) => {
                (window.open_sole(offset, self.now), std::mem::take(&mut targets), None)
            }
            (Plan::Only(_, cursor), _) => {
                let above = |target: &Arc<Subscription>| cursor.is_some_and(|c| target.hash > c);
                let rest = targets.iter().position(above).unwrap_or(targets.len());
                let rest = targets.split_off(rest);
                let listed = std::mem::replace(&mut targets, rest);
                let hashes = listed.iter().map(|target| target.hash).collect();
                (window.open_fan(offset, hashes, cursor, self.now), listed, cursor)
            }
            _ => {
                let cursor = Some(FLOOR);
                (window.open_fan(offset, vec![], cursor, self.now), vec![], cursor)
            }
        };
        self.hold(partition, bytes);
        for target in listed {
            self.enqueue(partition, seq, bytes, event.clone(), &target, Some(&target));
        }
        if let Some(cursor) = cursor {
            let (rest, found_in) = (targets.into_iter(), self.registry.revision());
            partition.fan = Some(Fan { seq, event, bytes, rest, found_in, cursor });
        }
    }

    /// Leaves those whose filter is true of the event. What an error hides is no match.
    fn filter(&mut self, event: &Event, targets: &mut Vec<Arc<Subscription>>) {
        let values = Values::of(event);
        targets.retain(|target| {
            match target.admits(&values) {
                Ok(true) => return true,
                Ok(false) => self.counts.filtered += 1,
                Err(error) => self.counts.filter_errors[error as usize] += 1,
            }
            false
        });
    }

    /// Admits deliveries of the fan-out under way, as many as there is room for.
    ///
    /// The first of a record, and all of one hash, go together: a commit in between would say less than is true. Each goes
    /// to what its subscription has become since the record was matched.
    fn fan_out(&mut self, partition: &mut Partition) {
        let Some(mut fan) = partition.fan.take() else { return };
        while let Some(target) = fan.rest.as_slice().first() {
            let first = fan.cursor == FLOOR;
            if !partition.window.has_room() && !first && target.hash != fan.cursor {
                partition.fan = Some(fan);
                return;
            }
            let target = fan.rest.next().expect("it was looked at");
            fan.cursor = target.hash;
            partition.window.add(fan.seq, target.hash);
            let known = match self.registry.revision() == fan.found_in {
                true => Some(&target),
                false => self.registry.get(&target.id),
            };
            self.enqueue(partition, fan.seq, fan.bytes, fan.event.clone(), &target, known);
        }
        if partition.close(fan.seq, fan.bytes) == Settled::Last {
            self.gathering.free_later(self.id, fan.bytes);
        }
    }

    fn enqueue(
        &mut self,
        partition: &mut Partition,
        seq: Seq,
        bytes: usize,
        event: Arc<Event>,
        target: &Subscription,
        known: Option<&Arc<Subscription>>,
    ) {
        let delivery = Delivery {
            partition: self.id,
            seq,
            hash: target.hash,
            subscription: target.id.clone(),
            event,
            trigger: Trigger::Event,
            attempts: 0,
            first_at: None,
            bytes,
            admitted_at: self.now,
            started_at: None,
        };
        self.queue(partition, delivery, known);
    }

    fn queue(
        &mut self,
        partition: &mut Partition,
        delivery: Delivery,
        known: Option<&Arc<Subscription>>,
    ) {
        let full = self.lanes.push(delivery, known, self.now);
        let Some((mut delivery, until)) = full else { return };
        let next = away(&mut delivery, until, self.policy, self.now);
        delivery.end(known.cloned(), None, next, self.now, partition, self.gathering);
    }

    fn open(
        &mut self,
        partition: &mut Partition,
        offset: Offset,
        bytes: usize,
        event: Arc<Event>,
        carried: Carried,
    ) -> (Delivery, Option<Timestamp>) {
        let seq = partition.window.open_sole(offset, self.now);
        self.hold(partition, bytes);
        let delivery = Delivery {
            partition: self.id,
            seq,
            hash: SubscriptionHash::of(&carried.subscription),
            subscription: carried.subscription,
            event,
            trigger: carried.trigger,
            attempts: carried.attempts,
            first_at: carried.first_at,
            bytes,
            admitted_at: self.now,
            started_at: None,
        };
        (delivery, carried.due_at)
    }

    fn delivery(&mut self, partition: &mut Partition, delivery: Delivery, due: Option<Timestamp>) {
        let step = due.map_or(Step::Due, |due| self.policy.wheel.step(due, self.now));
        let known = self.registry.get(&delivery.subscription);
        match (step, due) {
            (Step::Wait(due), _) => {
                *self.delayed_so_far += 1;
                let order = *self.delayed_so_far;
                self.delayed.push(Delayed { due, order, delivery });
            }
            (Step::Move(tier), Some(due)) => {
                let next = Next::Move(due, tier);
                delivery.end(known.cloned(), None, next, self.now, partition, self.gathering);
            }
            _ => self.queue(partition, delivery, known),
        }
    }

    fn unreadable(
        &mut self,
        partition: &mut Partition,
        offset: Offset,
        bytes: usize,
        record: Record,
        delivery: Option<Box<Carried>>,
        reason: Unreadable,
    ) {
        let seq = partition.window.open_sole(offset, self.now);
        self.hold(partition, bytes);
        let error = reason.0.into();
        let ending =
            UnreadableRecord { at: self.now, record, delivery, error, value: Value::Whole };
        partition.settle(seq, FLOOR, bytes);
        self.gathering.push(self.id, Ending::Unreadable(Box::new(ending)));
        self.gathering.free_later(self.id, bytes);
    }
}
