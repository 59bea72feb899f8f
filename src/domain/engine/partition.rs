//! One assigned partition: its head, its fan-out under way, its window, and how far commits have told of it.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::statuses::Health;
use super::{Counts, Policy};
use crate::domain::decode::{self, Identity, Translation, Unreadable};
use crate::domain::event::Event;
use crate::domain::headers::Carried;
use crate::domain::health::Observation;
use crate::domain::progress::{Plan, Seq, Settled, Window};
use crate::domain::record::{NextOffset, Offset, Origin, Record, TopicPartition};
use crate::domain::registry::Revision;
use crate::domain::source::{Format, Source, SourceIndex};
use crate::domain::subscription::{Subscription, SubscriptionHash, SubscriptionId};
use crate::domain::tiers::TierIndex;

/// One assignment of one partition; an epoch of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub(super) u64);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// What the records of a topic are to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Events, to be matched.
    Events,
    /// Deliveries that are due now.
    Deliver,
    /// Deliveries that wait.
    Tier(TierIndex),
    /// What became of deliveries: the health of subscriptions is folded from it.
    Audit,
}

/// A record that was taken up and is not admitted yet.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) offset: Offset,
    /// When it may be admitted.
    pub(super) ready_at: Timestamp,
    pub(super) bytes: usize,
    pub(super) content: Content,
}

/// What a record turned out to be.
#[derive(Debug)]
pub(super) enum Content {
    Event(Arc<Event>),
    Delivery(Arc<Event>, Box<Carried>),
    /// Together with the delivery that the record holds, as far as that is understood.
    Unreadable(Box<Record>, Option<Box<Carried>>, Unreadable),
    Observed(Box<Observation>),
    /// Nothing to do: a tombstone, an audit record that says nothing of health, or settled by a former owner.
    Nothing,
}

/// A fan-out of which some deliveries are not admitted yet.
#[derive(Debug)]
pub(super) struct Fan {
    pub(super) seq: Seq,
    pub(super) event: Arc<Event>,
    pub(super) bytes: usize,
    /// In the order of their hashes, as they were found in the registry.
    pub(super) rest: std::vec::IntoIter<Arc<Subscription>>,
    /// The registry's revision then.
    pub(super) found_in: Revision,
    /// The hash that was admitted last.
    pub(super) cursor: SubscriptionHash,
}

#[derive(Debug)]
enum Phase {
    Active,
    Draining,
}

#[derive(Debug)]
pub(super) struct Partition {
    name: TopicPartition,
    role: Role,
    source: Option<SourceIndex>,
    phase: Phase,
    pub(super) head: Option<Head>,
    pub(super) fan: Option<Fan>,
    pub(super) window: Window,
    /// The record that was taken up last, by its offset and its timestamp.
    last: Option<(Offset, Timestamp)>,
    /// Bytes of the records in the window that are not settled.
    pub(super) bytes: usize,
    /// Attempts that run.
    pub(super) in_air: usize,
    /// The statuses that its owner writes, once they are known; of an audit partition only.
    pub(super) health: Option<Health>,
    /// Whether there is something that commits don't tell of yet.
    pub(super) dirty: bool,
    /// Whether a record came that there was no room for, since one was taken up or full partitions were looked at.
    pub(super) wants_room: bool,
    /// Whether more of its deliveries could have made way when it was looked at last.
    pub(super) has_more_to_move: bool,
    /// When it is looked at again, if it is full or has more to move.
    pub(super) next_look: Timestamp,
}

/// How a record follows those of its partition that were taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequel {
    /// It comes behind them.
    Next,
    /// It is the last of them once more: the consumer may hand a record over twice when the group sees to others.
    Repeated,
    /// It comes before their end, and is none of theirs: its log was cut there, or its topic was made anew.
    Anew,
}

impl Partition {
    pub(super) fn new(
        name: TopicPartition,
        role: Role,
        source: Option<SourceIndex>,
        committed: NextOffset,
        metadata: &str,
    ) -> Self {
        Self {
            name,
            role,
            source,
            phase: Phase::Active,
            head: None,
            fan: None,
            window: Window::new(committed, metadata),
            last: None,
            bytes: 0,
            in_air: 0,
            health: None,
            dirty: false,
            wants_room: false,
            has_more_to_move: false,
            next_look: Timestamp::MIN,
        }
    }

    pub(super) fn name(&self) -> &TopicPartition {
        &self.name
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Tells whether a record can be handed over: there is at most one that is not admitted.
    pub(super) fn has_room(&self) -> bool {
        let may_begin = self.role != Role::Audit || self.health.is_some();
        may_begin
            && matches!(self.phase, Phase::Active)
            && self.head.is_none()
            && self.fan.is_none()
    }

    /// Tells whether a record can be admitted, where so many open ones are enough. In a tier most of them wait for their time.
    pub(super) fn admits(&self, enough: usize) -> bool {
        let is_of_use = matches!(self.role, Role::Tier(_)) || self.window.unsettled() < enough;
        is_of_use && self.window.has_room()
    }

    /// Tells whether what the status topic says of a subscription is for the owner of this partition to write.
    pub(super) fn tells_of(&self, id: &SubscriptionId) -> bool {
        matches!(self.phase, Phase::Active)
            && self.health.as_ref().is_some_and(|health| health.is_of(id))
    }

    pub(super) fn drain(&mut self) {
        self.phase = Phase::Draining;
        self.head = None;
        self.fan = None;
    }

    pub(super) fn is_drained(&self) -> bool {
        matches!(self.phase, Phase::Draining) && self.in_air == 0 && !self.dirty
    }

    /// Tells whether its last commit waits for nothing but being made.
    pub(super) fn awaits_last_commit(&self) -> bool {
        matches!(self.phase, Phase::Draining) && self.in_air == 0 && self.dirty
    }

    /// Tells whether its position can wait: that of an audit partition, unless it tells of something. What was read of it
    /// since changes nothing when it is read again.
    pub(super) fn can_wait(&self) -> bool {
        self.role == Role::Audit && matches!(self.phase, Phase::Active)
    }

    /// Settles one delivery of a record of this many bytes.
    pub(super) fn settle(&mut self, seq: Seq, hash: SubscriptionHash, bytes: usize) -> Settled {
        self.dirty = true;
        let settled = self.window.settle(seq, hash);
        if settled != Settled::Delivery {
            self.bytes -= bytes;
        }
        settled
    }

    /// Takes note that a record of this many bytes has all its deliveries; they may all be settled by now.
    pub(super) fn close(&mut self, seq: Seq, bytes: usize) -> Settled {
        let settled = self.window.close(seq);
        if settled == Settled::Last {
            self.bytes -= bytes;
        }
        settled
    }

    /// Tells whether a schema has to say what a record holds before it is taken up.
    pub(super) fn needs_schema(&self, record: &Record, policy: &Policy) -> bool {
        // Seldom so: the rest is seldom looked at.
        if !decode::may_have_schema(record) {
            return false;
        }
        let is_registry = |source: &Arc<Source>| source.format == Format::Registry;
        let has_schema = match self.role {
            Role::Events => self.source.is_some_and(|index| is_registry(policy.sources.get(index))),
            Role::Audit => false,
            // What it carries is judged with the record.
            Role::Deliver | Role::Tier(_) => match Carried::read(&record.headers) {
                Ok(carried) => is_registry(&source_of(&carried, record, policy)),
                Err(_) => false,
            },
        };
        has_schema && self.window.plan(record.origin.offset) != Plan::Settled
    }

    /// Tells how a record follows those that were taken up.
    pub(super) fn sequel(&self, origin: &Origin) -> Sequel {
        if !self.window.next().includes(origin.offset) {
            Sequel::Next
        } else if self.last == Some((origin.offset, origin.timestamp)) {
            Sequel::Repeated
        } else {
            Sequel::Anew
        }
    }

    /// Forgets what was taken up and is not settled, and all from a cut of its log on. Returns where it goes on.
    pub(super) fn begin_anew(&mut self, cut: NextOffset) -> NextOffset {
        assert!(self.has_room(), "a record came from before where it was, without room for it");
        let (next, metadata) = self.window.commit_before(cut);
        let fresh = Self::new(self.name.clone(), self.role, self.source, next, &metadata);
        // What was committed last may call records settled that are new.
        *self = Self { health: self.health.take(), dirty: true, ..fresh };
        next
    }

    /// Reads a record and makes it the head; `translation` is what its schema makes of it, if it needs one.
    pub(super) fn take_up(
        &mut self,
        record: Record,
        translation: Option<Translation>,
        policy: &Policy,
        counts: &mut Counts,
    ) {
        assert!(self.has_room(), "a record was handed over without room for it");
        self.wants_room = false;
        let offset = record.origin.offset;
        let bytes = bytes_of(&record, translation.as_ref());
        let written = record.origin.timestamp;
        self.last = Some((offset, written));
        let content = match self.role {
            _ if self.window.plan(offset) == Plan::Settled => {
                counts.already_settled += 1;
                Content::Nothing
            }
            Role::Events => self.read_event(record, translation, policy, counts),
            Role::Audit => self.read_audit(&record),
            Role::Deliver | Role::Tier(_) => read_delivery(record, translation, policy),
        };
        let ready_at = match (&content, self.role) {
            (Content::Delivery(_, carried), Role::Tier(tier)) => {
                let due = carried.due_at.unwrap_or(Timestamp::MIN);
                policy.wheel.ready_at(tier, written, due)
            }
            _ => Timestamp::MIN,
        };
        self.head = Some(Head { offset, ready_at, bytes, content });
    }

    fn read_audit(&self, record: &Record) -> Content {
        let health = self.health.as_ref().expect("without it there is no room");
        if health.is_indifferent_to(record) {
            return Content::Nothing;
        }
        let seen = Observation::read(record);
        seen.map_or(Content::Nothing, |seen| Content::Observed(Box::new(seen)))
    }

    fn read_event(
        &self,
        record: Record,
        translation: Option<Translation>,
        policy: &Policy,
        counts: &mut Counts,
    ) -> Content {
        if record.value.is_none() {
            counts.tombstones += 1;
            return Content::Nothing;
        }
        let Some(source) = self.source else {
            let reason = Unreadable("the topic belongs to no source".into());
            return Content::Unreadable(Box::new(record), None, reason);
        };
        let identity = Identity { origin: record.origin.clone(), id: None };
        match decode::decode(policy.sources.get(source), record, translation, identity) {
            Ok(event) => Content::Event(Arc::new(event)),
            Err((record, reason)) => Content::Unreadable(record, None, reason),
        }
    }
}

/// Returns the bytes that a record takes until it is done: itself, what a schema makes of it, and the body made of that,
/// which is about as long.
fn bytes_of(record: &Record, translation: Option<&Translation>) -> usize {
    let translated = translation.and_then(|json| json.as_ref().ok()).map(|json| json.len());
    let body = translated.or(record.value.as_ref().map(|value| value.len()));
    record.size() + translated.unwrap_or(0) + body.unwrap_or(0)
}

/// Returns how the record of a delivery is read: as it was the first time, or as the source of its origin says.
fn source_of(carried: &Carried, record: &Record, policy: &Policy) -> Arc<Source> {
    let topic = carried.origin.as_ref().map_or(&record.origin.topic, |origin| &origin.topic);
    carried.source.clone().unwrap_or_else(|| policy.sources.of_moved(topic).clone())
}

/// Reads a record of a retry tier or of the deliver topic.
fn read_delivery(record: Record, translation: Option<Translation>, policy: &Policy) -> Content {
    let carried = match Carried::read(&record.headers) {
        Ok(carried) => carried,
        Err(bad) => {
            let delivery = Carried::salvage(&record.headers).map(Box::new);
            let reason = Unreadable(bad.to_string());
            return Content::Unreadable(Box::new(record), delivery, reason);
        }
    };
    let source = source_of(&carried, &record, policy);
    let origin = carried.origin.clone().unwrap_or_else(|| record.origin.clone());
    let identity = Identity { origin, id: carried.id.clone() };
    match decode::decode(&source, record, translation, identity) {
        Ok(event) => Content::Delivery(Arc::new(event), Box::new(carried)),
        Err((record, reason)) => Content::Unreadable(record, Some(Box::new(carried)), reason),
    }
}
