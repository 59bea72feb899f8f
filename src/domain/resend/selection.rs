//! Which dead letters are meant.

use jiff::Timestamp;

use super::letter::DeadLetter;
use crate::domain::event::EventId;
use crate::domain::headers::DeadLetterKind;
use crate::domain::outcome::Reason;
use crate::domain::pattern::EventPattern;
use crate::domain::subscription::SubscriptionId;

/// What all of is asked for; what is `None` or empty leaves it open.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Deliveries to it; what could not be read is to nobody.
    pub subscription: Option<SubscriptionId>,
    /// Deliveries of this event.
    pub event_id: Option<EventId>,
    /// Of events of such a type, which stands in the value: it isn't asked for by [`Selection::picks`].
    pub event_type: Option<EventPattern>,
    /// Given up for one of these.
    pub reasons: Vec<Reason>,
    /// Of this kind.
    pub kind: Option<DeadLetterKind>,
    /// Given up then or later.
    pub since: Option<Timestamp>,
    /// Given up before.
    pub until: Option<Timestamp>,
}

impl Selection {
    /// Tells whether a dead letter is meant, as far as that can be told without reading its value.
    pub fn picks(&self, letter: &DeadLetter) -> bool {
        let delivery = letter.delivery();
        let is_to =
            |id: &SubscriptionId| delivery.is_some_and(|delivery| delivery.subscription == *id);
        let is_of =
            |id: &EventId| delivery.is_some_and(|delivery| delivery.id.as_ref() == Some(id));
        let at = letter.place.timestamp;
        self.subscription.as_ref().is_none_or(is_to)
            && self.event_id.as_ref().is_none_or(is_of)
            && (self.reasons.is_empty() || self.reasons.contains(&letter.reason))
            && self.kind.is_none_or(|kind| letter.kind() == kind)
            && self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at < until)
    }
}
