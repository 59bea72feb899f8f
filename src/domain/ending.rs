//! Endings: what goes into Kafka when a delivery, or a record, has come to something.

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::audit;
use super::event::{Event, Label};
use super::headers::{self, Carried, DeadLetterKind, Obituary, Trigger};
use super::outcome::{Attempted, Reason};
use super::record::{Headers, Origin, Record};
use super::subscription::{Subscription, SubscriptionId};
use super::tiers::TierIndex;

/// Something that came to an end here and has to be written down.
#[derive(Debug)]
pub enum Ending {
    /// One delivery, or its turn.
    Delivery(Box<DeliveryEnding>),
    /// A record that is no event.
    Unreadable(Box<UnreadableRecord>),
}

/// One delivery that is over or goes on in Kafka.
#[derive(Debug)]
pub struct DeliveryEnding {
    /// When it was decided.
    pub at: Timestamp,
    /// Where the record stands that held the delivery.
    pub record: Origin,
    /// What the event is called by.
    pub label: Arc<Label>,
    /// The event itself, where it goes on.
    pub event: Option<Arc<Event>>,
    /// To whom.
    pub subscription_id: SubscriptionId,
    /// The definition that the decision speaks of; `None` when there is none.
    pub subscription: Option<Arc<Subscription>>,
    /// What made the delivery.
    pub trigger: Trigger,
    /// Attempts made so far, this one included.
    pub attempts: u32,
    /// When the first attempt was made.
    pub first_at: Option<Timestamp>,
    /// How long the delivery waited for its lane before that attempt.
    pub waited: Option<Duration>,
    /// The attempt that led here, if it was one.
    pub attempted: Option<Attempted>,
    /// What follows.
    pub next: Next,
    /// What a dead letter holds.
    pub value: Value,
}

/// What follows from an ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing, it was delivered.
    Delivered,
    /// Another attempt at the time, by way of the tier.
    Retry(Timestamp, TierIndex, Reason),
    /// Waiting until the time by way of the tier, on the way down the wheel or for the lane; no decision and so no audit
    /// record.
    Move(Timestamp, TierIndex),
    /// A dead letter.
    DeadLetter(Reason),
    /// Nothing: there was nothing to send.
    Skipped(Reason),
}

/// What of the event's record goes into a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Key, value and headers as they came.
    Whole,
    /// None of them: they don't fit, and the origin says where they are.
    Dropped,
}

/// A record that can't be read.
#[derive(Debug)]
pub struct UnreadableRecord {
    /// When that was found.
    pub at: Timestamp,
    /// The record.
    pub record: Record,
    /// What can be understood of the delivery that it holds, if it holds one: this is that delivery's end.
    pub delivery: Option<Box<Carried>>,
    /// Why; repeats nothing of the record.
    pub error: Box<str>,
    /// What its dead letter holds.
    pub value: Value,
}

/// Where a record is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The audit topic.
    Audit,
    /// A retry tier's topic.
    Tier(TierIndex),
    /// The dead-letter topic.
    DeadLetter,
}

/// A record to be written.
#[derive(Clone)]
pub struct Publication {
    /// Where.
    pub to: Destination,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Headers,
}

impl Next {
    /// Tells whether the event goes on in a record.
    pub(super) fn has_record(self) -> bool {
        match self {
            Self::Delivered | Self::Skipped(_) => false,
            Self::Retry(..) | Self::Move(..) | Self::DeadLetter(_) => true,
        }
    }
}

impl Ending {
    /// Returns where the record stands that came to this end.
    pub fn record(&self) -> &Origin {
        match self {
            Self::Delivery(ending) => &ending.record,
            Self::Unreadable(ending) => &ending.record.origin,
        }
    }

    /// Returns the records that tell of this ending: where the event goes on, if it does, and the audit record.
    pub fn publications(&self, instance: &str) -> (Option<Publication>, Option<Publication>) {
        match self {
            Self::Delivery(ending) => {
                let audit = match ending.next {
                    Next::Move(..) => None,
                    _ => Some(audit::of_delivery(ending, instance)),
                };
                let key = ending.subscription_id.as_str().to_owned().into();
                let headers = ending.audit_headers();
                (ending.onward(), audit.map(|value| audit_record(Some(key), value, headers)))
            }
            Self::Unreadable(ending) => {
                let audit = audit::of_unreadable(ending, instance);
                let subscription = ending.delivery.as_ref().map(|it| it.subscription.as_str());
                let key = subscription.map(|id| id.to_owned().into());
                (Some(ending.dead_letter()), Some(audit_record(key, audit, Headers::default())))
            }
        }
    }

    /// Makes this the ending of a record that is too large for its topic: a dead letter that holds the origin instead
    /// of the value. Tells whether that changed anything.
    pub fn drop_value(&mut self) -> bool {
        let value = match self {
            Self::Delivery(ending) => {
                match ending.next {
                    Next::Delivered | Next::Skipped(_) => return false,
                    Next::DeadLetter(_) => {}
                    Next::Retry(..) | Next::Move(..) => {
                        ending.next = Next::DeadLetter(Reason::TooLarge);
                    }
                }
                &mut ending.value
            }
            Self::Unreadable(ending) => &mut ending.value,
        };
        std::mem::replace(value, Value::Dropped) == Value::Whole
    }
}

fn audit_record(key: Option<Bytes>, value: Vec<u8>, headers: Headers) -> Publication {
    Publication { to: Destination::Audit, key, value: Some(value.into()), headers }
}

impl DeliveryEnding {
    fn audit_headers(&self) -> Headers {
        let mut headers = Headers::default();
        if let (Next::DeadLetter(reason), Some(subscription)) = (self.next, &self.subscription)
            // What faults of ours have used up says nothing of the receiver's health.
            && !(reason == Reason::Exhausted && self.failed_of_ours())
        {
            headers.push(audit::DEFINITION_OFFSET, subscription.definition_offset.0.to_string());
        }
        headers
    }

    /// Tells whether the attempt failed of what can't be laid to the receiver.
    fn failed_of_ours(&self) -> bool {
        let failure = self.attempted.as_ref().and_then(|attempted| attempted.end.as_ref().err());
        failure.is_some_and(|failure| !failure.reason.is_receivers())
    }

    fn event(&self) -> &Event {
        self.event.as_ref().expect("what goes on has its event with it")
    }

    /// Returns the record in which the delivery goes on.
    fn onward(&self) -> Option<Publication> {
        let (to, due_at, (reason, status)) = match self.next {
            Next::Delivered | Next::Skipped(_) => return None,
            Next::Retry(due, tier, reason) => {
                (Destination::Tier(tier), Some(due), (Some(reason), self.status()))
            }
            Next::Move(due, tier) => (Destination::Tier(tier), Some(due), self.earlier()),
            Next::DeadLetter(reason) => {
                (Destination::DeadLetter, None, (Some(reason), self.status()))
            }
        };
        let carried = Carried {
            subscription: self.subscription_id.clone(),
            id: Some(self.label.id.clone()),
            trigger: self.trigger,
            attempts: self.attempts,
            due_at,
            first_at: self.first_at,
            origin: Some(self.label.origin.clone()),
            source: Some(self.event().source.clone()),
            reason,
            status,
            redrives: self.redrives(),
        };
        let end = matches!(self.next, Next::DeadLetter(_))
            .then(|| Obituary { kind: DeadLetterKind::Delivery, error: self.error() });
        let (key, value, headers) = kept(&self.event().record, self.value);
        let headers = carried.write(&headers, end.as_ref());
        Some(Publication { to, key, value, headers })
    }

    /// Returns what the record says of the last attempt; of a first one that is still to be made there is nothing to tell.
    fn earlier(&self) -> (Option<Reason>, Option<u16>) {
        let carried = Carried::read(&self.event().record.headers).ok();
        let carried = carried.filter(|_| self.attempts > 0);
        carried.map_or((None, None), |carried| (carried.reason, carried.status))
    }

    /// Returns how often the delivery was sent again, as its record says; of a record that is an event, the producer
    /// would say it.
    fn redrives(&self) -> u32 {
        match self.trigger {
            Trigger::Redrive => headers::redrives(&self.event().record.headers),
            Trigger::Event | Trigger::Test | Trigger::Replay => 0,
        }
    }

    /// Returns the status of the answer, if there was one.
    pub fn status(&self) -> Option<u16> {
        let attempted = self.attempted.as_ref()?;
        attempted.end.as_ref().ok().map(|answer| answer.status)
    }

    /// Returns what went wrong, in words.
    pub fn error(&self) -> Option<Box<str>> {
        match &self.attempted.as_ref()?.end {
            Ok(answer) if (200..300).contains(&answer.status) => None,
            Ok(answer) => Some(format!("the receiver answered {}", answer.status).into()),
            Err(failure) => Some(failure.error.clone()),
        }
    }
}

impl UnreadableRecord {
    /// Returns where the event of a delivery was produced; otherwise, and if that isn't known, where the record stands.
    pub fn origin(&self) -> &Origin {
        let origin = self.delivery.as_ref().and_then(|delivery| delivery.origin.as_ref());
        origin.unwrap_or(&self.record.origin)
    }

    fn dead_letter(&self) -> Publication {
        let (key, value, headers) = kept(&self.record, self.value);
        let headers = match &self.delivery {
            None => headers::unreadable(&headers, &self.record.origin, &self.error),
            Some(delivery) => self.given_up(delivery).write(
                &headers,
                Some(&Obituary { kind: DeadLetterKind::Delivery, error: Some(self.error.clone()) }),
            ),
        };
        Publication { to: Destination::DeadLetter, key, value, headers }
    }

    /// Returns a delivery as its dead letter tells it.
    fn given_up(&self, delivery: &Carried) -> Carried {
        Carried {
            due_at: None,
            origin: Some(self.origin().clone()),
            reason: Some(Reason::Unreadable),
            status: None,
            ..delivery.clone()
        }
    }
}

fn kept(record: &Record, value: Value) -> (Option<Bytes>, Option<Bytes>, Headers) {
    match value {
        Value::Whole => (record.key.clone(), record.value.clone(), record.headers.clone()),
        Value::Dropped => (None, None, Headers::default()),
    }
}
