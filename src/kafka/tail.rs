//! A tail: records of some topics as they come, from the first, from now on, or from where a range has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};

use super::Connection;
use super::context::{LogContext, client_error};
use super::record::record;
use crate::domain::record::{NextOffset, Record};

/// How long the cluster may take to tell of a topic.
const ASK: Duration = Duration::from_secs(10);

/// Where a tail starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// At the first record.
    First,
    /// Behind the last record there is.
    End,
}

/// Reads topics without a group; nothing is committed.
pub struct Tail {
    consumer: BaseConsumer<LogContext>,
}

impl Tail {
    /// Stands in every partition of these topics.
    ///
    /// # Errors
    /// The cluster doesn't tell of a topic.
    pub fn start<'t>(
        connection: &Connection,
        topics: impl IntoIterator<Item = &'t str>,
        from: From,
    ) -> KafkaResult<Self> {
        let consumer: BaseConsumer<LogContext> =
            connection.table_reader().create_with_context(LogContext)?;
        let mut list = TopicPartitionList::new();
        for topic in topics {
            let metadata = consumer.fetch_metadata(Some(topic), ASK)?;
            for partition in metadata.topics().iter().flat_map(|found| found.partitions()) {
                let id = partition.id();
                let offset = match from {
                    From::First => Offset::Beginning,
                    From::End => Offset::Offset(consumer.fetch_watermarks(topic, id, ASK)?.1),
                };
                list.add_partition_offset(topic, id, offset)?;
            }
        }
        consumer.assign(&list)?;
        Ok(Self { consumer })
    }

    /// Goes on in one topic where a [`Range`](super::range::Range) has ended.
    ///
    /// # Errors
    /// The client can't be made from its settings.
    pub fn resume(
        connection: &Connection,
        topic: &str,
        positions: &BTreeMap<i32, NextOffset>,
    ) -> KafkaResult<Self> {
        let consumer: BaseConsumer<LogContext> =
            connection.table_reader().create_with_context(LogContext)?;
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (partition, next) in positions {
            list.add_partition_offset(topic, *partition, Offset::Offset(next.0))?;
        }
        consumer.assign(&list)?;
        Ok(Self { consumer })
    }

    /// Returns the next record, if one comes within this time.
    pub fn next(&self, within: Duration) -> Option<Record> {
        match self.consumer.poll(within)? {
            Ok(message) => Some(record(&message, None)),
            Err(KafkaError::PartitionEOF(_)) => None,
            Err(error) => {
                client_error(&error, "topics can't be read for now");
                None
            }
        }
    }
}
