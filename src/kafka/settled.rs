//! What the group has settled, as its commits tell it: exactly, also between watermark and frontier.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use super::Connection;
use super::cluster::{ClusterError, Witness, ask};
use super::range::Topic;
use crate::domain::progress::PendingSet;
use crate::domain::record::{NextOffset, Offset};

/// What is settled of one topic.
pub struct Settled(BTreeMap<i32, (NextOffset, PendingSet)>);

impl Settled {
    /// Asks for the group's commits in a topic.
    ///
    /// # Errors
    /// The cluster can't be reached.
    pub fn of(connection: &Connection, topic: &Topic) -> Result<Self, ClusterError> {
        let config = &connection.config().kafka;
        let mut client = connection.table_reader();
        // It asks in the group's name and never joins it.
        client.set("group.id", &config.group_id);
        let consumer: BaseConsumer<Witness> = client.create_with_context(Witness::default())?;
        let serve = || drop(consumer.poll(Duration::from_millis(50)));
        let commits = ask(consumer.client(), serve, &config.bootstrap_servers, |within| {
            let mut list = TopicPartitionList::new();
            for partition in topic.partitions().keys() {
                list.add_partition(topic.name(), *partition);
            }
            let list = consumer.committed_offsets(list, within)?;
            let mut commits = BTreeMap::new();
            for element in list.elements() {
                element.error()?;
                if let KafkaOffset::Offset(next) = element.offset() {
                    let next = NextOffset(next);
                    let pending = PendingSet::decode(next, element.metadata());
                    commits.insert(element.partition(), (next, pending));
                }
            }
            Ok(commits)
        })?;
        Ok(Self(commits))
    }

    /// Returns the watermarks of the partitions that were ever committed: all before is settled.
    pub fn watermarks(&self) -> BTreeMap<i32, NextOffset> {
        self.0.iter().map(|(partition, (next, _))| (*partition, *next)).collect()
    }

    /// Tells whether all that follows from a record is delivered or written down.
    pub fn includes(&self, partition: i32, offset: Offset) -> bool {
        self.0.get(&partition).is_some_and(|(next, pending)| {
            let is_known = pending.frontier.includes(offset);
            next.includes(offset) || is_known && !pending.records.contains_key(&offset)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::progress::Pending;

    #[test]
    fn what_is_behind_the_watermark_is_settled_unless_it_is_pending() {
        let records =
            BTreeMap::from([(Offset(5), Pending::Whole), (Offset(7), Pending::Only(vec![]))]);
        let pending = PendingSet { frontier: NextOffset(9), records, cursor: None };
        let settled = Settled(BTreeMap::from([(0, (NextOffset(5), pending))]));
        let found: Vec<_> = (0..12).filter(|at| settled.includes(0, Offset(*at))).collect();
        assert_eq!(found, [0, 1, 2, 3, 4, 6, 8]);
        assert!(!settled.includes(1, Offset(0)), "of what was never committed nothing is known");
    }
}
