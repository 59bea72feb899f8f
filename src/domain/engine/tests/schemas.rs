//! Records that a schema has to explain.

use super::*;
use crate::domain::source::{Selector, Source};

/// A value in the wire format.
const VALUE: &[u8] = b"\0\0\0\0\x07hunter2";

fn rig() -> Rig {
    let things =
        Source { event_type: Some(Selector::Literal("a".into())), ..source(Format::Registry) };
    let sources = Sources::new(vec![things]).expect("there are no patterns");
    Rig::with(Policy { sources, ..policy() }, &crm())
}

fn record(rig: &Rig, value: Option<&'static [u8]>, headers: Headers) -> Record {
    let TopicPartition { topic, partition } = orders();
    let origin = Origin { topic, partition, offset: Offset(100), timestamp: rig.now };
    Record { origin, key: None, value: value.map(Bytes::from_static), headers }
}

#[test]
fn an_event_is_what_its_schema_makes_of_it() {
    let mut rig = rig();
    let id = rig.orders();
    let event = record(&rig, Some(VALUE), Headers::default());
    assert!(rig.engine.needs_schema(id, &event));
    rig.engine.translated(id, event, Ok(Bytes::from_static(b"[7]")), rig.now);
    let attempts = rig.attempts();
    assert_eq!(told(&attempts), ["orders-0-100 to crm #1"]);
    assert_eq!(attempts[0].event.data, "[7]");
    // The value, what was made of it, and the body are held as long as it is open.
    assert_eq!(rig.engine.bytes(), VALUE.len() + 3 + 3);
}

#[test]
fn an_event_is_read_once_for_all_its_deliveries() {
    let things =
        Source { event_type: Some(Selector::Literal("a".into())), ..source(Format::Registry) };
    let sources = Sources::new(vec![things]).expect("there are no patterns");
    let definitions: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|name| (*name, json!({"retry": {"schedule": ["1s"]}})))
        .collect();
    let mut rig = Rig::with(Policy { sources, ..policy() }, &subscriptions(&definitions));
    let id = rig.orders();
    let event = record(&rig, Some(VALUE), Headers::default());
    rig.engine.translated(id, event, Ok(Bytes::from_static(b"[7]")), rig.now);
    let attempts = rig.attempts();
    assert_eq!(attempts.len(), 3);
    let first = &attempts[0].event;
    assert!(attempts.iter().all(|attempt| Arc::ptr_eq(&attempt.event, first)));
    // What is left behind in Kafka is of the same reading.
    attempts.iter().for_each(|attempt| rig.answer(attempt, 500));
    let batch = rig.batch();
    let is_same = |(_, ending): &(_, Ending)| matches!(ending, Ending::Delivery(ending) if ending.event.as_ref().is_some_and(|event| Arc::ptr_eq(event, first)));
    assert_eq!(batch.endings.iter().filter(|ending| is_same(ending)).count(), 3);
}

#[test]
fn an_event_that_its_schema_does_not_fit_is_a_dead_letter() {
    let mut rig = rig();
    let id = rig.orders();
    let event = record(&rig, Some(VALUE), Headers::default());
    let translation = Err(decode::Unreadable("no such schema".into()));
    rig.engine.translated(id, event, translation, rig.now);
    let batch = rig.batch();
    assert!(
        matches!(&batch.endings[..], [(_, Ending::Unreadable(it))] if &*it.error == "no such schema")
    );
}

#[test]
fn a_schema_is_asked_for_only_where_it_is_needed() {
    let mut rig = rig();
    let id = rig.orders();
    let needs =
        |rig: &Rig, value| rig.engine.needs_schema(id, &record(rig, value, Headers::default()));
    assert!(!needs(&rig, None), "a tombstone");
    assert!(!needs(&rig, Some(b"")));
    assert!(!needs(&rig, Some(b"{}")));
    let settled = rig.engine.assign(orders(), Role::Events, NextOffset(101), "");
    let event = record(&rig, Some(VALUE), Headers::default());
    assert!(!rig.engine.needs_schema(settled, &event), "a former owner has settled it");
}

#[test]
fn a_delivery_is_read_as_it_was_first_read() {
    let mut rig = Rig::new(&crm());
    let deliver = rig.moved(Role::Deliver);
    let first = Source::of_format(Format::Registry);
    let first = Source { event_type: Some(Selector::Literal("a".into())), ..first };
    let carried = Carried { source: Some(Arc::new(first)), ..due(rig.now) };
    let now = |rig: &Rig, carried: &Carried| {
        record(rig, Some(VALUE), carried.write(&Headers::default(), None))
    };
    // The settings have envelopes in this topic.
    let today = now(&rig, &due(rig.now));
    assert!(!rig.engine.needs_schema(deliver, &today));
    let delivery = now(&rig, &carried);
    assert!(rig.engine.needs_schema(deliver, &delivery));
    rig.engine.translated(deliver, delivery, Ok(Bytes::from_static(b"[7]")), rig.now);
    assert_eq!(rig.attempts()[0].event.data, "[7]");
}
