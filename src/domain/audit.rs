//! The audit record: one JSON object for each attempt and each decision made without one, written and read back.

#[cfg(test)]
pub(super) mod tests;

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use super::ending::{DeliveryEnding, Next, UnreadableRecord};
use super::headers::Trigger;
use super::outcome::Reason;
use super::record::Origin;

/// The header of a dead letter's audit record that names the definition it speaks of, by its offset: the health of
/// subscriptions is folded by it.
pub const DEFINITION_OFFSET: &str = "webhooks-definition-offset";

/// The `outcome` of an audit record, and the label of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The receiver took it.
    Delivered,
    /// Another attempt is due later.
    Retrying,
    /// Given up.
    DeadLettered,
    /// Nothing was to be sent.
    Skipped,
}

impl Outcome {
    /// Every outcome, in the order of the contract.
    pub const ALL: [Self; 4] = [Self::Delivered, Self::Retrying, Self::DeadLettered, Self::Skipped];

    /// Returns the word that stands in audit records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retrying => "retrying",
            Self::DeadLettered => "dead-lettered",
            Self::Skipped => "skipped",
        }
    }
}

impl Next {
    /// Returns how audit and metrics call this; `None` for what is no decision.
    pub fn outcome(self) -> Option<(Outcome, Reason)> {
        match self {
            Self::Delivered => Some((Outcome::Delivered, Reason::Ok)),
            Self::Retry(_, _, reason) => Some((Outcome::Retrying, reason)),
            Self::DeadLetter(reason) => Some((Outcome::DeadLettered, reason)),
            Self::Skipped(reason) => Some((Outcome::Skipped, reason)),
            Self::Move(..) => None,
        }
    }
}

/// What an audit record says, in the order in which it is written.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord<'a> {
    /// The version of this form: 1.
    pub version: u32,
    /// When it was decided, to the millisecond.
    #[serde(serialize_with = "milliseconds")]
    pub at: Timestamp,
    /// What came of it.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// The event's id; `None` for a record that can't be read and doesn't say it.
    pub event_id: Option<Cow<'a, str>>,
    /// The event's type; `None` for a record that can't be read.
    pub event_type: Option<Cow<'a, str>>,
    /// The event's tenant.
    pub tenant: Option<Cow<'a, str>>,
    /// To whom; `None` for a record that can't be read and holds no delivery.
    pub subscription_id: Option<Cow<'a, str>>,
    /// Where to, without userinfo, query and fragment.
    pub url: Option<Cow<'a, str>>,
    /// The attempts made so far, this one included.
    pub attempt: u32,
    /// The answer's status, if this tells of an attempt that was answered.
    pub status_code: Option<u16>,
    /// How long the attempt took, in milliseconds with tenths.
    pub latency_ms: Option<f64>,
    /// How long the attempt waited for its lane, in milliseconds with tenths.
    pub lane_wait_ms: Option<f64>,
    /// When the next attempt is due.
    #[serde(serialize_with = "optional_milliseconds")]
    pub next_attempt_at: Option<Timestamp>,
    /// What made the delivery.
    pub trigger: Trigger,
    /// Where the event was produced.
    pub source: Source<'a>,
    /// The beginning of an answer that was no success.
    pub response: Option<Cow<'a, str>>,
    /// What went wrong.
    pub error: Option<Cow<'a, str>>,
    /// Which instance decided.
    pub instance: Cow<'a, str>,
}

/// Where an event was produced, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source<'a> {
    /// The topic.
    pub topic: Cow<'a, str>,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The record's time, to the millisecond.
    #[serde(serialize_with = "milliseconds")]
    pub timestamp: Timestamp,
}

impl AuditRecord<'_> {
    /// Reads a record's value; `None` if it is no audit record. Fields that this version doesn't know are passed over.
    pub fn read(value: &[u8]) -> Option<AuditRecord<'static>> {
        serde_json::from_slice(value).ok()
    }
}

/// Hides the response: a receiver may repeat what it was sent.
impl fmt::Debug for AuditRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, outcome, reason, attempt, source, .. } = self;
        let (outcome, reason) = (outcome.as_str(), reason.as_str());
        write!(f, "AuditRecord({at} {outcome} {reason} #{attempt} of {source})")
    }
}

impl<'a> From<&'a Origin> for Source<'a> {
    fn from(origin: &'a Origin) -> Self {
        Self {
            topic: Cow::Borrowed(&origin.topic),
            partition: origin.partition,
            offset: origin.offset.0,
            timestamp: origin.timestamp,
        }
    }
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

fn milliseconds<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{time:.3}"))
}

pub(super) fn optional_milliseconds<S: Serializer>(
    time: &Option<Timestamp>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => milliseconds(time, to),
        None => to.serialize_none(),
    }
}

/// Writes the audit record of a delivery's ending.
///
/// # Panics
/// If the ending is no decision.
pub(super) fn of_delivery(ending: &DeliveryEnding, instance: &str) -> Vec<u8> {
    let (outcome, reason) = ending.next.outcome().expect("a move has no audit record");
    let next_attempt_at = match ending.next {
        Next::Retry(due, ..) => Some(due),
        _ => None,
    };
    let answer = ending.attempted.as_ref().and_then(|attempted| attempted.end.as_ref().ok());
    let error = ending.attempted.as_ref().and_then(|attempted| attempted.end.as_ref().err());
    write(&AuditRecord {
        version: 1,
        at: ending.at,
        outcome,
        reason,
        event_id: Some(ending.label.id.as_str().into()),
        event_type: Some((&*ending.label.event_type).into()),
        tenant: ending.label.tenant.as_deref().map(Cow::Borrowed),
        subscription_id: Some(ending.subscription_id.as_str().into()),
        url: ending.subscription.as_ref().map(|subscription| subscription.audit_url().into()),
        attempt: ending.attempts,
        status_code: ending.status(),
        latency_ms: ending.attempted.as_ref().map(|attempted| millis(attempted.latency)),
        lane_wait_ms: ending.waited.map(millis),
        next_attempt_at,
        trigger: ending.trigger,
        source: (&ending.label.origin).into(),
        response: answer.and_then(|answer| answer.excerpt.as_deref()).map(Cow::Borrowed),
        error: error.map(|failure| (&*failure.error).into()),
        instance: instance.into(),
    })
}

/// Writes the audit record of a record that can't be read: of the event there is only its place, and its id and
/// subscription where the record holds a delivery.
pub(super) fn of_unreadable(ending: &UnreadableRecord, instance: &str) -> Vec<u8> {
    let delivery = ending.delivery.as_deref();
    let event_id = delivery.and_then(|delivery| delivery.id.as_ref());
    write(&AuditRecord {
        version: 1,
        at: ending.at,
        outcome: Outcome::DeadLettered,
        reason: Reason::Unreadable,
        event_id: event_id.map(|id| id.as_str().into()),
        event_type: None,
        tenant: None,
        subscription_id: delivery.map(|delivery| delivery.subscription.as_str().into()),
        url: None,
        attempt: delivery.map_or(0, |delivery| delivery.attempts),
        status_code: None,
        latency_ms: None,
        lane_wait_ms: None,
        next_attempt_at: None,
        trigger: delivery.map_or(Trigger::Event, |delivery| delivery.trigger),
        source: ending.origin().into(),
        response: None,
        error: Some((&*ending.error).into()),
        instance: instance.into(),
    })
}

fn write(record: &AuditRecord) -> Vec<u8> {
    let mut json = Vec::with_capacity(640);
    serde_json::to_writer(&mut json, record).expect("texts and numbers are always JSON");
    json
}

/// Returns a duration as milliseconds with tenths.
fn millis(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}
