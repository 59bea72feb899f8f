//! The simulated cluster: logs, committed positions, transactions that happen or don't.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use kafka_webhooks::domain::ending::{Destination, Publication};
use kafka_webhooks::domain::engine::Commit;
use kafka_webhooks::domain::progress::Window;
use kafka_webhooks::domain::record::{NextOffset, Offset, Origin, Record, TopicPartition};

/// The retry tiers of the simulation, in seconds.
pub const TIERS: [u64; 3] = [1, 5, 30];

/// A position and what is pending behind it.
pub type Position = (NextOffset, String);

/// Logs by partition, and positions by partition.
pub struct Cluster {
    logs: BTreeMap<TopicPartition, Vec<Record>>,
    committed: BTreeMap<TopicPartition, Position>,
    next_partition: i32,
    partitions: i32,
}

impl Cluster {
    /// Makes a cluster with as many partitions in each topic.
    pub fn new(partitions: i32) -> Self {
        let topics = ["events", "deliver"]
            .map(Arc::from)
            .into_iter()
            .chain((0..TIERS.len()).map(tier_topic));
        let mut logs = BTreeMap::new();
        for topic in topics {
            for partition in 0..partitions {
                logs.insert(TopicPartition { topic: topic.clone(), partition }, Vec::new());
            }
        }
        Self { logs, committed: BTreeMap::new(), next_partition: 0, partitions }
    }

    /// Returns the names of all partitions.
    pub fn partitions(&self) -> Vec<TopicPartition> {
        self.logs.keys().cloned().collect()
    }

    /// Appends a record; `gap` offsets before it belong to nobody, as after compaction or a transaction's marker.
    pub fn append(
        &mut self,
        topic: &str,
        gap: i64,
        now: Timestamp,
        publication: Publication,
    ) -> Origin {
        self.next_partition = (self.next_partition + 1) % self.partitions;
        let name = TopicPartition { topic: topic.into(), partition: self.next_partition };
        let log = self.logs.get_mut(&name).expect("the topic exists");
        let next = log.last().map_or(0, |record| record.origin.offset.0 + 1);
        let TopicPartition { topic, partition } = name;
        let origin = Origin { topic, partition, offset: Offset(next + gap), timestamp: now };
        let Publication { key, value, headers, .. } = publication;
        log.push(Record { origin: origin.clone(), key, value, headers });
        origin
    }

    /// Writes what a committed transaction holds.
    pub fn publish(&mut self, publication: Publication, gap: i64, now: Timestamp) {
        match publication.to {
            Destination::Tier(tier) => {
                self.append(&tier_topic(tier.0), gap, now, publication);
            }
            Destination::Audit | Destination::DeadLetter => {}
        }
    }

    /// Returns the first record at or behind a position.
    pub fn fetch(&self, name: &TopicPartition, position: NextOffset) -> Option<Record> {
        let log = &self.logs[name];
        let index = log.partition_point(|record| position.includes(record.origin.offset));
        log.get(index).cloned()
    }

    /// Returns all records of a partition.
    pub fn log(&self, name: &TopicPartition) -> &[Record] {
        &self.logs[name]
    }

    /// Loses the end of a log. Of what was committed is left what is true of the rest, as if it told in which leader's time
    /// it was committed.
    pub fn cut(&mut self, name: &TopicPartition, cut: NextOffset) {
        let log = self.logs.get_mut(name).expect("the topic exists");
        log.retain(|record| cut.includes(record.origin.offset));
        if let Some(position) = self.committed.get_mut(name) {
            *position = Window::new(position.0, &position.1).commit_before(cut);
        }
    }

    /// Returns where a partition was left.
    pub fn committed(&self, name: &TopicPartition) -> Position {
        self.committed.get(name).cloned().unwrap_or((NextOffset(0), String::new()))
    }

    /// Commits positions.
    pub fn commit(&mut self, commits: &[Commit]) {
        for Commit { name, next, metadata, .. } in commits {
            self.committed.insert(name.clone(), (*next, metadata.clone()));
        }
    }
}

/// Returns the name of a tier's topic.
pub fn tier_topic(tier: usize) -> Arc<str> {
    format!("tier-{tier}").into()
}
