//! What must hold at every step, kept apart from the engine's own view of things.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use kafka_webhooks::domain::ending::{DeliveryEnding, Ending, Next};
use kafka_webhooks::domain::engine::{Attempt, Batch, Commit};
use kafka_webhooks::domain::headers::Carried;
use kafka_webhooks::domain::outcome::Attempted;
use kafka_webhooks::domain::progress::{METADATA_MAX, Pending, PendingSet};
use kafka_webhooks::domain::record::{NextOffset, Offset, Origin, Record, TopicPartition};
use kafka_webhooks::domain::subscription::{Subscription, SubscriptionId};

use crate::cluster::Cluster;
use crate::receivers::Target;

/// One delivery of one record: where the record stands, since when, and to whom.
type Place = (TopicPartition, Offset, Timestamp, String);

/// Everything that committed transactions told, from the outside.
#[derive(Default)]
pub struct Ledger {
    /// Places whose ending is committed.
    settled: HashSet<Place>,
    /// How often each delivery came to its end, by event and subscription.
    ended: BTreeMap<(String, String), u32>,
    /// Attempts whose outcome is committed, by event, subscription and number.
    recorded: HashSet<(String, String, u32)>,
    /// When the next attempt of each delivery is due, as its last failure or its lane said.
    due: BTreeMap<(String, String), Timestamp>,
    /// Positions up to which commits were checked.
    checked: BTreeMap<TopicPartition, NextOffset>,
    /// Whom the records of each log are owed to, as far as they were looked at: reading them takes its time.
    owed: HashMap<TopicPartition, Vec<Vec<Arc<Subscription>>>>,
}

impl Ledger {
    /// No attempt starts before it is due, with a wrong count, or to somebody else.
    pub fn check_attempt(&self, attempt: &Attempt, now: Timestamp) {
        let (event, to) = (&attempt.event, attempt.subscription.id.as_str());
        if let Ok(carried) = Carried::read(&event.record.headers) {
            let due = self.due.get(&(event.label.id.to_string(), to.to_owned()));
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
        let attempt = (event.label.id.to_string(), to.to_owned(), attempt.number);
        assert!(!self.recorded.contains(&attempt), "repeated though recorded: {attempt:?}");
    }

    /// Takes over a committed batch: each ending is there once, and no commit passes what isn't settled.
    pub fn commit(&mut self, batch: &Batch, cluster: &Cluster, targets: &[Target]) {
        for (_, ending) in &batch.endings {
            match ending {
                Ending::Delivery(ending) => self.end(ending),
                Ending::Unreadable(ending) => {
                    let to = ending.delivery.as_ref().map(|it| it.subscription.as_str());
                    let place = place(&ending.record.origin, to.unwrap_or_default());
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
        let place = place(&ending.record, to);
        assert!(self.settled.insert(place.clone()), "an outcome was recorded twice: {place:?}");
        let is_2xx = |attempted: &Attempted| {
            attempted.end.as_ref().is_ok_and(|answer| (200..300).contains(&answer.status))
        };
        let was_taken = ending.attempted.as_ref().is_some_and(is_2xx);
        let is_delivered = matches!(ending.next, Next::Delivered);
        assert_eq!(is_delivered, was_taken, "delivered is what was answered 2xx: {place:?}");
        let event = ending.label.id.to_string();
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

    /// Forgets what was behind a cut of a log: it is owed to nobody any more.
    pub fn cut(&mut self, name: &TopicPartition, cut: NextOffset, left: usize) {
        if let Some(checked) = self.checked.get_mut(name) {
            *checked = cut.min(*checked);
        }
        if let Some(owed) = self.owed.get_mut(name) {
            owed.truncate(left);
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
        let known = self.owed.entry(name.clone()).or_default();
        let new = log[known.len()..].iter();
        known.extend(new.map(|record| owed(record, targets).cloned().collect()));
        for (record, owed) in log.iter().zip(known).skip(start) {
            let offset = record.origin.offset;
            if !pending.frontier.includes(offset) {
                break;
            }
            for to in owed {
                if !is_pending(&pending, offset, to) {
                    let place = place(&record.origin, to.id.as_str());
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
                    let place = place(&record.origin, to.id.as_str());
                    assert!(self.settled.contains(&place), "lost: {place:?}");
                }
                if record.value.is_some() && event_type(record).is_none() {
                    let place = place(&record.origin, "");
                    assert!(
                        self.settled.contains(&place),
                        "an unreadable record is lost: {place:?}"
                    );
                }
            }
        }
        let lost: Vec<_> = self.ended.iter().filter(|(_, count)| **count != 1).collect();
        assert!(lost.is_empty(), "{lost:?}");
    }
}

/// Returns the subscriptions that a record is owed to: an event to those that are stable, a moved record to its own,
/// whatever has become of that.
fn owed<'a>(
    record: &'a Record,
    targets: &'a [Target],
) -> impl Iterator<Item = &'a Arc<Subscription>> {
    let carried = Carried::read(&record.headers).ok().map(|carried| carried.subscription);
    let event_type = if carried.is_none() { event_type(record) } else { None };
    let wants = move |target: &&Target| {
        let to = &target.subscription;
        match (&carried, &event_type) {
            (Some(subscription), _) => *subscription == to.id,
            (None, Some(event_type)) => target.is_stable && to.events[0].matches(event_type),
            (None, None) => false,
        }
    };
    targets.iter().filter(wants).map(|target| &target.subscription)
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

fn place(record: &Origin, to: &str) -> Place {
    let name = TopicPartition { topic: record.topic.clone(), partition: record.partition };
    (name, record.offset, record.timestamp, to.to_owned())
}

/// Names a subscription for the receivers.
pub fn index_of(id: &SubscriptionId) -> usize {
    id.as_str()[1..].parse().expect("ids of the simulation are a letter and a number")
}
