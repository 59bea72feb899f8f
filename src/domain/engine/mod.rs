//! The engine: the whole decision of what is delivered when, what is written and what is committed.
//!
//! A shell tells it what happened (`record`, `attempted`, `batch_committed`, …) and asks what next (`poll_attempt`,
//! `poll_batch`, `poll_released`, `next_wake`). It never waits, sends or reads a clock; the same calls always give the
//! same answers, which is what the simulation lives on.
//!
//! The life of a delivery: its record waits in its partition's *backlog* until it is ready and the window has room;
//! it is admitted and *queued* in the lane of its subscription; it is in the *air* while an attempt runs; its *ending*
//! is gathered for the next batch, which settles it in the window. A batch is one transaction.

mod admission;
mod attempts;
mod batch;
mod capacity;
mod lanes;
mod partition;
mod room;
mod statuses;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BinaryHeap};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustc_hash::FxHashMap;

use super::decode::Translation;
use super::event::Event;
use super::expression::EvaluationError;
use super::headers::Trigger;
use super::outcome::RetryRules;
use super::progress::Seq;
use super::record::{NextOffset, Origin, Record, TopicPartition};
use super::registry::Registry;
use super::source::Sources;
use super::subscription::{Subscription, SubscriptionHash, SubscriptionId};
use super::tiers::Wheel;

use admission::Delayed;
pub use attempts::{Attempt, AttemptId};
use batch::Gathering;
pub use batch::{Batch, Change, Commit, Telling};
use capacity::Capacity;
pub use lanes::{Fairness, LaneCounts, Waiting};
use lanes::{LaneKey, Lanes};
use partition::Partition;
pub use partition::{PartitionId, Role, Sequel};
use statuses::Statuses;
pub use statuses::Troubled;

/// The most endings that wait for a batch; with so many, no attempt is started and no record taken up.
const ENDINGS_MAX: usize = 16_384;

/// The settings that the engine follows.
#[derive(Debug)]
pub struct Policy {
    /// The retry tiers.
    pub wheel: Wheel,
    /// What follows from attempts.
    pub retry: RetryRules,
    /// How event topics are read.
    pub sources: Sources,
    /// The most attempts that run at once.
    pub max_in_flight: usize,
    /// The most attempts to one subscription that run at once, whatever it says itself.
    pub max_in_flight_per_subscription: NonZeroU32,
    /// Between whom slots are shared evenly.
    pub fairness: Fairness,
    /// Dead letters in a row that disable a subscription; 0 is any number.
    pub disable_after: u32,
    /// The bytes of records, and of the bodies made of them, at which no more are taken up. A subscription has half of them
    /// in flight at most.
    pub max_bytes_in_flight: usize,
    /// The time that endings gather before they are written.
    pub commit_interval: Duration,
}

/// One delivery in the engine's hands.
#[derive(Debug)]
struct Delivery {
    partition: PartitionId,
    seq: Seq,
    hash: SubscriptionHash,
    subscription: SubscriptionId,
    event: Arc<Event>,
    trigger: Trigger,
    /// Attempts made so far.
    attempts: u32,
    first_at: Option<Timestamp>,
    /// The bytes of its record, given back when the record is done.
    bytes: usize,
    /// When it was admitted, and later when its attempt started.
    admitted_at: Timestamp,
    started_at: Option<Timestamp>,
}

/// How far one partition is.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// Which assignment this is.
    pub id: PartitionId,
    /// The partition.
    pub name: &'a TopicPartition,
    /// What its records are.
    pub role: Role,
    /// The first offset that isn't settled.
    pub watermark: NextOffset,
    /// Records that are taken up and not settled.
    pub open: usize,
    /// When the record at the watermark was taken up, if it is open.
    pub open_since: Option<Timestamp>,
}

/// What passed through the engine since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records taken up.
    pub records: u64,
    /// Tombstones, which are settled silently.
    pub tombstones: u64,
    /// Events that no subscription wanted.
    pub unmatched: u64,
    /// Events that a subscription's filter was not true of.
    pub filtered: u64,
    /// Events that a subscription's filter failed on, which is no match, by the kinds in [`EvaluationError::ALL`].
    pub filter_errors: [u64; EvaluationError::ALL.len()],
    /// Records that a former owner had settled.
    pub already_settled: u64,
    /// Ends of attempts whose partition was gone or had begun anew, or that came twice.
    pub stale: u64,
}

/// See the module.
pub struct Engine {
    policy: Policy,
    registry: Registry,
    statuses: Statuses,
    partitions: BTreeMap<PartitionId, Partition>,
    lanes: Lanes,
    capacity: Capacity,
    /// As many open records as a partition needs at present.
    enough: usize,
    /// The attempts that run, with the lanes that they are of.
    air: FxHashMap<AttemptId, (LaneKey, Delivery)>,
    /// Deliveries that are admitted and due within the shortest tier.
    delayed: BinaryHeap<Delayed>,
    delayed_so_far: u64,
    gathering: Gathering,
    last_partition: u64,
    last_attempt: u64,
    counts: Counts,
}

impl Engine {
    /// Makes an engine that knows no subscription and owns no partition.
    pub fn new(policy: Policy) -> Self {
        let lanes = Lanes::new(&policy);
        let capacity = Capacity::new(policy.max_in_flight);
        Self {
            policy,
            registry: Registry::default(),
            statuses: Statuses::default(),
            partitions: BTreeMap::new(),
            lanes,
            capacity,
            enough: usize::MAX,
            air: FxHashMap::default(),
            delayed: BinaryHeap::new(),
            delayed_so_far: 0,
            gathering: Gathering::default(),
            last_partition: 0,
            last_attempt: 0,
            counts: Counts::default(),
        }
    }

    /// Takes over a subscription's new definition.
    pub fn put_subscription(&mut self, subscription: Arc<Subscription>, now: Timestamp) {
        let id = subscription.id.clone();
        self.lanes.renew(&id, Some(&subscription));
        self.registry.put(subscription);
        self.heal_subscription(&id, now);
    }

    /// Forgets a subscription that was deleted.
    pub fn remove_subscription(&mut self, id: &SubscriptionId, now: Timestamp) {
        self.registry.remove(id);
        self.lanes.renew(id, None);
        self.heal_subscription(id, now);
    }

    /// Takes over a partition at the position and metadata that were committed for it.
    ///
    /// The id is new for each assignment, so that what is late for an earlier one can't be mistaken.
    pub fn assign(
        &mut self,
        name: TopicPartition,
        role: Role,
        committed: NextOffset,
        metadata: &str,
    ) -> PartitionId {
        self.last_partition += 1;
        let id = PartitionId(self.last_partition);
        let source = self.policy.sources.of(&name.topic);
        self.partitions.insert(id, Partition::new(name, role, source, committed, metadata));
        id
    }

    /// Begins anew with a partition whose log was cut: its records from there on are others than before. What is open
    /// before the cut is taken up once more: the partition goes on at the position that is returned. What has ended stands,
    /// written or not, and so do the statuses that an audit partition has made.
    pub fn begin_anew(&mut self, id: PartitionId, cut: NextOffset) -> NextOffset {
        self.stop_deliveries(id);
        let partition = self.partition(id);
        let held = partition.bytes;
        let next = partition.begin_anew(cut);
        self.gathering.free(held);
        next
    }

    /// Tells whether a partition takes a record now. None does before the subscriptions are read, and one that is on its
    /// way out never does.
    pub fn has_room(&self, id: PartitionId) -> bool {
        let is_short = self.is_short_of_bytes();
        self.statuses.is_read()
            && self.gathering.len() < ENDINGS_MAX
            && self.gathering.tellings() < ENDINGS_MAX
            && self.partitions.get(&id).is_some_and(|partition| {
                // What is read of the audit topic is held by nobody.
                partition.has_room() && (!is_short || partition.role() == Role::Audit)
            })
    }

    /// Takes note that there is a record for a partition that takes none now.
    pub fn wants_room(&mut self, id: PartitionId) {
        if let Some(partition) = self.partitions.get_mut(&id) {
            partition.wants_room = true;
        }
    }

    fn is_short_of_bytes(&self) -> bool {
        self.gathering.held() >= self.policy.max_bytes_in_flight
    }

    /// Returns the first offset of a partition that wasn't taken up.
    pub fn position(&self, id: PartitionId) -> Option<NextOffset> {
        self.partitions.get(&id).map(|partition| partition.window.next())
    }

    /// Tells how a record follows those of a partition that were taken up.
    pub fn sequel(&self, id: PartitionId, origin: &Origin) -> Sequel {
        let partition = self.partitions.get(&id);
        partition.map_or(Sequel::Next, |partition| partition.sequel(origin))
    }

    /// Tells whether a schema has to say what a record holds before it is taken up; then it comes by
    /// [`Engine::translated`].
    pub fn needs_schema(&self, id: PartitionId, record: &Record) -> bool {
        let partition = self.partitions.get(&id);
        partition.is_some_and(|partition| partition.needs_schema(record, &self.policy))
    }

    /// Takes up a record of a partition that has room. Records come in the order of their offsets.
    pub fn record(&mut self, id: PartitionId, record: Record, now: Timestamp) {
        self.take_up(id, record, None, now);
    }

    /// Takes up a record together with what its schema makes of it; see [`Engine::record`].
    pub fn translated(
        &mut self,
        id: PartitionId,
        record: Record,
        translation: Translation,
        now: Timestamp,
    ) {
        self.take_up(id, record, Some(translation), now);
    }

    fn take_up(
        &mut self,
        id: PartitionId,
        record: Record,
        translation: Option<Translation>,
        now: Timestamp,
    ) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        self.counts.records += 1;
        partition.take_up(record, translation, &self.policy, &mut self.counts);
        self.admit(id, now);
    }

    /// Starts to let go of a partition: nothing more is started for it.
    ///
    /// What waits stays pending in the window, and so in its commits: the next owner makes those deliveries.
    /// [`Engine::poll_released`] names the partition once what was in the air has ended and is committed.
    pub fn revoke(&mut self, id: PartitionId) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        partition.drain();
        self.stop_waiting(id);
    }

    /// Drops the deliveries of a partition that wait.
    fn stop_waiting(&mut self, id: PartitionId) {
        self.lanes.purge(id);
        self.delayed.retain(|delayed| delayed.delivery.partition != id);
    }

    /// Drops all deliveries of a partition. How those in the air end is of no interest any more.
    fn stop_deliveries(&mut self, id: PartitionId) {
        self.stop_waiting(id);
        let gone = self.air.extract_if(|_, (_, delivery)| delivery.partition == id);
        for (_, (lane, delivery)) in gone {
            self.lanes.abandoned(lane, &delivery);
        }
    }

    /// Forgets a partition at once: it is lost, or letting go took too long.
    ///
    /// What ends for it later changes nothing and is counted.
    pub fn abandon(&mut self, id: PartitionId) {
        let Some(partition) = self.partitions.remove(&id) else { return };
        let endings = self.gathering.drop_partition(id);
        self.counts.stale += endings as u64;
        self.gathering.free(partition.bytes);
        self.stop_deliveries(id);
    }

    /// Returns the next partition that has been let go of: all that was done for it is committed.
    pub fn poll_released(&mut self) -> Option<PartitionId> {
        let released = |id: &PartitionId, partition: &Partition| {
            partition.is_drained() && !self.gathering.concerns(*id)
        };
        let (id, _) = self.partitions.iter().find(|(id, partition)| released(id, partition))?;
        let id = *id;
        let partition = self.partitions.remove(&id).expect("it was just found");
        self.gathering.free(partition.bytes);
        Some(id)
    }

    fn partition(&mut self, id: PartitionId) -> &mut Partition {
        let partition = self.partitions.get_mut(&id);
        partition.expect("what is in hand belongs to a partition that is here")
    }

    /// Returns when the engine wants to be asked again, if nothing happens before.
    pub fn next_wake(&self, now: Timestamp) -> Option<Timestamp> {
        let heads = self.partitions.values().filter_map(|partition| partition.head.as_ref());
        let ready = heads.map(|head| head.ready_at);
        let delayed = self.delayed.peek().map(|delayed| delayed.due);
        let moving = self.partitions.values().filter(|partition| partition.has_more_to_move);
        let looks = moving.map(|partition| partition.next_look);
        let others = delayed.into_iter().chain(self.lanes.next_wake()).chain(self.batch_due());
        ready.chain(looks).chain(others).filter(|at| *at > now).min()
    }

    /// Returns what passed through.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns how many attempts run.
    pub fn in_flight(&self) -> usize {
        self.air.len()
    }

    /// Returns how many attempts may run at once at present.
    pub fn capacity(&self) -> usize {
        self.capacity.get()
    }

    /// Takes note of the share of their time, 0 to 1, that the threads which make attempts were at work since the last
    /// call, `span` ago. To be called some tens of times a second while attempts run.
    pub fn worked(&mut self, share: f64, span: Duration) {
        self.capacity.worked(share, span, self.air.len());
    }

    /// Tells whether something is in hand that should move. What isn't due yet should not.
    pub fn has_work(&self) -> bool {
        !self.air.is_empty() || self.lanes.is_in_turn() || self.gathering.is_waiting()
    }

    /// Counts the lanes, by what they do.
    pub fn lanes(&self) -> LaneCounts {
        self.lanes.counts()
    }

    /// Returns how many deliveries wait in lanes.
    pub fn queued(&self) -> usize {
        self.lanes.queued()
    }

    /// Tells what those wait for.
    pub fn waiting(&self) -> Waiting {
        self.lanes.waiting()
    }

    /// Returns the subscriptions that somebody should look after: failing, disabled for it, or invalid. In no order.
    pub fn troubled(&self) -> impl Iterator<Item = Troubled<'_>> {
        self.statuses.troubled(&self.registry)
    }

    /// Returns the subscriptions in use and those that can't be used.
    pub fn subscriptions(&self) -> (&Registry, usize) {
        (&self.registry, self.statuses.invalid())
    }

    /// Returns the bytes of records in hand and of the bodies made of them.
    pub fn bytes(&self) -> usize {
        self.gathering.held()
    }

    /// Returns how far each partition in hand is.
    pub fn standings(&self) -> impl Iterator<Item = Standing<'_>> {
        self.partitions.iter().map(|(id, partition)| Standing {
            id: *id,
            name: partition.name(),
            role: partition.role(),
            watermark: partition.window.watermark(),
            open: partition.window.unsettled() + usize::from(partition.head.is_some()),
            open_since: partition.window.open_since(),
        })
    }
}
