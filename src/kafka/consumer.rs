//! The group's consumers: one for events, one for what waits, each partition in a queue of its own.
//!
//! An instance is two members of its group, because the cooperative assignor counts partitions and not topics: with one
//! member each, a newcomer would be given all partitions of the first topics by name, and the others none of them.
//!
//! Nothing happens inside a rebalance callback but taking note. A revoked partition is given back when the pipeline
//! says so, an assigned one starts when its committed position is known; librdkafka waits for both. Each partition's
//! queue is read only when there is room for a record, and librdkafka bounds what it fetches ahead: back-pressure
//! without pausing, which would throw away what was fetched.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use rustc_hash::FxHashMap;
use tracing::{error, warn};

use super::Connection;
use super::context::client_error;
use super::group::{Context, Lag, Notice};
use super::positions::{Committed, Start, committed};
use super::record::record;
use super::statuses::{self, Statuses};
use crate::config::{Config, Topics};
use crate::domain::record::{NextOffset, Origin, Record, TopicPartition};

/// Which of an instance's two members one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It reads the event topics.
    Events,
    /// It reads the deliver topic, the retry tiers, and the audit topic, from which health is folded.
    Waiting,
}

impl Part {
    /// Returns what tells the members of one instance apart.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Waiting => "waiting",
        }
    }

    /// Returns how it prefers to fetch.
    ///
    /// A broker is asked for one fetch at a time, without partitions of which so many kB are fetched ahead
    /// (`rd_kafka_toppar_fetch_decide`). Where nothing is written to its other partitions that fetch lasts as long as it
    /// may wait, and a full one, long taken up, gets nothing until then. Shorter waits are CPU of an idle connector.
    /// That wait is shorter where all that there is waits for it, and longer where each fetch names many topics.
    /// A batch comes whole, and producers make them of up to 1 MB, our own of audit records as well: with less than that
    /// ahead, each would fill it.
    pub(super) fn fetching(self) -> [(&'static str, &'static str); 2] {
        let wait_ms = match self {
            Self::Events => "50",
            Self::Waiting => "150",
        };
        [("queued.max.messages.kbytes", "1024"), ("fetch.wait.max.ms", wait_ms)]
    }

    /// Returns the topic names and patterns that it reads.
    fn topics(self, config: &Config) -> Vec<&str> {
        let Topics { deliver, audit, tiers, .. } = &config.topics;
        match self {
            Self::Events => config.sources.topics().collect(),
            Self::Waiting => {
                let tiers = tiers.iter().map(|tier| &*tier.topic);
                tiers.chain([&**deliver, &**audit]).collect()
            }
        }
    }
}

type Wake = Arc<dyn Fn() + Send + Sync>;

/// How often every queue is looked at, whether it has called or not: a call that got lost costs no more.
const LOOK: Duration = Duration::from_millis(100);

/// How long the client's own thread may take to begin elsewhere in a partition. The driver waits for it.
const SEEK: Duration = Duration::from_secs(1);

/// How long brokers may take to answer a question that is asked for its own sake.
const ROUSE: Duration = Duration::from_secs(1);

/// The member of the group that this process is.
pub struct GroupConsumer {
    consumer: Arc<BaseConsumer<Context>>,
    /// Disconnected when the client is closed; a question that is being asked holds it for as long.
    closed: Option<Receiver<Infallible>>,
    /// Whether the client has something to say.
    called: Called,
    queues: FxHashMap<TopicPartition, Queue>,
    /// Records that came before their partition had a queue; they are ahead of those in it.
    early: FxHashMap<TopicPartition, VecDeque<Record>>,
    start: Start,
    config: Arc<Config>,
    wake: Wake,
    next_look: Instant,
}

/// Set by a queue that has something, so that empty ones aren't asked.
#[derive(Clone, Default)]
struct Called(Arc<AtomicBool>);

impl Called {
    /// Returns what a queue calls when it isn't empty any more.
    fn callback(&self, wake: &Wake) -> impl Fn() + Send + Sync + 'static {
        let (called, wake) = (self.clone(), wake.clone());
        move || {
            called.set();
            wake();
        }
    }

    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes the call. To be done before the queue is looked at: one that comes meanwhile stays.
    fn take(&self) -> bool {
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Acquire)
    }
}

/// What has been fetched of one partition.
struct Queue {
    records: PartitionQueue<Context>,
    called: Called,
}

/// Takes the records of one partition that have been fetched, in their order.
pub struct Fetched<'a> {
    name: &'a TopicPartition,
    early: Option<&'a mut VecDeque<Record>>,
    queue: Option<&'a Queue>,
}

impl Fetched<'_> {
    /// Tells whether there may be a record. Right after one was taken there may, until the next is asked for.
    pub fn is_waiting(&self) -> bool {
        let is_called = |queue: &Queue| queue.called.is_set();
        self.early.as_ref().is_some_and(|early| !early.is_empty())
            || self.queue.is_some_and(is_called)
    }
}

impl Iterator for Fetched<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        if let Some(record) = self.early.as_mut().and_then(|early| early.pop_front()) {
            return Some(record);
        }
        let queue = self.queue.filter(|queue| queue.called.take())?;
        let polled = queue.records.poll(Duration::ZERO)?;
        // There may be more.
        queue.called.set();
        match polled {
            Ok(message) => Some(record(&message, Some(self.name))),
            Err(error) => {
                client_error(&error, &format!("{} can't be fetched for now", self.name));
                None
            }
        }
    }
}

/// Who a member was, and in which generation of the group, when it was assigned partitions or asked to give some back.
///
/// Positions are committed in the name of this and of nothing newer: a member that has lost its partitions joins again,
/// and in the new generation the group would take what it still commits for positions of partitions that somebody else
/// may have by now. In the old one it is refused.
pub struct Identity(pub(super) ConsumerGroupMetadata);

impl GroupConsumer {
    /// Joins the group. `wake` is called from any thread when there is something to poll.
    ///
    /// # Errors
    /// The client can't be made from its settings, or the list of topics is malformed.
    pub fn join(connection: &Connection, part: Part, wake: Wake) -> KafkaResult<Self> {
        let (open, closed) = channel();
        let context = Context { _open: Some(open), ..Context::default() };
        let client = connection.group_consumer(part);
        let mut consumer: BaseConsumer<Context> = client.create_with_context(context)?;
        let called = Called::default();
        consumer.set_nonempty_callback(called.callback(&wake));
        consumer.subscribe(&part.topics(connection.config()))?;
        let (queues, early) = Default::default();
        let start = Start::of(connection.config(), part);
        let config = Arc::new(connection.config().clone());
        let (consumer, next_look) = (Arc::new(consumer), Instant::now());
        let closed = Some(closed);
        Ok(Self { consumer, closed, called, queues, early, start, config, wake, next_look })
    }

    /// Returns who the member is now. To be asked when partitions are assigned, before they are
    /// started, or asked back, before they are given.
    pub fn identity(&self) -> Option<Identity> {
        self.consumer.group_metadata().map(Identity)
    }

    /// Serves the client and returns what the group had to say. `now` is the clock's.
    pub fn poll(&mut self, now: Instant) -> Vec<Notice> {
        if self.next_look <= now {
            self.next_look = now + LOOK;
            self.called.set();
            self.queues.values().for_each(|queue| queue.called.set());
        }
        if !self.called.take() {
            return Vec::new();
        }
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
                Err(error) => client_error(&error, "records can't be fetched for now"),
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
        let start = self.start;
        self.ask("positions", done, move |consumer| {
            let consumer = consumer.upgrade().ok_or(())?;
            let found = committed(&consumer, start, &names);
            found.map_err(|error| client_error(&error, "the committed positions can't be read yet"))
        });
    }

    /// Reads the statuses that belong to positions it was told, off this thread, as often as it takes; `done` gets them.
    pub fn look_up_statuses(&self, done: impl FnOnce(Statuses) + Send + 'static) {
        let config = self.config.clone();
        self.ask("statuses", done, move |_| {
            let found = statuses::read_decided(&Connection::new(&config));
            found.map_err(|error| warn!(%error, "the statuses can't be read yet"))
        });
    }

    /// Asks until there is an answer, on a thread of its own. `question` has told of what failed.
    fn ask<T>(
        &self,
        thread: &str,
        done: impl FnOnce(T) + Send + 'static,
        question: impl Fn(&Weak<BaseConsumer<Context>>) -> Result<T, ()> + Send + 'static,
    ) {
        let consumer = Arc::downgrade(&self.consumer);
        let ask = move || {
            // The consumer may be closed meanwhile: then nobody waits for the answer.
            while consumer.strong_count() > 0 {
                if let Ok(answer) = question(&consumer) {
                    return done(answer);
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        };
        let thread = std::thread::Builder::new().name(thread.into());
        thread.spawn(ask).expect("the system has room for a thread");
    }

    /// Starts to fetch partitions at their positions.
    ///
    /// # Errors
    /// The client refuses; the session is of no use then.
    pub fn start(&mut self, partitions: &[Committed]) -> KafkaResult<()> {
        self.assign(partitions)?;
        self.rouse();
        Ok(())
    }

    fn assign(&mut self, partitions: &[Committed]) -> KafkaResult<()> {
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
            let mut records = queue.ok_or(KafkaError::Subscription(name.to_string()))?;
            let called = Called::default();
            records.set_nonempty_callback(called.callback(&self.wake));
            // What was there before is not called for.
            called.set();
            self.queues.insert(name.clone(), Queue { records, called });
        }
        self.consumer.resume(&list)
    }

    /// Reads a partition again from a position on, and forgets what was fetched of it.
    ///
    /// # Errors
    /// The client refuses, or is not done within a second; the session is of no use then.
    pub fn read_again(&mut self, name: &TopicPartition, from: NextOffset) -> KafkaResult<()> {
        self.early.remove(name);
        // What was fetched before is out of date when this returns (`rd_kafka_toppar_op_seek`), and is not handed over
        // (`rd_kafka_op_filter`).
        self.consumer.seek(&name.topic, name.partition, KafkaOffset::Offset(from.0), SEEK)
    }

    /// Has the threads that fetch look again for what there is to fetch.
    ///
    /// From a word of the group until it is answered all partitions are paused, those that stay as well. A thread of
    /// librdkafka that finds nothing to fetch meanwhile sleeps for up to a second (`rd_kafka_max_block_ms`), and nothing
    /// wakes it when they go on; an answer of its broker does.
    fn rouse(&self) {
        let mut ends = list(self.queues.keys());
        if ends.count() == 0 || ends.set_all_offsets(KafkaOffset::End).is_err() {
            return;
        }
        let question = move |consumer: &Weak<BaseConsumer<Context>>| {
            // Who can't answer is away; who is back is asked for records by itself.
            let consumer = consumer.upgrade().ok_or(())?;
            let _ = consumer.offsets_for_times(ends.clone(), ROUSE);
            Ok(())
        };
        self.ask("rouse", |()| {}, question);
    }

    /// Returns what has been fetched of a partition.
    pub fn fetched<'a>(&'a mut self, name: &'a TopicPartition) -> Fetched<'a> {
        let early = if self.early.is_empty() { None } else { self.early.get_mut(name) };
        Fetched { name, early, queue: self.queues.get(name) }
    }

    /// Gives partitions back to the group.
    pub fn give_back(&mut self, names: &[TopicPartition]) {
        // librdkafka takes back only what was taken up, and waits for good if it can't: what was assigned and lost
        // before it was started is taken up first.
        let unstarted = names.iter().filter(|name| !self.queues.contains_key(*name));
        let unstarted = list(unstarted);
        if unstarted.count() > 0
            && let Err(error) = self.consumer.incremental_assign(&unstarted)
        {
            warn!(%error, "partitions that were never started can't be given back");
        }
        for name in names {
            self.queues.remove(name);
            self.early.remove(name);
        }
        // It fails when the group has taken them already, which is as good.
        if let Err(error) = self.consumer.incremental_unassign(&list(names)) {
            warn!(%error, "partitions were taken before they were given back");
        }
        self.rouse();
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
        let closed = self.closed.take().expect("nobody else takes it");
        let thread = std::thread::Builder::new().name("leave".into());
        thread.spawn(move || drop(self)).expect("the system has room for a thread");
        if closed.recv_timeout(timeout) == Err(RecvTimeoutError::Timeout) {
            error!(?timeout, "the group could not be left in time; its session will end by itself");
        }
    }
}

/// Leaves the group, however long that takes.
impl Drop for GroupConsumer {
    fn drop(&mut self) {
        self.consumer.context().closing.store(true, Ordering::Relaxed);
        self.queues.clear();
    }
}

fn list<'n>(names: impl IntoIterator<Item = &'n TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for name in names {
        list.add_partition(&name.topic, name.partition);
    }
    list
}
