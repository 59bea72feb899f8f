//! Statuses: what the status topic says of subscriptions, and what it ought to say.
//!
//! The status of a subscription has one writer: who owns the audit partition where its deliveries are told of. It folds
//! the subscription's health from those records, and writes what follows from the definitions, that one can't be used or
//! starts afresh, in the same order and under the same fence. So nobody who is late writes over what is newer.

use std::collections::HashMap;

use jiff::Timestamp;
use rustc_hash::FxHashMap;

use super::Engine;
use super::batch::Telling;
use super::partition::PartitionId;
use crate::domain::partitioner::home;
use crate::domain::record::{Offset, Record};
use crate::domain::registry::Registry;
use crate::domain::status::{State, Status};
use crate::domain::subscription::{Subscription, SubscriptionId};

/// A subscription that somebody should look after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Troubled<'a> {
    /// Which.
    pub id: &'a SubscriptionId,
    /// Failing, disabled or invalid.
    pub state: State,
    /// Where its deliveries go, as audit records have it; `None` if the definition can't be used.
    pub url: Option<&'a str>,
    /// Why, for people.
    pub reason: Option<&'a str>,
    /// Since when, as far as the status topic has told.
    pub since: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub(super) struct Statuses {
    /// The subscriptions whose definitions can't be used: where those stand, and why.
    invalid: FxHashMap<SubscriptionId, (Offset, Box<str>)>,
    /// What the status topic says.
    told: FxHashMap<SubscriptionId, Status>,
    /// Whether both topics have been read.
    are_read: bool,
}

impl Statuses {
    pub(super) fn is_invalid(&self, id: &SubscriptionId) -> bool {
        self.invalid.contains_key(id)
    }

    /// Tells whether the status topic has disabled this definition.
    pub(super) fn is_disabled(&self, subscription: &Subscription) -> bool {
        // Most connectors have no status to tell of at all.
        !self.told.is_empty()
            && self
                .told
                .get(&subscription.id)
                .is_some_and(|told| is(told, State::Disabled, subscription.definition_offset))
    }

    pub(super) fn invalid(&self) -> usize {
        self.invalid.len()
    }

    /// Returns the subscriptions that somebody should look after, in no order.
    pub(super) fn troubled<'a>(
        &'a self,
        registry: &'a Registry,
    ) -> impl Iterator<Item = Troubled<'a>> {
        let unhealthy = self.told.iter().filter_map(|(id, told)| {
            let current = registry.get(id)?;
            let is_unhealthy = matches!(told.state, State::Failing | State::Disabled)
                && told.definition_offset == current.definition_offset.0;
            is_unhealthy.then(|| Troubled {
                id,
                state: told.state,
                url: Some(current.audit_url()),
                reason: told.reason.as_deref(),
                since: Some(told.since),
            })
        });
        let invalid = self.invalid.iter().map(|(id, (definition, reason))| {
            let told = self.told.get(id).filter(|told| is(told, State::Invalid, *definition));
            Troubled {
                id,
                state: State::Invalid,
                url: None,
                reason: Some(reason),
                since: told.map(|told| told.since),
            }
        });
        unhealthy.chain(invalid)
    }

    pub(super) fn is_read(&self) -> bool {
        self.are_read
    }
}

/// Tells whether a status says this of this definition.
fn is(told: &Status, state: State, definition: Offset) -> bool {
    told.state == state && told.definition_offset == definition.0
}

/// The statuses of the subscriptions that one audit partition tells of, as its owner has written them.
#[derive(Debug)]
pub(super) struct Health {
    partition: i32,
    /// How many the topic has.
    of: usize,
    statuses: FxHashMap<SubscriptionId, Status>,
}

impl Health {
    /// Makes those of a partition, one of so many, out of all statuses.
    pub(super) fn new(partition: i32, of: usize, all: &HashMap<SubscriptionId, Status>) -> Self {
        let mut health = Self { partition, of, statuses: FxHashMap::default() };
        let own = all.iter().filter(|(id, _)| health.is_of(id));
        health.statuses = own.map(|(id, status)| (id.clone(), status.clone())).collect();
        health
    }

    /// Tells whether the partition is the one that tells of a subscription.
    pub(super) fn is_of(&self, id: &SubscriptionId) -> bool {
        home(id.as_str().as_bytes(), self.of) == self.partition
    }

    pub(super) fn get(&self, id: &str) -> Option<&Status> {
        self.statuses.get(id)
    }

    /// Tells whether a record can't change anything, without reading it: dead letters have a header, and a delivery only
    /// matters behind one of them.
    pub(super) fn is_indifferent_to(&self, record: &Record) -> bool {
        let id = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        let status = id.and_then(|id| self.get(id));
        record.headers.0.is_empty() && status.is_none_or(|it| it.consecutive_dead_letters == 0)
    }

    pub(super) fn put(&mut self, id: SubscriptionId, status: Status) {
        self.statuses.insert(id, status);
    }
}

impl Engine {
    /// Takes note that a subscription's definition can't be used: nothing is sent for it.
    pub fn invalidate_subscription(
        &mut self,
        id: SubscriptionId,
        definition: Offset,
        reason: &str,
        now: Timestamp,
    ) {
        self.registry.remove(&id);
        self.lanes.renew(&id, None);
        self.statuses.invalid.insert(id.clone(), (definition, reason.into()));
        self.correct_status(&id, now);
    }

    /// Takes note that a subscription's definition is good, or gone.
    pub(super) fn heal_subscription(&mut self, id: &SubscriptionId, now: Timestamp) {
        self.statuses.invalid.remove(id);
        self.correct_status(id, now);
    }

    /// Takes note of what the status topic says of a subscription.
    pub fn status_read(&mut self, id: SubscriptionId, status: Option<&Status>) {
        match status {
            Some(status) => {
                self.statuses.told.insert(id, status.clone());
            }
            None => {
                self.statuses.told.remove(&id);
            }
        }
    }

    /// Takes note that definitions and statuses have been read to their ends. Events are matched from now on.
    pub fn subscriptions_read(&mut self) {
        self.statuses.are_read = true;
    }

    /// Takes note of all statuses that stand at the position of an audit partition, one of so many: until then it has no
    /// room. The partition may be gone meanwhile.
    pub fn know_statuses(
        &mut self,
        id: PartitionId,
        of: usize,
        all: &HashMap<SubscriptionId, Status>,
        now: Timestamp,
    ) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        partition.health = Some(Health::new(partition.name().partition, of, all));
        let mut ids: Vec<_> = self.statuses.invalid.keys().chain(all.keys()).cloned().collect();
        ids.sort_unstable();
        ids.dedup();
        for subscription in ids {
            self.correct_status(&subscription, now);
        }
    }

    /// Writes the status of a subscription if that is ours to do and it isn't what it ought to be: that a definition can't
    /// be used, that a new one starts afresh, nothing of one that is gone.
    fn correct_status(&mut self, id: &SubscriptionId, now: Timestamp) {
        let mut own = self.partitions.iter_mut();
        let Some((owner, partition)) = own.find(|(_, partition)| partition.tells_of(id)) else {
            return;
        };
        let health = partition.health.as_mut().expect("it tells of the subscription");
        let before = health.get(id.as_str());
        let status = match (self.statuses.invalid.get(id), self.registry.get(id)) {
            (Some((definition, reason)), _) => Some(Status::invalid(*definition, reason, now)),
            (None, Some(good)) => match before {
                Some(before) if is_outdated(before, good) => {
                    Some(Status::active(good.definition_offset, now))
                }
                _ => return,
            },
            (None, None) => None,
        };
        let what = |status: &Status| (status.state, status.definition_offset);
        if before.map(what) == status.as_ref().map(what) {
            return;
        }
        match &status {
            Some(status) => health.statuses.insert(id.clone(), status.clone()),
            None => health.statuses.remove(id),
        };
        partition.dirty = true;
        self.gathering.tell(Telling::corrected(*owner, id.clone(), status));
    }
}

/// Tells whether a status is of no use for a good definition.
fn is_outdated(status: &Status, definition: &Subscription) -> bool {
    match status.state {
        State::Active => false,
        State::Invalid => true,
        State::Failing | State::Disabled => status.is_before(definition),
    }
}
