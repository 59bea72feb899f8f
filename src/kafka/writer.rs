//! Writes single records and waits for each: what commands need.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::Connection;
use super::cluster::{ClusterError, Witness};
use super::record::owned;
use crate::domain::record::Headers;

/// How long a record may take to be acknowledged.
const WRITE: Duration = Duration::from_secs(30);

/// One look for the acknowledgement.
const LOOK: Duration = Duration::from_millis(1);

/// Which partition a record goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The one that its key chooses, as Java's producers do.
    ByKey,
    /// This one.
    Partition(i32),
}

/// Writes records, one after the other.
pub struct Writer {
    producer: BaseProducer<Witness>,
}

impl Writer {
    /// Makes the producer. Nothing is sent yet.
    ///
    /// # Errors
    /// librdkafka refuses the settings.
    pub fn new(connection: &Connection) -> Result<Self, ClusterError> {
        let mut client = connection.producer();
        client.set("message.timeout.ms", WRITE.as_millis().to_string());
        Ok(Self { producer: client.create_with_context(Witness::default())? })
    }

    /// Writes a record and waits until all in-sync replicas have it; no value is a tombstone.
    ///
    /// # Errors
    /// It was refused, or not acknowledged within 30 s: then it may have been written all the same.
    pub fn write(
        &self,
        topic: &str,
        target: Target,
        key: &[u8],
        value: Option<&[u8]>,
        headers: &Headers,
    ) -> Result<(), ClusterError> {
        let unwritten =
            |reason: String| ClusterError::Unwritten { topic: topic.to_owned(), reason };
        let witness = self.producer.client().context();
        // What an earlier record came to must not be taken for this one's.
        witness.take_delivery();
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).key(key);
        record.payload = value;
        if !headers.0.is_empty() {
            record = record.headers(owned(headers));
        }
        if let Target::Partition(partition) = target {
            record = record.partition(partition);
        }
        self.producer.send(record).map_err(|(error, _)| unwritten(name(&error)))?;
        // librdkafka gives the record up by then; the margin is for its report.
        let deadline = Instant::now() + WRITE + Duration::from_secs(5);
        while Instant::now() < deadline {
            self.producer.poll(LOOK);
            match witness.take_delivery() {
                Some(Ok(())) => return Ok(()),
                Some(Err(code)) => {
                    let timed_out = code == RDKafkaErrorCode::MessageTimedOut;
                    let words = witness.reason().filter(|_| timed_out);
                    let more = words.map_or_else(String::new, |words| format!("; {words}"));
                    return Err(unwritten(format!("{code}{more}")));
                }
                None => {}
            }
            if let Some(error) = witness.hopeless() {
                return Err(error);
            }
        }
        Err(unwritten("no report of it came".into()))
    }
}

fn name(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}
