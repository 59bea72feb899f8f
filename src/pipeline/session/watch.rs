//! What a session looks after once a second: health, gauges, a ledger that has fallen silent, a group that has.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Joined, Session};
use crate::ops::health::{Readiness, Work};
use crate::ops::snapshot::Snapshot;
use crate::pipeline::membership::Membership;

/// How often health and gauges are brought up to date.
const TICK: Duration = Duration::from_secs(1);

/// How long the ledger may be silent about a batch while a broker is there. librdkafka's transaction calls can lose
/// their answer when the coordinator goes away (its issue 5456); then nothing helps but a new producer.
const LEDGER_SILENCE: Duration = Duration::from_secs(30);

/// How long the group may take, beyond a session, to take a member in while a broker is there. One that is gone without
/// a word is waited for as long as its session lasts, and partitions are handed over before it ends. A member that waits
/// for longer has lost an answer, as those that sat with a broker that stood still sometimes do, and would wait for good.
/// So long a session counts as one that worked: the process doesn't give up over a group that others hold up.
const OUTSIDE: Duration = Duration::from_secs(61);

impl Session<'_> {
    /// Ends the session when something has waited in vain for too long though a broker is there.
    pub(super) fn watch(&self) -> Result<(), String> {
        let now = Instant::now();
        // The batch counts as never written.
        if waits_in_vain([self.on_its_way, self.reachable_since], LEDGER_SILENCE, now) {
            return Err("the ledger lost a transaction while its coordinator was away".to_owned());
        }
        let bound = OUTSIDE + self.surroundings.connection.config().kafka.session();
        let mut outside =
            self.joined.iter().flat_map(Joined::members).map(Membership::outside_since);
        if outside.any(|since| waits_in_vain([since, self.reachable_since], bound, now)) {
            return Err("the group has not taken this member in".to_owned());
        }
        Ok(())
    }

    /// Brings health and gauges up to date.
    pub(super) fn tick(&mut self, now: Timestamp) {
        self.next_tick = Instant::now() + TICK;
        let members = || self.joined.iter().flat_map(Joined::members);
        let lags: Vec<_> = members().flat_map(Membership::lags).collect();
        let tiers = &self.surroundings.connection.config().topics.tiers;
        let snapshot = Snapshot::take(&self.engine, &lags, tiers, now);
        self.metrics.stand(&snapshot, self.engine.counts());
        let schemaless = self.surroundings.translator.waiting();
        self.metrics.waiting_for_schemas(schemaless);
        let readiness = Readiness {
            subscriptions_read: self.joined.is_some(),
            producer_initialised: self.producer_ready,
            partitions_assigned: self.joined.is_some() && members().all(Membership::is_assigned),
            broker_reachable: members().any(Membership::reaches_broker),
            registry_reachable: schemaless == 0,
        };
        if !readiness.broker_reachable {
            self.reachable_since = None;
        } else if self.reachable_since.is_none() {
            self.reachable_since = Some(Instant::now());
        }
        // Attempts that run within their deadlines are no stall, however slow their receivers are.
        let may_stall = readiness.broker_reachable && self.in_air_until < Instant::now();
        let work = if may_stall && self.engine.has_work() { Work::Waiting } else { Work::None };
        self.surroundings.health.report(readiness, snapshot, self.progress, work);
    }
}

/// Tells whether both have been so for longer than the bound: that something is waited for, and that a broker is there.
fn waits_in_vain(both: [Option<Instant>; 2], bound: Duration, now: Instant) -> bool {
    both.iter().all(|since| since.is_some_and(|since| now.duration_since(since) > bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(30);

    #[track_caller]
    fn check(waits: Option<u64>, reachable: Option<u64>, expected: bool) {
        let now = Instant::now() + Duration::from_secs(3600);
        let ago = |seconds| now - Duration::from_secs(seconds);
        assert_eq!(waits_in_vain([waits.map(ago), reachable.map(ago)], BOUND, now), expected);
    }

    #[test]
    fn what_waits_for_too_long_while_a_broker_is_there_waits_in_vain() {
        check(Some(31), Some(31), true);
        check(Some(30), Some(600), false);
    }

    #[test]
    fn nothing_waits_in_vain_for_a_broker_that_is_away_or_has_just_come_back() {
        check(Some(600), None, false);
        check(Some(600), Some(30), false);
    }

    #[test]
    fn who_waits_for_nothing_waits_for_nothing_in_vain() {
        check(None, Some(600), false);
    }
}
