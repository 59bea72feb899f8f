//! Where partitions were left, and where one starts that never was.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::consumer::Part;
use crate::config::Config;
use crate::domain::record::{NextOffset, TopicPartition};

/// How long one question to the cluster may take.
const ASK: Duration = Duration::from_secs(10);

/// Where a partition was left.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The partition.
    pub name: TopicPartition,
    /// The first offset that isn't settled.
    pub next: NextOffset,
    /// What is pending behind it.
    pub metadata: String,
}

/// Where a partition that was never committed starts.
#[derive(Clone, Copy)]
pub(super) enum Start {
    First,
    BehindLast,
}

impl Start {
    /// Events start where the user says. What waits is owed, all of it.
    pub(super) fn of(config: &Config, part: Part) -> Self {
        match (part, config.kafka.properties.get("auto.offset.reset")) {
            (Part::Events, Some("latest" | "largest" | "end")) => Self::BehindLast,
            _ => Self::First,
        }
    }
}

/// Returns where partitions were left; one that never was starts where `auto.offset.reset` says.
pub(super) fn committed<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    start: Start,
    names: &[TopicPartition],
) -> KafkaResult<Vec<Committed>> {
    let mut list = TopicPartitionList::with_capacity(names.len());
    for name in names {
        list.add_partition(&name.topic, name.partition);
    }
    let list = consumer.committed_offsets(list, ASK)?;
    let mut answers = Vec::with_capacity(names.len());
    for element in list.elements() {
        element.error()?;
        let name = TopicPartition { topic: element.topic().into(), partition: element.partition() };
        let (next, metadata) = match element.offset() {
            Offset::Offset(next) => (NextOffset(next), element.metadata().to_owned()),
            _ => (first(consumer, start, &name)?, String::new()),
        };
        answers.push(Committed { name, next, metadata });
    }
    Ok(answers)
}

fn first<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    start: Start,
    name: &TopicPartition,
) -> KafkaResult<NextOffset> {
    let (low, high) = consumer.fetch_watermarks(&name.topic, name.partition, ASK)?;
    Ok(NextOffset(match start {
        Start::First => low,
        Start::BehindLast => high,
    }))
}
