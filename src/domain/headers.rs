//! The headers that retry, deliver and dead-letter records carry beside their event's own.
//!
//! They are written from typed values and read back into them; the ones of an earlier hop are replaced, never piled up.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::event::{EventId, rfc3339_ms};
use super::outcome::Reason;
use super::record::{Headers, Offset, Origin};
use super::source::Source;
use super::subscription::SubscriptionId;

/// The prefix of all headers that are ours.
const PREFIX: &str = "webhooks-";
const SUBSCRIPTION: &str = "webhooks-subscription";
const ID: &str = "webhooks-id";
const TRIGGER: &str = "webhooks-trigger";
const ATTEMPTS: &str = "webhooks-attempts";
const DUE_AT: &str = "webhooks-due-at";
const FIRST_AT: &str = "webhooks-first-at";
const ORIGIN: &str = "webhooks-origin";
const ORIGIN_TIMESTAMP: &str = "webhooks-origin-timestamp";
const SOURCE: &str = "webhooks-source";
const REASON: &str = "webhooks-reason";
const STATUS: &str = "webhooks-status";
const KIND: &str = "webhooks-kind";
const ERROR: &str = "webhooks-error";
const REDRIVES: &str = "webhooks-redrives";

/// What stands in the place of a dead letter's kind in a record that tells which were sent again.
const MARK: &str = "redriven";

/// The most bytes of an error's text that travel.
pub const ERROR_MAX: usize = 1024;

/// What made a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// An event that matched.
    Event,
    /// A person who tests a subscription.
    Test,
    /// A person who replays events.
    Replay,
    /// A person who sends dead letters again.
    Redrive,
}

impl Trigger {
    const ALL: [Self; 4] = [Self::Event, Self::Test, Self::Replay, Self::Redrive];

    /// Returns the word that stands in headers and audit records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Test => "test",
            Self::Replay => "replay",
            Self::Redrive => "redrive",
        }
    }
}

/// What a dead letter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterKind {
    /// A delivery to one subscription that was given up, be it because its event can't be read any more.
    Delivery,
    /// A record that can't be read and names no subscription.
    Record,
}

impl DeadLetterKind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Delivery, Self::Record];

    /// Returns the word that stands in headers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Record => "record",
        }
    }
}

/// One delivery as its record's headers tell it.
#[derive(Clone, Debug, PartialEq)]
pub struct Carried {
    /// To whom.
    pub subscription: SubscriptionId,
    /// The event's id; `None` reads it from the event.
    pub id: Option<EventId>,
    /// What made the delivery.
    pub trigger: Trigger,
    /// Attempts made so far, less than [`u32::MAX`].
    pub attempts: u32,
    /// When the next attempt is due; `None` is now.
    pub due_at: Option<Timestamp>,
    /// When the first attempt was made.
    pub first_at: Option<Timestamp>,
    /// Where the event was produced; `None` is the record itself.
    pub origin: Option<Origin>,
    /// How the event is read; `None` leaves that to the settings.
    pub source: Option<Arc<Source>>,
    /// What the last attempt came to.
    pub reason: Option<Reason>,
    /// The status of the last attempt's answer.
    pub status: Option<u16>,
    /// How often it was sent again after it had become a dead letter, less than [`u32::MAX`].
    pub redrives: u32,
}

/// The end of a dead letter's story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obituary {
    /// What it was.
    pub kind: DeadLetterKind,
    /// More about the reason, at most [`ERROR_MAX`] bytes are written.
    pub error: Option<Box<str>>,
}

/// A header of ours that says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadHeader(&'static str);

impl BadHeader {
    /// There is no place of the event.
    pub(super) const ORIGIN: Self = Self(ORIGIN);
    /// There is no reason.
    pub(super) const REASON: Self = Self(REASON);
    /// There is no kind, or nothing that fits it.
    pub(super) const KIND: Self = Self(KIND);
}

impl fmt::Display for BadHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "header \"{}\" is missing or malformed", self.0)
    }
}

impl Carried {
    /// Makes a delivery of which nothing is known yet, due now.
    pub fn due_now(subscription: SubscriptionId, trigger: Trigger) -> Self {
        Self {
            subscription,
            id: None,
            trigger,
            attempts: 0,
            due_at: None,
            first_at: None,
            origin: None,
            source: None,
            reason: None,
            status: None,
            redrives: 0,
        }
    }

    /// Reads a delivery from a record's headers.
    ///
    /// # Errors
    /// [`BadHeader`] when there is no subscription, or any of our headers can't be understood.
    pub fn read(headers: &Headers) -> Result<Self, BadHeader> {
        let required = |name| headers.text(name).ok_or(BadHeader(name));
        let subscription = SubscriptionId::parse(required(SUBSCRIPTION)?);
        Ok(Self {
            subscription: subscription.map_err(|_| BadHeader(SUBSCRIPTION))?,
            id: optional(headers, ID, |text| Some(EventId::new(text)))?,
            trigger: optional(headers, TRIGGER, |text| {
                Trigger::ALL.into_iter().find(|trigger| trigger.as_str() == text)
            })?
            .unwrap_or(Trigger::Event),
            attempts: optional(headers, ATTEMPTS, parse_count)?.unwrap_or(0),
            due_at: optional(headers, DUE_AT, |text| text.parse().ok())?,
            first_at: optional(headers, FIRST_AT, |text| text.parse().ok())?,
            origin: origin(headers)?,
            source: optional(headers, SOURCE, Source::parse)?.map(Arc::new),
            reason: reason(headers)?,
            status: optional(headers, STATUS, |text| text.parse().ok())?,
            redrives: optional(headers, REDRIVES, parse_count)?.unwrap_or(0),
        })
    }

    /// Reads what can be understood of a delivery where [`Carried::read`] fails; `None` when there is no subscription.
    pub fn salvage(headers: &Headers) -> Option<Self> {
        let mut kept = headers.clone();
        loop {
            let name = match Self::read(&kept) {
                Ok(carried) => return Some(carried),
                Err(BadHeader(SUBSCRIPTION)) => return None,
                // A place without a good time is none; without it, the time isn't looked at.
                Err(BadHeader(ORIGIN_TIMESTAMP)) => ORIGIN,
                Err(BadHeader(name)) => name,
            };
            // What is malformed is there, so there is less with every turn.
            kept.0.retain(|header| &*header.name != name);
        }
    }

    /// Returns an event's headers with ours behind them.
    pub fn write(&self, event: &Headers, end: Option<&Obituary>) -> Headers {
        let mut headers = without_ours(event);
        headers.push(SUBSCRIPTION, self.subscription.as_str().to_owned());
        if let Some(id) = &self.id {
            headers.push(ID, id.as_str().to_owned());
        }
        headers.push(TRIGGER, self.trigger.as_str());
        headers.push(ATTEMPTS, self.attempts.to_string());
        push_time(&mut headers, DUE_AT, self.due_at);
        push_time(&mut headers, FIRST_AT, self.first_at);
        if let Some(origin) = &self.origin {
            push_origin(&mut headers, origin);
        }
        if let Some(source) = &self.source {
            headers.push(SOURCE, source.to_text());
        }
        if let Some(reason) = self.reason {
            headers.push(REASON, reason.as_str());
        }
        if let Some(status) = self.status {
            headers.push(STATUS, status.to_string());
        }
        if self.redrives > 0 {
            headers.push(REDRIVES, self.redrives.to_string());
        }
        if let Some(end) = end {
            push_end(&mut headers, end);
        }
        headers
    }
}

impl Obituary {
    /// Reads what makes a record a dead letter.
    ///
    /// # Errors
    /// [`BadHeader`] when it is none, or a header can't be understood.
    pub fn read(headers: &Headers) -> Result<Self, BadHeader> {
        let kind = |text: &str| DeadLetterKind::ALL.into_iter().find(|kind| kind.as_str() == text);
        let kind = optional(headers, KIND, kind)?.ok_or(BadHeader(KIND))?;
        let error = optional(headers, ERROR, Some)?.map(Into::into);
        Ok(Self { kind, error })
    }
}

/// Reads where the event was produced; `None` is the record itself.
///
/// # Errors
/// [`BadHeader`] when the place or its time can't be understood.
pub fn origin(headers: &Headers) -> Result<Option<Origin>, BadHeader> {
    let Some(place) = optional(headers, ORIGIN, Some)? else { return Ok(None) };
    let timestamp = optional(headers, ORIGIN_TIMESTAMP, |text| text.parse().ok())?;
    let timestamp = timestamp.ok_or(BadHeader(ORIGIN_TIMESTAMP))?;
    parse_origin(place, timestamp).map(Some).ok_or(BadHeader(ORIGIN))
}

/// Reads what the last attempt came to.
///
/// # Errors
/// [`BadHeader`] when it is none of the reasons.
pub fn reason(headers: &Headers) -> Result<Option<Reason>, BadHeader> {
    optional(headers, REASON, Reason::parse)
}

/// Returns how often the delivery that a record holds was sent again; what can't be understood is no time.
pub fn redrives(headers: &Headers) -> u32 {
    optional(headers, REDRIVES, parse_count).ok().flatten().unwrap_or(0)
}

/// Returns the headers of a record of the dead-letter topic that is no dead letter: it tells which ones before it were
/// sent again.
pub fn mark() -> Headers {
    let mut headers = Headers::default();
    headers.push(KIND, MARK);
    headers
}

/// Tells whether headers are those of [`mark`].
pub fn is_mark(headers: &Headers) -> bool {
    headers.text(KIND) == Some(MARK)
}

/// Returns the headers of a dead letter of kind `record`: there is no subscription to name.
pub fn unreadable(record: &Headers, origin: &Origin, error: &str) -> Headers {
    let mut headers = without_ours(record);
    push_origin(&mut headers, origin);
    headers.push(REASON, Reason::Unreadable.as_str());
    push_end(&mut headers, &Obituary { kind: DeadLetterKind::Record, error: Some(error.into()) });
    headers
}

/// Returns the text's beginning, at most `max` bytes, cut between characters.
pub fn truncated(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// Returns the event's id, if a record says it.
pub fn event_id(headers: &Headers) -> Option<&str> {
    headers.text(ID)
}

/// Returns to whom a record is to be delivered, if it says it.
pub fn subscription(headers: &Headers) -> Option<&str> {
    headers.text(SUBSCRIPTION)
}

/// Returns where the event was produced, as `topic/partition/offset`, if a record says it.
pub fn place(headers: &Headers) -> Option<&str> {
    headers.text(ORIGIN)
}

/// Tells whether a header is one of ours.
pub fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX)
}

fn without_ours(headers: &Headers) -> Headers {
    let theirs = headers.0.iter().filter(|header| !is_ours(&header.name));
    let mut kept = Vec::with_capacity(headers.0.len() + 12);
    kept.extend(theirs.cloned());
    Headers(kept)
}

fn push_time(headers: &mut Headers, name: &str, time: Option<Timestamp>) {
    if let Some(time) = time {
        headers.push(name, rfc3339_ms(time));
    }
}

fn push_origin(headers: &mut Headers, origin: &Origin) {
    headers.push(ORIGIN, origin.to_string());
    push_time(headers, ORIGIN_TIMESTAMP, Some(origin.timestamp));
}

fn push_end(headers: &mut Headers, end: &Obituary) {
    headers.push(KIND, end.kind.as_str());
    if let Some(error) = &end.error {
        headers.push(ERROR, truncated(error, ERROR_MAX).to_owned());
    }
}

fn optional<'a, T>(
    headers: &'a Headers,
    name: &'static str,
    parse: impl FnOnce(&'a str) -> Option<T>,
) -> Result<Option<T>, BadHeader> {
    match headers.last(name) {
        None => Ok(None),
        Some(_) => {
            let value = headers.text(name).and_then(parse);
            value.map(Some).ok_or(BadHeader(name))
        }
    }
}

/// Reads a count that can still be counted on by one.
fn parse_count(text: &str) -> Option<u32> {
    text.parse().ok().filter(|count| *count < u32::MAX)
}

fn parse_origin(place: &str, timestamp: Timestamp) -> Option<Origin> {
    let mut parts = place.splitn(3, '/');
    let topic = parts.next().filter(|topic| !topic.is_empty())?;
    let partition = parts.next()?.parse().ok()?;
    let offset = Offset(parts.next()?.parse().ok()?);
    Some(Origin { topic: topic.into(), partition, offset, timestamp })
}
