//! Scenarios of the engine, told step by step. Faults in any order are the simulation's.

mod batches;
mod deliveries;
mod fan_out;
mod handover;
mod health;
mod lanes;
mod limits;
mod room;
mod schemas;
mod sharing;
mod tiers;

use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::*;
use crate::domain::decode::{self, tests::source};
use crate::domain::ending::{Ending, Next};
use crate::domain::headers::Carried;
use crate::domain::outcome::{Answer, Attempted, Failure, Reason};
use crate::domain::payload::Retryable;
use crate::domain::progress::{Pending, PendingSet};
use crate::domain::record::{Headers, Offset, Origin};
use crate::domain::retry::Schedule;
use crate::domain::source::Format;
use crate::domain::subscription::tests::{id, subscription};
use crate::domain::tiers::TierIndex;

/// The position of every partition at its first assignment.
const START: NextOffset = NextOffset(100);

/// When subscriptions are read and written, as far as a scenario cares.
const START_AT: Timestamp = Timestamp::UNIX_EPOCH;

const INTERVAL: Duration = Duration::from_millis(50);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Tiers of 1, 5 and 30 seconds; retries after 1 and 8; limits that no scenario reaches by itself.
fn policy() -> Policy {
    Policy {
        wheel: Wheel::new([1, 5, 30].map(seconds).to_vec()),
        retry: RetryRules {
            schedule: Schedule::new([1, 8].map(seconds)),
            jitter: 0.1,
            retry_after_max: seconds(60),
            expire_after: seconds(3600),
        },
        sources: Sources::new(vec![source(Format::Envelope)]).expect("there are no patterns"),
        max_in_flight: 1000,
        max_in_flight_per_subscription: 1000.try_into().expect("it is not zero"),
        fairness: Fairness::Subscription,
        disable_after: 3,
        max_bytes_in_flight: 1 << 20,
        commit_interval: INTERVAL,
    }
}

/// Each has an endpoint of its own, unless its definition says which.
fn subscriptions(definitions: &[(&str, Json)]) -> Vec<Arc<Subscription>> {
    let own = |(id, changes): &(&str, Json)| {
        let mut definition = json!({"url": format!("https://{id}.example.com/hooks")});
        let fields = definition.as_object_mut().expect("an object");
        fields.extend(changes.as_object().expect("an object").clone());
        subscription(id, &definition)
    };
    definitions.iter().map(own).collect()
}

/// One subscription, `crm`, that wants events of type `a`.
fn crm() -> Vec<Arc<Subscription>> {
    subscriptions(&[("crm", json!({}))])
}

fn orders() -> TopicPartition {
    TopicPartition { topic: "orders".into(), partition: 0 }
}

/// An engine with a clock.
struct Rig {
    engine: Engine,
    now: Timestamp,
}

impl Rig {
    fn new(subscriptions: &[Arc<Subscription>]) -> Self {
        Self::with(policy(), subscriptions)
    }

    fn with(policy: Policy, subscriptions: &[Arc<Subscription>]) -> Self {
        let mut engine = Engine::new(policy);
        for subscription in subscriptions {
            engine.put_subscription(subscription.clone(), START_AT);
        }
        engine.subscriptions_read();
        Self { engine, now: Timestamp::constant(1_736_937_000, 0) }
    }

    fn wait(&mut self, wait: Duration) {
        self.now += wait;
    }

    /// Assigns the events of `orders/0` for the first time.
    fn orders(&mut self) -> PartitionId {
        self.engine.assign(orders(), Role::Events, START, "")
    }

    /// Assigns the events of `orders/1` for the first time.
    fn second_orders(&mut self) -> PartitionId {
        let name = TopicPartition { partition: 1, ..orders() };
        self.engine.assign(name, Role::Events, START, "")
    }

    /// Assigns a partition of moved deliveries for the first time.
    fn moved(&mut self, role: Role) -> PartitionId {
        let name = TopicPartition { topic: "moved".into(), partition: 0 };
        self.engine.assign(name, role, START, "")
    }

    /// Takes up a record of a partition; it is written now.
    fn record(&mut self, to: PartitionId, offset: i64, value: Option<&str>, headers: Headers) {
        assert!(self.engine.has_room(to), "there is no room for offset {offset}");
        let name = self.engine.partitions[&to].name().clone();
        let TopicPartition { topic, partition } = name;
        let origin = Origin { topic, partition, offset: Offset(offset), timestamp: self.now };
        let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
        let record = Record { origin, key: None, value, headers };
        self.engine.record(to, record, self.now);
    }

    /// Takes up the event `e<offset>` of a type.
    fn event(&mut self, to: PartitionId, offset: i64, event_type: &str) {
        let value = format!(r#"{{"id":"e{offset}","event":"{event_type}","data":"hunter2"}}"#);
        self.record(to, offset, Some(&value), Headers::default());
    }

    /// Takes up a delivery of the event `e<offset>`.
    fn delivery(&mut self, to: PartitionId, offset: i64, carried: &Carried) {
        let value = format!(r#"{{"id":"e{offset}","event":"a","data":"hunter2"}}"#);
        self.record(to, offset, Some(&value), carried.write(&Headers::default(), None));
    }

    /// Starts every attempt that there is room for.
    fn attempts(&mut self) -> Vec<Attempt> {
        self.engine.advance(self.now);
        std::iter::from_fn(|| self.engine.poll_attempt(self.now)).collect()
    }

    /// Ends an attempt with an answer of this status.
    fn answer(&mut self, attempt: &Attempt, status: u16) {
        self.answer_after(attempt, millis(10), status);
    }

    /// The same, after this time.
    fn answer_after(&mut self, attempt: &Attempt, latency: Duration, status: u16) {
        let answer = Answer { status, retry_after: None, excerpt: None };
        let attempted = Attempted { latency, end: Ok(answer) };
        self.engine.attempted(attempt.id, &attempt.subscription, attempted, self.now, 0.0);
    }

    /// Returns the next batch, at the time when it is due.
    fn batch(&mut self) -> Batch {
        if let Some(due) = self.engine.batch_due() {
            self.now = self.now.max(due);
        }
        self.engine.poll_batch(self.now).expect("there is something to write")
    }

    /// Writes the next batch and commits it.
    fn commit(&mut self) -> Batch {
        let batch = self.batch();
        self.engine.batch_committed(&batch);
        batch
    }

    /// Checks that there is nothing to write, now or later.
    fn check_quiet(&mut self) {
        let later = self.now + seconds(3600);
        assert!(self.engine.poll_batch(later).is_none(), "there is something to write");
    }
}

/// A delivery to `crm` that is due at a time.
fn due(due: Timestamp) -> Carried {
    Carried { attempts: 1, due_at: Some(due), ..Carried::due_now(id("crm"), Trigger::Event) }
}

/// Tells attempts as `<event> to <subscription> #<number>`.
fn told(attempts: &[Attempt]) -> Vec<String> {
    let tell = |attempt: &Attempt| {
        format!("{} to {} #{}", attempt.event.label.id, attempt.subscription.id, attempt.number)
    };
    attempts.iter().map(tell).collect()
}

/// Tells a batch's endings, in their order.
fn endings(batch: &Batch) -> Vec<String> {
    let tell = |ending: &Ending| match ending {
        Ending::Unreadable(ending) => match &ending.delivery {
            None => format!("{}: unreadable", ending.record.origin),
            Some(delivery) => {
                format!("{} to {}: unreadable", ending.origin(), delivery.subscription)
            }
        },
        Ending::Delivery(ending) => {
            let next = match (ending.next, ending.next.outcome()) {
                (Next::Move(_, tier), _) => format!("moved to tier {}", tier.0),
                (_, Some((outcome, reason))) => {
                    format!("{} {}", outcome.as_str(), reason.as_str())
                }
                (_, None) => unreachable!("only a move is no decision"),
            };
            format!("{} to {}: {next}", ending.label.id, ending.subscription_id)
        }
    };
    batch.endings.iter().map(|(_, ending)| tell(ending)).collect()
}

/// Tells a batch's commits as `<partition> at <watermark>: <pending>`; a fan-out is told with the number of its pending
/// deliveries.
fn commits(batch: &Batch) -> Vec<String> {
    let tell = |commit: &Commit| {
        let set = PendingSet::decode(commit.next, &commit.metadata);
        let records = set.records.iter().map(|(offset, pending)| match pending {
            Pending::Whole => format!(" {}", offset.0),
            Pending::Only(hashes) => format!(" {}({})", offset.0, hashes.len()),
        });
        format!("{} at {}:{}", commit.name, commit.next.0, records.collect::<String>())
    };
    batch.commits.iter().map(tell).collect()
}
