//! One lane: what waits for a subscription, and what lets it go.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::LaneKey;
use super::breaker::Pass;
use super::limit::{Experience, Limit};
use super::rate::Rate;
use super::ring::{Order, Party, Ring};
use super::sites::Sites;
use crate::domain::engine::{Delivery, PartitionId};
use crate::domain::outcome::Attempted;
use crate::domain::subscription::{Subscription, SubscriptionId};
use crate::domain::tiers;

/// How far one interval between two ends moves the lane's pace.
const PACE: f64 = 0.05;

/// A lane whose deliveries of one partition are through sooner than this is not slow.
const SLOW: Duration = Duration::from_millis(250);

/// A delivery waits elsewhere for its lane no longer than the lane has been slow, before it is looked at again: how long
/// it will be slow is a guess. But so long it may.
const AWAY_MIN: Duration = Duration::from_secs(10);

/// What holds for all lanes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The most attempts of one in flight.
    pub(super) attempts: NonZeroU32,
    /// The most bytes of records of one in flight.
    pub(super) bytes: usize,
    /// The shortest wait that is spent in the tiers.
    pub(super) away: Duration,
}

/// Where a lane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing to send, or it can't: what lets it go on will tell.
    Aside,
    /// In the ring.
    InTurn(Order),
    /// Waiting for this time.
    Asleep(Timestamp),
}

/// What a lane does with its turn.
#[derive(Debug)]
pub(super) enum Gate {
    /// An attempt.
    Go,
    /// The next delivery waits in the tiers, until then.
    Away(Timestamp),
    /// Nothing before then.
    Sleep(Timestamp),
    /// Nothing before one of its attempts has ended.
    Shut,
    /// Nothing before the probe of its endpoint or origin has ended.
    Probed,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) id: SubscriptionId,
    pub(super) queue: VecDeque<Delivery>,
    pub(super) in_flight: u32,
    /// The bytes of the records whose deliveries are in flight.
    bytes: usize,
    pub(super) place: Place,
    /// With whom it shares slots.
    pub(super) party: Party,
    pub(super) subscription: Option<Arc<Subscription>>,
    limit: Limit,
    rate: Option<Rate>,
    /// Seconds between two ends, and when the last one was.
    pace: f64,
    landed_at: Timestamp,
    /// Since when it has held others up: what it can't send soon doesn't stay in memory.
    overflows_since: Option<Timestamp>,
    /// When the next delivery that has to make room would be in turn.
    free_at: Timestamp,
}

impl Lane {
    pub(super) fn new(
        id: SubscriptionId,
        subscription: Option<&Arc<Subscription>>,
        party: Party,
        bounds: Bounds,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            // Where there are many lanes, most never hold more than one delivery.
            queue: VecDeque::with_capacity(1),
            in_flight: 0,
            bytes: 0,
            place: Place::Aside,
            party,
            subscription: subscription.cloned(),
            limit: Limit::new(subscription.and_then(|it| it.max_in_flight), bounds.attempts),
            rate: subscription.and_then(|it| it.rate_limit).map(Rate::new),
            pace: 0.0,
            landed_at: now,
            overflows_since: None,
            free_at: now,
        }
    }

    /// Takes over what a new definition says, or that there is none, and forgets what is known of the endpoint: it may
    /// be another one now.
    pub(super) fn renew(&mut self, subscription: Option<&Arc<Subscription>>, bounds: Bounds) {
        self.limit = Limit::new(subscription.and_then(|it| it.max_in_flight), bounds.attempts);
        self.subscription = subscription.cloned();
        match (&mut self.rate, subscription.and_then(|it| it.rate_limit)) {
            // What was sent just now counts, or writing a definition again and again would be a way around.
            (Some(rate), Some(limit)) => rate.set(limit),
            (rate, limit) => *rate = limit.map(Rate::new),
        }
    }

    /// Takes its place in the ring, if it has something to send and no other place.
    pub(super) fn take_place(&mut self, ring: &mut Ring, key: LaneKey) {
        if self.place == Place::Aside && !self.queue.is_empty() {
            self.place = Place::InTurn(ring.push(key, &self.party, self.in_flight));
        }
    }

    /// Queues a delivery.
    pub(super) fn push(&mut self, delivery: Delivery, now: Timestamp) {
        if self.queue.is_empty() && self.in_flight == 0 {
            // While there was nothing to send, it wasn't slow.
            self.landed_at = now;
        }
        self.queue.push_back(delivery);
    }

    /// Tells what a turn is good for. What would wait for long leaves memory.
    pub(super) fn gate(&self, sites: &Sites, bounds: Bounds, now: Timestamp) -> Gate {
        match self.pass(sites, now) {
            Pass::Not(until) if tiers::until(until, now) >= bounds.away => {
                return Gate::Away(until);
            }
            Pass::Not(until) => return Gate::Sleep(until),
            Pass::NotYet => return Gate::Probed,
            Pass::Free if self.is_full(bounds) => return Gate::Shut,
            Pass::Free | Pass::Probe => {}
        }
        match self.rate.as_ref().and_then(|rate| rate.wait(now)) {
            Some(until) => Gate::Sleep(until),
            None => Gate::Go,
        }
    }

    /// Tells whether it has as much in flight as it may. One attempt it may have whatever it weighs.
    pub(super) fn is_full(&self, bounds: Bounds) -> bool {
        self.in_flight >= self.limit.get() || self.in_flight > 0 && self.bytes >= bounds.bytes
    }

    /// Takes note of an attempt that starts with a record of so many bytes.
    pub(super) fn started(&mut self, bytes: usize, now: Timestamp) {
        self.in_flight += 1;
        self.bytes += bytes;
        self.limit.started(self.in_flight);
        if let Some(rate) = &mut self.rate {
            rate.started(now);
        }
    }

    /// Takes note that an attempt is over.
    pub(super) fn ended(&mut self, bytes: usize) {
        self.in_flight -= 1;
        self.bytes -= bytes;
    }

    /// Takes note of how an attempt ended.
    pub(super) fn learn(&mut self, attempted: &Attempted, now: Timestamp) {
        let since = tiers::until(now, self.landed_at).as_secs_f64();
        self.pace += (since - self.pace) * PACE;
        self.landed_at = now;
        if let Some(experience) = experience(attempted) {
            self.limit.learn(experience, self.in_flight);
        }
    }

    /// Begins with few attempts again: the endpoint was away.
    pub(super) fn begin_again(&mut self) {
        self.limit.restart();
    }

    /// Tells whether nothing is lost with it.
    pub(super) fn is_idle(&self) -> bool {
        let empty = self.queue.is_empty() && self.in_flight == 0 && self.place == Place::Aside;
        empty && self.rate.is_none()
    }

    /// Tells whether its endpoint or origin is left alone.
    pub(super) fn is_left_alone(&self, sites: &Sites) -> bool {
        self.subscription.as_ref().is_some_and(|it| sites.are_left_alone(&it.url))
    }

    /// Tells what its endpoint and origin allow. Where there is no subscription any more, nothing is sent to them.
    fn pass(&self, sites: &Sites, now: Timestamp) -> Pass {
        self.subscription.as_ref().map_or(Pass::Free, |it| sites.pass(&it.url, now))
    }

    /// Tells whether a delivery of a partition waits for nothing but its turn.
    pub(super) fn waits_for_slot(&self, partition: PartitionId, bounds: Bounds) -> bool {
        matches!(self.place, Place::InTurn(_))
            && !self.is_full(bounds)
            && self.queue.iter().any(|one| one.partition == partition)
    }

    /// Returns how many deliveries of a partition it holds up, because it has more than it sends soon, and how many of
    /// them it can spare.
    pub(super) fn holds_up(
        &self,
        partition: PartitionId,
        bounds: Bounds,
        now: Timestamp,
    ) -> (usize, usize) {
        let waiting = self.queue.iter().filter(|one| one.partition == partition).count();
        if self.interval(now).mul_f64(waiting as f64) < SLOW {
            return (0, 0);
        }
        (waiting, waiting.min(self.spare(bounds, now)))
    }

    fn spare(&self, bounds: Bounds, now: Timestamp) -> usize {
        self.queue.len().saturating_sub(self.keeps(bounds, now))
    }

    /// Takes the oldest deliveries of a partition out of the queue, at most so many, with the times at which the lane may
    /// be free for them. Those times grow for as long as the lane stays slow. What it can send soon stays.
    pub(super) fn make_room(
        &mut self,
        partition: PartitionId,
        most: usize,
        bounds: Bounds,
        now: Timestamp,
    ) -> Vec<(Delivery, Timestamp)> {
        self.overflows_since.get_or_insert(now);
        let (mut taken, mut kept) = (Vec::new(), VecDeque::new());
        let spare = self.spare(bounds, now).min(most);
        for delivery in std::mem::take(&mut self.queue) {
            if taken.len() < spare && delivery.partition == partition {
                let free_at = self.next_free(bounds.away, now);
                taken.push((delivery, free_at));
            } else {
                kept.push_back(delivery);
            }
        }
        self.queue = kept;
        taken
    }

    /// Returns until when one more delivery has to wait elsewhere, if the lane has enough.
    pub(super) fn overflow(&mut self, bounds: Bounds, now: Timestamp) -> Option<Timestamp> {
        self.overflows_since?;
        let keeps = self.keeps(bounds, now);
        let is_through = self.queue.len() * 2 < keeps;
        self.overflows_since = self.overflows_since.filter(|_| !is_through);
        let is_enough = self.overflows_since.is_some() && self.queue.len() >= keeps;
        is_enough.then(|| self.next_free(bounds.away, now))
    }

    /// Returns how many deliveries keep the lane busy until those that wait elsewhere can be back, as far as they don't
    /// take much of the bytes.
    fn keeps(&self, bounds: Bounds, now: Timestamp) -> usize {
        let back = 2.0 * bounds.away.as_secs_f64();
        // Infinite where nothing is known yet.
        let sent_until_then = (back / self.interval(now).as_secs_f64()) as usize;
        let bytes = self.queue.front().map_or(1, |first| first.bytes.max(1));
        let most = (2 * self.limit.get() as usize).min(bounds.bytes / 2 / bytes);
        sent_until_then.min(most).max(1)
    }

    fn next_free(&mut self, away: Duration, now: Timestamp) -> Timestamp {
        let earliest = self.free_at.max(tiers::add(now, away));
        let slow_for =
            self.overflows_since.map_or(Duration::ZERO, |since| tiers::until(now, since));
        let latest = tiers::add(now, slow_for.max(AWAY_MIN));
        self.free_at = tiers::add(earliest, self.interval(now)).min(latest);
        self.free_at
    }

    /// Returns the time between two ends, or what the time since the last one makes of it if that is longer.
    fn interval(&self, now: Timestamp) -> Duration {
        let since = tiers::until(now, self.landed_at);
        Duration::from_secs_f64(self.pace).max(since / self.in_flight.max(1))
    }
}

/// Returns what an attempt says of its endpoint; nothing if it didn't get there by our own fault.
fn experience(attempted: &Attempted) -> Option<Experience> {
    match &attempted.end {
        Ok(answer) => Some(match answer.status {
            429 => Experience::TooMuch,
            500.. => Experience::Troubled,
            _ => Experience::Answered(attempted.latency),
        }),
        Err(failure) => failure.reason.is_receivers().then_some(Experience::Troubled),
    }
}
