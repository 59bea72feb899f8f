//! Failures: waited out in the tiers, or given up.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fixture::{Fixture, SOON, told};
use crate::support::exchange::Answer;
use crate::support::receiver::Receiver;

/// Parses a time of an audit record.
fn time(record: &Value, name: &str) -> Timestamp {
    let text = record[name].as_str().unwrap_or_else(|| panic!("{name} is no text in {record}"));
    text.parse().unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn a_failure_is_retried_when_it_is_due_and_not_before() {
    let receiver = Receiver::start(|_, nth| {
        Answer::status(if nth == 1 { 503 } else { 200 }).body("busy\nnow")
    });
    let flow = Fixture::new("retry");
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({"retry": {"schedule": ["2500ms"]}}));
    let _connector = flow.start();
    flow.scope.produce(
        "orders",
        "k1",
        r#"{"id":"evt_1","event":"a","data":[1, 2]}"#,
        &[("mine", "1")],
    );

    let audit = flow.audit(2);
    assert_eq!(told(&audit[0]), "crm evt_1 #1 retrying http-status");
    assert_eq!(told(&audit[1]), "crm evt_1 #2 delivered ok");
    assert_eq!((&audit[0]["statusCode"], &audit[0]["response"]), (&json!(503), &json!("busy now")));
    let requests = receiver.requests();
    let (first, second) = (&requests[0], &requests[1]);
    assert_eq!(first.webhook_id(), second.webhook_id());
    assert_eq!(
        (second.json()["attempt"].clone(), second.json()["retryable"].clone()),
        (json!(2), json!(false))
    );
    assert_eq!(second.json()["data"], json!([1, 2]));
    let due = time(&audit[0], "nextAttemptAt");
    let sent: Timestamp = second.received_at.try_into().expect("it is now");
    assert!(sent >= due, "early: due {due}, sent {sent}");
    let late = sent.duration_since(due);
    assert!(late < jiff::SignedDuration::from_secs(2), "late by {late}");

    // The wait was walked down: 1 s in its tier, again 1 s, and the rest at the head.
    let waited = flow.scope.read_committed("retry.1s");
    assert_eq!(waited.len(), 2);
    for record in &waited {
        assert_eq!((record.key_text(), record.header("mine")), ("k1".into(), Some("1".into())));
        let ours = |name: &str| record.header(&format!("webhooks-{name}")).unwrap_or_default();
        assert_eq!(ours("subscription"), "crm");
        assert_eq!((ours("id"), ours("attempts")), ("evt_1".into(), "1".into()));
        assert_eq!((ours("reason"), ours("status")), ("http-status".into(), "503".into()));
        assert!(ours("origin").starts_with(&flow.scope.topic("orders")));
        assert_eq!(ours("source"), r#"{"format":"envelope"}"#);
        assert_eq!(record.headers.len(), 1 + 11, "headers of ours pile up: {:?}", record.headers);
    }
}

#[test]
fn a_used_up_schedule_ends_in_a_dead_letter() {
    let receiver = Receiver::always(500);
    let flow = Fixture::new("exhausted");
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({"retry": {"schedule": ["100ms"]}}));
    let _connector = flow.start();
    flow.event("evt_1", "a");

    let audit = flow.audit(2);
    assert_eq!(told(&audit[0]), "crm evt_1 #1 retrying http-status");
    assert_eq!(told(&audit[1]), "crm evt_1 #2 dead-lettered exhausted");
    assert_eq!(audit[1]["statusCode"], 500);
    let letters = flow.scope.wait_for("dead-letter", SOON, |records| !records.is_empty());
    let letter = &letters[0];
    let ours = |name: &str| letter.header(&format!("webhooks-{name}")).unwrap_or_default();
    assert_eq!(letter.json()["id"], "evt_1");
    assert_eq!((ours("kind"), ours("reason")), ("delivery".into(), "exhausted".into()));
    assert_eq!((ours("attempts"), ours("status")), ("2".into(), "500".into()));
    assert_eq!(ours("error"), "the receiver answered 500");
}

#[test]
fn what_a_retry_cannot_mend_is_given_up_at_once() {
    let receiver =
        Receiver::start(|seen, _| Answer::status(if seen.path == "/gone" { 410 } else { 422 }));
    let flow = Fixture::new("at-once");
    flow.subscribe("gone", &receiver.url("/gone"), &["*"], json!({}));
    flow.subscribe("no-retry", &receiver.url("/no"), &["*"], json!({"noRetryOn": [422]}));
    let _connector = flow.start();
    flow.event("evt_1", "a");
    let mut told: Vec<_> = flow.audit(2).iter().map(told).collect();
    told.sort();
    assert_eq!(
        told,
        ["gone evt_1 #1 dead-lettered gone", "no-retry evt_1 #1 dead-lettered http-status"]
    );
}

#[test]
fn a_receiver_that_hangs_is_left_at_the_deadline() {
    let receiver =
        Receiver::start(|_, nth| if nth == 1 { Answer::hang() } else { Answer::status(200) });
    let flow = Fixture::new("hangs");
    flow.subscribe(
        "crm",
        &receiver.url("/"),
        &["*"],
        json!({"timeout": "500ms", "retry": {"schedule": ["1s"]}}),
    );
    let _connector = flow.start();
    flow.event("evt_1", "a");
    let audit = flow.audit(2);
    assert_eq!(told(&audit[0]), "crm evt_1 #1 retrying timeout");
    assert_eq!(told(&audit[1]), "crm evt_1 #2 delivered ok");
    let latency = audit[0]["latencyMs"].as_f64().map(|ms| Duration::from_secs_f64(ms / 1000.0));
    let latency = latency.expect("an attempt has a latency");
    assert!((Duration::from_millis(500)..Duration::from_secs(3)).contains(&latency), "{latency:?}");
}
