//! Batches: what is written and committed together, in one Kafka transaction.
//!
//! Endings gather while a batch is on its way, so that the next one takes them all. A batch that was aborted comes
//! back and its endings are gathered again, ahead of the newer ones: the requests were made and are not made again.

use std::time::Duration;

use jiff::Timestamp;
use rustc_hash::FxHashSet;

use super::Engine;
use super::partition::{Partition, PartitionId, Role};
use crate::domain::ending::Ending;
use crate::domain::record::{NextOffset, TopicPartition};
use crate::domain::status::{State, Status};
use crate::domain::subscription::SubscriptionId;
use crate::domain::tiers;

/// The endings with which a batch doesn't wait for the interval.
const FULL: usize = 4_096;

/// Positions that nothing waits for are committed once in so many intervals: how far records were passed over, and how
/// far the audit topic was read that tells of nothing new.
const SILENT_INTERVALS: u32 = 20;

/// The wait after the first abort; it doubles with each further one, up to [`BACKOFF_MAX`].
const BACKOFF: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// What is written in one transaction.
#[derive(Debug)]
pub struct Batch {
    /// Endings in the order in which they came.
    pub endings: Vec<(PartitionId, Ending)>,
    /// The positions that are true once the endings are written.
    pub commits: Vec<Commit>,
    /// What the status topic is to say.
    pub statuses: Vec<Telling>,
    bytes: Vec<(PartitionId, usize)>,
}

/// What the status topic is to say of a subscription.
#[derive(Clone, Debug)]
pub struct Telling {
    /// The partition whose owner tells it; it holds only together with that partition's position.
    owner: PartitionId,
    /// Which subscription.
    pub id: SubscriptionId,
    /// Its status; `None` deletes.
    pub status: Option<Status>,
    /// What is new about it.
    pub change: Change,
}

/// What is new about a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The state, or the reason for it.
    State,
    /// Only the count.
    Count,
}

impl Telling {
    /// Tells what follows from a definition.
    pub(super) fn corrected(
        owner: PartitionId,
        id: SubscriptionId,
        status: Option<Status>,
    ) -> Self {
        Self { owner, id, status, change: Change::State }
    }

    /// Tells what was folded from the owner's records.
    pub(super) fn folded(
        owner: PartitionId,
        id: SubscriptionId,
        before: Option<&Status>,
        status: &Status,
    ) -> Self {
        let same = |before: &Status| before.state == status.state && before.reason == status.reason;
        // What nobody has heard of is active.
        let is_known = before.map_or(status.state == State::Active, same);
        let change = if is_known { Change::Count } else { Change::State };
        Self { owner, id, status: Some(status.clone()), change }
    }
}

/// A position to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Which assignment it is for.
    pub partition: PartitionId,
    /// The partition.
    pub name: TopicPartition,
    /// What its records are.
    pub role: Role,
    /// The first offset that isn't settled.
    pub next: NextOffset,
    /// What is pending behind it.
    pub metadata: String,
}

/// The endings that wait for their batch, what is known of the one on its way, and the bytes that are held until then.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    endings: Vec<(PartitionId, Ending)>,
    statuses: Vec<Telling>,
    /// Bytes of the records in hand and of the bodies made of them.
    held: usize,
    /// Those of them that are free once what is gathered has been committed.
    bytes: Vec<(PartitionId, usize)>,
    /// The partitions of the batch that is on its way; `None` when there is none.
    on_its_way: Option<Vec<PartitionId>>,
    /// When the last batch was handed out, and the last one with all positions.
    last: Option<Timestamp>,
    last_of_all: Option<Timestamp>,
    /// Aborts since the last commit, and when to try again.
    aborts: u32,
    not_before: Option<Timestamp>,
}

impl Gathering {
    /// Gathers an ending.
    pub(super) fn push(&mut self, id: PartitionId, ending: Ending) {
        self.endings.push((id, ending));
    }

    /// Gathers what the status topic is to say of a subscription.
    ///
    /// A count takes the place of the one just before it; changes of the state are all written.
    pub(super) fn tell(&mut self, telling: Telling) {
        let is_same = |last: &Telling| last.id == telling.id && last.owner == telling.owner;
        match self.statuses.last_mut() {
            Some(last) if telling.change == Change::Count && is_same(last) => {
                last.status = telling.status;
            }
            _ => self.statuses.push(telling),
        }
    }

    /// Returns how many statuses wait to be written.
    pub(super) fn tellings(&self) -> usize {
        self.statuses.len()
    }

    pub(super) fn len(&self) -> usize {
        self.endings.len()
    }

    /// Tells whether there are endings that aren't committed.
    pub(super) fn is_waiting(&self) -> bool {
        self.on_its_way.is_some() || !self.endings.is_empty()
    }

    /// Returns the bytes that are held.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Holds the bytes of a record that is taken up.
    pub(super) fn hold(&mut self, bytes: usize) {
        self.held += bytes;
    }

    /// Frees bytes that nobody holds any more.
    pub(super) fn free(&mut self, bytes: usize) {
        self.held -= bytes;
    }

    /// Frees bytes of a partition's endings once these are committed.
    pub(super) fn free_later(&mut self, id: PartitionId, bytes: usize) {
        match self.bytes.iter_mut().find(|(other, _)| *other == id) {
            Some((_, sum)) => *sum += bytes,
            None => self.bytes.push((id, bytes)),
        }
    }

    /// Tells whether a partition is part of what is gathered or on its way.
    pub(super) fn concerns(&self, id: PartitionId) -> bool {
        let on_its_way = self.on_its_way.iter().flatten().any(|other| *other == id);
        on_its_way || self.endings.iter().any(|(other, _)| *other == id)
    }

    /// Forgets what was gathered for a partition, and returns how many endings that were.
    pub(super) fn drop_partition(&mut self, id: PartitionId) -> usize {
        let before = self.endings.len();
        self.endings.retain(|(other, _)| *other != id);
        self.statuses.retain(|telling| telling.owner != id);
        let bytes = self.bytes.iter().find(|(other, _)| *other == id).map_or(0, |(_, sum)| *sum);
        self.bytes.retain(|(other, _)| *other != id);
        self.free(bytes);
        before - self.endings.len()
    }
}

impl Engine {
    /// Returns the next batch to write, when it is time for one and none is on its way.
    pub fn poll_batch(&mut self, now: Timestamp) -> Option<Batch> {
        if self.batch_due().is_none_or(|due| due > now) {
            return None;
        }
        let endings = std::mem::take(&mut self.gathering.endings);
        let bytes = std::mem::take(&mut self.gathering.bytes);
        let statuses = std::mem::take(&mut self.gathering.statuses);
        let is_of_all = self.all_due() <= now;
        let telling: FxHashSet<_> = statuses.iter().map(|telling| telling.owner).collect();
        let told = self.partitions.iter_mut().filter(|(id, partition)| {
            partition.dirty && (is_of_all || !partition.can_wait() || telling.contains(id))
        });
        let commits = told.map(|(id, partition)| partition.commit(*id)).collect::<Vec<_>>();
        let concerned = commits.iter().map(|commit| commit.partition).collect();
        self.gathering.on_its_way = Some(concerned);
        self.gathering.last = Some(now);
        if is_of_all {
            self.gathering.last_of_all = Some(now);
        }
        Some(Batch { endings, commits, statuses, bytes })
    }

    /// Takes note that the batch on its way was committed.
    pub fn batch_committed(&mut self, batch: &Batch) {
        let concerned = self.gathering.on_its_way.take();
        assert!(concerned.is_some(), "a batch was committed that wasn't on its way");
        self.gathering.aborts = 0;
        self.gathering.not_before = None;
        self.gathering.free(batch.bytes.iter().map(|(_, bytes)| bytes).sum());
    }

    /// Takes back the batch on its way, of which nothing was committed.
    ///
    /// Endings of partitions that are gone meanwhile are dropped: their new owner makes those deliveries.
    pub fn batch_aborted(&mut self, batch: Batch, now: Timestamp) {
        let concerned = self.gathering.on_its_way.take();
        let concerned = concerned.expect("a batch was aborted that wasn't on its way");
        for id in concerned {
            if let Some(partition) = self.partitions.get_mut(&id) {
                partition.dirty = true;
            }
        }
        let came = batch.endings.len();
        let mut endings = batch.endings;
        endings.retain(|(id, _)| self.partitions.contains_key(id));
        self.counts.stale += (came - endings.len()) as u64;
        endings.append(&mut self.gathering.endings);
        self.gathering.endings = endings;
        let mut statuses = batch.statuses;
        statuses.retain(|telling| self.partitions.contains_key(&telling.owner));
        let newer = std::mem::replace(&mut self.gathering.statuses, statuses);
        self.gathering.statuses.extend(newer);
        for (id, bytes) in batch.bytes {
            if self.partitions.contains_key(&id) {
                self.gathering.free_later(id, bytes);
            } else {
                self.gathering.free(bytes);
            }
        }
        let wait = BACKOFF.saturating_mul(1 << self.gathering.aborts.min(16)).min(BACKOFF_MAX);
        self.gathering.aborts += 1;
        self.gathering.not_before = Some(tiers::add(now, wait));
    }

    /// Returns when the next batch is due; `None` while one is on its way or there is nothing to tell.
    pub(super) fn batch_due(&self) -> Option<Timestamp> {
        let gathering = &self.gathering;
        let dirty = self.partitions.values().any(|partition| partition.dirty);
        let is_silent = gathering.endings.is_empty() && gathering.statuses.is_empty();
        if gathering.on_its_way.is_some() || (is_silent && !dirty) {
            return None;
        }
        let urgent = gathering.endings.len() >= FULL
            || self.partitions.values().any(Partition::awaits_last_commit);
        let due = match gathering.last {
            Some(_) if !urgent && is_silent => self.all_due(),
            Some(last) if !urgent => tiers::add(last, self.policy.commit_interval),
            _ => Timestamp::MIN,
        };
        Some(due.max(gathering.not_before.unwrap_or(Timestamp::MIN)))
    }

    /// Returns when all positions are to be committed, also those that nothing waits for.
    fn all_due(&self) -> Timestamp {
        let wait = self.policy.commit_interval.saturating_mul(SILENT_INTERVALS);
        self.gathering.last_of_all.map_or(Timestamp::MIN, |last| tiers::add(last, wait))
    }
}

impl Partition {
    fn commit(&mut self, id: PartitionId) -> Commit {
        self.dirty = false;
        let (next, metadata) = self.window.commit();
        Commit { partition: id, name: self.name().clone(), role: self.role(), next, metadata }
    }
}
