//! Who can be sent to now, and who of them wants an event: by the registry and the filters that the connector goes by.

use std::fmt;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::domain::event::Event;
use crate::domain::expression::Values;
use crate::domain::registry::Registry;
use crate::domain::subscription::{Activity, Subscription, SubscriptionId};

/// Subscriptions as they are now.
#[derive(Default)]
pub struct Recipients {
    /// Those that can be sent to.
    fit: Registry,
    unfit: FxHashMap<SubscriptionId, Unfit>,
}

/// Why nothing can be sent to a subscription: the connector would only make dead letters of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unfit {
    /// There is none of this id.
    Missing,
    /// Its definition breaks a rule.
    Invalid,
    /// Its definition switches it off.
    Inactive,
    /// The connector has disabled it.
    Disabled,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "doesn't exist",
            Self::Invalid => "is invalid",
            Self::Inactive => "is switched off",
            Self::Disabled => "is disabled",
        })
    }
}

/// What came of matching one event.
#[derive(Default)]
pub struct Wanted {
    /// Those that want it, each once.
    pub by: Vec<Arc<Subscription>>,
    /// Those whose filter is not true of it.
    pub filtered: u64,
    /// Those whose filter failed, which is no match.
    pub filter_errors: u64,
}

impl Recipients {
    /// Adds a subscription that can be sent to, unless it is switched off.
    pub fn add(&mut self, subscription: Subscription) {
        match subscription.state {
            Activity::Active => self.fit.put(Arc::new(subscription)),
            Activity::Inactive => self.add_unfit(subscription.id, Unfit::Inactive),
        }
    }

    /// Adds one that can't.
    pub fn add_unfit(&mut self, id: SubscriptionId, why: Unfit) {
        self.unfit.insert(id, why);
    }

    /// Tells whether a subscription can be sent to.
    ///
    /// # Errors
    /// It can't, and why.
    pub fn judge(&self, id: &SubscriptionId) -> Result<(), Unfit> {
        match (self.fit.get(id), self.unfit.get(id)) {
            (Some(_), _) => Ok(()),
            (None, Some(why)) => Err(*why),
            (None, None) => Err(Unfit::Missing),
        }
    }

    /// Finds those that want an event.
    pub fn wanting(&self, event: &Event) -> Wanted {
        let mut wanted = Wanted::default();
        let (topic, tenant) = (&event.label.origin.topic, event.label.tenant.as_deref());
        self.fit.matching(topic, &event.label.event_type, tenant, &mut wanted.by);
        let values = Values::of(event);
        let Wanted { by, filtered, filter_errors } = &mut wanted;
        by.retain(|subscription| match subscription.admits(&values) {
            Ok(true) => true,
            Ok(false) => {
                *filtered += 1;
                false
            }
            Err(_) => {
                *filter_errors += 1;
                false
            }
        });
        wanted
    }
}
