//! Transactions of commands: records, and how far a command is, written together or not at all.
//!
//! Of each name there is one writer at a time: whoever starts ends the transaction that an earlier one left open, and
//! fences it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext};

use super::Connection;
use super::admin::batch_size_of;
use super::bookmark::{Bookmark, Position, list};
use super::client::TRANSACTIONAL;
use super::cluster::{ClusterError, REACH, Witness};
use super::polled::PolledProducer;
use super::record::{hand_over, owned};
use crate::domain::record::Headers;

/// How long one call of a transaction may take before its error is looked at.
const CALL: Duration = Duration::from_secs(10);

/// How long a transaction is tried again for as long as its errors say that it may succeed. A command has somebody who
/// waits for it, and what it has written so far is whole.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// A record to be written.
#[derive(Clone)]
pub struct Outgoing {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its partition; `None` leaves that to the key.
    pub partition: Option<i32>,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Headers,
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is committed.
    Committed,
    /// Nothing is written: the topics don't take the records at these places, they are too large.
    TooLarge(Vec<usize>),
}

/// Writes transactions under a name, one after the other.
pub struct Transactions<'c> {
    producer: PolledProducer<Context>,
    name: String,
    servers: &'c str,
}

struct Context {
    witness: Witness,
    /// The places of the records that were refused for their size.
    too_large: Mutex<Vec<usize>>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.witness.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.witness.error(error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, place: usize) {
        if let Err((error, _)) = result {
            self.refused(place, error);
        }
    }
}

impl Context {
    fn refused(&self, place: usize, error: &KafkaError) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
            self.too_large.lock().expect("no holder of the lock panics").push(place);
        }
    }

    fn take_too_large(&self) -> Vec<usize> {
        let mut places = std::mem::take(&mut *self.too_large.lock().expect("no holder panics"));
        places.sort_unstable();
        places.dedup();
        places
    }
}

impl<'c> Transactions<'c> {
    /// Starts to write to some topics under a name: from now on, no earlier writer of it writes anything.
    ///
    /// # Errors
    /// The cluster can't be reached, or doesn't permit transactions of this name.
    pub fn start(
        connection: &Connection<'c>,
        name: &str,
        topics: &[&str],
    ) -> Result<Self, ClusterError> {
        let mut client = connection.transactional(name);
        // A record that is too large must not take others with it.
        client.set("batch.size", batch_size_of(connection, topics).to_string());
        for (name, value) in TRANSACTIONAL {
            client.set(name, value);
        }
        client.set("message.max.bytes", "1000000000");
        let context = Context { witness: Witness::default(), too_large: Mutex::default() };
        let producer = PolledProducer::start(&client, context)?;
        let servers = connection.config().kafka.bootstrap_servers.as_str();
        let transactions = Self { producer, name: name.to_owned(), servers };
        transactions.initialise()?;
        Ok(transactions)
    }

    fn initialise(&self) -> Result<(), ClusterError> {
        let start = Instant::now();
        loop {
            let error = match self.producer.init_transactions(CALL) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if let Some(error) = self.witness().hopeless() {
                return Err(error);
            }
            if !is_retriable(&error) {
                let request = format!("begin transactions of {}", self.name);
                return Err(ClusterError::Refused { request, reason: words(&error) });
            }
            if start.elapsed() > REACH {
                let (servers, reason) = (self.servers.to_owned(), self.witness().reason());
                return Err(ClusterError::Unreachable { servers, waited: start.elapsed(), reason });
            }
        }
    }

    /// Writes records and positions in one transaction.
    ///
    /// # Errors
    /// Somebody else has started under this name, or it can't be written for a minute. Nothing is written then, unless
    /// the cluster was lost while it was committed.
    pub fn write(
        &self,
        records: &[Outgoing],
        positions: Option<(&Bookmark<'_>, &[Position])>,
    ) -> Result<Written, ClusterError> {
        let start = Instant::now();
        loop {
            self.producer.context().take_too_large();
            let Err(error) = self.transact(records, positions) else {
                return Ok(Written::Committed);
            };
            self.abort(&error)?;
            let too_large = self.producer.context().take_too_large();
            if !too_large.is_empty() {
                return Ok(Written::TooLarge(too_large));
            }
            if start.elapsed() > PATIENCE {
                return Err(self.unwritten(records, &error));
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn transact(
        &self,
        records: &[Outgoing],
        positions: Option<(&Bookmark<'_>, &[Position])>,
    ) -> KafkaResult<()> {
        self.producer.begin_transaction()?;
        for (place, record) in records.iter().enumerate() {
            self.enqueue(place, record)?;
        }
        self.producer.await_written();
        if let Some((bookmark, positions)) = positions {
            let (list, group) = (list(positions)?, bookmark.group());
            retried(|| self.producer.send_offsets_to_transaction(&list, &group, CALL))?;
        }
        retried(|| self.producer.commit_transaction(CALL))
    }

    fn enqueue(&self, place: usize, outgoing: &Outgoing) -> KafkaResult<()> {
        let mut record: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(&outgoing.topic, place);
        record.headers = Some(owned(&outgoing.headers));
        record.partition = outgoing.partition;
        record.key = outgoing.key.as_deref();
        record.payload = outgoing.value.as_deref();
        let refused = |error: &KafkaError| self.producer.context().refused(place, error);
        hand_over(&self.producer, record).inspect_err(refused)
    }

    /// Aborts the transaction that failed for `cause`.
    fn abort(&self, cause: &KafkaError) -> Result<(), ClusterError> {
        if is_fatal(cause) {
            return Err(self.superseded(cause));
        }
        let aborted = retried(|| self.producer.abort_transaction(CALL));
        aborted.map_err(|error| match is_fatal(&error) {
            true => self.superseded(&error),
            false => self.unwritten(&[], &error),
        })
    }

    fn superseded(&self, error: &KafkaError) -> ClusterError {
        ClusterError::Superseded { name: self.name.clone(), reason: words(error) }
    }

    fn unwritten(&self, records: &[Outgoing], error: &KafkaError) -> ClusterError {
        let topic = records.first().map_or_else(|| self.name.clone(), |it| it.topic.to_string());
        ClusterError::Unwritten { topic, reason: words(error) }
    }

    fn witness(&self) -> &Witness {
        &self.producer.context().witness
    }
}

/// Repeats a call for as long as its error says that it may succeed, for a minute.
fn retried(call: impl Fn() -> KafkaResult<()>) -> KafkaResult<()> {
    let start = Instant::now();
    loop {
        match call() {
            Err(error) if is_retriable(&error) && start.elapsed() < PATIENCE => {
                std::thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

fn is_retriable(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(error) if error.is_retriable())
}

fn is_fatal(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(error) if error.is_fatal())
}

fn words(error: &KafkaError) -> String {
    match error {
        KafkaError::Transaction(error) => error.to_string(),
        error => error.rdkafka_error_code().map_or_else(|| error.to_string(), |it| it.to_string()),
    }
}
