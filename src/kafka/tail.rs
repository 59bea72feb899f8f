//! A tail: records of some topics as they come, from the first.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};

use super::Connection;
use super::context::{LogContext, client_error};
use super::record::record;
use crate::domain::record::Record;

/// How long the cluster may take to tell of a topic.
const ASK: Duration = Duration::from_secs(10);

/// Reads topics without a group; nothing is committed.
pub struct Tail {
    consumer: BaseConsumer<LogContext>,
}

impl Tail {
    /// Starts at the first record of every partition of these topics.
    ///
    /// # Errors
    /// The cluster doesn't tell of a topic.
    pub fn start<'t>(
        connection: &Connection,
        topics: impl IntoIterator<Item = &'t str>,
    ) -> KafkaResult<Self> {
        let consumer: BaseConsumer<LogContext> =
            connection.table_reader().create_with_context(LogContext)?;
        let mut list = TopicPartitionList::new();
        for topic in topics {
            let metadata = consumer.fetch_metadata(Some(topic), ASK)?;
            for partition in metadata.topics().iter().flat_map(|found| found.partitions()) {
                list.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
            }
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
