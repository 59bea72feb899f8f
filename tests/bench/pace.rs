//! Events at an even pace, and how long they took to the receiver.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, ThreadedProducer};

use crate::event::{KIB, now_micros, typed};
use crate::figures::Series;
use crate::receiver::Latency;
use crate::stage::Stage;

/// Between two events, unless a scenario says otherwise.
pub const EVERY: Duration = Duration::from_millis(1);

/// How long the rest may take to arrive.
const ARRIVE: Duration = Duration::from_secs(30);

/// Writes events one by one.
pub struct Pacer<'a> {
    stage: &'a Stage,
    producer: ThreadedProducer<DefaultProducerContext>,
    topic: String,
    every: Duration,
    /// Events are of so many types in turn, of which so many are timed.
    types: usize,
    timed: usize,
    written: usize,
}

impl<'a> Pacer<'a> {
    /// A pacer that writes to the stage's events.
    pub fn new(stage: &'a Stage) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", stage.broker.bootstrap())
            .set("linger.ms", "0")
            .create()
            .expect("the settings of the producer are valid");
        let topic = stage.topic();
        Self { stage, producer, topic, every: EVERY, types: 1, timed: 1, written: 0 }
    }

    /// Sets the pace, and of how many types the events are in turn, the first of which are timed.
    pub fn paced(self, every: Duration, types: usize, timed: usize) -> Self {
        Self { every, types, timed, ..self }
    }

    /// Writes events at the pace for so long, and returns when it began, in microseconds since 1970.
    pub fn run(&mut self, span: Duration) -> u64 {
        let (begin, began) = (Instant::now(), now_micros());
        let mut due = Duration::ZERO;
        while due < span {
            std::thread::sleep((begin + due).saturating_duration_since(Instant::now()));
            self.write();
            due += self.every;
        }
        began
    }

    /// Writes an event every 10 ms until some have arrived: the reader has found its place.
    pub fn warm_up(&mut self) {
        const SOME: usize = 50;
        let deadline = Instant::now() + ARRIVE;
        while self.stage.receiver.report().requests < SOME {
            assert!(Instant::now() < deadline, "no event arrives");
            self.write();
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until all that was written has arrived, and returns how long each took.
    pub fn arrivals(&self) -> Vec<Latency> {
        let deadline = Instant::now() + ARRIVE;
        loop {
            let latencies = self.stage.receiver.latencies();
            let timed = (0..self.written).filter(|n| n % self.types < self.timed).count();
            if latencies.len() >= timed {
                return latencies;
            }
            let seen = latencies.len();
            assert!(Instant::now() < deadline, "{seen} of {timed} events arrived");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn write(&mut self) {
        let event_type = format!("t.k{}", self.written % self.types);
        let value = typed(self.written, KIB, &event_type);
        let key = format!("k{}", self.written);
        let partition = i32::try_from(self.written % self.stage.partitions);
        let record = BaseRecord::to(&self.topic)
            .key(&key)
            .payload(&value)
            .partition(partition.expect("there are few partitions"));
        self.producer.send(record).map_err(|(error, _)| error).expect("the queue has room");
        self.written += 1;
    }
}

/// The middle and the end of a distribution, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Quantiles {
    pub p50: f64,
    pub p99: f64,
}

impl Quantiles {
    /// Writes events at the pace for so long, and takes those of what they took to the receiver.
    pub fn of(stage: &Stage, span: Duration) -> Self {
        Self::by(Pacer::new(stage), span)
    }

    /// The same with a pacer of one's own.
    pub fn by(mut pacer: Pacer<'_>, span: Duration) -> Self {
        pacer.stage.receiver.reset(&[]);
        pacer.warm_up();
        let began = pacer.run(span);
        Self::within(&pacer.arrivals(), began, span)
    }

    /// Takes those of the events that were made in a span of time that began at `from`, in microseconds since 1970.
    pub fn within(latencies: &[Latency], from: u64, span: Duration) -> Self {
        let until = from + micros(span);
        let those = latencies.iter().filter(|latency| (from..until).contains(&latency.at));
        let mut took: Vec<_> = those.map(|latency| latency.took).collect();
        took.sort_unstable();
        assert!(!took.is_empty(), "no event was made in that time");
        let millis = |percent| took[(took.len() - 1) * percent / 100] as f64 / 1e3;
        Self { p50: millis(50), p99: millis(99) }
    }
}

/// Returns a time in microseconds.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).expect("it is not longer than a benchmark")
}

/// Prints the quantiles of several rounds.
pub fn row(name: &str, rounds: &[Quantiles]) {
    let p50 = Series::of(rounds, |quantiles| quantiles.p50);
    let p99 = Series::of(rounds, |quantiles| quantiles.p99);
    println!("{name:26} p50 {p50:>24} ms   p99 {p99:>24} ms");
}
