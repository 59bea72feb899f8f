//! The group's consumers: one for events, one for what waits, each partition in a queue of its own.
//!
//! An instance is two members of its group, because the cooperative assignor counts partitions and not topics: with one
//! member each, a newcomer would be given all partitions of the first topics by name, and the others none of them.
//!
//! Nothing happens inside a rebalance callback but taking note. A revoked partition is given back when the pipeline
//! says so, an assigned one starts when its committed position is known; librdkafka waits for both. Each partition's
//! queue is read only when there is room for a record, and librdkafka bounds what it fetches ahead: back-pressure
//! without pausing, which would throw away what was fetched.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tracing::{error, warn};

use super::{Connection, context};
use crate::config::{Config, Topics};
use crate::domain::record::{Header, Headers, NextOffset, Offset, Origin, Record, TopicPartition};

/// How long one question to the cluster may take.
const ASK: Duration = Duration::from_secs(10);

/// Which of an instance's two members one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It reads the event topics.
    Events,
    /// It reads the deliver topic and the retry tiers.
    Waiting,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Waiting => "waiting",
        }
    }

    /// Returns the topic names and patterns that it reads.
    fn topics(self, config: &Config) -> Vec<&str> {
        let Topics { deliver, tiers, .. } = &config.topics;
        match self {
            Self::Events => config.sources.topics().collect(),
            Self::Waiting => tiers.iter().map(|tier| &*tier.topic).chain([&**deliver]).collect(),
        }
    }
}

/// What the group tells this member.
#[derive(Debug)]
pub enum Notice {
    /// These partitions are ours now; answer with [`GroupConsumer::start`].
    Assigned(Vec<TopicPartition>),
    /// These are to be given back; answer with [`GroupConsumer::give_back`] when nothing is open.
    Revoked(Vec<TopicPartition>),
    /// These are somebody else's already; answer with [`GroupConsumer::give_back`] at once.
    Lost(Vec<TopicPartition>),
    /// The client is of no use any more.
    Fatal(String),
}

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

/// How much lies ahead of the connector in one partition.
#[derive(Clone, Debug)]
pub struct Lag {
    /// The partition.
    pub name: TopicPartition,
    /// The offset behind its last stable record.
    pub end: NextOffset,
}

type Wake = Arc<dyn Fn() + Send + Sync>;

struct Context {
    start: Start,
    notices: Mutex<Vec<Notice>>,
    lags: Mutex<Vec<Lag>>,
    reachable: AtomicBool,
    closing: AtomicBool,
}

/// Where a partition that was never committed starts.
#[derive(Clone, Copy)]
enum Start {
    First,
    BehindLast,
}

impl Start {
    /// Events start where the user says. What waits is owed, all of it.
    fn of(config: &Config, part: Part) -> Self {
        match (part, config.kafka.properties.get("auto.offset.reset")) {
            (Part::Events, Some("latest" | "largest" | "end")) => Self::BehindLast,
            _ => Self::First,
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.reachable.store(false, Ordering::Relaxed);
        }
        context::client_error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let up = statistics.brokers.values().any(|broker| broker.state == "UP");
        self.reachable.store(up, Ordering::Relaxed);
        let mut lags = Vec::new();
        for (topic, stats) in &statistics.topics {
            let name: Arc<str> = topic.as_str().into();
            let assigned =
                stats.partitions.iter().filter(|(id, stats)| **id >= 0 && stats.ls_offset >= 0);
            lags.extend(assigned.map(|(id, stats)| Lag {
                name: TopicPartition { topic: name.clone(), partition: *id },
                end: NextOffset(stats.ls_offset),
            }));
        }
        *self.lags.lock().expect("no holder of the lock panics") = lags;
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        err: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        if self.closing.load(Ordering::Relaxed) {
            // Nobody will answer any more, and closing waits for it.
            if let Err(error) = consumer.unassign() {
                warn!(%error, "partitions could not be given back while leaving the group");
            }
            return;
        }
        // Whoever assigns is there, long before the next statistics say so.
        self.reachable.store(true, Ordering::Relaxed);
        let names = names(list);
        let notice = match err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Notice::Assigned(names),
            _ if consumer.assignment_lost() => Notice::Lost(names),
            _ => Notice::Revoked(names),
        };
        self.notices.lock().expect("no holder of the lock panics").push(notice);
    }
}

/// The member of the group that this process is.
pub struct GroupConsumer {
    consumer: Arc<BaseConsumer<Context>>,
    queues: HashMap<TopicPartition, PartitionQueue<Context>>,
    /// Records that came before their partition had a queue; they are ahead of those in it.
    early: HashMap<TopicPartition, VecDeque<Record>>,
    wake: Wake,
}

/// A handle by which transactions name the group member on whose behalf they commit.
pub struct Member(Weak<BaseConsumer<Context>>);

impl Member {
    /// Returns the member's identity and generation; `None` when it has left.
    pub(super) fn metadata(&self) -> Option<ConsumerGroupMetadata> {
        self.0.upgrade()?.group_metadata()
    }
}

impl GroupConsumer {
    /// Joins the group. `wake` is called from any thread when there is something to poll.
    ///
    /// # Errors
    /// The client can't be made from its settings, or the list of topics is malformed.
    pub fn join(connection: &Connection, part: Part, wake: Wake) -> KafkaResult<Self> {
        let start = Start::of(connection.config(), part);
        let context = Context {
            start,
            notices: Mutex::default(),
            lags: Mutex::default(),
            reachable: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        };
        let client = connection.group_consumer(part.name());
        let mut consumer: BaseConsumer<Context> = client.create_with_context(context)?;
        let waker = wake.clone();
        consumer.set_nonempty_callback(move || waker());
        consumer.subscribe(&part.topics(connection.config()))?;
        let (queues, early) = Default::default();
        Ok(Self { consumer: Arc::new(consumer), queues, early, wake })
    }

    /// Returns the handle for transactions.
    pub fn member(&self) -> Member {
        Member(Arc::downgrade(&self.consumer))
    }

    /// Serves the client and returns what the group had to say.
    pub fn poll(&mut self) -> Vec<Notice> {
        let mut fatal = None;
        while let Some(polled) = self.consumer.poll(Duration::ZERO) {
            match polled {
                Ok(message) => {
                    let record = record(&message, None);
                    let Origin { topic, partition, .. } = record.origin.clone();
                    let name = TopicPartition { topic, partition };
                    self.early.entry(name).or_default().push_back(record);
                }
                Err(KafkaError::MessageConsumptionFatal(code)) => {
                    fatal = Some(Notice::Fatal(format!("the consumer failed: {code}")));
                    break;
                }
                // Of a topic that doesn't exist yet, a broker that is away: librdkafka tries again by itself.
                Err(error) => warn!(%error, "the consumer reports a problem"),
            }
        }
        let mut notices = self.consumer.context().notices.lock().expect("no holder panics");
        notices.drain(..).chain(fatal).collect()
    }

    /// Asks for the committed positions, off this thread, as often as it takes; `done` gets the answer.
    pub fn look_up(
        &self,
        names: Vec<TopicPartition>,
        done: impl FnOnce(Vec<Committed>) + Send + 'static,
    ) {
        let consumer = Arc::downgrade(&self.consumer);
        let look_up = move || {
            // The consumer may be closed meanwhile: then nobody waits for the answer.
            while let Some(consumer) = consumer.upgrade() {
                match committed(&consumer, &names) {
                    Ok(committed) => return done(committed),
                    Err(error) => warn!(%error, "the committed positions can't be read yet"),
                }
                drop(consumer);
                std::thread::sleep(Duration::from_millis(200));
            }
        };
        let thread = std::thread::Builder::new().name("positions".into());
        thread.spawn(look_up).expect("the system has room for a thread");
    }

    /// Starts to fetch partitions at their positions.
    ///
    /// # Errors
    /// The client refuses; the session is of no use then.
    pub fn start(&mut self, partitions: &[Committed]) -> KafkaResult<()> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for Committed { name, next, .. } in partitions {
            list.add_partition_offset(&name.topic, name.partition, KafkaOffset::Offset(next.0))?;
        }
        self.consumer.incremental_assign(&list)?;
        if partitions.is_empty() {
            return Ok(());
        }
        // The fetcher points a partition's messages at the consumer's queue when it starts, on another thread. Pausing
        // is answered by that thread after the start, so a queue that is split off behind it stays split off.
        self.consumer.pause(&list)?;
        for Committed { name, .. } in partitions {
            let queue = self.consumer.split_partition_queue(&name.topic, name.partition);
            let mut queue = queue.ok_or(KafkaError::Subscription(name.to_string()))?;
            let wake = self.wake.clone();
            queue.set_nonempty_callback(move || wake());
            self.queues.insert(name.clone(), queue);
        }
        self.consumer.resume(&list)
    }

    /// Takes the next record of a partition, if one has been fetched.
    pub fn fetch(&mut self, name: &TopicPartition) -> Option<Record> {
        if !self.early.is_empty()
            && let Some(record) = self.early.get_mut(name).and_then(VecDeque::pop_front)
        {
            return Some(record);
        }
        let queue = self.queues.get(name)?;
        match queue.poll(Duration::ZERO)? {
            Ok(message) => Some(record(&message, Some(name))),
            Err(error) => {
                warn!(topic = %name.topic, partition = name.partition, %error, "a fetch failed");
                None
            }
        }
    }

    /// Gives partitions back to the group.
    pub fn give_back(&mut self, names: &[TopicPartition]) {
        let mut list = TopicPartitionList::with_capacity(names.len());
        for name in names {
            self.queues.remove(name);
            self.early.remove(name);
            list.add_partition(&name.topic, name.partition);
        }
        // It fails when the group has taken them already, which is as good.
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            warn!(%error, "partitions were taken before they were given back");
        }
    }

    /// Returns the end of each partition as last reported, within seconds.
    pub fn lags(&self) -> Vec<Lag> {
        self.consumer.context().lags.lock().expect("no holder of the lock panics").clone()
    }

    /// Tells whether a broker was reachable when last looked at, within seconds.
    pub fn reaches_broker(&self) -> bool {
        self.consumer.context().reachable.load(Ordering::Relaxed)
    }

    /// Leaves the group, and gives up after `timeout`: closing waits for brokers that may be away.
    pub fn leave(mut self, timeout: Duration) {
        self.consumer.context().closing.store(true, Ordering::Relaxed);
        self.queues.clear();
        let (done, closed) = std::sync::mpsc::channel();
        let close = move || {
            drop(self.consumer);
            // The other side may have stopped waiting.
            let _ = done.send(());
        };
        let thread = std::thread::Builder::new().name("leave".into());
        thread.spawn(close).expect("the system has room for a thread");
        if closed.recv_timeout(timeout).is_err() {
            error!(?timeout, "the group could not be left in time; its session will end by itself");
        }
    }
}

fn names(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let elements = list.elements();
    let name = |topic: &str, partition| TopicPartition { topic: topic.into(), partition };
    elements.iter().map(|element| name(element.topic(), element.partition())).collect()
}

/// Returns where partitions were left; one that never was starts where `auto.offset.reset` says.
fn committed(
    consumer: &BaseConsumer<Context>,
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
            KafkaOffset::Offset(next) => (NextOffset(next), element.metadata().to_owned()),
            _ => (first(consumer, &name)?, String::new()),
        };
        answers.push(Committed { name, next, metadata });
    }
    Ok(answers)
}

fn first(consumer: &BaseConsumer<Context>, name: &TopicPartition) -> KafkaResult<NextOffset> {
    let (low, high) = consumer.fetch_watermarks(&name.topic, name.partition, ASK)?;
    Ok(NextOffset(match consumer.context().start {
        Start::First => low,
        Start::BehindLast => high,
    }))
}

/// Copies a message out of librdkafka's memory.
pub(super) fn record(message: &BorrowedMessage, name: Option<&TopicPartition>) -> Record {
    let topic = name.map_or_else(|| message.topic().into(), |name| name.topic.clone());
    let millis = message.timestamp().to_millis().unwrap_or(0);
    let headers = message.headers().map(|headers| {
        let header = |header: rdkafka::message::Header<&[u8]>| Header {
            name: header.key.into(),
            value: header.value.map(Bytes::copy_from_slice),
        };
        Headers(headers.iter().map(header).collect())
    });
    Record {
        origin: Origin {
            topic,
            partition: message.partition(),
            offset: Offset(message.offset()),
            timestamp: Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH),
        },
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        headers: headers.unwrap_or_default(),
    }
}
