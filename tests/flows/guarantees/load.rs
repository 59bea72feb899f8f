//! A load with a known outcome: events times subscriptions, and what receiver and audit say of it afterwards.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use crate::fixture::{Fixture, SECRET};
use crate::support::connector::Connector;
use crate::support::exchange::{Answer, Seen};
use crate::support::ledger::Witnesses;
use crate::support::receiver::Receiver;
use crate::support::record::Draft;
use crate::support::scope::Scope;

/// Long enough for the whole load on a busy machine.
pub const LONG: Duration = Duration::from_secs(150);

/// Time in which an answer has surely reached the batch that tells of it, in a debug build on a busy machine.
const LAG: Duration = Duration::from_secs(1);

/// Event and subscription.
type Delivery = (String, String);

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
            setup
                .set("delivery", "max_in_flight", &limit)
                .set("delivery", "max_in_flight_per_subscription", &limit)
                .set("disable", "after_dead_letters", "0")
        });
        self.subscribe(&flow, receiver);
        flow.numbered_events(0..self.events);
        flow
    }

    /// Subscribes `s0`, `s1`, … to everything, each at its own path.
    fn subscribe(&self, flow: &Fixture, receiver: &Receiver) {
        let subscribe = |id: &String| {
            let url = receiver.url(&format!("/{id}"));
            let value = json!({
                "url": url, "events": ["*"], "secret": SECRET,
                "retry": {"schedule": ["1s", "2s", "5s"]}, "noRetryOn": [REFUSED],
            });
            Draft::new(id, value.to_string())
        };
        flow.scope.produce_all("subscriptions", self.subscriptions().iter().map(subscribe));
    }

    fn subscriptions(&self) -> Vec<String> {
        (0..self.fan_out).map(|n| format!("s{n}")).collect()
    }

    pub fn deliveries(&self) -> usize {
        self.events * self.fan_out
    }

    /// Checks that nothing is lost, and that each outcome is written once and is what the receiver saw.
    pub fn check(&self, flow: &Fixture, receiver: &Receiver) -> Checked {
        let subscriptions = self.subscriptions();
        let subscriptions: Vec<_> = subscriptions.iter().map(String::as_str).collect();
        let all_ended = Witnesses::wait_ends(&flow.scope, &subscriptions, self.events, LONG);
        let mut witnesses = Witnesses::new(&subscriptions);
        if all_ended {
            // Then nothing more is written.
            flow.wait_settled(self.events as i64);
        }
        witnesses.hear(&flow.scope);
        let mut repeats = Vec::new();
        let mut ended: BTreeMap<Delivery, SystemTime> = BTreeMap::new();
        for seen in receiver.requests() {
            let delivery = (seen.webhook_id().to_owned(), seen.path[1..].to_owned());
            if let Some(before) = ended.get(&delivery).copied() {
                let again = seen.received_at;
                repeats.push(Repeat { delivery: delivery.clone(), before, again });
            }
            let Some(status) = seen.answer.get() else { continue };
            witnesses.answered(&delivery.0, &delivery.1, *status);
            if matches!(*status, 200..300 | REFUSED) {
                ended.insert(delivery, seen.received_at);
            }
        }
        let ledger = witnesses.ledger(self.events);
        println!("{ledger}");
        assert!(ledger.is_right(), "{ledger}");
        Checked { repeats, ends: ends(flow) }
    }
}

/// Reads of each delivery who has written of its end, and when.
fn ends(flow: &Fixture) -> BTreeMap<Delivery, End> {
    let mut ends = BTreeMap::new();
    flow.scope.reader("audit", LONG).visit_to_end(|record| {
        let audit = record.json();
        let text = |name: &str| audit[name].as_str().unwrap_or_default().to_owned();
        if text("outcome") != "retrying" {
            let at = u64::try_from(record.timestamp_ms).expect("it was written after 1970");
            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(at);
            ends.insert(
                (text("eventId"), text("subscriptionId")),
                End { by: text("instance"), at },
            );
        }
    });
    ends
}

/// Waits until an instance owns at least so many partitions of the events.
pub fn wait_owns(connector: &mut Connector, flow: &Fixture, partitions: usize) {
    connector.wait_ready(LONG);
    connector.wait_status(LONG, |status| {
        let shown = status["partitions"]["shown"].as_array().expect("a status shows partitions");
        let its = shown.iter().filter(|it| it["topic"] == flow.scope.topic("orders"));
        its.count() >= partitions
    });
}

/// Waits until `/ready` answers with this status.
pub fn wait_ready_is(connector: &Connector, status: u16) {
    let deadline = Instant::now() + LONG;
    while connector.get("/ready").0 != status {
        assert!(Instant::now() < deadline, "/ready never answered {status}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What a receiver answers that will never take an event.
const REFUSED: u16 = 400;

/// Answers as receivers of all kinds do: `/s1` refuses every second event for good, `/s2` is troubled by one in four the
/// first time, the others take what comes.
pub fn of_all_kinds(seen: &Seen, nth: usize) -> Answer {
    let number: usize = seen.webhook_id()[4..].parse().expect("events are numbered");
    Answer::status(match &*seen.path {
        "/s1" if number % 2 == 1 => REFUSED,
        "/s2" if number % 4 == 1 && nth == 1 => 503,
        _ => 200,
    })
}

/// A load of which nothing is lost.
pub struct Checked {
    pub repeats: Vec<Repeat>,
    ends: BTreeMap<Delivery, End>,
}

/// A request that was made though the same had been answered before.
pub struct Repeat {
    delivery: Delivery,
    /// When the earlier one was received.
    before: SystemTime,
    /// When it was received again.
    again: SystemTime,
}

/// What the audit says of the end of a delivery.
struct End {
    /// The instance.
    by: String,
    /// When the record was written, of a transaction that was committed.
    at: SystemTime,
}

/// The end of an instance without warning.
pub struct Kill {
    pub instance: &'static str,
    pub at: SystemTime,
}

impl Kill {
    /// Kills an instance.
    pub fn of(instance: &'static str, connector: &mut Connector) -> Self {
        connector.kill9();
        Self { instance, at: SystemTime::now() }
    }
}

impl Checked {
    /// Checks that repeats are of requests that were in the air when an instance was killed, or had ended since its last
    /// commit: what was committed is repeated by nobody.
    pub fn check_in_the_air(&self, kills: &[Kill]) {
        println!("{} repeats after {} kills", self.repeats.len(), kills.len());
        let commits: Vec<_> = kills.iter().map(|kill| self.last_commit(kill)).collect();
        for Repeat { delivery, before, again } in &self.repeats {
            let last = kills.iter().rfind(|kill| kill.at < *again);
            let last = last.unwrap_or_else(|| panic!("{delivery:?} was repeated before any kill"));
            let end = &self.ends[delivery];
            assert!(end.at > last.at, "{delivery:?} was repeated, though its end was committed");
            // What was in the air at one kill may not have come up again before the next.
            let first = kills.iter().position(|kill| kill.at > *before).unwrap_or(0);
            let age = commits[first].and_then(|at| at.duration_since(*before).ok());
            let age = age.unwrap_or_default();
            assert!(age < LAG, "{delivery:?} had ended {age:?} before the last commit");
        }
    }

    fn last_commit(&self, kill: &Kill) -> Option<SystemTime> {
        let its = self.ends.values().filter(|end| end.by == kill.instance && end.at <= kill.at);
        its.map(|end| end.at).max()
    }
}
