use serde_json::json;

use super::*;
use crate::domain::decode::tests::{event, record, source};
use crate::domain::source::Format;
use crate::domain::subscription::tests::subscription;

fn made(transform: &str, event: &Event) -> Result<Body, Failure> {
    body(&Expression::compile(transform).expect("the expression is good"), event, 1000)
}

fn order(event_type: &str) -> Event {
    let value = json!({"id": "evt_1", "event": event_type, "timestamp": "2025-01-15T10:30:00Z",
        "data": {"orderId": "o-1", "paymentId": "p-1", "total": 12.5, "lines": [1, 2]}});
    event(source(Format::Envelope), record(&value.to_string(), &[]))
}

#[test]
fn maps_and_lists_are_json_and_strings_are_text() {
    let check = |transform: &str, bytes: &'static str, content_type: &'static str| {
        let expect = Body { bytes: Bytes::from_static(bytes.as_bytes()), content_type };
        assert_eq!(made(transform, &order("a")), Ok(expect), "{transform}");
    };
    check("{'b': data.total, 'a': id}", r#"{"a":"evt_1","b":12.5}"#, "application/json");
    check("data.lines.map(n, n * 2)", "[2,4]", "application/json");
    check("'Order ' + data.orderId", "Order o-1", "text/plain; charset=utf-8");
}

#[test]
fn null_is_nothing_to_send_and_the_rest_is_an_error() {
    let check = |transform: &str, reason: Reason, error: &str| {
        let failure = made(transform, &order("a")).unwrap_err();
        assert_eq!((failure.reason, &*failure.error), (reason, error), "{transform}");
    };
    check("null", Reason::Filtered, "the transform came to null: nothing is sent");
    let no_body = "the transform came to a number or truth value, which is no body";
    check("data.total > 1.0", Reason::Transform, no_body);
    check("7", Reason::Transform, no_body);
    let missing = "the event lacks a field, key or entry that the expression names";
    check("{'a': data.nothing}", Reason::Transform, missing);
    let long = format!("'{}'", "x".repeat(1001));
    let too_long = "the transform's body has 1001 bytes, 1000 are allowed";
    check(&long, Reason::Transform, too_long);
}

/// Reads an example of the repository as a subscription and returns what it makes of an event.
fn example(definition: &str, event: &Event) -> Result<serde_json::Value, Reason> {
    let mut definition: serde_json::Value = serde_json::from_str(definition).expect("JSON");
    definition.as_object_mut().expect("an object").remove("id");
    let subscription = subscription("example", &definition);
    let transform = subscription.transform.as_ref().expect("it transforms");
    let body = body(transform, event, 4096).map_err(|failure| failure.reason)?;
    assert_eq!(body.content_type, "application/json");
    Ok(serde_json::from_slice(&body.bytes).expect("JSON"))
}

#[test]
fn the_example_for_slack_makes_a_message() {
    let slack = include_str!("../../../config/subscriptions/slack.json");
    assert_eq!(
        example(slack, &order("order.paid")),
        Ok(json!({
            "text": "Order o-1: order.paid",
            "blocks": [
                {"type": "section", "text": {"type": "mrkdwn", "text": "*order.paid*\nOrder `o-1` over 12.5"}},
                {"type": "context", "elements": [{"type": "mrkdwn", "text": "at 2025-01-15T10:30:00Z"}]},
            ],
        }))
    );
}

#[test]
fn the_example_for_teams_makes_a_card() {
    let teams = include_str!("../../../config/subscriptions/teams.json");
    assert_eq!(
        example(teams, &order("order.paid")),
        Ok(json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.4",
                    "body": [
                        {"type": "TextBlock", "weight": "Bolder", "text": "order.paid"},
                        {"type": "FactSet", "facts": [
                            {"title": "Order", "value": "o-1"},
                            {"title": "At", "value": "2025-01-15T10:30:00Z"},
                        ]},
                    ],
                },
            }],
        }))
    );
}

#[test]
fn the_example_for_pagerduty_opens_and_resolves_incidents_and_skips_the_rest() {
    let pagerduty = include_str!("../../../config/subscriptions/pagerduty.json");
    let failed = example(pagerduty, &order("payment.failed")).expect("it makes an incident");
    assert_eq!(
        failed,
        json!({
            "routing_key": "of-your-own",
            "event_action": "trigger",
            "dedup_key": "p-1",
            "payload": {
                "summary": "payment.failed p-1",
                "source": "orders",
                "severity": "error",
                "timestamp": "2025-01-15T10:30:00Z",
                "custom_details": {"orderId": "o-1", "paymentId": "p-1", "total": 12.5, "lines": [1, 2]},
            },
        })
    );
    let recovered = example(pagerduty, &order("payment.recovered")).expect("it resolves one");
    assert_eq!(recovered["event_action"], "resolve");
    assert_eq!(example(pagerduty, &order("payment.made")), Err(Reason::Filtered));
}
