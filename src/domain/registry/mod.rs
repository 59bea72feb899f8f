//! All subscriptions, and an index that finds those an event goes to.
//!
//! The cost of a match follows what matches, not what exists: the event's tenant and topic pick at most four tries,
//! and its type walks down each. An update touches its own entries only. The index is a function of the subscriptions
//! in it, whatever the order they came in.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::pattern::Segment;
use super::subscription::{Activity, Subscription, SubscriptionHash, SubscriptionId};

/// All subscriptions by id, the active ones indexed by tenant, topic and event type.
#[derive(Default)]
pub struct Registry {
    by_id: FxHashMap<SubscriptionId, Arc<Subscription>>,
    /// Those without a tenant.
    any_tenant: Topics,
    /// Those of one tenant.
    by_tenant: FxHashMap<Arc<str>, Topics>,
    active: usize,
}

/// The tries of one tenant, or of none.
#[derive(Default)]
#[cfg_attr(test, derive(PartialEq))]
struct Topics {
    /// Of subscriptions to all topics.
    any: Node,
    /// Of subscriptions that name the topic.
    named: FxHashMap<Arc<str>, Node>,
}

/// A place in a trie of event types, reached over the segments so far.
#[derive(Default)]
#[cfg_attr(test, derive(PartialEq))]
struct Node {
    /// Where an exact segment leads.
    exact: FxHashMap<Box<str>, Box<Node>>,
    /// Where `*` in the middle leads.
    one: Option<Box<Node>>,
    /// Subscriptions with a pattern that ends here.
    here: BTreeSet<Entry>,
    /// Subscriptions with a pattern that ends in `*` behind here.
    rest: BTreeSet<Entry>,
}

/// A subscription in the order of fan-outs. Its hash stands beside it, so that most comparisons end there.
struct Entry {
    hash: SubscriptionHash,
    subscription: Arc<Subscription>,
}

impl Registry {
    /// Makes an empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a subscription, in place of the one with its id.
    pub fn put(&mut self, subscription: Arc<Subscription>) {
        let replaced = self.by_id.insert(subscription.id.clone(), subscription.clone());
        if let Some(replaced) = replaced {
            self.unindex(&replaced);
        }
        if subscription.state == Activity::Inactive {
            return;
        }
        self.active += 1;
        let topics = match &subscription.tenant {
            None => &mut self.any_tenant,
            Some(tenant) => self.by_tenant.entry(tenant.clone()).or_default(),
        };
        if subscription.topics.is_empty() {
            topics.any.add(&subscription);
        }
        for topic in &subscription.topics {
            topics.named.entry(topic.clone()).or_default().add(&subscription);
        }
    }

    /// Takes out the subscription with this id and returns it.
    pub fn remove(&mut self, id: &SubscriptionId) -> Option<Arc<Subscription>> {
        let removed = self.by_id.remove(id)?;
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
        let own = tenant.and_then(|tenant| self.by_tenant.get(tenant));
        for topics in [Some(&self.any_tenant), own].into_iter().flatten() {
            for trie in [Some(&topics.any), topics.named.get(topic)].into_iter().flatten() {
                trie.collect(event_type, found);
            }
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
        match &subscription.tenant {
            None => self.any_tenant.remove(subscription),
            Some(tenant) => {
                let topics = self.by_tenant.get_mut(tenant).expect("an active one is indexed");
                topics.remove(subscription);
                if topics.is_empty() {
                    self.by_tenant.remove(tenant);
                }
            }
        }
    }
}

impl Topics {
    fn is_empty(&self) -> bool {
        self.any.is_empty() && self.named.is_empty()
    }

    fn remove(&mut self, subscription: &Arc<Subscription>) {
        if subscription.topics.is_empty() {
            self.any.remove(subscription);
        }
        for topic in &subscription.topics {
            // A topic listed twice is gone the second time.
            let Some(trie) = self.named.get_mut(topic) else { continue };
            trie.remove(subscription);
            if trie.is_empty() {
                self.named.remove(topic);
            }
        }
    }
}

impl Node {
    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.one.is_none() && self.here.is_empty() && self.rest.is_empty()
    }

    /// Collects from this place on; at least one segment of the event type remains.
    fn collect(&self, event_type: &str, found: &mut Vec<Arc<Subscription>>) {
        #[cfg(test)]
        tests::visited();
        let subscriptions = |list: &BTreeSet<Entry>, found: &mut Vec<_>| {
            found.extend(list.iter().map(|entry| entry.subscription.clone()));
        };
        subscriptions(&self.rest, found);
        let (segment, remaining) = match event_type.split_once('.') {
            Some((segment, remaining)) => (segment, Some(remaining)),
            None => (event_type, None),
        };
        for next in [self.exact.get(segment), self.one.as_ref()].into_iter().flatten() {
            match remaining {
                Some(remaining) => next.collect(remaining, found),
                None => subscriptions(&next.here, found),
            }
        }
    }

    fn add(&mut self, subscription: &Arc<Subscription>) {
        for pattern in &subscription.events {
            self.list(pattern.segments()).insert(Entry::of(subscription));
        }
    }

    /// Returns the list in which a pattern's subscriptions stand, and makes the way to it.
    #[expect(
        clippy::mutable_key_type,
        reason = "what may change in a subscription is its compiled expression; entries are ordered by hash and id"
    )]
    fn list<'a>(&mut self, segments: impl Iterator<Item = Segment<'a>>) -> &mut BTreeSet<Entry> {
        let mut node = self;
        for segment in segments {
            #[cfg(test)]
            tests::visited();
            node = match segment {
                Segment::Exact(name) => node.exact.entry(name.into()).or_default(),
                Segment::One => node.one.get_or_insert_default(),
                Segment::Rest => return &mut node.rest,
            };
        }
        &mut node.here
    }

    fn remove(&mut self, subscription: &Arc<Subscription>) {
        let entry = Entry::of(subscription);
        for pattern in &subscription.events {
            self.remove_entry(&mut pattern.segments(), &entry);
        }
    }

    /// Takes an entry out, and nodes empty without it. A pattern listed twice finds nothing the second time.
    fn remove_entry<'a>(
        &mut self,
        segments: &mut impl Iterator<Item = Segment<'a>>,
        entry: &Entry,
    ) {
        #[cfg(test)]
        tests::visited();
        match segments.next() {
            None => {
                self.here.remove(entry);
            }
            Some(Segment::Rest) => {
                self.rest.remove(entry);
            }
            Some(Segment::One) => {
                let Some(next) = &mut self.one else { return };
                next.remove_entry(segments, entry);
                if next.is_empty() {
                    self.one = None;
                }
            }
            Some(Segment::Exact(name)) => {
                let Some(next) = self.exact.get_mut(name) else { return };
                next.remove_entry(segments, entry);
                if next.is_empty() {
                    self.exact.remove(name);
                }
            }
        }
    }
}

fn in_order(a: &Subscription, b: &Subscription) -> Ordering {
    a.hash.cmp(&b.hash).then_with(|| a.id.cmp(&b.id))
}

impl Entry {
    fn of(subscription: &Arc<Subscription>) -> Self {
        Self { hash: subscription.hash, subscription: subscription.clone() }
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_id = || self.subscription.id.cmp(&other.subscription.id);
        self.hash.cmp(&other.hash).then_with(by_id)
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}
