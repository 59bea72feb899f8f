//! A load with a known outcome: events times subscriptions, and what receiver and audit say of it afterwards.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fixture::{Fixture, SECRET};
use crate::support::receiver::Receiver;
use crate::support::record::{Draft, Record};
use crate::support::scope::Scope;

/// Long enough for the whole load on a busy machine.
pub const LONG: Duration = Duration::from_secs(150);

/// Time in which an outcome is surely committed: the interval, and a commit in a debug build on a busy machine.
const COMMIT: Duration = Duration::from_secs(1);

/// Events that fan out.
pub struct Load {
    pub events: usize,
    pub fan_out: usize,
}

impl Load {
    /// Makes topics and settings with a limit of attempts in flight, the subscriptions, and the events.
    pub fn prepare(&self, scope: Scope, in_flight: usize, receiver: &Receiver) -> Fixture {
        let limit = in_flight.to_string();
        let flow = Fixture::on(scope, |setup| {
            setup.set("delivery", "max_in_flight", &limit).set(
                "delivery",
                "max_in_flight_per_subscription",
                &limit,
            )
        });
        self.subscribe(&flow, receiver);
        self.produce(&flow);
        flow
    }

    /// Subscribes `s0`, `s1`, … to everything, each at its own path.
    fn subscribe(&self, flow: &Fixture, receiver: &Receiver) {
        let subscribe = |n| {
            let url = receiver.url(&format!("/s{n}"));
            let value = json!({"url": url, "events": ["*"], "secret": SECRET});
            Draft::new(format!("s{n}"), value.to_string())
        };
        flow.scope.produce_all("subscriptions", (0..self.fan_out).map(subscribe));
    }

    fn produce(&self, flow: &Fixture) {
        let event = |n: usize| {
            let value = json!({"id": format!("evt_{n}"), "event": "a.b", "data": {"n": n}});
            Draft::new(format!("k{n}"), value.to_string())
        };
        flow.scope.produce_all("orders", (0..self.events).map(event));
    }

    pub fn deliveries(&self) -> usize {
        self.events * self.fan_out
    }

    /// Checks that nothing is lost and each outcome is written once, and returns the requests that were made again.
    pub fn check(&self, flow: &Fixture, receiver: &Receiver) -> Vec<Repeat> {
        let audited = audited(flow, self.deliveries());
        assert_eq!(audited.len(), self.deliveries(), "the audit misses deliveries");
        let doubles: Vec<_> = audited.iter().filter(|(_, count)| **count != 1).take(5).collect();
        assert!(doubles.is_empty(), "the audit has doubles: {doubles:?}");
        flow.wait_settled(self.events as i64);
        let mut last: BTreeMap<(String, String), Instant> = BTreeMap::new();
        let mut repeats = Vec::new();
        for seen in receiver.requests() {
            let delivery = (seen.webhook_id().to_owned(), seen.path[1..].to_owned());
            if let Some(before) = last.insert(delivery.clone(), seen.received) {
                repeats.push(Repeat { delivery, before });
            }
        }
        assert_eq!(last.len(), self.deliveries(), "deliveries never reached the receiver");
        repeats
    }
}

/// Waits until the audit tells of so many deliveries, and returns how often each was delivered by it: event and
/// subscription.
pub fn audited(flow: &Fixture, deliveries: usize) -> BTreeMap<(String, String), u32> {
    let mut delivered: BTreeMap<(String, String), u32> = BTreeMap::new();
    let mut looked_at = 0;
    flow.scope.wait_for("audit", LONG, |records: &[Record]| {
        for record in &records[looked_at..] {
            let audit: Value = record.json();
            if audit["outcome"] == "delivered" {
                let text = |name: &str| audit[name].as_str().unwrap_or_default().to_owned();
                *delivered.entry((text("eventId"), text("subscriptionId"))).or_default() += 1;
            }
        }
        looked_at = records.len();
        delivered.len() >= deliveries
    });
    delivered
}

/// A request that was made though the same had been received before.
pub struct Repeat {
    /// Event and subscription.
    pub delivery: (String, String),
    /// When the earlier one was received.
    pub before: Instant,
}

/// Checks that repeats are of requests that were in the air when an instance was killed, or had ended so shortly before
/// that their outcomes were not committed yet.
pub fn check_in_the_air(repeats: &[Repeat], kills: &[Instant]) {
    println!("{} repeats after {} kills", repeats.len(), kills.len());
    for repeat in repeats {
        let is_excused = |kill: &Instant| {
            let age = kill.saturating_duration_since(repeat.before);
            age < COMMIT && repeat.before < *kill + COMMIT
        };
        let Repeat { delivery, before } = repeat;
        let excused = kills.iter().any(is_excused);
        assert!(excused, "{delivery:?} of {before:?} was settled long before any kill: {kills:?}");
    }
}
