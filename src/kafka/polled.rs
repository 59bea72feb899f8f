//! A producer that a thread of its own polls, so that what it has to report is heard of whoever waits.
//!
//! rdkafka brings one that polls for 100 ms at a time. Its poll counts in whole milliseconds and turns around for what is
//! left of the last one: in an idle process that is most of the CPU time. This one polls for longer, which delays no
//! report: they are taken as they come.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaResult;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

/// One poll; also how long a producer that was dropped may stay.
const POLL: Duration = Duration::from_secs(5);

/// Between two looks at whether records are written.
const LOOK: Duration = Duration::from_millis(1);

/// The most looks; after that it is left to the commit to wait.
const LOOKS: u32 = 1_000;

/// See the module. Dropping it ends its thread, and the producer with it, after the poll under way.
pub(super) struct PolledProducer<C: ProducerContext + 'static> {
    producer: Arc<BaseProducer<C>>,
    stop: Arc<AtomicBool>,
}

impl<C: ProducerContext + 'static> PolledProducer<C> {
    /// Makes the producer and starts to poll it.
    ///
    /// # Errors
    /// librdkafka refuses the settings.
    pub(super) fn start(settings: &ClientConfig, context: C) -> KafkaResult<Self> {
        let producer: Arc<BaseProducer<C>> = Arc::new(settings.create_with_context(context)?);
        let stop = Arc::new(AtomicBool::new(false));
        let (polled, is_stopped) = (producer.clone(), stop.clone());
        let poll = move || {
            while !is_stopped.load(Ordering::Relaxed) {
                polled.poll(POLL);
            }
        };
        let thread = std::thread::Builder::new().name("producer".into());
        thread.spawn(poll).expect("the system has room for a thread");
        Ok(Self { producer, stop })
    }

    /// Waits until the records of a transaction are written or given up, for a second or so at most.
    ///
    /// To be done before positions are sent to the transaction and it is committed. rdkafka's `commit_transaction` looks
    /// only ten times a second for whether records are written, and a coordinator that is still adding their partitions
    /// refuses positions for now.
    pub(super) fn await_written(&self) {
        for _ in 0..LOOKS {
            if self.producer.in_flight_count() == 0 {
                return;
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl<C: ProducerContext + 'static> Deref for PolledProducer<C> {
    type Target = BaseProducer<C>;

    fn deref(&self) -> &Self::Target {
        &self.producer
    }
}

impl<C: ProducerContext + 'static> Drop for PolledProducer<C> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
