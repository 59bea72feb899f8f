//! What must hold at every step, kept apart from the engine's own view of things.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kafka_webhooks::domain::ending::{DeliveryEnding, Ending, Next};
use kafka_webhooks::domain::engine::{Attempt, Batch, Commit};
use kafka_webhooks::domain::headers::Carried;
use kafka_webhooks::domain::progress::{METADATA_MAX, Pending, PendingSet};
use kafka_webhooks::domain::record::{NextOffset, Offset, Record, TopicPartition};
use kafka_webhooks::domain::subscription::{Subscription, SubscriptionId};

use crate::cluster::Cluster;
use crate::receivers::Target;

/// One delivery of one record: where the record stands, and to whom.
type Place = (TopicPartition, Offset, String);

/// Everything that committed transactions told, from the outside.
#[derive(Default)]
pub struct Ledger {
    /// Places whose ending is committed.
    settled: BTreeSet<Place>,
    /// How often each delivery came to its end, by event and subscription.
    ended: BTreeMap<(String, String), u32>,
    /// Attempts whose outcome is committed, by event, subscription and number.
    recorded: BTreeSet<(String, String, u32)>,
    /// When the next attempt of each delivery is due, as its last failure or its lane said.
    due: BTreeMap<(String, String), Timestamp>,
    /// Positions up to which commits were checked.
    checked: BTreeMap<TopicPartition, NextOffset>,
}

impl Ledger {
    /// No attempt starts before it is due, with a wrong count, or to somebody else.
    pub fn check_attempt(&self, attempt: &Attempt, now: Timestamp) {
        let (event, to) = (&attempt.event, attempt.subscription.id.as_str());
        if let Ok(carried) = Carried::read(&event.record.headers) {
            let due = self.due.get(&(event.id.to_string(), to.to_owned()));
            let due = due.expect("what is in a tier was told until when");
            assert!(*due <= now, "early: {event:?} to {to} is due at {due}, it is {now}");
            assert_eq!(carried.attempts + 1, attempt.number, "the count of attempts is wrong");
            assert_eq!(carried.subscription, attempt.subscription.id);
        }
    }

    /// No attempt is made again whose outcome is written. An instance that lost its partitions and doesn't know it yet
    /// is excused: nothing can tell it in time.
    pub fn check_repeat(&self, attempt: &Attempt) {
        let (event, to) = (&attempt.event, attempt.subscription.id.as_str());
        let attempt = (event.id.to_string(), to.to_owned(), attempt.number);
        assert!(!self.recorded.contains(&attempt), "repeated though recorded: {attempt:?}");
    }

    /// Takes over a committed batch: each ending is there once, and no commit passes what isn't settled.
    pub fn commit(&mut self, batch: &Batch, cluster: &Cluster, targets: &[Target]) {
        for (_, ending) in &batch.endings {
            match ending {
                Ending::Delivery(ending) => self.end(ending),
                Ending::Unreadable(ending) => {
                    let place = place(&ending.record, "");
                    assert!(self.settled.insert(place), "an unreadable record was told of twice");
                }
            }
        }
        for commit in &batch.commits {
            self.check_commit(commit, cluster, targets);
        }
    }

    fn end(&mut self, ending: &DeliveryEnding) {
        let to = ending.subscription_id.as_str();
        let place = place(&ending.event.record, to);
        assert!(self.settled.insert(place.clone()), "an outcome was recorded twice: {place:?}");
        let event = ending.event.id.to_string();
        if ending.attempted.is_some() {
            self.recorded.insert((event.clone(), to.to_owned(), ending.attempts));
        }
        if let Next::Retry(due, ..) | Next::Move(due, _) = ending.next {
            self.due.insert((event.clone(), to.to_owned()), due);
        }
        if matches!(ending.next, Next::Delivered | Next::DeadLetter(_)) {
            let ended = self.ended.entry((event, to.to_owned())).or_default();
            *ended += 1;
            assert_eq!(*ended, 1, "a delivery ended twice: {place:?}");
        }
    }

    fn check_commit(&mut self, commit: &Commit, cluster: &Cluster, targets: &[Target]) {
        let Commit { name, next, metadata, .. } = commit;
        assert!(metadata.len() <= METADATA_MAX, "{name}: {} characters", metadata.len());
        let checked = self.checked.entry(name.clone()).or_insert(NextOffset(0));
        assert!(*next >= *checked, "{name}: the watermark went back from {checked:?} to {next:?}");
        let from = std::mem::replace(checked, *next);
        let pending = PendingSet::decode(*next, metadata);
        let log = cluster.log(name);
        let start = log.partition_point(|record| from.includes(record.origin.offset));
        for record in &log[start..] {
            let offset = record.origin.offset;
            if !pending.frontier.includes(offset) {
                break;
            }
            for to in owed(record, targets) {
                if !is_pending(&pending, offset, to) {
                    let place = place(record, to.id.as_str());
                    assert!(
                        self.settled.contains(&place),
                        "the commit {commit:?} passes {place:?}, which is not settled"
                    );
                }
            }
        }
    }

    /// At the end of a run, every delivery that is owed has come to one end.
    pub fn check_end(&self, cluster: &Cluster, targets: &[Target]) {
        for name in cluster.partitions() {
            for record in cluster.log(&name) {
                for to in owed(record, targets) {
                    let place = place(record, to.id.as_str());
                    assert!(self.settled.contains(&place), "lost: {place:?}");
                }
            }
        }
        let lost: Vec<_> = self.ended.iter().filter(|(_, count)| **count != 1).collect();
        assert!(lost.is_empty(), "{lost:?}");
    }
}

/// Returns the stable subscriptions that a record is owed to; a moved record is owed to its own.
fn owed<'a>(record: &'a Record, targets: &'a [Target]) -> impl Iterator<Item = &'a Subscription> {
    let carried = Carried::read(&record.headers).ok().map(|carried| carried.subscription);
    let wants = move |to: &Subscription| match &carried {
        Some(subscription) => *subscription == to.id,
        None => event_type(record).is_some_and(|event_type| to.events[0].matches(&event_type)),
    };
    let stable = targets.iter().filter(|target| target.is_stable);
    stable.map(|target| &*target.subscription).filter(move |to| wants(to))
}

fn event_type(record: &Record) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(record.value.as_ref()?).ok()?;
    Some(value.get("event")?.as_str()?.to_owned())
}

fn is_pending(pending: &PendingSet, offset: Offset, to: &Subscription) -> bool {
    let last = pending.records.last_key_value().map(|(last, _)| *last);
    match pending.records.get(&offset) {
        None => false,
        Some(Pending::Whole) => true,
        Some(Pending::Only(hashes)) => {
            let above =
                pending.cursor.is_some_and(|cursor| last == Some(offset) && to.hash > cursor);
            above || hashes.contains(&to.hash)
        }
    }
}

fn place(record: &Record, to: &str) -> Place {
    let name =
        TopicPartition { topic: record.origin.topic.clone(), partition: record.origin.partition };
    (name, record.origin.offset, to.to_owned())
}

/// Names a subscription for the receivers.
pub fn index_of(id: &SubscriptionId) -> usize {
    id.as_str()[1..].parse().expect("ids of the simulation are a letter and a number")
}
