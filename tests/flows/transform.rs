//! Bodies by a subscription's own expression.

use serde_json::json;

use crate::fixture::{Fixture, SOON, told};
use crate::support::receiver::Receiver;

#[test]
fn the_examples_can_be_applied_as_they_are() {
    let flow = Fixture::new("examples");
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/config/subscriptions");
    let applied = flow.setup.run(&["subscriptions", "apply", "-f", examples]);
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    let said = String::from_utf8_lossy(&applied.stdout).into_owned();
    assert_eq!(said, "created pagerduty\ncreated slack\ncreated teams\n");
}

#[test]
fn a_transform_makes_the_body_skips_or_is_a_dead_letter() {
    let receiver = Receiver::always(200);
    let flow = Fixture::new("transform");
    let transform = "type == 'order.draft' ? null : type == 'order.text' ? 'Order ' + data.order : {'text': data.order, 'no': data.number}";
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({ "transform": transform }));
    let connector = flow.start();
    let order = |id: &str, event_type: &str, data: serde_json::Value| {
        let value = json!({"id": id, "event": event_type, "data": data});
        flow.scope.produce("orders", "one", value.to_string(), &[]);
    };
    order("evt_1", "order.made", json!({"order": "o1", "number": 7}));
    order("evt_2", "order.text", json!({"order": "o2"}));
    order("evt_3", "order.draft", json!({}));
    order("evt_4", "order.made", json!({"order": "hunter2"}));

    let audit = flow.audit(4);
    flow.wait_settled(4);
    let mut told: Vec<_> = audit.iter().map(told).collect();
    told.sort();
    assert_eq!(
        told,
        [
            "crm evt_1 #1 delivered ok",
            "crm evt_2 #1 delivered ok",
            "crm evt_3 #0 skipped filtered",
            "crm evt_4 #1 dead-lettered transform",
        ]
    );
    let requests = receiver.wait_count(SOON, 2);
    let body = |id: &str| {
        let request = requests.iter().find(|request| request.webhook_id() == id);
        let request = request.expect("it was sent");
        let text = String::from_utf8_lossy(&request.body).into_owned();
        (request.header("content-type").to_owned(), text)
    };
    assert_eq!(body("evt_1"), ("application/json".into(), r#"{"no":7,"text":"o1"}"#.into()));
    assert_eq!(body("evt_2"), ("text/plain; charset=utf-8".into(), "Order o2".into()));
    let letters = flow.scope.wait_for("dead-letter", SOON, |records| !records.is_empty());
    let error = "the event lacks a field, key or entry that the expression names";
    assert_eq!(letters[0].header("webhooks-error").as_deref(), Some(error));
    assert!(!connector.log().contains("hunter2"));
}
