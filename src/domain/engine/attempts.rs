//! Attempts: which is made next, and what its end means.

use std::sync::Arc;

use jiff::Timestamp;

use super::batch::Gathering;
use super::lanes::{LaneKey, Slots, Turn};
use super::partition::Partition;
use super::{Delivery, ENDINGS_MAX, Engine};
use crate::domain::ending::{DeliveryEnding, Ending, Next, Value};
use crate::domain::event::Event;
use crate::domain::outcome::{Attempted, Failure, Reason, Verdict};
use crate::domain::payload::Retryable;
use crate::domain::progress::Settled;
use crate::domain::subscription::{Activity, Subscription};
use crate::domain::tiers;

/// While deliveries wait for slots, a partition takes no more once it has so many open records, or twice as many as there
/// are slots if that is more: they would only wait, and cost memory and cache misses.
const ENOUGH: usize = 512;

/// Names one attempt; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId(u64);

/// An attempt to make now.
#[derive(Debug)]
pub struct Attempt {
    /// What to call it when it is over.
    pub id: AttemptId,
    /// The event.
    pub event: Arc<Event>,
    /// To whom.
    pub subscription: Arc<Subscription>,
    /// Which attempt this is, from 1.
    pub number: u32,
    /// Whether another may follow.
    pub retryable: Retryable,
}

#[cfg(test)]
impl Attempt {
    /// Makes one that no engine started.
    pub(crate) fn of_none(event: Event, subscription: Arc<Subscription>, number: u32) -> Self {
        let (id, event, retryable) = (AttemptId(0), Arc::new(event), Retryable::Retryable);
        Self { id, event, subscription, number, retryable }
    }
}

impl Engine {
    /// Returns the next attempt to make.
    pub fn poll_attempt(&mut self, now: Timestamp) -> Option<Attempt> {
        while let Some(slots) = self.slots() {
            let Some(turn) = self.lanes.next(slots, now) else { break };
            let (lane, delivery, known) = match turn {
                Turn::Attempt { lane, delivery, subscription } => (lane, delivery, subscription),
                Turn::Away(delivery, until) => {
                    self.send_away(delivery, until, now);
                    continue;
                }
            };
            let subscription = match self.deliverable(&delivery, known, now) {
                Ok(subscription) => subscription,
                Err(reason) => {
                    self.lanes.abandoned(lane, &delivery);
                    self.end(delivery, None, Next::DeadLetter(reason), now);
                    continue;
                }
            };
            return Some(self.start(lane, delivery, subscription, now));
        }
        let is_for_all = self.capacity.slots(self.air.len()) == Some(Slots::ForAll);
        self.enough = usize::MAX;
        if !is_for_all && self.lanes.is_in_turn() {
            self.capacity.reached();
            self.enough = ENOUGH.max(2 * self.capacity.get());
        }
        None
    }

    /// Tells whom the next slot is for, if there is one.
    pub(super) fn slots(&self) -> Option<Slots> {
        let in_flight = self.air.len();
        if in_flight + self.gathering.len() >= ENDINGS_MAX {
            return None;
        }
        match self.capacity.slots(in_flight)? {
            // There is nobody to leave the last ones to.
            Slots::ForFew if self.registry.active() < 2 => Some(Slots::ForAll),
            slots => Some(slots),
        }
    }

    /// Returns the subscription to deliver to, or why the delivery is given up without an attempt.
    fn deliverable(
        &self,
        delivery: &Delivery,
        known: Option<Arc<Subscription>>,
        now: Timestamp,
    ) -> Result<Arc<Subscription>, Reason> {
        let Some(subscription) = known else {
            let invalid = self.statuses.is_invalid(&delivery.subscription);
            return Err(if invalid {
                Reason::SubscriptionDisabled
            } else {
                Reason::SubscriptionRemoved
            });
        };
        let expire_after = self.policy.retry.expire_after;
        let expired = delivery.first_at.is_some_and(|first| now > tiers::add(first, expire_after));
        match subscription.state {
            _ if self.statuses.is_disabled(&subscription) => Err(Reason::SubscriptionDisabled),
            Activity::Inactive => Err(Reason::SubscriptionDisabled),
            Activity::Active if expired => Err(Reason::Expired),
            Activity::Active => Ok(subscription),
        }
    }

    fn start(
        &mut self,
        lane: LaneKey,
        mut delivery: Delivery,
        subscription: Arc<Subscription>,
        now: Timestamp,
    ) -> Attempt {
        delivery.started_at = Some(now);
        self.last_attempt += 1;
        let id = AttemptId(self.last_attempt);
        let number = delivery.attempts + 1;
        let more = self.policy.retry.schedule_of(&subscription).delay_after(number).is_some();
        let event = delivery.event.clone();
        self.partition(delivery.partition).in_air += 1;
        self.air.insert(id, (lane, delivery));
        let retryable = if more { Retryable::Retryable } else { Retryable::Last };
        Attempt { id, event, subscription, number, retryable }
    }

    /// Takes note of how an attempt ended. `fraction` in 0..1 is the dice for jitter.
    pub fn attempted(
        &mut self,
        id: AttemptId,
        subscription: &Arc<Subscription>,
        attempted: Attempted,
        now: Timestamp,
        fraction: f64,
    ) {
        let Some((lane, mut delivery)) = self.air.remove(&id) else {
            self.counts.stale += 1;
            return;
        };
        let started_at = delivery.started_at.expect("what is in the air was started");
        self.capacity.ended(tiers::until(now, started_at), attempted.latency);
        let alone = self.policy.retry.wish_of(&attempted);
        self.lanes.landed(lane, subscription, delivery.bytes, &attempted, alone, now);
        self.partition(delivery.partition).in_air -= 1;
        if let Err(Failure { reason: reason @ Reason::Filtered, .. }) = &attempted.end {
            // Nothing was to be sent, and so nothing was: no attempt.
            return self.end(delivery, None, Next::Skipped(*reason), now);
        }
        delivery.attempts += 1;
        let first_at = *delivery.first_at.get_or_insert(now);
        let rules = &self.policy.retry;
        let verdict =
            rules.judge(&attempted, subscription, delivery.attempts, first_at, now, fraction);
        let next = match verdict {
            Verdict::Delivered => Next::Delivered,
            Verdict::DeadLetter(reason) => Next::DeadLetter(reason),
            Verdict::Retry(due, reason) => {
                let tier = self.policy.wheel.tier_for(tiers::until(due, now));
                Next::Retry(due, tier, reason)
            }
        };
        let attempt = (attempted, subscription.clone());
        self.end(delivery, Some(attempt), next, now);
    }

    /// Gathers a delivery's ending and settles it in its window.
    pub(super) fn end(
        &mut self,
        delivery: Delivery,
        attempt: Option<(Attempted, Arc<Subscription>)>,
        next: Next,
        now: Timestamp,
    ) {
        let (attempted, subscription) = match attempt {
            Some((attempted, subscription)) => (Some(attempted), Some(subscription)),
            None => (None, self.registry.get(&delivery.subscription).cloned()),
        };
        let partition = self.partitions.get_mut(&delivery.partition);
        let partition = partition.expect("what is in hand belongs to a partition that is here");
        delivery.end(subscription, attempted, next, now, partition, &mut self.gathering);
    }
}

impl Delivery {
    /// Gathers its ending and settles it in its partition's window.
    pub(super) fn end(
        self,
        subscription: Option<Arc<Subscription>>,
        attempted: Option<Attempted>,
        next: Next,
        now: Timestamp,
        partition: &mut Partition,
        gathering: &mut Gathering,
    ) {
        let waited = self.started_at.map(|at| tiers::until(at, self.admitted_at));
        let ending = DeliveryEnding {
            at: now,
            record: self.event.record.origin.clone(),
            label: self.event.label.clone(),
            event: next.has_record().then_some(self.event),
            subscription_id: self.subscription,
            subscription,
            trigger: self.trigger,
            attempts: self.attempts,
            first_at: self.first_at,
            waited: waited.filter(|_| attempted.is_some()),
            attempted,
            next,
            value: Value::Whole,
        };
        match partition.settle(self.seq, self.hash, self.bytes) {
            Settled::Delivery => {}
            // Nobody has the record any more.
            Settled::Only if ending.event.is_none() => gathering.free(self.bytes),
            Settled::Only | Settled::Last => gathering.free_later(self.partition, self.bytes),
        }
        gathering.push(self.partition, Ending::Delivery(Box::new(ending)));
    }
}
