//! What a session looks after once a second: health, gauges, and a ledger that has fallen silent.

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

impl Session<'_> {
    /// Ends the session when the ledger has lost its batch. The batch counts as never written.
    pub(super) fn watch_ledger(&self) -> Result<(), String> {
        let silent =
            |since: Option<Instant>| since.is_some_and(|since| since.elapsed() > LEDGER_SILENCE);
        if silent(self.on_its_way) && silent(self.reachable_since) {
            return Err("the ledger lost a transaction while its coordinator was away".to_owned());
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
