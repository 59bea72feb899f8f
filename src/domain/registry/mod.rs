//! All subscriptions, and an index that finds those an event goes to.
//!
//! The cost of a match follows what matches, not what exists: the event's topic picks at most two sets. In each, its type
//! is looked up and then its tenant; of patterns with wildcards, those for all and its tenant's own are followed. An
//! update touches its own entries only. The index is a function of the subscriptions in it, whatever the order they came
//! in.

#[cfg(test)]
mod tests;
mod types;

use std::cmp::Ordering;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use self::types::{Types, thin};
use super::subscription::{Activity, Subscription, SubscriptionId};

/// All subscriptions by id, the active ones indexed by topic, event type and tenant.
#[derive(Default)]
pub struct Registry {
    by_id: FxHashMap<SubscriptionId, Arc<Subscription>>,
    /// Those to all topics.
    any_topic: Types,
    /// Those that name the topic.
    by_topic: FxHashMap<Arc<str>, Types>,
    active: usize,
    revision: Revision,
}

/// How often a registry has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revision(u64);

impl Registry {
    /// Makes an empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a subscription, in place of the one with its id.
    pub fn put(&mut self, subscription: Arc<Subscription>) {
        self.revision.0 += 1;
        let replaced = self.by_id.insert(subscription.id.clone(), subscription.clone());
        if let Some(replaced) = replaced {
            self.unindex(&replaced);
        }
        if subscription.state == Activity::Inactive {
            return;
        }
        self.active += 1;
        if subscription.topics.is_empty() {
            self.any_topic.add(&subscription);
        }
        for topic in &subscription.topics {
            self.by_topic.entry(topic.clone()).or_default().add(&subscription);
        }
    }

    /// Takes out the subscription with this id and returns it.
    pub fn remove(&mut self, id: &SubscriptionId) -> Option<Arc<Subscription>> {
        let removed = self.by_id.remove(id)?;
        self.revision.0 += 1;
        self.unindex(&removed);
        Some(removed)
    }

    /// Returns the subscription with this id, active or not.
    pub fn get(&self, id: &SubscriptionId) -> Option<&Arc<Subscription>> {
        self.by_id.get(id)
    }

    /// Tells whether a subscription other than this one receives events of a topic.
    pub fn serves_another(&self, topic: &str, id: &SubscriptionId) -> bool {
        let wants =
            |it: &Subscription| it.topics.is_empty() || it.topics.iter().any(|t| **t == *topic);
        let another = |it: &&Arc<Subscription>| it.id != *id && it.state == Activity::Active;
        self.by_id.values().filter(another).any(|it| wants(it))
    }

    /// Returns which state this is: what was found in it stands for as long as this stays the same.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Returns how many subscriptions there are, active or not.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Returns how many subscriptions are active.
    pub fn active(&self) -> usize {
        self.active
    }

    /// Tells whether there is no subscription.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Returns all subscriptions, active or not, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        self.by_id.values()
    }

    /// Replaces what is in `found` by the active subscriptions that want an event, each once, by hash and id.
    ///
    /// An event of a tenant reaches its subscriptions and those without a tenant; any other only the latter.
    pub fn matching(
        &self,
        topic: &str,
        event_type: &str,
        tenant: Option<&str>,
        found: &mut Vec<Arc<Subscription>>,
    ) {
        found.clear();
        for types in [Some(&self.any_topic), self.by_topic.get(topic)].into_iter().flatten() {
            types.collect(event_type, tenant, found);
        }
        // Each list came sorted; this sort merges such runs.
        found.sort_by(|a, b| in_order(a, b));
        found.dedup_by(|a, b| Arc::ptr_eq(a, b));
    }

    fn unindex(&mut self, subscription: &Arc<Subscription>) {
        if subscription.state == Activity::Inactive {
            return;
        }
        self.active -= 1;
        if subscription.topics.is_empty() {
            self.any_topic.remove(subscription);
        }
        for topic in &subscription.topics {
            thin(&mut self.by_topic, topic, |types| types.remove(subscription));
        }
    }
}

fn in_order(a: &Subscription, b: &Subscription) -> Ordering {
    a.hash.cmp(&b.hash).then_with(|| a.id.cmp(&b.id))
}
