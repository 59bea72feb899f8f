use std::time::Duration;

use serde_json::json;

use super::*;
use crate::domain::decode;
use crate::domain::decode::tests::{record, source};
use crate::domain::event::EventId;
use crate::domain::outcome::{Answer, Failure};
use crate::domain::record::{Header, Offset};
use crate::domain::source::{Format, Selector};
use crate::domain::subscription::tests::{id, subscription};

/// Stands in payloads, secrets and URLs, and nowhere else.
pub(crate) const HIDDEN: &str = "hunter2";

/// How the event is read, as it travels.
const SOURCE: &str = r#"webhooks-source: {"format":"envelope","tenant":{"literal":"acme"}}"#;

const VALUE: &str = r#"{"id":"evt_1","event":"order.created","data":"hunter2"}"#;

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// Decodes the event `evt_1` of `orders/3/42` from a record with these headers.
fn event(headers: &[(&str, &str)]) -> Arc<Event> {
    let mut source = source(Format::Envelope);
    source.tenant = Some(Selector::Literal("acme".into()));
    Arc::new(decode::tests::event(source, record(VALUE, headers)))
}

/// Builds the ending of a first attempt, which took 12.4 ms.
pub(crate) fn attempted(next: Next, end: Result<Answer, Failure>) -> DeliveryEnding {
    let definition = json!({
        "url": "https://user:hunter2@example.com/hooks?key=hunter2",
        "secret": "hunter2",
        "headers": {"x-key": "hunter2"},
    });
    let event = event(&[("x-key", "hunter2")]);
    DeliveryEnding {
        at: at("2025-01-15T10:30:01.123Z"),
        record: event.record.origin.clone(),
        label: event.label.clone(),
        event: Some(event),
        subscription_id: id("crm"),
        subscription: Some(subscription("crm", &definition)),
        trigger: Trigger::Event,
        attempts: 1,
        first_at: Some(at("2025-01-15T10:30:01.123Z")),
        waited: None,
        attempted: Some(Attempted { latency: Duration::from_micros(12_412), end }),
        next,
        value: Value::Whole,
    }
}

/// Builds the ending of a delivery that was decided without an attempt.
pub(crate) fn decided(next: Next) -> DeliveryEnding {
    let never = Err(Failure { reason: Reason::Timeout, error: "never made".into() });
    DeliveryEnding { attempts: 0, first_at: None, attempted: None, ..attempted(next, never) }
}

pub(crate) fn answer(status: u16, excerpt: &str) -> Result<Answer, Failure> {
    let excerpt = Some(excerpt.into()).filter(|_| !excerpt.is_empty());
    Ok(Answer { status, retry_after: None, excerpt })
}

pub(crate) fn unreadable() -> UnreadableRecord {
    UnreadableRecord {
        at: at("2025-01-15T10:30:01.123Z"),
        record: record("hunter2", &[("x-key", "hunter2")]),
        delivery: None,
        error: "not JSON, at line 1 column 1".into(),
        value: Value::Whole,
    }
}

/// Builds the ending of a retry whose event can't be read any more, of `orders/3/42`, found in `moved/0/7`.
pub(crate) fn unreadable_retry() -> UnreadableRecord {
    let carried = Carried {
        id: Some(EventId::new("evt_1")),
        attempts: 2,
        due_at: Some(at("2025-01-15T10:30:06Z")),
        first_at: Some(at("2025-01-15T10:30:01Z")),
        origin: Some(record("", &[]).origin),
        source: Some(Arc::new(source(Format::Envelope))),
        reason: Some(Reason::HttpStatus),
        status: Some(503),
        ..Carried::due_now(id("crm"), Trigger::Replay)
    };
    let mut moved = record("hunter2", &[("x-key", "hunter2")]);
    moved.headers = carried.write(&moved.headers, None);
    moved.origin =
        Origin { topic: "moved".into(), partition: 0, offset: Offset(7), ..moved.origin };
    UnreadableRecord { record: moved, delivery: Some(Box::new(carried)), ..unreadable() }
}

fn retry() -> Next {
    Next::Retry(at("2025-01-15T10:30:06.5Z"), TierIndex(1), Reason::HttpStatus)
}

fn delivery(ending: DeliveryEnding) -> Ending {
    Ending::Delivery(Box::new(ending))
}

fn text(bytes: Option<&Bytes>) -> &str {
    bytes.map_or("(null)", |bytes| std::str::from_utf8(bytes).expect("UTF-8"))
}

/// Tells a publication as text: destination, key, value, then the headers.
fn told(publication: &Publication) -> Vec<String> {
    let Publication { to, key, value, headers } = publication;
    let mut lines = vec![format!("{to:?} {} {}", text(key.as_ref()), text(value.as_ref()))];
    let header = |header: &Header| format!("{}: {}", header.name, text(header.value.as_ref()));
    lines.extend(headers.0.iter().map(header));
    lines
}

/// Checks where the event goes on, and whether an audit record of which key and outcome tells of it.
fn check(ending: &Ending, onward: &[&str], audit: Option<(&str, &str)>) {
    let (went_on, told_of) = ending.publications("a");
    assert_eq!(went_on.as_ref().map(told).unwrap_or_default(), onward);
    let told_of = told_of.map(|record| {
        assert_eq!(record.to, Destination::Audit);
        let definition = record.headers.text(audit::DEFINITION_OFFSET);
        let is_dead = onward.first().is_some_and(|first| first.starts_with("DeadLetter k1"));
        assert!(definition.is_none_or(|definition| is_dead && definition == "7"));
        let json: serde_json::Value =
            serde_json::from_str(text(record.value.as_ref())).expect("JSON");
        let word = |name: &str| json[name].as_str().expect("a text").to_owned();
        (text(record.key.as_ref()).to_owned(), format!("{} {}", word("outcome"), word("reason")))
    });
    assert_eq!(told_of, audit.map(|(key, outcome)| (key.to_owned(), outcome.to_owned())));
}

#[test]
fn a_delivered_event_goes_nowhere() {
    let ending = delivery(attempted(Next::Delivered, answer(204, "")));
    check(&ending, &[], Some(("crm", "delivered ok")));
}

#[test]
fn a_retry_goes_on_in_its_tier_as_it_came() {
    let ending = delivery(attempted(retry(), answer(503, "busy")));
    let expect = [
        &format!("Tier(TierIndex(1)) k1 {VALUE}"),
        "x-key: hunter2",
        "webhooks-subscription: crm",
        "webhooks-id: evt_1",
        "webhooks-trigger: event",
        "webhooks-attempts: 1",
        "webhooks-due-at: 2025-01-15T10:30:06.500Z",
        "webhooks-first-at: 2025-01-15T10:30:01.123Z",
        "webhooks-origin: orders/3/42",
        "webhooks-origin-timestamp: 2025-01-15T10:30:00.000Z",
        SOURCE,
        "webhooks-reason: http-status",
        "webhooks-status: 503",
    ];
    check(&ending, &expect, Some(("crm", "retrying http-status")));
}

#[test]
fn a_moved_delivery_keeps_what_its_last_attempt_came_to_and_is_not_told_of() {
    let next = Next::Move(at("2025-01-15T10:31:00Z"), TierIndex(2));
    let came = event(&[
        ("webhooks-subscription", "crm"),
        ("webhooks-attempts", "2"),
        ("webhooks-due-at", "2025-01-15T10:31:00.000Z"),
        ("webhooks-reason", "http-status"),
        ("webhooks-status", "503"),
        ("x-key", "hunter2"),
    ]);
    let first_at = Some(at("2025-01-15T10:30:01Z"));
    let ending = DeliveryEnding { event: Some(came), attempts: 2, first_at, ..decided(next) };
    let expect = [
        &format!("Tier(TierIndex(2)) k1 {VALUE}"),
        "x-key: hunter2",
        "webhooks-subscription: crm",
        "webhooks-id: evt_1",
        "webhooks-trigger: event",
        "webhooks-attempts: 2",
        "webhooks-due-at: 2025-01-15T10:31:00.000Z",
        "webhooks-first-at: 2025-01-15T10:30:01.000Z",
        "webhooks-origin: orders/3/42",
        "webhooks-origin-timestamp: 2025-01-15T10:30:00.000Z",
        SOURCE,
        "webhooks-reason: http-status",
        "webhooks-status: 503",
    ];
    check(&delivery(ending), &expect, None);
}

#[test]
fn a_delivery_given_up_is_a_dead_letter_with_its_error() {
    let next = Next::DeadLetter(Reason::Exhausted);
    let refused = Failure { reason: Reason::Connect, error: "connection refused".into() };
    let dead = |status: Option<&'static str>, error: &'static str| {
        let headers = [
            "x-key: hunter2",
            "webhooks-subscription: crm",
            "webhooks-id: evt_1",
            "webhooks-trigger: event",
            "webhooks-attempts: 1",
            "webhooks-first-at: 2025-01-15T10:30:01.123Z",
            "webhooks-origin: orders/3/42",
            "webhooks-origin-timestamp: 2025-01-15T10:30:00.000Z",
            SOURCE,
            "webhooks-reason: exhausted",
        ];
        let kind = "webhooks-kind: delivery";
        headers.into_iter().chain(status).chain([kind, error]).collect::<Vec<_>>()
    };
    let first = format!("DeadLetter k1 {VALUE}");
    for (end, status, error) in [
        (
            answer(500, "oops"),
            Some("webhooks-status: 500"),
            "webhooks-error: the receiver answered 500",
        ),
        (Err(refused), None, "webhooks-error: connection refused"),
    ] {
        let mut expect = vec![first.as_str()];
        expect.extend(dead(status, error));
        let ending = delivery(attempted(next, end));
        check(&ending, &expect, Some(("crm", "dead-lettered exhausted")));
    }
}

#[test]
fn a_delivery_given_up_without_an_attempt_has_neither_status_nor_error() {
    let removed = Next::DeadLetter(Reason::SubscriptionRemoved);
    let ending = DeliveryEnding { subscription: None, ..decided(removed) };
    let expect = [
        &format!("DeadLetter k1 {VALUE}"),
        "x-key: hunter2",
        "webhooks-subscription: crm",
        "webhooks-id: evt_1",
        "webhooks-trigger: event",
        "webhooks-attempts: 0",
        "webhooks-origin: orders/3/42",
        "webhooks-origin-timestamp: 2025-01-15T10:30:00.000Z",
        SOURCE,
        "webhooks-reason: subscription-removed",
        "webhooks-kind: delivery",
    ];
    check(&delivery(ending), &expect, Some(("crm", "dead-lettered subscription-removed")));
}

#[test]
fn how_often_a_delivery_was_redriven_travels_on_and_no_event_says_it() {
    let onward = |trigger, next| {
        let event = Some(event(&[("webhooks-redrives", "2")]));
        let ending = DeliveryEnding { trigger, event, ..attempted(next, answer(503, "busy")) };
        let (onward, _) = delivery(ending).publications("a");
        let headers = onward.expect("it goes on").headers;
        headers.text("webhooks-redrives").map(str::to_owned)
    };
    for next in [retry(), Next::DeadLetter(Reason::Exhausted)] {
        assert_eq!(onward(Trigger::Redrive, next).as_deref(), Some("2"));
        assert_eq!(onward(Trigger::Event, next), None);
        assert_eq!(onward(Trigger::Replay, next), None);
    }
}

#[test]
fn an_unreadable_record_is_a_dead_letter_as_it_came_and_its_audit_has_no_key() {
    let ending = Ending::Unreadable(Box::new(unreadable()));
    let expect = [
        "DeadLetter k1 hunter2",
        "x-key: hunter2",
        "webhooks-origin: orders/3/42",
        "webhooks-origin-timestamp: 2025-01-15T10:30:00.000Z",
        "webhooks-reason: unreadable",
        "webhooks-kind: record",
        "webhooks-error: not JSON, at line 1 column 1",
    ];
    check(&ending, &expect, Some(("(null)", "dead-lettered unreadable")));
}

#[test]
fn a_retry_that_cannot_be_read_is_a_dead_letter_of_its_delivery_and_told_of_as_its_end() {
    let ending = Ending::Unreadable(Box::new(unreadable_retry()));
    let expect = [
        "DeadLetter k1 hunter2",
        "x-key: hunter2",
        "webhooks-subscription: crm",
        "webhooks-id: evt_1",
        "webhooks-trigger: replay",
        "webhooks-attempts: 2",
        "webhooks-first-at: 2025-01-15T10:30:01.000Z",
        "webhooks-origin: orders/3/42",
        "webhooks-origin-timestamp: 2025-01-15T10:30:00.000Z",
        r#"webhooks-source: {"format":"envelope"}"#,
        "webhooks-reason: unreadable",
        "webhooks-kind: delivery",
        "webhooks-error: not JSON, at line 1 column 1",
    ];
    check(&ending, &expect, Some(("crm", "dead-lettered unreadable")));
    check_dropped(ending, "unreadable");
    // Without an origin of its own, its place is the record's.
    let mut lost = unreadable_retry();
    lost.delivery.as_mut().expect("it has one").origin = None;
    let (letter, _) = Ending::Unreadable(Box::new(lost)).publications("a");
    let headers = letter.expect("a dead letter").headers;
    assert_eq!(headers.text("webhooks-origin"), Some("moved/0/7"));
}

/// Drops the value of an ending twice, and checks the dead letter that it became.
fn check_dropped(mut ending: Ending, reason: &str) {
    assert!(ending.drop_value(), "the first time changes something");
    assert!(!ending.drop_value(), "the second time doesn't");
    let (onward, audit) = ending.publications("a");
    let onward = onward.expect("a dead letter");
    assert_eq!(onward.to, Destination::DeadLetter);
    assert_eq!((&onward.key, &onward.value), (&None, &None));
    assert_eq!(onward.headers.text("webhooks-reason"), Some(reason));
    assert_eq!(onward.headers.text("webhooks-origin"), Some("orders/3/42"));
    assert_eq!(onward.headers.text("x-key"), None, "the event's headers may be what is too large");
    let audit = audit.expect("a dead letter is told of");
    let expect = format!(r#""outcome":"dead-lettered","reason":"{reason}""#);
    assert!(text(audit.value.as_ref()).contains(&expect));
}

#[test]
fn what_is_too_large_for_its_topic_becomes_a_dead_letter_without_it_once() {
    check_dropped(delivery(attempted(retry(), answer(503, "busy"))), "too-large");
    let next = Next::Move(at("2025-01-15T10:31:00Z"), TierIndex(2));
    check_dropped(delivery(decided(next)), "too-large");
}

#[test]
fn a_dead_letter_that_is_too_large_keeps_its_reason() {
    let next = Next::DeadLetter(Reason::Gone);
    check_dropped(delivery(attempted(next, answer(410, ""))), "gone");
    check_dropped(Ending::Unreadable(Box::new(unreadable())), "unreadable");
}

#[test]
fn debug_output_hides_payloads_and_secrets() {
    let endings = [
        delivery(attempted(retry(), answer(503, "busy"))),
        delivery(decided(Next::DeadLetter(Reason::SubscriptionDisabled))),
        Ending::Unreadable(Box::new(unreadable())),
    ];
    for ending in endings {
        let shown = format!("{ending:?} {ending:#?}");
        assert!(shown.contains("orders/3/42"), "{shown}");
        assert!(!shown.contains(HIDDEN), "{shown}");
    }
}
