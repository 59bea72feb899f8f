//! What a scenario is played on: a broker, a receiver, topics full of events, and connectors that deliver them.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Scale;
use crate::event::{self, KIB, SECRET};
use crate::figures::Run;
use crate::receiver::Receiver;
use crate::roles::{Limit, Role, Used, Worker};
use crate::support::broker::Broker;
use crate::support::connector::{Connector, Setup, quoted};
use crate::support::record::Draft;
use crate::support::scope::Scope;
use crate::usage;

/// Long enough for a million subscriptions to be read.
const START: Duration = Duration::from_secs(300);

/// Long enough for any number of deliveries that a scenario makes.
const LIMIT: Duration = Duration::from_secs(900);

/// How long the last commits may take once everything is delivered.
const SETTLE: Duration = Duration::from_secs(60);

/// The most records that are sent in one go, so that each go stays within the producer's patience.
const CHUNK: usize = 50_000;

/// How many requests may be in flight to one subscription: the connector's default, and what the limit gets.
pub const IN_FLIGHT: usize = 256;

/// The events of a backlog by whose end a broker's CPU for each has fallen to about half.
const WARM_UP: usize = 800_000;

/// The subscriptions that a warm-up goes to: enough that their ids reach each of four audit partitions.
const FEW: usize = 32;

/// The topic of the events.
const EVENTS: &str = "orders";

/// A broker of the scenario's own, with a receiver beside it and a topic of events.
pub struct Stage {
    pub receiver: Rc<Receiver>,
    pub broker: Rc<Broker>,
    pub partitions: usize,
    /// Where the events are.
    scope: Scope,
    produced: Cell<usize>,
}

impl Stage {
    /// Starts both, warms the broker up, and makes an empty topic of events.
    pub fn new(scale: Scale, partitions: usize) -> Self {
        let stage =
            Self::on(Rc::new(Broker::start_steady()), Rc::new(Receiver::start()), partitions);
        stage.beside(4).warm_up(scale.of(WARM_UP));
        stage
    }

    /// Plays a backlog that nobody measures: a broker that was just started needs twice the CPU of one that has run for
    /// a while, as it has to compile what it runs. It goes to a few subscriptions, so that every audit partition has its
    /// share: one partition and several aren't the same to compile.
    fn warm_up(self, events: usize) {
        let event_type = |n: usize| format!("t.k{}", n % FEW);
        let draft =
            |n: usize| event::place(n, self.partitions, event::typed(n, KIB, &event_type(n)));
        self.produce((0..events).map(draft));
        let cast = self.cast(|setup| setup);
        cast.write((0..FEW).map(|n| {
            cast.subscription(&format!("s{n}"), "/ok/warm", &[&event_type(n)], json!({}))
        }));
        cast.deliver(events);
    }

    /// Makes another empty topic of events, with the same broker and receiver.
    pub fn beside(&self, partitions: usize) -> Self {
        Self::on(self.broker.clone(), self.receiver.clone(), partitions)
    }

    fn on(broker: Rc<Broker>, receiver: Rc<Receiver>, partitions: usize) -> Self {
        let scope = Scope::on(&broker, "events");
        let count = i32::try_from(partitions).expect("there are few partitions");
        scope.create_topic(EVENTS, count, &[]);
        Self { receiver, broker, partitions, scope, produced: Cell::new(0) }
    }

    /// Writes a backlog of so many events of this size, and returns itself.
    pub fn filled(self, events: usize, size: usize) -> Self {
        self.produce((0..events).map(|n| event::draft(n, size, self.partitions)));
        self
    }

    /// Writes events.
    pub fn produce(&self, events: impl Iterator<Item = Draft>) {
        self.produced.set(self.produced.get() + send(&self.scope, EVENTS, events));
    }

    /// Returns the full name of the topic of the events.
    pub fn topic(&self) -> String {
        self.scope.topic(EVENTS)
    }

    /// Makes the connector's own topics, anew for each cast.
    pub fn cast(&self, adjust: impl FnOnce(Setup) -> Setup) -> Cast<'_> {
        self.cast_with("", adjust)
    }

    /// Makes the connector's own topics, with further lines about the source, e.g. a selector.
    pub fn cast_with(&self, source: &str, adjust: impl FnOnce(Setup) -> Setup) -> Cast<'_> {
        let scope = Scope::on(&self.broker, "own");
        let setup = Setup::new(&scope)
            .source(&self.scope, EVENTS, "envelope", source)
            .set("topics", "partitions", "4")
            .set("log", "level", &quoted("warn"));
        let setup = adjust(setup);
        let created = setup.run(&["topics", "create"]);
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        Cast { stage: self, scope, setup }
    }

    /// Has the limit post so many bodies, and returns what that took.
    pub fn limit(&self, path: &str, deliveries: usize, in_flight: usize, size: usize) -> Run {
        self.receiver.reset(&[]);
        let url = self.receiver.url(path);
        let limit = Limit { url, deliveries, in_flight, size };
        let line = Worker::start(&Role::Limit(limit)).finish(LIMIT);
        let used: Used = serde_json::from_str(&line).expect("the limit ends with its figures");
        Run::new(&self.receiver.report(), used.cpu, used.peak_kib)
    }
}

/// The connector's part: its settings and its own topics.
pub struct Cast<'a> {
    stage: &'a Stage,
    pub scope: Scope,
    setup: Setup,
}

impl Cast<'_> {
    /// Subscribes to every event, and returns itself.
    pub fn subscribed(self, path: &str, more: Value) -> Self {
        self.write([self.subscription("s0", path, &["*"], more)]);
        self
    }

    /// Subscribes ids to every event, each at a path of its own, and returns itself.
    pub fn fanned_out(self, subscriptions: usize) -> Self {
        self.write(
            (0..subscriptions).map(|n| {
                self.subscription(&format!("s{n}"), &format!("/ok/s{n}"), &["*"], json!({}))
            }),
        );
        self
    }

    /// Writes subscriptions.
    pub fn write(&self, subscriptions: impl IntoIterator<Item = Draft>) {
        self.fill("subscriptions", subscriptions);
    }

    /// Writes records to one of the connector's own topics, e.g. `retry.1h`.
    pub fn fill(&self, topic: &str, records: impl IntoIterator<Item = Draft>) {
        send(&self.scope, topic, records.into_iter());
    }

    /// Returns the record of a subscription.
    pub fn subscription(&self, id: &str, path: &str, events: &[&str], more: Value) -> Draft {
        let url = self.stage.receiver.url(path);
        let mut definition = json!({ "url": url, "events": events, "secret": SECRET });
        let fields = definition.as_object_mut().expect("it is an object");
        fields.extend(more.as_object().expect("more fields are an object").clone());
        Draft::new(id, definition.to_string())
    }

    /// Deletes what earlier groups wrote to the audit topic, which another would have to read beside its work, and returns
    /// the name of a group that nobody has used: it begins at the first event.
    fn begin_afresh(&self) -> String {
        self.scope.delete_records("audit");
        format!("{}{:08x}", self.scope.prefix(), rand::random::<u32>())
    }

    fn member(&self, group: &str, instance: &str) -> Setup {
        self.setup.clone().set("kafka", "group_id", &quoted(group)).instance(instance)
    }

    /// Starts a connector that begins at the first event, and waits until it is ready.
    pub fn start(&self) -> Connector {
        let mut connector = self.member(&self.begin_afresh(), "a").start();
        connector.wait_ready(START);
        connector
    }

    /// Starts a connector and returns the time until it was ready.
    pub fn start_timed(&self) -> (Connector, Duration) {
        let begin = Instant::now();
        let connector = self.start();
        (connector, begin.elapsed())
    }

    /// Has a new connector make so many deliveries, all that there are to make, and returns what that took.
    pub fn deliver(&self, deliveries: usize) -> Run {
        self.deliver_by(1, deliveries)
    }

    /// Has new instances of one group make so many deliveries, all that there are to make.
    ///
    /// The rate is from the first request to the last delivery, so that starting and joining the group don't count; CPU
    /// is from the first request until all is committed.
    pub fn deliver_by(&self, instances: usize, deliveries: usize) -> Run {
        let group = self.begin_afresh();
        let receiver = &self.stage.receiver;
        receiver.reset(&[]);
        let start = |n| self.member(&group, &format!("i{n}")).start();
        let mut connectors: Vec<_> = (0..instances).map(start).collect();
        let ids: Vec<_> = connectors.iter().map(Connector::id).collect();
        // They take longer to their first request than this does.
        receiver.reset(&ids);
        for connector in &mut connectors {
            connector.wait_ready(START);
        }
        receiver.wait_distinct(deliveries);
        self.wait_settled(&group);
        let report = receiver.report();
        assert_eq!(report.distinct, deliveries, "the receiver has other deliveries than expected");
        let cpu: Duration = ids.iter().map(|id| usage::cpu(*id)).sum();
        let peak = ids.iter().map(|id| usage::peak_kib(*id)).max().unwrap_or(0);
        Run::new(&report, cpu.saturating_sub(report.cpu_at_first), peak)
    }

    /// Waits until a group has committed every event, with nothing pending behind.
    fn wait_settled(&self, group: &str) {
        let deadline = Instant::now() + SETTLE;
        let events = i64::try_from(self.stage.produced.get()).expect("events can be counted");
        loop {
            let committed = self.stage.scope.committed(group, EVENTS);
            let sum: i64 = committed.iter().map(|partition| partition.offset).sum();
            if sum >= events && committed.iter().all(|partition| partition.metadata.is_empty()) {
                return;
            }
            assert!(Instant::now() < deadline, "not settled: {committed:?} is not {events} events");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Sends records and returns how many there were.
fn send(scope: &Scope, topic: &str, mut records: impl Iterator<Item = Draft>) -> usize {
    let mut sent = 0;
    loop {
        let chunk: Vec<_> = records.by_ref().take(CHUNK).collect();
        if chunk.is_empty() {
            return sent;
        }
        sent += chunk.len();
        scope.produce_all(topic, chunk);
    }
}
