//! Statuses: what the status topic says of subscriptions, and what it ought to say.
//!
//! Every instance reads every definition, so each knows which can't be used and which are new, and writes what the topic
//! doesn't say yet. Two may write the same at once, which a compacted topic forgives. Health is another matter: it is
//! folded from the audit topic, by the owner of each of its partitions alone.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use rustc_hash::FxHashMap;

use super::Engine;
use super::batch::Telling;
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
    /// Whether both topics have been read, so that they can be compared.
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
                url: Some(&current.audit_url),
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

/// The statuses that one audit partition has made: those before its position, and those since.
#[derive(Debug)]
pub(super) struct Health {
    /// Shared by all partitions that were taken over together.
    before: Arc<HashMap<SubscriptionId, Status>>,
    since: FxHashMap<SubscriptionId, Status>,
}

impl Health {
    pub(super) fn new(before: Arc<HashMap<SubscriptionId, Status>>) -> Self {
        Self { before, since: FxHashMap::default() }
    }

    pub(super) fn get(&self, id: &str) -> Option<&Status> {
        self.since.get(id).or_else(|| self.before.get(id))
    }

    /// Tells whether a record can't change anything, without reading it: dead letters have a header, and a delivery only
    /// matters behind one of them.
    pub(super) fn is_indifferent_to(&self, record: &Record) -> bool {
        let id = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        let status = id.and_then(|id| self.get(id));
        record.headers.0.is_empty() && status.is_none_or(|it| it.consecutive_dead_letters == 0)
    }

    pub(super) fn put(&mut self, id: SubscriptionId, status: Status) {
        self.since.insert(id, status);
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
    pub fn subscriptions_read(&mut self, now: Timestamp) {
        self.statuses.are_read = true;
        let Statuses { invalid, told, .. } = &self.statuses;
        let mut ids: Vec<_> = invalid.keys().chain(told.keys()).cloned().collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            self.correct_status(&id, now);
        }
    }

    /// Writes the status of a subscription if the topic doesn't say what it ought to: that a definition can't be used, that
    /// a new one starts afresh, nothing of one that is gone.
    fn correct_status(&mut self, id: &SubscriptionId, now: Timestamp) {
        let Statuses { invalid, told, are_read } = &mut self.statuses;
        if !*are_read {
            return;
        }
        let before = told.get(id).map(|told| (told.state, told.definition_offset));
        let status = match (invalid.get(id), self.registry.get(id)) {
            (Some((definition, reason)), _) => Some(Status::invalid(*definition, reason, now)),
            (None, Some(good)) => {
                let definition = good.definition_offset;
                let is_outdated = match before {
                    None | Some((State::Active, _)) => false,
                    Some((State::Invalid, _)) => true,
                    Some((State::Failing | State::Disabled, told)) => told < definition.0,
                };
                if !is_outdated {
                    return;
                }
                Some(Status::active(definition, now))
            }
            (None, None) => None,
        };
        let after = status.as_ref().map(|status| (status.state, status.definition_offset));
        if before == after {
            return;
        }
        match &status {
            Some(status) => told.insert(id.clone(), status.clone()),
            None => told.remove(id),
        };
        self.gathering.tell(Telling::known(id.clone(), status));
    }
}
