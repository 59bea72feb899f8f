//! Dead letters listed and shown.

use std::time::Duration;

use serde_json::{Value, json};

use super::{fail, finish, ill, json_of, letters, run};
use crate::fixture::Fixture;
use crate::support::record::Draft;

#[test]
fn a_dead_letter_is_shown_without_what_it_holds_unless_that_is_asked_for() {
    let (receiver, _) = ill();
    let flow = Fixture::new("show-letter");
    flow.subscribe("crm", &receiver.url("/"), &["*"], json!({"retry": {"schedule": []}}));
    let _connector = flow.start();
    let value = r#"{"id":"evt_1","event":"a","data":"hunter2"}"#;
    flow.scope.produce("orders", "k1", value, &[("mine", "hunter2")]);
    let letter = letters(&flow, 1).remove(0);
    let place = format!("{}/{}", letter.partition, letter.offset);
    let shown = run(&flow.setup, &format!("dead-letters show {place}")).join("\n");
    assert!(shown.contains("evt_1") && shown.contains("the receiver answered 500"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    let whole = format!("dead-letters show {}/{place} --value", flow.scope.topic("dead-letter"));
    let whole = json_of(&flow.setup, &whole);
    assert_eq!((&whole["value"], &whole["key"]), (&json!(value), &json!("k1")));
    assert_eq!(whole["headers"], json!([{"name": "mine", "value": "hunter2"}]));

    let missing = fail(&flow.setup, "dead-letters show 0/4711");
    assert!(missing.contains("there is no dead letter at 0/4711"), "{missing}");
    let other = fail(&flow.setup, "dead-letters show orders/0/1");
    assert!(other.contains("is not the dead-letter topic"), "{other}");
}

/// A dead letter of a delivery of `<event>` of a type to a subscription.
fn given_up(subscription: &str, event: &str, event_type: &str, reason: &str) -> Draft {
    let value = json!({ "id": event, "event": event_type, "data": "hunter2" }).to_string();
    let headers = [
        ("subscription", subscription),
        ("id", event),
        ("trigger", "event"),
        ("attempts", "10"),
        ("first-at", "2026-01-15T10:30:01.500Z"),
        ("origin", "orders/3/42"),
        ("origin-timestamp", "2026-01-15T10:30:00Z"),
        ("reason", reason),
        ("status", "503"),
        ("redrives", "1"),
        ("kind", "delivery"),
        ("error", "the receiver answered 503"),
    ];
    headers.iter().fold(Draft::new("k", value), |letter, (name, value)| {
        letter.header(&format!("webhooks-{name}"), value)
    })
}

/// A dead letter of a record that can't be read.
fn unreadable() -> Draft {
    let headers = [
        ("origin", "orders/0/7"),
        ("origin-timestamp", "2026-01-15T10:30:00Z"),
        ("reason", "unreadable"),
        ("kind", "record"),
        ("error", "not JSON, at line 1 column 1"),
    ];
    headers.iter().fold(Draft::new("k", "hunter2"), |letter, (name, value)| {
        letter.header(&format!("webhooks-{name}"), value)
    })
}

#[test]
fn dead_letters_are_selected_by_all_that_tells_them_apart() {
    let flow = Fixture::new("letters");
    flow.subscribe("crm", "https://example.com/hooks", &["*"], json!({}));
    flow.subscribe("erp", "https://example.com/hooks", &["*"], json!({}));
    let all = [
        given_up("crm", "evt_1", "order.created", "exhausted"),
        given_up("crm", "evt_2", "order.changed", "expired"),
        given_up("erp", "evt_1", "order.created", "exhausted"),
        unreadable(),
    ];
    for letter in all {
        flow.scope.produce_all("dead-letter", [letter.partition(0)]);
        // Kafka's times are milliseconds.
        std::thread::sleep(Duration::from_millis(3));
    }
    let listed = json_of(&flow.setup, "dead-letters list");
    let at = |offset: usize| listed[offset]["at"].as_str().expect("it has a time").to_owned();
    let check = |filters: &str, expect: &[u64]| {
        let line = format!("dead-letters list {filters}");
        let found = json_of(&flow.setup, line.trim_end());
        let found = found.as_array().expect("a listing is an array");
        let offsets: Vec<_> = found.iter().filter_map(|it| it["offset"].as_u64()).collect();
        assert_eq!(offsets, expect, "{filters}");
        let filters = if filters.is_empty() { "--all" } else { filters };
        let dry = json_of(&flow.setup, &format!("dead-letters redrive {filters} --dry-run"));
        assert_eq!(dry["selected"], expect.len(), "a redrive takes what is listed: {filters}");
    };
    check("", &[0, 1, 2, 3]);
    check("--subscription crm", &[0, 1]);
    check("--subscription erp", &[2]);
    check("--event-id evt_1", &[0, 2]);
    check("--event-id evt_1 --subscription crm", &[0]);
    check("--event-id evt_3", &[]);
    check("--event-type order.created", &[0, 2]);
    check("--event-type order.*", &[0, 1, 2]);
    check("--reason expired", &[1]);
    check("--reason expired --reason unreadable", &[1, 3]);
    check("--kind record", &[3]);
    check("--kind delivery", &[0, 1, 2]);
    check(&format!("--since {}", at(1)), &[1, 2, 3]);
    check(&format!("--until {}", at(1)), &[0]);
    check(&format!("--since {} --until {}", at(1), at(3)), &[1, 2]);
    check("--since now", &[]);
    for command in ["list", "redrive"] {
        let line = format!("dead-letters {command} --since 1h --until 2h");
        let (code, out, err) = finish(&flow.setup, &line);
        assert_eq!((code, out.as_str(), err.lines().count()), (Some(2), "", 1), "{err}");
        assert!(err.starts_with("--until must be later than --since, which is "), "{err}");
    }
}

#[test]
fn a_dead_letter_is_shown_with_all_that_is_known_of_it() {
    let flow = Fixture::new("show-all");
    let both = [given_up("crm", "evt_1", "a", "exhausted"), unreadable()];
    flow.scope.produce_all("dead-letter", both.map(|letter| letter.partition(1)));
    let stored = letters(&flow, 2);
    let check = |offset: usize, mut expect: Value| {
        let record = &stored[offset];
        let at = jiff::Timestamp::from_millisecond(record.timestamp_ms).expect("in range");
        let held = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = record.headers.iter().map(|(name, value)| name.len() + held(value));
        let bytes = held(&record.key) + held(&record.value) + headers.sum::<usize>();
        let common = json!({
            "topic": flow.scope.topic("dead-letter"), "partition": 1, "offset": offset,
            "at": format!("{at:.3}"), "bytes": bytes, "redriven": false,
        });
        let fields = expect.as_object_mut().expect("it is an object");
        fields.extend(common.as_object().expect("it is an object").clone());
        let shown = json_of(&flow.setup, &format!("dead-letters show 1/{offset}"));
        assert_eq!(shown, expect);
        // As text, one line for each field that says something.
        let lines = run(&flow.setup, &format!("dead-letters show 1/{offset}"));
        let names: Vec<_> = lines.iter().filter_map(|line| line.split(' ').next()).collect();
        let told = expect.as_object().expect("it is an object");
        let told = told.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name);
        let (mut names, mut told): (Vec<_>, Vec<_>) = (names, told.map(String::as_str).collect());
        names.sort_unstable();
        told.sort_unstable();
        assert_eq!(names, told);
    };
    check(
        0,
        json!({
            "kind": "delivery", "subscriptionId": "crm", "eventId": "evt_1", "reason": "exhausted",
            "statusCode": 503, "error": "the receiver answered 503", "attempts": 10,
            "firstAttemptAt": "2026-01-15T10:30:01.500Z", "trigger": "event", "redrives": 1,
            "source": {
                "topic": "orders", "partition": 3, "offset": 42,
                "timestamp": "2026-01-15T10:30:00.000Z",
            },
        }),
    );
    check(
        1,
        json!({
            "kind": "record", "subscriptionId": null, "eventId": null, "reason": "unreadable",
            "statusCode": null, "error": "not JSON, at line 1 column 1", "attempts": null,
            "firstAttemptAt": null, "trigger": null, "redrives": 0,
            "source": {
                "topic": "orders", "partition": 0, "offset": 7,
                "timestamp": "2026-01-15T10:30:00.000Z",
            },
        }),
    );
}
