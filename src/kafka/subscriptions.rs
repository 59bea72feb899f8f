//! The follower: reads subscriptions and their statuses from the start of their topics and goes on with them, on a
//! thread of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tracing::{info, warn};

use super::Connection;
use super::changes::{Interpret, Known};
use super::context::{LogContext, client_error};
use crate::domain::subscription::Rules;

pub use super::changes::Change;

/// The most definitions and the most statuses that are reported together: what a definition brings about takes longer.
const DEFINITIONS: usize = 128;
const STATUSES: usize = 1024;

/// After so many, deliveries have the core first, if they wait for it.
const POLITE: usize = 16;

/// One look for a change; also how soon a dropped handle is noticed.
const LOOK: Duration = Duration::from_millis(50);

/// How long a topic's partitions are asked for in one go: changes wait meanwhile.
const ASK: Duration = Duration::from_secs(1);

/// How often is looked whether a topic has got more partitions.
const LOOK_FOR_PARTITIONS: Duration = Duration::from_secs(30);

/// Between two looks for a topic whose partitions aren't known.
const RETRY: Duration = Duration::from_millis(500);

/// How long a topic may be unknown before it counts as missing: brokers learn of a new one within this time.
const SETTLE: Duration = Duration::from_secs(2);

/// What the follower tells.
#[derive(Debug)]
pub enum News {
    /// Changes in their order, 1 to 1024; of definitions, to 128.
    Changes(Vec<Change>),
    /// All partitions of both topics have been read to their ends. Told once.
    ReadToEnd,
    /// The follower ends: a topic is missing or may not be read, or the client is of no use any more.
    Fatal(String),
}

/// The handle of a running follower; dropping it ends its thread, which may report once more meanwhile.
pub struct Follower {
    stop: Arc<AtomicBool>,
}

impl Follower {
    /// Starts to follow both topics. Outages of brokers are waited out.
    ///
    /// `report` is called from the follower's thread, which waits for it: it is how a reader holds the follower back.
    ///
    /// # Errors
    /// librdkafka refuses the settings.
    pub fn start(
        connection: &Connection,
        rules: Rules,
        report: impl Fn(News) + Send + 'static,
    ) -> Result<Self, KafkaError> {
        let topics = &connection.config().topics;
        let definitions = Reader::new(
            connection,
            &topics.subscriptions,
            Interpret::Definition(rules),
            DEFINITIONS,
        )?;
        let statuses = Reader::new(connection, &topics.status, Interpret::Status, STATUSES)?;
        let stop = Arc::new(AtomicBool::new(false));
        let is_stopped = stop.clone();
        let follow = move || follow(definitions, statuses, &is_stopped, &report);
        let thread = thread::Builder::new().name("subscriptions".into());
        thread.spawn(follow).expect("the system has room for a thread");
        Ok(Self { stop })
    }
}

/// Closing the consumers may take long: it is left to their thread.
impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Follows both topics in turn until it is stopped.
fn follow(
    mut definitions: Reader,
    mut statuses: Reader,
    is_stopped: &AtomicBool,
    report: &impl Fn(News),
) {
    let mut is_told = false;
    while !is_stopped.load(Ordering::Relaxed) {
        // Only one of them is waited for, so that the other's changes wait no longer than that.
        for (reader, wait) in [(&mut definitions, LOOK), (&mut statuses, Duration::ZERO)] {
            let (changes, end) = reader.turn(wait);
            if !changes.is_empty() {
                report(News::Changes(changes));
            }
            if let Err(reason) = end {
                return report(News::Fatal(reason));
            }
        }
        if !is_told && definitions.known.is_live() && statuses.known.is_live() {
            is_told = true;
            report(News::ReadToEnd);
        }
    }
}

/// Reads one of the topics.
struct Reader {
    consumer: BaseConsumer<LogContext>,
    topic: Arc<str>,
    /// The most changes of one turn.
    batch: usize,
    known: Known,
    look_again: Instant,
    /// Since when brokers say that there is no such topic.
    missing_since: Option<Instant>,
    /// The partitions that are read.
    partitions: BTreeSet<i32>,
    /// Those whose end has not been reached yet.
    unread: BTreeSet<i32>,
}

impl Reader {
    fn new(
        connection: &Connection,
        topic: &Arc<str>,
        interpret: Interpret,
        batch: usize,
    ) -> KafkaResult<Self> {
        Ok(Self {
            consumer: connection.follower().create_with_context(LogContext)?,
            topic: topic.clone(),
            batch,
            known: Known::new(interpret),
            look_again: Instant::now(),
            missing_since: None,
            partitions: BTreeSet::new(),
            unread: BTreeSet::new(),
        })
    }

    /// Takes what there is, and waits at most this long for the first. An error is why nothing more will come.
    fn turn(&mut self, wait: Duration) -> (Vec<Change>, Result<(), String>) {
        if Instant::now() >= self.look_again {
            match self.look_for_partitions() {
                Ok(pause) => self.look_again = Instant::now() + pause,
                Err(reason) => return (Vec::new(), Err(reason)),
            }
        }
        let gathered = self.gather(wait);
        if !self.known.is_live() && !self.partitions.is_empty() && self.unread.is_empty() {
            self.known.go_live();
        }
        gathered
    }

    /// Takes in partitions that are new, and returns how long to wait before it looks again.
    ///
    /// # Errors
    /// The topic is missing or may not be read. One that is being read already is left to librdkafka.
    fn look_for_partitions(&mut self) -> Result<Duration, String> {
        let error = match self.assign_new() {
            Ok(()) => {
                self.missing_since = None;
                return Ok(LOOK_FOR_PARTITIONS);
            }
            Err(error) => error,
        };
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        let is_missing = is_missing(code);
        if !is_missing {
            self.missing_since = None;
        }
        if self.partitions.is_empty() {
            let topic = &self.topic;
            if is_missing {
                let since = *self.missing_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= SETTLE {
                    return Err(format!(
                        "topic {topic} does not exist: run `kafka-webhooks topics create`"
                    ));
                }
                return Ok(RETRY);
            }
            if code == RDKafkaErrorCode::TopicAuthorizationFailed {
                return Err(format!(
                    "topic {topic} may not be read ({code}): permit Describe and Read on it"
                ));
            }
        }
        warn!(topic = %self.topic, %code, "the topic's partitions can't be looked up yet");
        Ok(RETRY)
    }

    fn assign_new(&mut self) -> KafkaResult<()> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), ASK)?;
        let found = metadata.topics().first();
        if let Some(error) = found.and_then(|topic| topic.error()) {
            return Err(KafkaError::MetadataFetch(error.into()));
        }
        let found = found.iter().flat_map(|topic| topic.partitions());
        let found: BTreeSet<i32> = found.map(|partition| partition.id()).collect();
        if found.is_empty() {
            return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition));
        }
        let new: Vec<i32> = found.difference(&self.partitions).copied().collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(new.len());
        for partition in &new {
            list.add_partition_offset(&self.topic, *partition, KafkaOffset::Beginning)?;
        }
        self.consumer.incremental_assign(&list)?;
        info!(topic = %self.topic, partitions = new.len(), "following the topic");
        self.unread.extend(&new);
        self.partitions.extend(new);
        Ok(())
    }

    /// Waits a moment for a change, and takes those with it that are there already.
    fn gather(&mut self, mut wait: Duration) -> (Vec<Change>, Result<(), String>) {
        let mut changes = Vec::new();
        while changes.len() < self.batch {
            match self.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => changes.extend(self.known.change(&message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.unread.remove(&partition);
                }
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    let reason = format!("topic {} can't be followed: {code}", self.topic);
                    return (changes, Err(reason));
                }
                Some(Err(error)) => {
                    client_error(&error, &format!("{} can't be fetched for now", self.topic));
                    break;
                }
            }
            wait = Duration::ZERO;
            if self.known.is_live() && changes.len().is_multiple_of(POLITE) {
                thread::yield_now();
            }
        }
        (changes, Ok(()))
    }
}

fn is_missing(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition
    )
}
