//! Statuses: what the status topic says of subscriptions, and what it ought to say.
//!
//! Every instance reads every definition, so each knows what ought to stand there and writes what doesn't yet. Two may
//! write the same at once, which a compacted topic forgives.

use jiff::Timestamp;
use rustc_hash::FxHashMap;

use super::Engine;
use crate::domain::record::Offset;
use crate::domain::status::{State, Status};
use crate::domain::subscription::SubscriptionId;

#[derive(Debug, Default)]
pub(super) struct Statuses {
    /// The subscriptions whose definitions can't be used: where those stand, and why.
    invalid: FxHashMap<SubscriptionId, (Offset, Box<str>)>,
    /// The subscriptions that the status topic calls invalid, by the definition it means.
    told: FxHashMap<SubscriptionId, i64>,
    /// Whether both topics have been read, so that they can be compared.
    are_read: bool,
}

impl Statuses {
    pub(super) fn is_invalid(&self, id: &SubscriptionId) -> bool {
        self.invalid.contains_key(id)
    }

    pub(super) fn invalid(&self) -> usize {
        self.invalid.len()
    }

    pub(super) fn is_read(&self) -> bool {
        self.are_read
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
            Some(status) if status.state == State::Invalid => {
                self.statuses.told.insert(id, status.definition_offset);
            }
            _ => {
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

    /// Writes the status of a subscription if the topic doesn't say what it ought to.
    fn correct_status(&mut self, id: &SubscriptionId, now: Timestamp) {
        let Statuses { invalid, told, are_read } = &mut self.statuses;
        if !*are_read {
            return;
        }
        let status = match (invalid.get(id), told.get(id)) {
            (Some((definition, _)), Some(told)) if definition.0 == *told => return,
            (None, None) => return,
            (Some((definition, reason)), _) => {
                told.insert(id.clone(), definition.0);
                Some(Status::invalid(*definition, reason, now))
            }
            (None, Some(_)) => {
                told.remove(id);
                let healed = self.registry.get(id);
                healed.map(|healed| Status::active(healed.definition_offset, now))
            }
        };
        self.gathering.tell(id.clone(), status);
    }
}
