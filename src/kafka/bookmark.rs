//! How far a command is that may be ended at any time and given again.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::Connection;
use super::cluster::{ClusterError, Witness, ask};
use crate::domain::record::{NextOffset, TopicPartition};

/// A position, and what is kept beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The partition.
    pub name: TopicPartition,
    /// Where reading goes on.
    pub next: NextOffset,
    /// What is kept beside it, at most 4096 bytes.
    pub metadata: String,
}

/// The positions of a command that may be ended at any time and given again: a group that has no members.
pub struct Bookmark<'c> {
    consumer: BaseConsumer<Witness>,
    servers: &'c str,
}

impl<'c> Bookmark<'c> {
    /// Makes the client of the one who writes positions of a group: transactions that are about to end are waited for.
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// librdkafka refuses the settings.
    pub fn of_group(connection: &Connection<'c>, group: &str) -> Result<Self, ClusterError> {
        Self::make(connection, group, "read_committed")
    }

    /// Makes the client of one who only looks: it doesn't wait for a transaction that somebody left open.
    ///
    /// # Errors
    /// librdkafka refuses the settings.
    pub fn peek(connection: &Connection<'c>, group: &str) -> Result<Self, ClusterError> {
        Self::make(connection, group, "read_uncommitted")
    }

    /// The isolation level says whether the broker tells a position while another may be committed at any moment; one that
    /// isn't committed is never told.
    fn make(
        connection: &Connection<'c>,
        group: &str,
        isolation: &str,
    ) -> Result<Self, ClusterError> {
        let mut client = connection.table_reader();
        client.set("group.id", group);
        client.set("isolation.level", isolation);
        let servers = connection.config().kafka.bootstrap_servers.as_str();
        Ok(Self { consumer: client.create_with_context(Witness::default())?, servers })
    }

    /// Returns the positions of those partitions that have one.
    ///
    /// # Errors
    /// The cluster can't be reached, or refuses to tell.
    pub fn positions(&self, names: &[TopicPartition]) -> Result<Vec<Position>, ClusterError> {
        let serve = || drop(self.consumer.poll(Duration::ZERO));
        let found = ask(self.consumer.client(), serve, self.servers, |within| {
            let mut list = TopicPartitionList::with_capacity(names.len());
            for name in names {
                list.add_partition(&name.topic, name.partition);
            }
            self.consumer.committed_offsets(list, within)
        })?;
        let elements = found.elements();
        let position = |name: &TopicPartition| {
            let element = elements.iter().find(|element| {
                element.topic() == &*name.topic && element.partition() == name.partition
            })?;
            let Offset::Offset(next) = element.offset() else { return None };
            let (next, metadata) = (NextOffset(next), element.metadata().to_owned());
            Some(Position { name: name.clone(), next, metadata })
        };
        Ok(names.iter().filter_map(position).collect())
    }

    pub(super) fn group(&self) -> ConsumerGroupMetadata {
        self.consumer.group_metadata().expect("the client has a group")
    }
}

/// Returns positions as the client takes them.
pub(super) fn list(positions: &[Position]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for Position { name, next, metadata } in positions {
        let mut element = list.add_partition(&name.topic, name.partition);
        element.set_offset(Offset::Offset(next.0))?;
        element.set_metadata(metadata);
    }
    Ok(list)
}
