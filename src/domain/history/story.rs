//! The story of one event: what was made of it, subscription by subscription.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::domain::audit::{AuditRecord, Outcome, Source, optional_milliseconds};
use crate::domain::event::{Event, EventId};
use crate::domain::headers::{self, Carried, Trigger};
use crate::domain::record::{Origin, Record};

/// The most records that are kept of one event.
const RECORDS_MAX: usize = 10_000;

/// What a story is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The event of this id.
    Event(EventId),
    /// What was produced at this place, `topic/partition/offset`: it may be no event.
    Record(String),
}

impl Subject {
    /// Reads a place, or an event's id, be it the producer's or as it stands in `webhook-id`.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.rsplitn(3, '/');
        let is_number = |part: Option<&str>| part.is_some_and(|part| part.parse::<u64>().is_ok());
        let is_place = is_number(parts.next()) && is_number(parts.next()) && parts.next().is_some();
        if is_place { Self::Record(text.to_owned()) } else { Self::Event(EventId::new(text)) }
    }

    /// Tells whether an audit record is about it.
    pub fn is_of(&self, record: &AuditRecord) -> bool {
        match self {
            Self::Event(id) => record.event_id.as_deref() == Some(id.as_str()),
            Self::Record(place) => record.source.to_string() == *place,
        }
    }

    /// Tells whether it is the event of this id.
    pub fn is_event(&self, id: &EventId) -> bool {
        matches!(self, Self::Event(own) if own == id)
    }

    /// Tells whether a record that waits, or was given up, carries it.
    fn is_carried_by(&self, record: &Record) -> bool {
        match self {
            Self::Event(id) => headers::event_id(&record.headers) == Some(id.as_str()),
            Self::Record(place) => headers::place(&record.headers) == Some(place),
        }
    }
}

/// What is told of one event.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Story {
    /// Its id; `None` for a record that is no event.
    pub event_id: Option<String>,
    /// Its type.
    pub event_type: Option<String>,
    /// Its tenant.
    pub tenant: Option<String>,
    /// Where it was produced: one place, unless a producer gave an id twice.
    pub sources: Vec<Produced>,
    /// Its deliveries by subscription; what is no event has one of none.
    #[serde(serialize_with = "values")]
    pub deliveries: BTreeMap<Option<String>, Delivery>,
    /// How many records tell of it beyond the 10,000 that are kept.
    pub left_out: usize,
    /// How many are kept.
    #[serde(skip)]
    kept: usize,
}

/// Where an event was produced.
#[derive(Debug, Serialize)]
pub struct Produced {
    /// Its place.
    #[serde(flatten)]
    pub source: Source<'static>,
    /// Whether the record is still there; `None` if nobody has looked.
    pub present: Option<bool>,
    /// Whether all that follows from the record is delivered or written down; `None` if nobody has looked.
    pub settled: Option<bool>,
}

/// What became of an event at one subscription.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// Whose; `None` for a record that is no event.
    pub subscription_id: Option<String>,
    /// Where it stands.
    pub state: Phase,
    /// Attempts, and decisions made without one, in the order of their times.
    pub attempts: Vec<AuditRecord<'static>>,
    /// The records in which it waits.
    pub waiting: Vec<Waiting>,
    /// Its dead letters.
    pub dead_letters: Vec<Source<'static>>,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It arrived.
    Delivered,
    /// It waits in a record.
    Waiting,
    /// Another attempt is to come, and no record waits: the attempt is being made, or the record is being written.
    #[default]
    UnderWay,
    /// It was given up.
    DeadLettered,
    /// There was nothing to send.
    Skipped,
}

/// A record in which a delivery waits.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// The record's place, and when it was written.
    #[serde(flatten)]
    pub place: Source<'static>,
    /// When the next attempt is due; `None` is at once.
    #[serde(serialize_with = "optional_milliseconds")]
    pub due_at: Option<Timestamp>,
    /// Attempts made so far.
    pub attempt: u32,
    /// What made the delivery.
    pub trigger: Trigger,
}

impl Phase {
    /// Returns the word that people read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Waiting => "waiting",
            Self::UnderWay => "under way",
            Self::DeadLettered => "dead-lettered",
            Self::Skipped => "skipped",
        }
    }
}

impl Story {
    /// Adds what an audit record tells. Those of one subscription come in the order of their times.
    pub fn add(&mut self, record: AuditRecord<'static>) {
        if !self.has_room() {
            return;
        }
        let own = |text: &Option<std::borrow::Cow<str>>| text.as_deref().map(str::to_owned);
        self.event_id = self.event_id.take().or_else(|| own(&record.event_id));
        self.event_type = self.event_type.take().or_else(|| own(&record.event_type));
        self.tenant = self.tenant.take().or_else(|| own(&record.tenant));
        self.produced(&record.source);
        let delivery = self.delivery(own(&record.subscription_id));
        delivery.attempts.push(record);
        delivery.state = delivery.phase();
    }

    /// Adds a record that waits, if it is of the subject.
    pub fn add_waiting(&mut self, subject: &Subject, record: &Record) {
        if !subject.is_carried_by(record) || !self.has_room() {
            return;
        }
        // What can't be read is told of when the connector comes to it.
        let Ok(carried) = Carried::read(&record.headers) else { return };
        if let Some(origin) = &carried.origin {
            self.add_source(origin);
        }
        self.event_id =
            self.event_id.take().or_else(|| carried.id.as_ref().map(ToString::to_string));
        let delivery = self.delivery(Some(carried.subscription.to_string()));
        delivery.waiting.push(Waiting {
            place: place(&record.origin),
            due_at: carried.due_at,
            attempt: carried.attempts,
            trigger: carried.trigger,
        });
        delivery.state = delivery.phase();
    }

    /// Adds a dead letter, if it is of the subject.
    pub fn add_dead_letter(&mut self, subject: &Subject, record: &Record) {
        if subject.is_carried_by(record) && self.has_room() {
            let subscription = headers::subscription(&record.headers).map(str::to_owned);
            self.delivery(subscription).dead_letters.push(place(&record.origin));
        }
    }

    /// Adds the event itself, found in its topic.
    pub fn add_event(&mut self, event: &Event) {
        self.event_id = Some(event.label.id.to_string());
        self.event_type = Some(event.label.event_type.to_string());
        self.tenant = event.label.tenant.as_deref().map(str::to_owned);
        self.add_source(&event.label.origin);
    }

    /// Adds a place at which it was produced.
    pub fn add_source(&mut self, origin: &Origin) {
        self.produced(&place(origin));
    }

    /// Returns when the first and the last delivery was given up.
    pub fn given_up(&self) -> Option<(Timestamp, Timestamp)> {
        let records = self.deliveries.values().flat_map(|delivery| &delivery.attempts);
        let ends = records.filter(|record| record.outcome == Outcome::DeadLettered);
        let times = ends.map(|record| record.at);
        times.clone().min().zip(times.max())
    }

    /// Makes room for a record, or counts that there is none.
    fn has_room(&mut self) -> bool {
        let has_room = self.kept < RECORDS_MAX;
        if has_room {
            self.kept += 1;
        } else {
            self.left_out += 1;
        }
        has_room
    }

    fn delivery(&mut self, subscription: Option<String>) -> &mut Delivery {
        let delivery = self.deliveries.entry(subscription.clone()).or_default();
        delivery.subscription_id = subscription;
        delivery
    }

    fn produced(&mut self, source: &Source<'static>) {
        if !self.sources.iter().any(|known| known.source == *source) {
            let source = source.clone();
            self.sources.push(Produced { source, present: None, settled: None });
        }
    }
}

impl Delivery {
    fn phase(&self) -> Phase {
        match self.attempts.last().map(|record| record.outcome) {
            _ if !self.waiting.is_empty() => Phase::Waiting,
            Some(Outcome::Delivered) => Phase::Delivered,
            Some(Outcome::DeadLettered) => Phase::DeadLettered,
            Some(Outcome::Skipped) => Phase::Skipped,
            Some(Outcome::Retrying) | None => Phase::UnderWay,
        }
    }
}

fn place(origin: &Origin) -> Source<'static> {
    let Source { topic, partition, offset, timestamp } = Source::from(origin);
    Source { topic: topic.into_owned().into(), partition, offset, timestamp }
}

fn values<S: Serializer>(
    deliveries: &BTreeMap<Option<String>, Delivery>,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_seq(deliveries.values())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::tests::record;
    use crate::domain::ending::tests::{answer, attempted, unreadable};
    use crate::domain::ending::{DeliveryEnding, Ending, Next};
    use crate::domain::outcome::Reason;
    use crate::domain::record::Offset;
    use crate::domain::subscription::tests::id;
    use crate::domain::tiers::TierIndex;

    fn event() -> Subject {
        Subject::parse("evt_1")
    }

    /// Tells a story by the audit records (subscription, outcome), and what waits or was given up; and checks each
    /// delivery as `subscription state attempts waiting dead-letters`.
    fn check(audit: &[(&'static str, Outcome)], onward: &[(&str, Next)], expect: &[&str]) {
        let mut story = Story::default();
        for (subscription, outcome) in audit {
            story.add(record(subscription, "evt_1", *outcome, Reason::Ok));
        }
        for (at, (subscription, next)) in onward.iter().enumerate() {
            let ending = DeliveryEnding {
                subscription_id: id(subscription),
                ..attempted(*next, answer(503, ""))
            };
            let record = written(&Ending::Delivery(Box::new(ending)), at);
            match next {
                Next::DeadLetter(_) => story.add_dead_letter(&event(), &record),
                _ => story.add_waiting(&event(), &record),
            }
        }
        let told = story.deliveries.values().map(|delivery| {
            let Delivery { subscription_id, state, attempts, waiting, dead_letters } = delivery;
            let counts = [attempts.len(), waiting.len(), dead_letters.len()];
            format!("{} {state:?} {counts:?}", subscription_id.as_deref().unwrap_or("-"))
        });
        assert_eq!(told.collect::<Vec<_>>(), expect);
    }

    /// Returns the record in which something goes on.
    fn written(ending: &Ending, offset: usize) -> Record {
        let onward = ending.publications("a").0.expect("it goes on");
        let offset = Offset(offset as i64);
        let origin =
            Origin { topic: "t".into(), partition: 0, offset, timestamp: Timestamp::UNIX_EPOCH };
        Record { origin, key: onward.key, value: onward.value, headers: onward.headers }
    }

    fn retry() -> Next {
        let due = "2026-01-15T10:30:00Z".parse().expect("a time");
        Next::Retry(due, TierIndex(1), Reason::HttpStatus)
    }

    #[test]
    fn the_last_record_tells_where_a_delivery_stands() {
        use Outcome::{DeadLettered, Delivered, Retrying, Skipped};
        check(
            &[
                ("a", Retrying),
                ("b", Delivered),
                ("a", Delivered),
                ("c", Retrying),
                ("d", DeadLettered),
                ("e", Skipped),
            ],
            &[],
            &[
                "a Delivered [2, 0, 0]",
                "b Delivered [1, 0, 0]",
                "c UnderWay [1, 0, 0]",
                "d DeadLettered [1, 0, 0]",
                "e Skipped [1, 0, 0]",
            ],
        );
    }

    #[test]
    fn what_waits_waits_whatever_came_before() {
        check(&[("a", Outcome::Retrying)], &[("a", retry())], &["a Waiting [1, 1, 0]"]);
        // Sent again, and not come to yet.
        let dead = ("a", Next::DeadLetter(Reason::Exhausted));
        let audit = [("a", Outcome::DeadLettered)];
        check(&audit, &[dead], &["a DeadLettered [1, 0, 1]"]);
        check(&audit, &[dead, ("a", retry())], &["a Waiting [1, 1, 1]"]);
        check(&[], &[("a", retry())], &["a Waiting [0, 1, 0]"]);
    }

    #[test]
    fn what_waits_tells_where_and_until_when() {
        let mut story = Story::default();
        let ending = Ending::Delivery(Box::new(attempted(retry(), answer(503, ""))));
        story.add_waiting(&event(), &written(&ending, 7));
        story.add_waiting(&Subject::parse("evt_2"), &written(&ending, 8));
        let json = serde_json::to_value(&story).expect("it is JSON");
        assert_eq!(
            json,
            serde_json::json!({
                "eventId": "evt_1", "eventType": null, "tenant": null, "leftOut": 0,
                "sources": [{
                    "topic": "orders", "partition": 3, "offset": 42, "timestamp": "2025-01-15T10:30:00.000Z",
                    "present": null, "settled": null,
                }],
                "deliveries": [{
                    "subscriptionId": "crm", "state": "waiting", "attempts": [], "deadLetters": [],
                    "waiting": [{
                        "topic": "t", "partition": 0, "offset": 7, "timestamp": "1970-01-01T00:00:00.000Z",
                        "dueAt": "2026-01-15T10:30:00.000Z", "attempt": 1, "trigger": "event",
                    }],
                }],
            })
        );
    }

    #[test]
    fn a_record_that_is_no_event_is_found_by_its_place() {
        let ending = Ending::Unreadable(Box::new(unreadable()));
        let audit = ending.publications("a").1.and_then(|audit| audit.value);
        let audit = AuditRecord::read(&audit.expect("it has a value")).expect("it is read back");
        let subject = Subject::parse("orders/3/42");
        assert!(
            subject.is_of(&audit)
                && !Subject::parse("orders/3/43").is_of(&audit)
                && !event().is_of(&audit)
        );
        let mut story = Story::default();
        story.add(audit);
        story.add_dead_letter(&subject, &written(&ending, 0));
        let delivery = &story.deliveries[&None];
        assert_eq!((delivery.state, delivery.dead_letters.len()), (Phase::DeadLettered, 1));
    }

    #[test]
    fn subjects_are_ids_or_places() {
        let check = |text: &str, is_place: bool| {
            assert_eq!(matches!(Subject::parse(text), Subject::Record(_)), is_place, "{text}");
        };
        check("evt_1", false);
        check("orders/3/42", true);
        check("a/b/c", false);
        check("a/1", false);
        check("https://example.com/events/7", false);
    }

    #[test]
    fn a_story_without_end_is_cut() {
        let mut story = Story::default();
        for _ in 0..RECORDS_MAX + 3 {
            story.add(record("crm", "evt_1", Outcome::Retrying, Reason::Timeout));
        }
        assert_eq!(story.left_out, 3);
    }
}
