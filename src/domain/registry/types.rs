//! Subscriptions by the event types that they want, and the tenants that they may see.
//!
//! Most name a type in full. Where types are few and tenants many, types first keeps in the cache what stands before a
//! tenant's subscriptions; a type that only one tenant has costs a table of its own. Patterns with wildcards stand in a
//! trie of their segments, of which each tenant has one: nobody's events go the ways of another's patterns.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use smol_str::SmolStr;

#[cfg(test)]
use super::tests::visited;
use crate::domain::pattern::Segment;
use crate::domain::subscription::{Subscription, SubscriptionHash};

/// Subscriptions by event type and tenant.
#[derive(Default)]
#[cfg_attr(test, derive(PartialEq))]
pub(super) struct Types {
    /// Of patterns without a wildcard.
    exact: FxHashMap<SmolStr, Tenants<List>>,
    /// Of patterns with one.
    wildcards: Tenants<Node>,
}

/// Something for all events, and something for each tenant's.
#[derive(Default)]
#[cfg_attr(test, derive(PartialEq))]
struct Tenants<T> {
    /// Of subscriptions without a tenant.
    any: T,
    /// Of each tenant's own; none is empty.
    named: FxHashMap<SmolStr, T>,
}

/// What can tell that nothing is in it.
pub(super) trait MayBeEmpty {
    fn is_empty(&self) -> bool;
}

/// A place in a trie of patterns, reached over the segments so far.
#[derive(Default)]
#[cfg_attr(test, derive(PartialEq))]
struct Node {
    /// Where an exact segment leads.
    exact: FxHashMap<Box<str>, Box<Node>>,
    /// Where `*` in the middle leads.
    one: Option<Box<Node>>,
    /// Subscriptions with a pattern that ends here.
    here: List,
    /// Subscriptions with a pattern that ends in `*` behind here.
    rest: List,
}

/// Subscriptions in the order of fan-outs. Most lists hold one, which needs no tree.
#[derive(Default)]
#[cfg_attr(test, derive(PartialEq))]
enum List {
    #[default]
    Empty,
    One(Entry),
    Several(BTreeSet<Entry>),
}

/// A subscription in the order of fan-outs. Its hash stands beside it, so that most comparisons end there.
struct Entry {
    hash: SubscriptionHash,
    subscription: Arc<Subscription>,
}

impl Types {
    /// Collects those that want an event type of a tenant: sorted runs, some of them perhaps twice.
    pub(super) fn collect(
        &self,
        event_type: &str,
        tenant: Option<&str>,
        found: &mut Vec<Arc<Subscription>>,
    ) {
        #[cfg(test)]
        visited();
        if let Some(tenants) = self.exact.get(event_type) {
            tenants.visible_to(tenant).for_each(|list| list.collect(found));
        }
        self.wildcards.visible_to(tenant).for_each(|trie| trie.collect(event_type, found));
    }

    pub(super) fn add(&mut self, subscription: &Arc<Subscription>) {
        let tenant = subscription.tenant.as_ref();
        for pattern in &subscription.events {
            #[cfg(test)]
            visited();
            let list = if pattern.has_wildcard() {
                self.wildcards.place(tenant).list(pattern.segments())
            } else {
                self.exact.entry(pattern.as_str().into()).or_default().place(tenant)
            };
            list.insert(Entry::of(subscription));
        }
    }

    /// Takes a subscription out.
    pub(super) fn remove(&mut self, subscription: &Arc<Subscription>) {
        let (entry, tenant) = (Entry::of(subscription), subscription.tenant.as_ref());
        for pattern in &subscription.events {
            #[cfg(test)]
            visited();
            if pattern.has_wildcard() {
                self.wildcards.thin(tenant, |trie| trie.remove(&mut pattern.segments(), &entry));
            } else {
                thin(&mut self.exact, pattern.as_str(), |tenants| {
                    tenants.thin(tenant, |list| list.remove(&entry));
                });
            }
        }
    }
}

impl<T: MayBeEmpty + Default> Tenants<T> {
    /// Returns what an event of a tenant, or of none, reaches.
    fn visible_to(&self, tenant: Option<&str>) -> impl Iterator<Item = &T> {
        [Some(&self.any), tenant.and_then(|tenant| self.named.get(tenant))].into_iter().flatten()
    }

    /// Returns what there is for a tenant, or for all, and makes it where there is none.
    fn place(&mut self, tenant: Option<&SmolStr>) -> &mut T {
        match tenant {
            None => &mut self.any,
            Some(tenant) => self.named.entry(tenant.clone()).or_default(),
        }
    }

    /// Takes something out of what there is for a tenant, or for all; a tenant with nothing left goes, too.
    fn thin(&mut self, tenant: Option<&SmolStr>, take_out: impl FnOnce(&mut T)) {
        match tenant {
            None => take_out(&mut self.any),
            Some(tenant) => thin(&mut self.named, tenant, take_out),
        }
    }
}

/// Takes something out of what stands at a key, and the key if nothing is left there. What is listed twice is gone the
/// second time.
pub(super) fn thin<K, Q, V>(map: &mut FxHashMap<K, V>, key: &Q, take_out: impl FnOnce(&mut V))
where
    K: Borrow<Q> + Hash + Eq,
    Q: Hash + Eq + ?Sized,
    V: MayBeEmpty,
{
    let Some(value) = map.get_mut(key) else { return };
    take_out(value);
    if value.is_empty() {
        map.remove(key);
    }
}

impl MayBeEmpty for Types {
    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcards.is_empty()
    }
}

impl<T: MayBeEmpty> MayBeEmpty for Tenants<T> {
    fn is_empty(&self) -> bool {
        self.any.is_empty() && self.named.is_empty()
    }
}

impl MayBeEmpty for Node {
    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.one.is_none() && self.here.is_empty() && self.rest.is_empty()
    }
}

impl MayBeEmpty for List {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Node {
    /// Collects from this place on; at least one segment of the event type remains.
    fn collect(&self, event_type: &str, found: &mut Vec<Arc<Subscription>>) {
        #[cfg(test)]
        visited();
        self.rest.collect(found);
        let (segment, remaining) = match event_type.split_once('.') {
            Some((segment, remaining)) => (segment, Some(remaining)),
            None => (event_type, None),
        };
        for next in [self.exact.get(segment), self.one.as_ref()].into_iter().flatten() {
            match remaining {
                Some(remaining) => next.collect(remaining, found),
                None => next.here.collect(found),
            }
        }
    }

    /// Returns the list in which a pattern's subscriptions stand, and makes the way to it.
    fn list<'a>(&mut self, segments: impl Iterator<Item = Segment<'a>>) -> &mut List {
        let mut node = self;
        for segment in segments {
            #[cfg(test)]
            visited();
            node = match segment {
                Segment::Exact(name) => node.exact.entry(name.into()).or_default(),
                Segment::One => node.one.get_or_insert_default(),
                Segment::Rest => return &mut node.rest,
            };
        }
        &mut node.here
    }

    /// Takes an entry out, and nodes empty without it.
    fn remove<'a>(&mut self, segments: &mut impl Iterator<Item = Segment<'a>>, entry: &Entry) {
        #[cfg(test)]
        visited();
        match segments.next() {
            None => self.here.remove(entry),
            Some(Segment::Rest) => self.rest.remove(entry),
            Some(Segment::One) => {
                let Some(next) = &mut self.one else { return };
                next.remove(segments, entry);
                if next.is_empty() {
                    self.one = None;
                }
            }
            Some(Segment::Exact(name)) => {
                let Some(next) = self.exact.get_mut(name) else { return };
                next.remove(segments, entry);
                if next.is_empty() {
                    self.exact.remove(name);
                }
            }
        }
    }
}

impl List {
    fn collect(&self, found: &mut Vec<Arc<Subscription>>) {
        #[cfg(test)]
        visited();
        match self {
            Self::Empty => {}
            Self::One(entry) => found.push(entry.subscription.clone()),
            Self::Several(all) => {
                found.extend(all.iter().map(|entry| entry.subscription.clone()));
            }
        }
    }

    fn insert(&mut self, entry: Entry) {
        *self = match std::mem::take(self) {
            Self::Empty => Self::One(entry),
            Self::One(other) if other == entry => Self::One(other),
            Self::One(other) => Self::Several([other, entry].into()),
            Self::Several(mut all) => {
                all.insert(entry);
                Self::Several(all)
            }
        };
    }

    fn remove(&mut self, entry: &Entry) {
        match self {
            Self::One(only) if only == entry => *self = Self::Empty,
            Self::Several(all) => {
                all.remove(entry);
                if all.len() == 1 {
                    *self = all.pop_first().map_or(Self::Empty, Self::One);
                }
            }
            Self::Empty | Self::One(_) => {}
        }
    }
}

impl Entry {
    fn of(subscription: &Arc<Subscription>) -> Self {
        Self { hash: subscription.hash, subscription: subscription.clone() }
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.hash.cmp(&other.hash).then_with(|| self.subscription.id.cmp(&other.subscription.id))
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
