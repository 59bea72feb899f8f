//! The ledger: one thread and one transactional producer that write batches.
//!
//! A batch is one transaction: audit, retry and dead-letter records and the positions of their sources. While one
//! commits, endings gather for the next. All transaction calls block, which is why they have a thread of their own.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};
use tracing::info;

use super::consumer::{Identity, Part};
use super::polled::PolledProducer;
use super::record::{hand_over, owned};
use super::{Connection, context};
use crate::config::Topics;
use crate::domain::ending::{Destination, Publication};
use crate::domain::engine::{Batch, Commit, Role};
use crate::domain::status::Status;

/// How long one call of a transaction may take before its error is looked at.
const CALL: Duration = Duration::from_secs(30);

/// Between looks at a call that has to be repeated.
const PAUSE: Duration = Duration::from_millis(100);

/// Stands for audit and status records where others have the place of their ending: one of these that is too large can
/// only be waited for, until somebody mends its topic.
const NOT_ONWARD: usize = usize::MAX;

/// What the ledger says.
#[derive(Debug)]
pub enum Report {
    /// The producer is initialised: earlier ones of its name are fenced, their transactions are over.
    Ready,
    /// The batch is written and committed, in this time.
    Committed(Batch, Duration),
    /// Nothing of the batch is written.
    Aborted(Batch, String),
    /// The producer is of no use any more: fenced by another of its name, or refused.
    Fatal(String),
}

/// Where batches are handed to. Dropping it ends the thread once its batch is done.
pub struct Ledger {
    orders: Sender<Order>,
}

/// What the ledger is told, in order. The queue is short: one batch at a time, and an identity a rebalance.
enum Order {
    Identify(Part, Identity),
    Write(Batch),
}

impl Ledger {
    /// Starts the ledger on a thread of its own; it commits on behalf of the members that it is told of.
    ///
    /// # Errors
    /// The producer can't be made from its settings.
    pub fn start(
        connection: &Connection,
        batch_size: usize,
        report: impl Fn(Report) + Send + 'static,
    ) -> KafkaResult<Self> {
        let context = Context { failed: Mutex::default() };
        let producer = PolledProducer::start(&connection.ledger(batch_size), context)?;
        let writer = Writer {
            producer,
            events: None,
            waiting: None,
            topics: connection.config().topics.clone(),
            instance: connection.config().kafka.instance.id().to_owned(),
        };
        let (orders, incoming) = channel();
        let thread = std::thread::Builder::new().name("ledger".into());
        let run = move || writer.run(&incoming, report);
        thread.spawn(run).expect("the system has room for a thread");
        Ok(Self { orders })
    }

    /// Tells on whose behalf positions are committed from now on. If the thread has ended, it has said why.
    pub fn identify(&self, part: Part, identity: Identity) {
        let _ = self.orders.send(Order::Identify(part, identity));
    }

    /// Hands over a batch. If the thread has ended, it has said why.
    pub fn write(&self, batch: Batch) {
        let _ = self.orders.send(Order::Write(batch));
    }
}

struct Context {
    /// The records of this transaction that could not be written, by their endings.
    failed: Mutex<Vec<(usize, RDKafkaErrorCode)>>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        context::client_error(&error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ending: usize) {
        if let Err((error, _)) = result {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
            self.failed.lock().expect("no holder of the lock panics").push((ending, code));
        }
    }
}

/// How an attempt to write a batch failed.
enum Failed {
    /// The transaction was aborted.
    Abortable(String),
    /// The producer is of no use any more.
    Fatal(String),
}

struct Writer {
    producer: PolledProducer<Context>,
    /// On whose behalf positions of event topics are committed.
    events: Option<Identity>,
    /// On whose behalf all others are.
    waiting: Option<Identity>,
    topics: Topics,
    instance: String,
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>, report: impl Fn(Report)) {
        if let Err(reason) = self.initialise() {
            return report(Report::Fatal(reason));
        }
        report(Report::Ready);
        while let Ok(order) = orders.recv() {
            let mut batch = match order {
                Order::Identify(Part::Events, identity) => {
                    self.events = Some(identity);
                    continue;
                }
                Order::Identify(Part::Waiting, identity) => {
                    self.waiting = Some(identity);
                    continue;
                }
                Order::Write(batch) => batch,
            };
            let start = Instant::now();
            match self.write(&mut batch) {
                Ok(()) => report(Report::Committed(batch, start.elapsed())),
                Err(Failed::Abortable(reason)) => report(Report::Aborted(batch, reason)),
                Err(Failed::Fatal(reason)) => return report(Report::Fatal(reason)),
            }
        }
    }

    /// Fences earlier producers of this name; waits out a cluster that is away.
    fn initialise(&self) -> Result<(), String> {
        loop {
            match self.producer.init_transactions(CALL) {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if error.is_retriable() => {
                    waits(&error, "the ledger's producer can't be initialised yet");
                }
                Err(error) => return Err(format!("the producer can't be initialised: {error}")),
            }
        }
    }

    /// Writes a batch in one transaction, or in as many tries as there are records too large for their topic.
    ///
    /// Each try replaces at least one of them by a dead letter that is small, so it comes to an end.
    fn write(&self, batch: &mut Batch) -> Result<(), Failed> {
        loop {
            self.failed().clear();
            let result = self.transact(batch);
            let Err(error) = result else { return Ok(()) };
            self.abort(&error)?;
            if !self.shrink(batch) {
                return Err(Failed::Abortable(error.to_string()));
            }
        }
    }

    fn transact(&self, batch: &Batch) -> KafkaResult<()> {
        self.producer.begin_transaction()?;
        for (index, (_, ending)) in batch.endings.iter().enumerate() {
            let (onward, audit) = ending.publications(&self.instance);
            if let Some(onward) = onward {
                self.send(index, &onward)?;
            }
            if let Some(audit) = audit {
                self.send(NOT_ONWARD, &audit)?;
            }
        }
        for telling in &batch.statuses {
            let key = telling.id.as_str().as_bytes();
            let status = telling.status.as_ref().map(Status::write);
            let mut record = BaseRecord::with_opaque_to(&self.topics.status, NOT_ONWARD).key(key);
            if let Some(status) = &status {
                record = record.payload(&status[..]);
            }
            self.enqueue(record)?;
        }
        self.producer.await_written();
        let (events, waiting): (Vec<_>, Vec<_>) =
            batch.commits.iter().partition(|commit| commit.role == Role::Events);
        self.commit_positions(&events, self.events.as_ref())?;
        self.commit_positions(&waiting, self.waiting.as_ref())?;
        self.retried(|| self.producer.commit_transaction(CALL))
    }

    fn commit_positions(&self, commits: &[&Commit], member: Option<&Identity>) -> KafkaResult<()> {
        if commits.is_empty() {
            return Ok(());
        }
        let Identity(member) =
            member.expect("a member has partitions only after it was identified");
        let positions = positions(commits)?;
        self.retried(|| self.producer.send_offsets_to_transaction(&positions, member, CALL))
    }

    fn send(&self, ending: usize, publication: &Publication) -> KafkaResult<()> {
        let topic = match publication.to {
            Destination::Audit => &self.topics.audit,
            Destination::DeadLetter => &self.topics.dead_letter,
            Destination::Tier(tier) => &self.topics.tiers[tier.0].topic,
        };
        let mut record: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(topic, ending);
        if !publication.headers.0.is_empty() {
            record = record.headers(owned(&publication.headers));
        }
        if let Some(key) = &publication.key {
            record = record.key(key);
        }
        if let Some(value) = &publication.value {
            record = record.payload(value);
        }
        self.enqueue(record)
    }

    /// Hands a record to the producer, and keeps in mind whose was refused.
    fn enqueue(&self, record: BaseRecord<'_, [u8], [u8], usize>) -> KafkaResult<()> {
        let ending = record.delivery_opaque;
        hand_over(&self.producer, record).inspect_err(|error| {
            if let Some(code) = error.rdkafka_error_code() {
                self.failed().push((ending, code));
            }
        })
    }

    /// Repeats a call for as long as its error says that it may succeed: a cluster that is away is waited out. What
    /// must not wait with it, the end of the process, doesn't.
    fn retried(&self, call: impl Fn() -> KafkaResult<()>) -> KafkaResult<()> {
        loop {
            match call() {
                Err(KafkaError::Transaction(error)) if error.is_retriable() => {
                    waits(&error, "a transaction can't be committed yet");
                }
                result => return result,
            }
        }
    }

    /// Aborts the transaction, however long the cluster is away.
    fn abort(&self, cause: &KafkaError) -> Result<(), Failed> {
        if let KafkaError::Transaction(error) = cause
            && error.is_fatal()
        {
            return Err(Failed::Fatal(error.to_string()));
        }
        loop {
            match self.producer.abort_transaction(CALL) {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if error.is_retriable() => {
                    waits(&error, "a transaction can't be aborted yet");
                }
                Err(error) => return Err(Failed::Fatal(format!("{cause}; then: {error}"))),
            }
        }
    }

    /// Replaces the endings whose records were too large; tells whether there was one.
    fn shrink(&self, batch: &mut Batch) -> bool {
        let mut failed = std::mem::take(&mut *self.failed());
        failed.retain(|(_, code)| *code == RDKafkaErrorCode::MessageSizeTooLarge);
        failed.sort_unstable_by_key(|(index, _)| *index);
        failed.dedup_by_key(|(index, _)| *index);
        let mut any = false;
        for (index, _) in failed {
            let Some((_, ending)) = batch.endings.get_mut(index) else { continue };
            if ending.drop_value() {
                info!(
                    record = %ending.record(),
                    "a record was too large for its topic: its dead letter holds the origin only"
                );
                any = true;
            }
        }
        any
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, Vec<(usize, RDKafkaErrorCode)>> {
        self.producer.context().failed.lock().expect("no holder of the lock panics")
    }
}

/// Says why, once in a while, and pauses before the call is repeated.
fn waits(error: &RDKafkaError, what: &str) {
    context::client_error(&KafkaError::Transaction(error.clone()), &format!("{what}: {error}"));
    std::thread::sleep(PAUSE);
}

fn positions(commits: &[&Commit]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(commits.len());
    for commit in commits {
        let mut element = list.add_partition(&commit.name.topic, commit.name.partition);
        element.set_offset(Offset::Offset(commit.next.0))?;
        if !commit.metadata.is_empty() {
            element.set_metadata(&commit.metadata);
        }
    }
    Ok(list)
}
