//! What is kept for a subscription between its requests, as long as the definition lives that it was made for.

use std::sync::{Arc, Mutex, Weak};

use rustc_hash::FxHashMap;

use crate::domain::subscription::{Subscription, SubscriptionId};

/// Things kept, by subscription; a newer definition's takes the place of the one before.
pub(super) struct Held<T>(Mutex<FxHashMap<SubscriptionId, (Weak<Subscription>, T)>>);

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Held<T> {
    /// Returns what is kept for a definition; if there is nothing yet, makes it.
    ///
    /// # Errors
    /// It can't be made.
    pub(super) fn find_or<E>(
        &self,
        subscription: &Arc<Subscription>,
        new: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut held = self.0.lock().expect("nobody panics while holding it");
        let is_its = |(definition, _): &&(Weak<Subscription>, T)| {
            Weak::as_ptr(definition) == Arc::as_ptr(subscription)
        };
        if let Some((_, found)) = held.get(&subscription.id).filter(is_its) {
            return Ok(found.clone());
        }
        let made = new()?;
        // Only here does something grow: those whose definition is gone make room.
        held.retain(|_, (definition, _)| definition.strong_count() > 0);
        held.insert(subscription.id.clone(), (Arc::downgrade(subscription), made.clone()));
        Ok(made)
    }
}
