//! Reads a topic from its start, as a reader with `isolation.level=read_committed` sees it.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::record::Record;

/// How long one look for an answer, or for the next record, lasts.
const LOOK: Duration = Duration::from_millis(100);

/// Returns the settings of a client that notices soon when a broker comes back and never commits.
pub fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        // A consumer needs a group to be assigned partitions; it never joins it.
        .set("group.id", "flow-test-reader")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "50")
        .set("fetch.message.max.bytes", "10485760")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "500");
    config
}

/// Stands somewhere in a topic and remembers what it has read.
pub struct Reader {
    consumer: BaseConsumer,
    topic: String,
    records: Vec<Record>,
    /// The partitions that were read to their end at least once.
    ended: BTreeSet<i32>,
    partitions: usize,
    deadline: Instant,
    timeout: Duration,
}

impl Reader {
    /// Waits until the topic exists and stands at the start of all its partitions.
    ///
    /// `timeout` bounds everything this reader does.
    pub fn open(bootstrap: &str, topic: &str, timeout: Duration) -> Self {
        let deadline = Instant::now() + timeout;
        let consumer: BaseConsumer =
            client(bootstrap).create().expect("the settings of a reader are valid");
        let partitions = partitions(&consumer, topic, deadline);
        let mut assignment = TopicPartitionList::new();
        for &partition in &partitions {
            assignment
                .add_partition_offset(topic, partition, Offset::Beginning)
                .expect("the beginning is an offset");
        }
        consumer
            .assign(&assignment)
            .unwrap_or_else(|error| panic!("{topic} can't be read: {error}"));
        Self {
            consumer,
            topic: topic.to_owned(),
            records: Vec::new(),
            ended: BTreeSet::new(),
            partitions: partitions.len(),
            deadline,
            timeout,
        }
    }

    /// Reads to the end that each partition has when it is reached, and returns everything by partition and offset.
    pub fn read_to_end(mut self) -> Vec<Record> {
        while self.ended.len() < self.partitions {
            self.read_on();
            assert!(
                Instant::now() < self.deadline,
                "{} was not read to its end within {:?}: {} of {} partitions; {}",
                self.topic,
                self.timeout,
                self.ended.len(),
                self.partitions,
                self.seen()
            );
        }
        self.sorted()
    }

    /// Follows the topic until the predicate holds for all records so far, in the order they came.
    pub fn until(mut self, mut holds: impl FnMut(&[Record]) -> bool) -> Vec<Record> {
        while !holds(&self.records) {
            assert!(
                Instant::now() < self.deadline,
                "what was awaited of {} did not come within {:?}; {}",
                self.topic,
                self.timeout,
                self.seen()
            );
            self.read_on();
        }
        self.sorted()
    }

    /// Hands over each record to the end that each partition has when it is reached, and keeps none.
    ///
    /// # Panics
    ///
    /// When the ends are not reached in time.
    pub fn visit_to_end(mut self, mut visit: impl FnMut(Record)) {
        while self.ended.len() < self.partitions {
            self.read_on();
            self.records.drain(..).for_each(&mut visit);
            assert!(Instant::now() < self.deadline, "{} was not read to its end", self.topic);
        }
    }

    /// Hands over each record and keeps none, until `visit` has seen enough or the time is over; tells whether it has.
    pub fn visit_until(mut self, mut visit: impl FnMut(Record) -> bool) -> bool {
        while Instant::now() < self.deadline {
            self.read_on();
            for record in self.records.drain(..) {
                if visit(record) {
                    return true;
                }
            }
        }
        false
    }

    /// Waits (bounded) for a record and takes those that are there already with it.
    fn read_on(&mut self) {
        // Predicates may look at all records: they should see them in batches, not one by one.
        const BATCH: usize = 1000;
        let mut wait = LOOK;
        for _ in 0..BATCH {
            match self.consumer.poll(wait) {
                None => return,
                Some(Ok(message)) => self.records.push(Record::from(&message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.ended.insert(partition);
                }
                // Transient ones heal; what doesn't shows at the deadline.
                Some(Err(_)) => return,
            }
            wait = Duration::ZERO;
        }
    }

    fn seen(&self) -> String {
        const LAST: usize = 5;
        let records = &self.records;
        let last = &records[records.len().saturating_sub(LAST)..];
        format!("{} records were seen, the last: {last:#?}", records.len())
    }

    fn sorted(mut self) -> Vec<Record> {
        self.records.sort_by_key(|record| (record.partition, record.offset));
        self.records
    }
}

/// Waits until the topic exists and returns its partitions.
pub fn partitions(consumer: &BaseConsumer, topic: &str, deadline: Instant) -> Vec<i32> {
    loop {
        let last = match consumer.fetch_metadata(Some(topic), Duration::from_secs(1)) {
            Ok(metadata) => match metadata.topics().first() {
                Some(found) if found.error().is_none() && !found.partitions().is_empty() => {
                    return found.partitions().iter().map(|p| p.id()).collect();
                }
                Some(found) => format!("{:?}", found.error()),
                None => "not in the metadata".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        assert!(Instant::now() < deadline, "topic {topic} did not appear in time: {last}");
        // The answer comes at once; this keeps the wait for another process from spinning.
        thread::sleep(Duration::from_millis(20));
    }
}
