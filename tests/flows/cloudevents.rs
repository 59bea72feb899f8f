//! CloudEvents from the official SDKs, and back to them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::fixture::{Fixture, SOON};
use crate::support::exchange::Seen;
use crate::support::receiver::Receiver;
use crate::support::record::Draft;
use crate::support::third_party::{lines, node, python};

/// Makes a record of what an SDK printed.
fn draft(message: &Value) -> Draft {
    let text = |value: &Value| value.as_str().expect("it is text").to_owned();
    let value = STANDARD.decode(text(&message["value"])).expect("base64");
    let mut draft = Draft::new("k", value).partition(0);
    for (name, value) in message["headers"].as_object().expect("it is an object") {
        draft = draft.header(name, text(value));
    }
    draft
}

/// Tells a request to an SDK.
fn line(request: &Seen) -> String {
    let headers = request.headers.iter();
    let headers: serde_json::Map<_, _> = headers
        .map(|(name, value)| (name.to_string(), value.to_str().expect("it is ASCII").into()))
        .collect();
    json!({"headers": headers, "body": STANDARD.encode(&request.body)}).to_string()
}

#[test]
fn events_of_the_sdks_arrive_at_the_sdks_as_they_were() {
    let receiver = Receiver::always(200);
    let flow = Fixture::new("cloudevents");
    flow.scope.create_topic("cloud", 1, &[]);
    let setup = flow.setup.clone().source(&flow.scope, "cloud", "cloudevents", "");
    for (id, payload) in [("structured", "cloudevents"), ("binary", "cloudevents-binary")] {
        let url = receiver.url(&format!("/{id}"));
        flow.subscribe(id, &url, &["sdk.*"], json!({"payload": payload}));
    }
    let mut connector = setup.start();
    connector.wait_ready(SOON);
    let of_python = lines(&python("cloud_events.py", &["produce"], ""));
    let of_node = lines(&node("cloud_events.cjs", &["produce"], ""));
    let count = of_python.len() + of_node.len();
    assert_eq!(count, 10, "three kinds of data by Python, two by Node, each in both modes");
    flow.scope.produce_all("cloud", of_python.iter().chain(&of_node).map(draft));

    let requests = receiver.wait_count(SOON, 2 * count);
    for request in &requests {
        let is_structured = request.path == "/structured";
        assert_eq!(request.header("content-type") == "application/cloudevents+json", is_structured);
        assert_eq!(request.headers.contains_key("ce-id"), !is_structured);
    }
    let input: String = requests.iter().map(|request| line(request) + "\n").collect();
    let by_python = lines(&python("cloud_events.py", &["receive"], &input));
    assert_eq!(by_python.len(), 2 * count);
    for event in &by_python {
        let (id, data) = (event["id"].as_str().expect("it has one"), &event["data"]);
        assert_eq!(event["type"], "sdk.made");
        assert_eq!(event["myext"], "kept", "extensions are kept: {event}");
        assert_eq!(event["time"], "2025-01-15T10:30:00.123000+00:00");
        match id.split_once('.').expect("it has a dot") {
            ("py", "json") => assert_eq!(*data, json!({"n": 1, "list": [true, null]})),
            ("js", "json") => assert_eq!(*data, json!({"n": 1})),
            (_, "text") => assert_eq!(*data, "grüße"),
            (_, "bytes") => assert_eq!(*data, json!({"base64": "AP8="})),
            other => panic!("an event of nobody: {other:?}"),
        }
        if id.starts_with("py") {
            assert_eq!(event["subject"], "a \"subject\" of 100%");
            assert_eq!(event["source"], "/python sdk");
        }
    }
    // The SDK of Node takes bodies as text: bytes that are none are left to Python's.
    let is_text = |request: &&std::sync::Arc<Seen>| std::str::from_utf8(&request.body).is_ok();
    let input: String = requests.iter().filter(is_text).map(|it| line(it) + "\n").collect();
    for event in lines(&node("cloud_events.cjs", &["receive"], &input)) {
        assert_eq!(event["myext"], "kept", "{event}");
        assert_eq!(event["type"], "sdk.made");
        if event["id"] == "js.json" {
            assert_eq!(event["data"], json!({"n": 1}));
        }
    }
}

#[test]
fn a_batch_is_a_dead_letter_that_says_so() {
    let flow = Fixture::new("cloudevents-batch");
    flow.scope.create_topic("cloud", 1, &[]);
    let setup = flow.setup.clone().source(&flow.scope, "cloud", "cloudevents", "");
    let mut connector = setup.start();
    connector.wait_ready(SOON);
    let batch = [("content-type", "application/cloudevents-batch+json")];
    flow.scope.produce("cloud", "k", "[]", &batch);
    let letters = flow.scope.wait_for("dead-letter", SOON, |records| !records.is_empty());
    let error = letters[0].header("webhooks-error");
    let expect = "a CloudEvents batch, which the Kafka binding does not have";
    assert_eq!(error.as_deref(), Some(expect));
}
