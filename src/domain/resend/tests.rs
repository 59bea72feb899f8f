use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::domain::decode::tests::{event, record, source};
use crate::domain::decode::{self, Identity};
use crate::domain::event::EventId;
use crate::domain::headers::{self, BadHeader, DeadLetterKind, Obituary};
use crate::domain::outcome::Reason;
use crate::domain::pattern::EventPattern;
use crate::domain::record::{NextOffset, Offset, Origin};
use crate::domain::source::{Format, Source};
use crate::domain::subscription::tests::{id, subscription};
use crate::domain::subscription::{Subscription, SubscriptionHash};

const VALUE: &str = r#"{"id":"evt_1","event":"a","data":{"n":1}}"#;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// Where a dead letter stands.
fn place(offset: i64) -> Origin {
    let timestamp = at("2025-01-16T00:00:00Z");
    Origin { topic: "dead-letter".into(), partition: 1, offset: Offset(offset), timestamp }
}

/// What `crm` was to get, and didn't.
fn given_up() -> Carried {
    Carried {
        id: Some(EventId::new("evt_1")),
        attempts: 10,
        first_at: Some(at("2025-01-15T10:30:01Z")),
        origin: Some(record(VALUE, &[]).origin),
        source: Some(Arc::new(source(Format::Envelope))),
        reason: Some(Reason::Exhausted),
        status: Some(503),
        ..Carried::due_now(id("crm"), Trigger::Event)
    }
}

fn delivery(carried: &Carried) -> Record {
    let end = Obituary { kind: DeadLetterKind::Delivery, error: Some("it failed".into()) };
    let mut record = record(VALUE, &[("mine", "1")]);
    record.headers = carried.write(&record.headers, Some(&end));
    record.origin = place(7);
    record
}

fn unreadable(value: &str) -> Record {
    let mut record = record(value, &[("mine", "1")]);
    record.headers = headers::unreadable(&record.headers, &record.origin, "not JSON");
    record.origin = place(8);
    record
}

fn letter(record: &Record) -> DeadLetter {
    match Entry::read(record) {
        Ok(Entry::Letter(letter)) => *letter,
        other => panic!("no dead letter but {other:?}"),
    }
}

fn owned(subscription: Arc<Subscription>) -> Subscription {
    Arc::into_inner(subscription).expect("nobody else has it")
}

/// `crm`, which wants small `a`, `all`, which wants everything, and `off`, which would too.
fn recipients() -> Recipients {
    let mut recipients = Recipients::default();
    let filter = json!({"filter": "data.n < 10"});
    recipients.add(owned(subscription("crm", &filter)));
    recipients.add(owned(subscription("all", &json!({"events": ["*"]}))));
    recipients.add(owned(subscription("off", &json!({"events": ["*"], "active": false}))));
    recipients.add_unfit(id("gone"), Unfit::Disabled);
    recipients
}

/// Redrives a dead letter, and tells each delivery as its headers do.
fn redrive(record: &Record) -> Result<Vec<Carried>, Refusal> {
    let recipients = recipients();
    let rules = Rules { recipients: &recipients, max_redrives: 3 };
    let letter = letter(record);
    let read = || {
        let identity = Identity { origin: letter.origin.clone(), id: None };
        let source = Arc::new(source(Format::Envelope));
        let event = decode::decode(&source, record.clone(), None, identity);
        Ok::<_, Infallible>(event.map_err(|(_, reason)| reason))
    };
    let resends = match rules.redrive(&letter, record, read) {
        Ok(resends) => resends?,
        Err(never) => match never {},
    };
    for resend in &resends {
        assert_eq!((&resend.key, &resend.value), (&record.key, &record.value));
        assert_eq!(resend.headers.text("mine"), Some("1"));
        assert_eq!(Obituary::read(&resend.headers), Err(BadHeader::KIND), "it isn't dead any more");
    }
    Ok(resends.iter().map(|it| Carried::read(&it.headers).expect("it was written")).collect())
}

#[test]
fn a_redriven_delivery_keeps_its_event_and_starts_its_schedule_anew() {
    let expect = Carried {
        trigger: Trigger::Redrive,
        attempts: 0,
        first_at: None,
        reason: None,
        status: None,
        redrives: 1,
        ..letter(&delivery(&given_up())).delivery().expect("it is one").clone()
    };
    assert_eq!(redrive(&delivery(&given_up())), Ok(vec![expect.clone()]));
    let again = redrive(&delivery(&Carried { redrives: 2, ..given_up() }));
    assert_eq!(again, Ok(vec![Carried { redrives: 3, ..expect }]));
}

#[test]
fn a_delivery_that_always_comes_back_is_not_redriven_for_ever() {
    let come_back = delivery(&Carried { redrives: 3, ..given_up() });
    assert_eq!(redrive(&come_back), Err(Refusal::TooOften(3)));
}

#[test]
fn nothing_is_redriven_to_whom_nothing_can_be_sent() {
    let to = |name| redrive(&delivery(&Carried { subscription: id(name), ..given_up() }));
    assert_eq!(to("off"), Err(Refusal::Unfit(Unfit::Inactive)));
    assert_eq!(to("gone"), Err(Refusal::Unfit(Unfit::Disabled)));
    assert_eq!(to("never"), Err(Refusal::Unfit(Unfit::Missing)));
}

#[test]
fn a_dead_letter_without_its_value_stays() {
    let hollow = |record| redrive(&Record { value: None, ..record });
    assert_eq!(hollow(delivery(&given_up())), Err(Refusal::Hollow));
    assert_eq!(hollow(unreadable("")), Err(Refusal::Hollow));
}

#[test]
fn what_can_be_read_now_goes_to_all_that_want_it() {
    let to = |name, event: &str| Carried {
        id: Some(EventId::new(event)),
        origin: Some(record(VALUE, &[]).origin),
        // Topics don't travel.
        source: Some(Arc::new(Source::of_format(Format::Envelope))),
        redrives: 1,
        ..Carried::due_now(id(name), Trigger::Redrive)
    };
    let mut both = vec![to("crm", "evt_1"), to("all", "evt_1")];
    both.sort_by_key(|carried| SubscriptionHash::of(&carried.subscription));
    assert_eq!(redrive(&unreadable(VALUE)), Ok(both));
    // Filters count, and an id that isn't there is that of the place where the event was produced.
    let large = r#"{"event":"a","data":{"n":10}}"#;
    assert_eq!(redrive(&unreadable(large)), Ok(vec![to("all", "orders-3-42")]));
}

#[test]
fn what_still_cannot_be_read_stays_and_says_why() {
    let why = "not JSON, at line 1 column 1".to_owned();
    assert_eq!(redrive(&unreadable("hunter2")), Err(Refusal::Unreadable(why)));
}

#[test]
fn what_nobody_wants_stays() {
    let recipients = Recipients::default();
    let rules = Rules { recipients: &recipients, max_redrives: 3 };
    let record = unreadable(VALUE);
    let read = || Ok::<_, Infallible>(Ok(event(source(Format::Envelope), record.clone())));
    let Ok(decision) = rules.redrive(&letter(&record), &record, read);
    assert_eq!(decision.err(), Some(Refusal::Unwanted));
}

#[test]
fn matching_counts_what_filters_refuse_and_fail_on() {
    let count = |value: &str| {
        let Wanted { by, filtered, filter_errors } =
            recipients().wanting(&event(source(Format::Envelope), record(value, &[])));
        let ids: Vec<_> = by.iter().map(|subscription| subscription.id.to_string()).collect();
        (ids.contains(&"crm".to_owned()), filtered, filter_errors)
    };
    assert_eq!(count(VALUE), (true, 0, 0));
    assert_eq!(count(r#"{"event":"a","data":{"n":10}}"#), (false, 1, 0));
    assert_eq!(count(r#"{"event":"a","data":{}}"#), (false, 0, 1));
    assert_eq!(count(r#"{"event":"b","data":{}}"#), (false, 0, 0));
}

#[test]
fn a_mark_names_the_dead_letters_before_it() {
    let (value, headers) = Mark::of([Offset(7), Offset(9)]).write();
    assert_eq!(value, r#"{"redriven":[7,9]}"#);
    let mark = Record { origin: place(10), key: None, value: Some(value), headers };
    let Ok(Entry::Mark(read)) = Entry::read(&mark) else { panic!("it is a mark") };
    assert_eq!(read.offsets().collect::<Vec<_>>(), [Offset(7), Offset(9)]);
    let broken = Record { value: Some("[".into()), ..mark };
    assert!(Entry::read(&broken).is_err());
}

#[test]
fn what_others_have_written_is_no_dead_letter() {
    assert!(Entry::read(&record(VALUE, &[])).is_err());
    let nowhere = Carried { origin: None, ..given_up() };
    assert!(matches!(Entry::read(&delivery(&nowhere)), Err(BadHeader { .. })));
}

fn check(selection: &Selection, delivery_is: bool, record_is: bool) {
    let picks = |record| selection.picks(&letter(&record));
    let found = (picks(delivery(&given_up())), picks(unreadable("")));
    assert_eq!(found, (delivery_is, record_is), "{selection:?}");
}

#[test]
fn all_that_is_asked_for_has_to_be_so() {
    let any = Selection::default;
    check(&any(), true, true);
    check(&Selection { subscription: Some(id("crm")), ..any() }, true, false);
    check(&Selection { subscription: Some(id("other")), ..any() }, false, false);
    check(&Selection { event_id: Some(EventId::new("evt_1")), ..any() }, true, false);
    check(&Selection { reasons: vec![Reason::Exhausted], ..any() }, true, false);
    let both = vec![Reason::Exhausted, Reason::Unreadable];
    check(&Selection { reasons: both, ..any() }, true, true);
    check(&Selection { kind: Some(DeadLetterKind::Record), ..any() }, false, true);
    let then = Some(place(0).timestamp);
    check(&Selection { since: then, ..any() }, true, true);
    check(&Selection { until: then, ..any() }, false, false);
    // The type stands in the value: whoever reads that asks for it.
    let typed = EventPattern::parse("other").expect("it is one");
    check(&Selection { event_type: Some(typed), ..any() }, true, true);
}

#[test]
fn the_same_words_name_the_same_replay() {
    let id = replay_id(["crm", "orders", "2h", ""]);
    assert_eq!(id.len(), 16);
    assert_eq!(id, replay_id(["crm", "orders", "2h", ""]));
    assert_ne!(id, replay_id(["crmo", "rders", "2h", ""]));
    assert_ne!(id, replay_id(["crm", "orders", "", "2h"]));
}

#[test]
fn a_replays_commit_keeps_its_end() {
    let leg = Leg { next: NextOffset(7), end: NextOffset(42) };
    assert_eq!(Leg::read(leg.next, &leg.metadata()), Some(leg));
    assert_eq!(Leg::read(leg.next, ""), None);
    assert!(!leg.is_done() && Leg { next: leg.end, ..leg }.is_done());
}

#[test]
fn a_pace_is_kept_and_never_caught_up_with() {
    let start = Instant::now();
    let after = |ms| start + Duration::from_millis(ms);
    let mut pace = Pace::new(Rate::parse("10/s").expect("it is one"), start);
    assert_eq!(pace.went(5, start), Duration::from_millis(500));
    assert_eq!(pace.went(0, after(500)), Duration::ZERO);
    assert_eq!(pace.went(1, after(500)), Duration::from_millis(100));
    assert_eq!(pace.went(1, after(5000)), Duration::from_millis(100), "a pause gives no credit");
}

#[test]
fn rates_are_a_number_a_second() {
    assert_eq!(Rate::parse("100/s").map(|rate| rate.batch(500)), Ok(10));
    assert_eq!(Rate::parse("1/s").map(|rate| rate.batch(500)), Ok(1));
    assert_eq!(Rate::parse("1000000/s").map(|rate| rate.batch(500)), Ok(500));
    for text in ["", "100", "0/s", "-1/s", "1.5/s", "1/h"] {
        assert!(Rate::parse(text).is_err(), "{text:?}");
    }
}
