//! A record that is too large for its topic stops nothing.

use serde_json::json;

use crate::fixture::{Fixture, SOON, told};
use crate::support::exchange::Answer;
use crate::support::receiver::Receiver;
use crate::support::scope::Scope;

#[test]
fn a_record_too_large_for_its_retry_topic_becomes_a_dead_letter_without_its_value() {
    let receiver =
        Receiver::start(|seen, _| Answer::status(if seen.body.len() > 20_000 { 503 } else { 200 }));
    let scope = Scope::new("too-large");
    for tier in ["retry.1s", "dead-letter"] {
        scope.create_topic(tier, 1, &[("max.message.bytes", "10000")]);
    }
    let flow = Fixture::on(scope, |setup| setup);
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({"retry": {"schedule": ["1s"]}}));
    let _connector = flow.start();
    let data = "x".repeat(30_000);
    let value = json!({"id": "evt_large", "event": "a", "data": data}).to_string();
    flow.scope.produce("orders", "k", &value, &[("theirs", "1")]);
    flow.event("evt_small", "a");

    let mut audit: Vec<_> = flow.audit(2).iter().map(told).collect();
    audit.sort();
    assert_eq!(
        audit,
        ["crm evt_large #1 dead-lettered too-large", "crm evt_small #1 delivered ok"]
    );
    flow.wait_settled(2);
    let letters = flow.scope.wait_for("dead-letter", SOON, |records| !records.is_empty());
    let letter = &letters[0];
    assert_eq!(letter.value, None);
    assert_eq!(letter.header("webhooks-reason").as_deref(), Some("too-large"));
    let origin = letter.header("webhooks-origin").unwrap_or_default();
    assert!(origin.starts_with(&flow.scope.topic("orders")), "{origin}");
}
