//! The audit record: one JSON object for each attempt and each decision made without one.

#[cfg(test)]
mod tests;

use serde::Serialize;

use super::ending::{DeliveryEnding, Next, UnreadableRecord};
use super::event::rfc3339_ms;
use super::outcome::Reason;
use super::record::Origin;

/// The header of a dead letter's audit record that names the definition it speaks of, by its offset: the health of
/// subscriptions is folded by it.
pub const DEFINITION_OFFSET: &str = "webhooks-definition-offset";

/// The `outcome` of an audit record, and the label of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AuditRecord<'a> {
    version: u32,
    at: String,
    outcome: Outcome,
    reason: &'a str,
    event_id: Option<&'a str>,
    event_type: Option<&'a str>,
    tenant: Option<&'a str>,
    subscription_id: Option<&'a str>,
    url: Option<&'a str>,
    attempt: u32,
    status_code: Option<u16>,
    latency_ms: Option<f64>,
    lane_wait_ms: Option<f64>,
    next_attempt_at: Option<String>,
    trigger: &'a str,
    source: Source<'a>,
    response: Option<&'a str>,
    error: Option<&'a str>,
    instance: &'a str,
}

#[derive(Serialize)]
struct Source<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: String,
}

impl<'a> From<&'a Origin> for Source<'a> {
    fn from(origin: &'a Origin) -> Self {
        Self {
            topic: &origin.topic,
            partition: origin.partition,
            offset: origin.offset.0,
            timestamp: rfc3339_ms(origin.timestamp),
        }
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
        at: rfc3339_ms(ending.at),
        outcome,
        reason: reason.as_str(),
        event_id: Some(ending.event.id.as_str()),
        event_type: Some(&ending.event.event_type),
        tenant: ending.event.tenant.as_deref(),
        subscription_id: Some(ending.subscription_id.as_str()),
        url: ending.subscription.as_ref().map(|subscription| &*subscription.audit_url),
        attempt: ending.attempts,
        status_code: ending.status(),
        latency_ms: ending.attempted.as_ref().map(|attempted| millis(attempted.latency)),
        lane_wait_ms: ending.waited.map(millis),
        next_attempt_at: next_attempt_at.map(rfc3339_ms),
        trigger: ending.trigger.as_str(),
        source: (&ending.event.origin).into(),
        response: answer.and_then(|answer| answer.excerpt.as_deref()),
        error: error.map(|failure| &*failure.error),
        instance,
    })
}

/// Writes the audit record of a record that can't be read: no event, no subscription, only a place.
pub(super) fn of_unreadable(ending: &UnreadableRecord, instance: &str) -> Vec<u8> {
    write(&AuditRecord {
        version: 1,
        at: rfc3339_ms(ending.at),
        outcome: Outcome::DeadLettered,
        reason: Reason::Unreadable.as_str(),
        event_id: None,
        event_type: None,
        tenant: None,
        subscription_id: None,
        url: None,
        attempt: 0,
        status_code: None,
        latency_ms: None,
        lane_wait_ms: None,
        next_attempt_at: None,
        trigger: "event",
        source: (&ending.record.origin).into(),
        response: None,
        error: Some(&ending.error),
        instance,
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
