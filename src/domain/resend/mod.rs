//! Sending again: which dead letters and which events go back, to whom, as which records. It decides; commands read
//! and write.
//!
//! A **redrive** takes a dead letter: the delivery starts its schedule anew, and the dead letter is **marked** behind it
//! in its own partition, so that it isn't taken twice. What couldn't be read goes back the way that events come: it is
//! decoded and matched. A **replay** takes events of a topic for one subscription, by the same matching.

mod letter;
mod pace;
mod recipients;
mod redrive;
mod replay;
mod selection;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use letter::{DeadLetter, Entry, Mark, Subject};
pub use pace::{Pace, Rate};
pub use recipients::{Recipients, Unfit, Wanted};
pub use redrive::{Refusal, Rules};
pub use replay::{Leg, replay_id};
pub use selection::Selection;

use super::event::Event;
use super::headers::{Carried, Trigger};
use super::record::{Headers, Record};
use super::subscription::SubscriptionId;

/// A delivery as a record of the deliver topic.
#[derive(Clone)]
pub struct Resend {
    /// The event's key.
    pub key: Option<Bytes>,
    /// The event's value.
    pub value: Option<Bytes>,
    /// The event's headers, and ours.
    pub headers: Headers,
}

impl Resend {
    /// Makes the delivery of an event to a subscription, as if the event had just come.
    pub fn of_event(event: &Event, to: &SubscriptionId, trigger: Trigger, redrives: u32) -> Self {
        let carried = Carried {
            id: Some(event.label.id.clone()),
            origin: Some(event.label.origin.clone()),
            source: Some(event.source.clone()),
            redrives,
            ..Carried::due_now(to.clone(), trigger)
        };
        Self::carrying(&carried, &event.record)
    }

    fn carrying(carried: &Carried, record: &Record) -> Self {
        Self {
            key: record.key.clone(),
            value: record.value.clone(),
            headers: carried.write(&record.headers, None),
        }
    }

    /// Returns the bytes that it holds.
    pub fn size(&self) -> usize {
        let held = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        held(&self.key) + held(&self.value) + self.headers.size()
    }
}
