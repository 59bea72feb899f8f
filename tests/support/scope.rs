//! What belongs to one test on a broker that others use too: topics, a group, and the tools to look into them.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::broker::{self, Broker};
use super::producer::Producer;
use super::reader::{self, Reader};
use super::record::{Draft, Record};

/// For what a healthy broker does at once.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Between tries.
const PAUSE: Duration = Duration::from_millis(50);

/// As many replicas as the broker gives a topic that asks for no number.
const BROKERS_DEFAULT: i32 = -1;

/// Settings of a topic that is compacted as soon as it can be.
pub const OFTEN_COMPACTED: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("min.cleanable.dirty.ratio", "0"),
    ("segment.ms", "100"),
    ("delete.retention.ms", "0"),
];

/// Names that no other test uses. Functions take topic names without the prefix: `"orders"`, `"audit"`.
pub struct Scope {
    bootstrap: String,
    prefix: String,
    producer: Producer,
}

/// An offset that a group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub partition: i32,
    /// The next record to be read.
    pub offset: i64,
    pub metadata: String,
}

impl Scope {
    /// A scope on the broker that all tests share.
    pub fn new(name: &str) -> Self {
        Self::at(&broker::shared(), name)
    }

    /// A scope on a broker of the test's own.
    pub fn on(broker: &Broker, name: &str) -> Self {
        Self::at(&broker.bootstrap(), name)
    }

    /// A scope on the brokers at this address.
    pub fn at(bootstrap: &str, name: &str) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            prefix: format!("t-{name}-{:08x}.", rand::random::<u32>()),
            producer: Producer::new(bootstrap),
        }
    }

    /// The plain names of a broker of the test's own.
    pub fn plain(broker: &Broker) -> Self {
        let bootstrap = broker.bootstrap();
        let producer = Producer::new(&bootstrap);
        Self { bootstrap, prefix: String::new(), producer }
    }

    /// Returns the broker's `host:port`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Returns what the names of all topics of this test begin with, the dot included.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the consumer group of this test's connectors.
    pub fn group(&self) -> String {
        format!("{}group", self.prefix)
    }

    /// Returns the full name of a topic.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Creates a topic, e.g. with `&[("cleanup.policy", "compact")]`.
    pub fn create_topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        let topic = self.topic(name);
        let mut new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(BROKERS_DEFAULT));
        new.config = config.to_vec();
        match wait(self.admin().create_topics([&new], &options())) {
            Ok(results) => {
                for result in results {
                    result.unwrap_or_else(|(_, error)| {
                        panic!("topic {topic} can't be created: {error}")
                    });
                }
            }
            Err(error) => panic!("topic {topic} can't be created: {error}"),
        }
        // The broker answers when the topic is decided on, which is before all clients are told of it.
        self.partitions(&topic);
    }

    /// Deletes all records that are in a topic now; who starts to read it begins behind them.
    pub fn delete_records(&self, name: &str) {
        let topic = self.topic(name);
        let mut all = TopicPartitionList::new();
        for partition in self.partitions(&topic) {
            all.add_partition_offset(&topic, partition, Offset::End).expect("the end is an offset");
        }
        let admin = self.admin();
        let deadline = Instant::now() + TIMEOUT;
        // A topic that was just made has no leader yet, as far as some are concerned.
        while let Err(error) = wait(admin.delete_records(&all, &options()))
            .and_then(|deleted| deleted.elements().iter().try_for_each(|it| it.error()))
        {
            assert!(Instant::now() < deadline, "records of {topic} can't be deleted: {error}");
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until a topic, by its full name, has partitions, and returns them.
    fn partitions(&self, topic: &str) -> Vec<i32> {
        let consumer: BaseConsumer =
            reader::client(&self.bootstrap).create().expect("the settings of a reader are valid");
        reader::partitions(&consumer, topic, Instant::now() + TIMEOUT)
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        reader::client(&self.bootstrap).create().expect("the settings of a client are valid")
    }

    /// Produces one record and waits until it is stored; an empty key stands for none.
    pub fn produce(
        &self,
        name: &str,
        key: &str,
        value: impl AsRef<[u8]>,
        headers: &[(&str, &str)],
    ) {
        let mut draft = Draft::new(key, value);
        draft.key.take_if(|key| key.is_empty());
        for (header, value) in headers {
            draft = draft.header(header, value);
        }
        self.produce_all(name, [draft]);
    }

    /// Produces the records in order and waits until all are stored.
    pub fn produce_all(&self, name: &str, drafts: impl IntoIterator<Item = Draft>) {
        self.producer.send_all(&self.topic(name), drafts);
    }

    /// Writes tombstones of the key `other` until compaction has left so many records of all other keys: a segment is
    /// compacted when it is not written to any more, and another record starts the next.
    pub fn wait_compacted(&self, name: &str, partitions: i32, most: usize) {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let left = self.read_committed(name);
            let left = left.iter().filter(|record| record.key_text() != "other").count();
            if left <= most {
                return;
            }
            assert!(Instant::now() < deadline, "{left} records are left: it was never compacted");
            std::thread::sleep(Duration::from_millis(300));
            let others = (0..partitions).map(|it| Draft::tombstone("other").partition(it));
            self.produce_all(name, others);
        }
    }

    /// Stands at the start of a topic; `timeout` bounds all that the reader does.
    pub fn reader(&self, name: &str, timeout: Duration) -> Reader {
        Reader::open(&self.bootstrap, &self.topic(name), timeout)
    }

    /// Returns what a read_committed reader finds in the topic now, by partition and offset.
    pub fn read_committed(&self, name: &str) -> Vec<Record> {
        self.reader(name, TIMEOUT).read_to_end()
    }

    /// Follows the topic from its start until the predicate holds for the committed records so far, in the order
    /// they came, and returns them by partition and offset.
    ///
    /// # Panics
    ///
    /// When it doesn't hold within `timeout`; the message shows the last records.
    pub fn wait_for(
        &self,
        name: &str,
        timeout: Duration,
        holds: impl FnMut(&[Record]) -> bool,
    ) -> Vec<Record> {
        self.reader(name, timeout).until(holds)
    }

    /// Returns the offsets that a group has committed, by partition; those without a commit are left out.
    pub fn committed(&self, group: &str, name: &str) -> Vec<Committed> {
        let topic = self.topic(name);
        let consumer: BaseConsumer = reader::client(&self.bootstrap)
            .set("group.id", group)
            .create()
            .expect("the settings of a reader are valid");
        let mut asked = TopicPartitionList::new();
        for partition in reader::partitions(&consumer, &topic, Instant::now() + TIMEOUT) {
            asked.add_partition(&topic, partition);
        }
        let answer = consumer
            .committed_offsets(asked, TIMEOUT)
            .unwrap_or_else(|error| panic!("no answer what {group} committed: {error}"));
        let mut committed: Vec<Committed> = answer
            .elements()
            .iter()
            .filter_map(|element| match element.offset() {
                Offset::Offset(offset) => Some(Committed {
                    partition: element.partition(),
                    offset,
                    metadata: element.metadata().to_owned(),
                }),
                _ => None,
            })
            .collect();
        committed.sort_by_key(|committed| committed.partition);
        committed
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(TIMEOUT))
}

/// Waits for what needs neither a timer nor a socket of tokio's.
fn wait<T>(answer: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without drivers can be built")
        .block_on(answer)
}
