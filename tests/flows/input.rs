//! Bad input: it goes where people find it, and everything else goes on.

use serde_json::json;

use crate::fixture::{Fixture, SOON, told};
use crate::support::receiver::Receiver;
use crate::support::record::Draft;
use crate::support::scope::Scope;

#[test]
fn a_record_that_is_no_event_becomes_a_dead_letter_and_the_partition_goes_on() {
    let receiver = Receiver::always(200);
    let flow = Fixture::new("poison");
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({}));
    let _connector = flow.start();
    let good = |id: &str| Draft::new("k", json!({"id": id, "event": "a"}).to_string()).partition(0);
    let bad = |value: &str| Draft::new("k", value).partition(0).header("theirs", "kept");
    flow.scope.produce_all(
        "orders",
        [
            good("evt_1"),
            bad("not json: hunter2"),
            bad(r#"{"event":7}"#),
            bad(""),
            Draft::tombstone("k").partition(0),
            good("evt_2"),
        ],
    );
    let audit = flow.audit(5);
    flow.wait_settled(6);
    let delivered = audit.iter().filter(|record| record["outcome"] == "delivered").count();
    assert_eq!(delivered, 2);
    let mut letters = flow.scope.wait_for("dead-letter", SOON, |records| records.len() >= 3);
    letters.sort_by_key(|letter| letter.header("webhooks-origin"));
    let errors: Vec<_> =
        letters.iter().filter_map(|letter| letter.header("webhooks-error")).collect();
    assert_eq!(
        errors,
        ["not JSON, at line 1 column 2", "`event` is not a string", "the value is empty"]
    );
    for letter in &letters {
        assert_eq!(letter.header("webhooks-kind").as_deref(), Some("record"));
        assert_eq!(letter.header("webhooks-reason").as_deref(), Some("unreadable"));
        assert_eq!(letter.header("theirs").as_deref(), Some("kept"));
    }
    assert_eq!(letters[0].value_text(), "not json: hunter2");
    assert!(!audit.iter().any(|record| record.to_string().contains("hunter2")));
}

#[test]
fn an_invalid_subscription_is_told_of_harms_nobody_and_heals() {
    let receiver = Receiver::always(200);
    let flow = Fixture::new("invalid");
    flow.subscribe("good", &receiver.url("/good"), &["*"], json!({}));
    flow.subscribe("bad", "not a url", &["*"], json!({"colour": "red"}));
    let connector = flow.start();
    let statuses = flow.scope.wait_for("subscription-status", SOON, |records| !records.is_empty());
    let status = statuses[0].json();
    assert_eq!((statuses[0].key_text(), status["state"].clone()), ("bad".into(), json!("invalid")));
    let reason = status["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("url: ") && reason.contains("colour"), "{reason}");
    flow.event("evt_1", "a");
    assert_eq!(told(&flow.audit(1)[0]), "good evt_1 #1 delivered ok");

    flow.subscribe("bad", &receiver.url("/healed"), &["*"], json!({}));
    let statuses = flow.scope.wait_for("subscription-status", SOON, |records| records.len() >= 2);
    assert_eq!(statuses[1].json()["state"], "active");
    connector.wait_status(SOON, |status| status["load"]["subscriptions"] == 2);
    flow.event("evt_2", "a");
    flow.audit(3);
    assert_eq!(receiver.requests().len(), 3);
}

#[test]
fn a_connector_without_its_topics_says_what_to_do() {
    let scope = Scope::new("no-topics");
    scope.create_topic("orders", 1, &[]);
    let setup =
        crate::support::connector::Setup::new(&scope).source(&scope, "orders", "envelope", "");
    let output = setup.run(&["run"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&scope.topic("audit")) && said.contains("topics create"), "{said}");
}
