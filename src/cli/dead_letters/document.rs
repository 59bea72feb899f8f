//! A dead letter as it is shown: never what it holds.

use serde::Serialize;

use super::scan::Found;
use crate::domain::event::rfc3339_ms;
use crate::domain::record::Origin;
use crate::domain::resend::DeadLetter;

/// The names are those of audit records where both tell the same.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document<'l> {
    topic: &'l str,
    partition: i32,
    offset: i64,
    at: String,
    kind: &'static str,
    subscription_id: Option<&'l str>,
    event_id: Option<&'l str>,
    reason: &'static str,
    status_code: Option<u16>,
    error: Option<&'l str>,
    attempts: Option<u32>,
    first_attempt_at: Option<String>,
    trigger: Option<&'static str>,
    /// How often the delivery was sent again before it came to this.
    redrives: u32,
    /// Whether this dead letter was sent again.
    redriven: bool,
    source: Place<'l>,
    bytes: usize,
}

/// Where a record stands.
#[derive(Serialize)]
struct Place<'l> {
    topic: &'l str,
    partition: i32,
    offset: i64,
    timestamp: String,
}

impl<'l> Place<'l> {
    fn of(origin: &'l Origin) -> Self {
        Self {
            topic: &origin.topic,
            partition: origin.partition,
            offset: origin.offset.0,
            timestamp: rfc3339_ms(origin.timestamp),
        }
    }
}

impl<'l> Document<'l> {
    pub(super) fn of(Found { letter, is_redriven, .. }: &'l Found) -> Self {
        let delivery = letter.delivery();
        let DeadLetter { place, origin, reason, error, bytes, .. } = letter;
        Self {
            topic: &place.topic,
            partition: place.partition,
            offset: place.offset.0,
            at: rfc3339_ms(place.timestamp),
            kind: letter.kind().as_str(),
            subscription_id: delivery.map(|it| it.subscription.as_str()),
            event_id: delivery.and_then(|it| it.id.as_ref()).map(|id| id.as_str()),
            reason: reason.as_str(),
            status_code: delivery.and_then(|it| it.status),
            error: error.as_deref(),
            attempts: delivery.map(|it| it.attempts),
            first_attempt_at: delivery.and_then(|it| it.first_at).map(rfc3339_ms),
            trigger: delivery.map(|it| it.trigger.as_str()),
            redrives: letter.redrives(),
            redriven: *is_redriven,
            source: Place::of(origin),
            bytes: *bytes,
        }
    }
}

/// The headings of [`cells`].
pub(super) const HEADINGS: [&str; 7] =
    ["PLACE", "AT", "SUBSCRIPTION", "EVENT", "REASON", "REDRIVEN", "SOURCE"];

/// Returns a dead letter as a row of a table.
pub(super) fn cells(Found { letter, is_redriven, .. }: &Found) -> [String; 7] {
    let delivery = letter.delivery();
    let or_none = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let reason = letter.reason.as_str();
    let status = delivery.and_then(|it| it.status);
    let redriven = match (is_redriven, letter.redrives()) {
        (true, _) => "yes".to_owned(),
        (false, 0) => "-".to_owned(),
        (false, times) => format!("{times} before"),
    };
    [
        format!("{}/{}", letter.place.partition, letter.place.offset.0),
        rfc3339_ms(letter.place.timestamp),
        or_none(delivery.map(|it| it.subscription.as_str())),
        or_none(delivery.and_then(|it| it.id.as_ref()).map(|id| id.as_str())),
        status.map_or_else(|| reason.to_owned(), |status| format!("{reason} {status}")),
        redriven,
        letter.origin.to_string(),
    ]
}
