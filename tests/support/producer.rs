//! A producer that knows when everything it sent is stored.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};

use super::record::Draft;

const TIMEOUT: Duration = Duration::from_secs(60);

/// Sends records and waits for the broker's acknowledgement of all of them.
pub struct Producer {
    inner: ThreadedProducer<Reports>,
    tally: Arc<Tally>,
}

impl Producer {
    /// Connects lazily: an address where nothing listens shows in the first send.
    pub fn new(bootstrap: &str) -> Self {
        let tally = Arc::new(Tally::default());
        let inner = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", "true")
            .set("linger.ms", "1")
            .set("message.max.bytes", "10485760")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "500")
            // One broker knows its new topics at once: a wrong name should fail soon.
            .set("topic.metadata.propagation.max.ms", "5000")
            // Fails before the wait for the acknowledgements does, and so says why.
            .set("message.timeout.ms", "50000")
            .create_with_context(Reports(Arc::clone(&tally)))
            .expect("the settings of the producer are valid");
        Self { inner, tally }
    }

    /// Sends the records in order and waits until the broker has stored all of them.
    ///
    /// # Panics
    ///
    /// When one is refused, or they are not stored within 60 s.
    pub fn send_all(&self, topic: &str, drafts: impl IntoIterator<Item = Draft>) {
        let deadline = Instant::now() + TIMEOUT;
        for draft in drafts {
            self.send(topic, &draft, deadline);
        }
        self.tally.wait_until_at_most(0, deadline, topic);
    }

    fn send(&self, topic: &str, draft: &Draft, deadline: Instant) {
        // What librdkafka's queue takes by default is 100,000 records.
        const MOST_WAITING: usize = 50_000;
        self.tally.wait_until_at_most(MOST_WAITING, deadline, topic);
        let mut headers = OwnedHeaders::new_with_capacity(draft.headers.len());
        for (key, value) in &draft.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).headers(headers);
        record.key = draft.key.as_deref();
        record.payload = draft.value.as_deref();
        record.partition = draft.partition;
        self.tally.lock().waiting += 1;
        loop {
            match self.inner.send(record) {
                Ok(()) => return,
                // Large records fill the queue by bytes; the polling thread empties it.
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    let fewer = self.tally.lock().waiting.saturating_sub(2);
                    self.tally.wait_until_at_most(fewer, deadline, topic);
                    record = back;
                }
                Err((error, _)) => panic!("a record can't be sent to {topic}: {error}"),
            }
        }
    }
}

/// What was sent and not yet acknowledged, and the first failure.
#[derive(Default)]
struct Tally {
    counts: Mutex<Counts>,
    changed: Condvar,
}

#[derive(Default)]
struct Counts {
    waiting: usize,
    failure: Option<String>,
}

impl Tally {
    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().expect("no test panics while it holds the counts")
    }

    fn wait_until_at_most(&self, most: usize, deadline: Instant, topic: &str) {
        let left = deadline.saturating_duration_since(Instant::now());
        let (counts, _) = self
            .changed
            .wait_timeout_while(self.lock(), left, |counts| {
                counts.waiting > most && counts.failure.is_none()
            })
            .expect("no test panics while it holds the counts");
        let (waiting, failure) = (counts.waiting, counts.failure.clone());
        drop(counts);
        if let Some(failure) = failure {
            panic!("a record was not stored in {topic}: {failure}");
        }
        assert!(
            waiting <= most,
            "{waiting} records to {topic} are not acknowledged after {TIMEOUT:?}"
        );
    }
}

struct Reports(Arc<Tally>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut counts = self.0.lock();
        counts.waiting -= 1;
        if let Err((error, _)) = result {
            counts.failure.get_or_insert_with(|| error.to_string());
        }
        drop(counts);
        self.0.changed.notify_all();
    }
}
