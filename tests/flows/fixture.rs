//! What most flows begin with: a scope with all topics, an event topic, a receiver and settings.

use std::ops::Range;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::connector::{Connector, Setup};
use crate::support::record::{Draft, Record};
use crate::support::scope::{Committed, Scope};

/// Long enough for anything that should happen soon, on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);

/// The secret of every subscription of these tests.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Topics and settings of one test.
pub struct Fixture {
    pub scope: Scope,
    pub setup: Setup,
}

impl Fixture {
    /// Makes the topics, with envelopes in `orders`.
    pub fn new(name: &str) -> Self {
        Self::with(name, |setup| setup)
    }

    /// Makes the topics, with settings of its own.
    pub fn with(name: &str, adjust: impl FnOnce(Setup) -> Setup) -> Self {
        Self::on(Scope::new(name), adjust)
    }

    /// Makes the topics in a scope.
    pub fn on(scope: Scope, adjust: impl FnOnce(Setup) -> Setup) -> Self {
        scope.create_topic("orders", 4, &[]);
        let setup = Setup::new(&scope)
            .source(&scope, "orders", "envelope", "")
            .set("topics", "partitions", "2")
            .set("kafka", "properties", r#"{ "session.timeout.ms" = 6000 }"#);
        let setup = adjust(setup);
        let created = setup.run(&["topics", "create"]);
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        Self { scope, setup }
    }

    /// Starts a connector and waits until it is ready.
    pub fn start(&self) -> Connector {
        let mut connector = self.setup.start();
        connector.wait_ready(SOON);
        connector
    }

    /// Writes a subscription with this URL to `events`, and with whatever else.
    pub fn subscribe(&self, id: &str, url: &str, events: &[&str], more: Value) {
        let mut definition = json!({ "url": url, "events": events, "secret": SECRET });
        let fields = definition.as_object_mut().expect("it is an object");
        fields.extend(more.as_object().expect("more fields are an object").clone());
        self.scope.produce("subscriptions", id, definition.to_string(), &[]);
    }

    /// Writes an event.
    pub fn event(&self, id: &str, event_type: &str) {
        let value = json!({ "id": id, "event": event_type, "data": { "order": id } });
        self.scope.produce("orders", id, value.to_string(), &[]);
    }

    /// Writes the events `evt_0`, `evt_1`, … of these numbers.
    pub fn numbered_events(&self, numbers: Range<usize>) {
        let event = |n: usize| {
            let value = json!({ "id": format!("evt_{n}"), "event": "a.b", "data": { "n": n } });
            Draft::new(format!("k{n}"), value.to_string())
        };
        self.scope.produce_all("orders", numbers.map(event));
    }

    /// Follows the audit topic until it holds so many records, and returns them.
    pub fn audit(&self, count: usize) -> Vec<Value> {
        let records =
            self.scope.wait_for("audit", SOON, |records: &[Record]| records.len() >= count);
        records.iter().map(Record::json).collect()
    }

    /// Waits until the group has committed so many event records, with nothing pending behind.
    pub fn wait_settled(&self, events: i64) {
        self.wait_committed(|committed| {
            committed.iter().map(|partition| partition.offset).sum::<i64>() == events
                && committed.iter().all(|partition| partition.metadata.is_empty())
        });
    }

    /// Waits until what the group has committed of the events satisfies `holds`.
    pub fn wait_committed(&self, holds: impl Fn(&[Committed]) -> bool) {
        let deadline = Instant::now() + SOON;
        loop {
            let committed = self.scope.committed(&self.scope.group(), "orders");
            if holds(&committed) {
                return;
            }
            assert!(Instant::now() < deadline, "it was not committed: {committed:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Shortens an audit record to what most tests look at.
pub fn told(record: &Value) -> String {
    let text = |name: &str| match &record[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    format!(
        "{} {} #{} {} {}",
        text("subscriptionId"),
        text("eventId"),
        text("attempt"),
        text("outcome"),
        text("reason")
    )
}
