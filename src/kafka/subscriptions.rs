//! The follower: reads subscriptions and their statuses from the start of their topics and goes on with them, on a
//! thread of its own.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tracing::{debug, info, warn};

use super::Connection;
use super::context::LogContext;
use super::version::Version;
use crate::domain::headers::truncated;
use crate::domain::record::Offset;
use crate::domain::status::Status;
use crate::domain::subscription::{Problem, Rules, Subscription, SubscriptionId};

/// The most changes that are reported together.
const BATCH: usize = 1024;

/// One look for a change; also how soon a dropped handle is noticed.
const LOOK: Duration = Duration::from_millis(50);

/// How long the topic's partitions are asked for in one go: changes wait meanwhile.
const ASK: Duration = Duration::from_secs(1);

/// How often is looked whether the topic has got more partitions.
const LOOK_FOR_PARTITIONS: Duration = Duration::from_secs(30);

/// Between two looks for a topic that isn't there.
const RETRY: Duration = Duration::from_secs(1);

/// The longest reason why a subscription is invalid, in bytes.
const REASON_MAX: usize = 1024;

/// A change of one subscription. Each is the last word on its subscription so far.
#[derive(Debug)]
pub enum Change {
    /// It is new, or has a new definition.
    Put(Arc<Subscription>),
    /// Its definition breaks rules: nothing may be sent for it.
    Invalid {
        /// Which one.
        id: SubscriptionId,
        /// The offset of the record that defines it.
        offset: Offset,
        /// The rules it breaks, joined by `; `, at most 1 KiB. It repeats no value of the definition.
        reason: String,
    },
    /// It is deleted, if it was known at all.
    Removed(SubscriptionId),
    /// A record has a key that is no subscription's id: it says nothing.
    BadKey {
        /// The record's partition.
        partition: i32,
        /// The record's offset.
        offset: Offset,
    },
    /// Its status was written or deleted; what isn't of this form counts as none.
    Status(SubscriptionId, Option<Status>),
}

/// What the follower tells.
#[derive(Debug)]
pub enum News {
    /// Changes in their order, 1 to 1024.
    Changes(Vec<Change>),
    /// All partitions of both topics have been read to their ends. Told once.
    ReadToEnd,
    /// The follower ends: its client is of no use any more.
    Fatal(String),
}

/// The handle of a running follower; dropping it ends its thread, which may report once more meanwhile.
pub struct Follower {
    stop: Arc<AtomicBool>,
}

impl Follower {
    /// Starts to follow. Outages of brokers, and a topic that doesn't exist yet, are waited out.
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
        let definitions =
            Reader::new(connection, &topics.subscriptions, Interpret::Definition(rules))?;
        let statuses = Reader::new(connection, &topics.status, Interpret::Status)?;
        let stop = Arc::new(AtomicBool::new(false));
        let is_stopped = stop.clone();
        let follow = move || follow(definitions, statuses, &is_stopped, &report);
        let thread = std::thread::Builder::new().name("subscriptions".into());
        thread.spawn(follow).expect("the system has room for a thread");
        Ok(Self { stop })
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
        // Only one of them is waited for; statuses are in no hurry.
        for (reader, wait) in [(&mut definitions, LOOK), (&mut statuses, Duration::ZERO)] {
            let (changes, fatal) = reader.turn(wait);
            if !changes.is_empty() {
                report(News::Changes(changes));
            }
            if let Some(reason) = fatal {
                return report(News::Fatal(reason));
            }
        }
        if !is_told && definitions.phase == Phase::Live && statuses.phase == Phase::Live {
            is_told = true;
            report(News::ReadToEnd);
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    ReadingUp,
    Live,
}

/// What the records of a topic mean.
enum Interpret {
    Definition(Rules),
    Status,
}

struct Reader {
    consumer: BaseConsumer<LogContext>,
    topic: Arc<str>,
    interpret: Interpret,
    look_again: Instant,
    /// The partitions that are read.
    partitions: BTreeSet<i32>,
    /// Those whose end has not been reached yet.
    unread: BTreeSet<i32>,
    phase: Phase,
    /// The record that counts for each id. Those of deleted ones are kept while reading up only: an older definition
    /// may still come from another partition.
    seen: HashMap<SubscriptionId, (Version, Is)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Is {
    Defined,
    Deleted,
}

impl Reader {
    fn new(connection: &Connection, topic: &Arc<str>, interpret: Interpret) -> KafkaResult<Self> {
        Ok(Self {
            consumer: connection.table_reader().create_with_context(LogContext)?,
            topic: topic.clone(),
            interpret,
            look_again: Instant::now(),
            partitions: BTreeSet::new(),
            unread: BTreeSet::new(),
            phase: Phase::ReadingUp,
            seen: HashMap::new(),
        })
    }

    /// Takes what there is, and waits at most this long for the first.
    fn turn(&mut self, wait: Duration) -> (Vec<Change>, Option<String>) {
        if Instant::now() >= self.look_again {
            self.look_again = Instant::now() + self.look_for_partitions();
        }
        let gathered = self.gather(wait);
        let at_end = !self.partitions.is_empty() && self.unread.is_empty();
        if at_end && self.phase == Phase::ReadingUp {
            self.phase = Phase::Live;
            self.seen.retain(|_, (_, is)| *is == Is::Defined);
        }
        gathered
    }

    /// Takes in partitions that are new; returns when to look again.
    fn look_for_partitions(&mut self) -> Duration {
        match self.assign_new() {
            Ok(()) if self.partitions.is_empty() => {
                warn!(topic = %self.topic, "the topic doesn't exist: create it with `kafka-webhooks topics create`");
                RETRY
            }
            Ok(()) => LOOK_FOR_PARTITIONS,
            Err(error) => {
                warn!(topic = %self.topic, %error, "the topic's partitions can't be looked up yet");
                RETRY
            }
        }
    }

    fn assign_new(&mut self) -> Result<(), KafkaError> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), ASK)?;
        let found = metadata.topics().iter().filter(|topic| topic.error().is_none());
        let found = found.flat_map(|topic| topic.partitions()).map(|partition| partition.id());
        let new: Vec<i32> = found.filter(|id| !self.partitions.contains(id)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(new.len());
        for partition in &new {
            list.add_partition_offset(&self.topic, *partition, KafkaOffset::Beginning)?;
        }
        self.consumer.incremental_assign(&list)?;
        info!(topic = %self.topic, partitions = new.len(), "reading subscriptions");
        self.unread.extend(&new);
        self.partitions.extend(new);
        Ok(())
    }

    /// Waits a moment for a change, and takes those with it that are there already.
    fn gather(&mut self, mut wait: Duration) -> (Vec<Change>, Option<String>) {
        let mut changes = Vec::new();
        while changes.len() < BATCH {
            match self.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    let seen = &mut self.seen;
                    changes.extend(change(&message, seen, self.phase, &self.interpret));
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.unread.remove(&partition);
                }
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    return (changes, Some(format!("the subscriptions can't be read: {code}")));
                }
                // A broker that is away, said by the client's context already.
                Some(Err(KafkaError::Global(code))) => debug!(%code, "following goes on"),
                Some(Err(error)) => {
                    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                    warn!(topic = %self.topic, %code, "a fetch failed; it is repeated");
                    break;
                }
            }
            wait = Duration::ZERO;
        }
        (changes, None)
    }
}

/// Reads a record; one that was read before, or is older than what is known, changes nothing.
fn change(
    message: &BorrowedMessage<'_>,
    seen: &mut HashMap<SubscriptionId, (Version, Is)>,
    phase: Phase,
    interpret: &Interpret,
) -> Option<Change> {
    let offset = Offset(message.offset());
    let key = message.key().and_then(|key| std::str::from_utf8(key).ok());
    let Some(id) = key.and_then(|key| SubscriptionId::parse(key).ok()) else {
        // Deleting such a record is how people clean up.
        let bad = Change::BadKey { partition: message.partition(), offset };
        return message.payload().map(|_| bad);
    };
    let version = Version::of(message);
    if seen.get(&id).is_some_and(|(known, _)| !version.supersedes(known)) {
        return None;
    }
    let Some(value) = message.payload() else {
        match phase {
            Phase::ReadingUp => seen.insert(id.clone(), (version, Is::Deleted)),
            Phase::Live => seen.remove(&id),
        };
        return Some(match interpret {
            Interpret::Definition(_) => Change::Removed(id),
            Interpret::Status => Change::Status(id, None),
        });
    };
    seen.insert(id.clone(), (version, Is::Defined));
    let rules = match interpret {
        Interpret::Definition(rules) => rules,
        Interpret::Status => return Some(Change::Status(id, Status::read(value))),
    };
    Some(match Subscription::parse(id.clone(), value, offset, rules) {
        Ok(subscription) => Change::Put(Arc::new(subscription)),
        Err(problems) => Change::Invalid { id, offset, reason: reason(&problems) },
    })
}

/// Joins problems to at most [`REASON_MAX`] bytes.
fn reason(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
    truncated(&texts.join("; "), REASON_MAX).to_owned()
}
