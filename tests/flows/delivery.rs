//! From an event to a receiver, its audit record and its commit.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use kafka_webhooks::domain::signature::{verify_standard, verify_x_webhook};
use serde_json::json;

use crate::fixture::{Fixture, SECRET, SOON, told};
use crate::support::receiver::Receiver;
use crate::support::record::Draft;

#[test]
fn an_event_is_delivered_signed_and_told_of() {
    let receiver = Receiver::always(200);
    let flow = Fixture::new("delivered");
    flow.subscribe(
        "crm",
        &receiver.url("/hooks?key=s3cr3t"),
        &["order.*"],
        json!({"headers": {"x-env": "prod"}}),
    );
    let connector = flow.start();
    let value = r#"{"id":"evt_1","timestamp":"2025-01-15T10:30:00Z","event":"order.created","version":"1.0","data":{"big":12345678901234567890, "b":1.0}}"#;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    flow.scope.produce("orders", "k1", value, &[("traceparent", trace), ("other", "x")]);

    let requests = receiver.wait_count(SOON, 1);
    let request = &requests[0];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hooks?key=s3cr3t"));
    assert_eq!(
        std::str::from_utf8(&request.body),
        Ok(
            r#"{"id":"evt_1","timestamp":"2025-01-15T10:30:00Z","event":"order.created","version":"1.0","data":{"big":12345678901234567890, "b":1.0},"attempt":1,"retryable":true}"#
        )
    );
    let header = |name| request.header(name);
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("user-agent"), concat!("kafka-webhooks/", env!("CARGO_PKG_VERSION")));
    assert_eq!(header("x-webhook-id"), "evt_1");
    assert_eq!(header("x-webhook-event"), "order.created");
    assert_eq!(header("x-webhook-attempt"), "1");
    assert_eq!(header("x-env"), "prod");
    assert_eq!(header("traceparent"), trace);
    let [id, at, list] = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(header);
    let tolerance = Duration::from_secs(60);
    let now = Timestamp::now();
    verify_standard(SECRET, id, at, list, &request.body, now, tolerance).expect("it verifies");
    verify_x_webhook(SECRET, header("x-webhook-signature"), &request.body).expect("it verifies");

    let audit = &flow.audit(1)[0];
    assert_eq!(told(audit), "crm evt_1 #1 delivered ok");
    assert_eq!(audit["statusCode"], 200);
    assert_eq!(audit["url"], receiver.url("/hooks"));
    assert_eq!(audit["source"]["topic"], flow.scope.topic("orders"));
    assert_eq!(audit["instance"], "a");
    assert!(audit["latencyMs"].as_f64().is_some_and(|latency| latency > 0.0));
    flow.wait_settled(1);
    let (status, metrics) = connector.get("/metrics");
    assert_eq!(status, 200);
    let attempts = r#"webhooks_attempts_total{outcome="delivered",reason="ok"} 1"#;
    assert!(metrics.contains(attempts), "{metrics}");
    assert!(
        !connector.log().contains("s3cr3t") && !connector.log().contains("12345678901234567890")
    );
}

#[test]
fn an_event_reaches_those_who_want_its_type_topic_and_tenant() {
    let receiver = Receiver::always(200);
    let flow = Fixture::with("matching", |setup| setup);
    let subscribe = |id: &str, events: &[&str], more| {
        flow.subscribe(id, &receiver.url(&format!("/{id}")), events, more);
    };
    subscribe("exact", &["order.created"], json!({}));
    subscribe("middle", &["order.*.done"], json!({}));
    subscribe("all", &["*"], json!({}));
    subscribe("other-type", &["payment.*"], json!({}));
    subscribe("other-topic", &["*"], json!({"topics": ["elsewhere"]}));
    subscribe("this-topic", &["*"], json!({"topics": [flow.scope.topic("orders")]}));
    subscribe("tenant", &["*"], json!({"tenant": "acme"}));
    subscribe("inactive", &["*"], json!({"active": false}));
    let _connector = flow.start();
    flow.event("evt_1", "order.created");
    flow.event("evt_2", "order.x.done");

    let audit = flow.audit(6);
    flow.wait_settled(2);
    let mut told: Vec<_> = audit.iter().map(told).collect();
    told.sort();
    assert_eq!(
        told,
        [
            "all evt_1 #1 delivered ok",
            "all evt_2 #1 delivered ok",
            "exact evt_1 #1 delivered ok",
            "middle evt_2 #1 delivered ok",
            "this-topic evt_1 #1 delivered ok",
            "this-topic evt_2 #1 delivered ok",
        ]
    );
    assert_eq!(receiver.requests().len(), 6);
}

#[test]
fn a_tenants_events_reach_its_subscriptions_and_those_of_all() {
    let receiver = Receiver::always(200);
    let flow = Fixture::with("tenant", |setup| setup);
    flow.scope.create_topic("billing", 1, &[]);
    let setup = flow.setup.clone().source(&flow.scope, "billing", "json", "event_type = { header = \"type\" }\nevent_id = { pointer = \"/n\" }\ntenant = { header = \"tenant\" }");
    for (id, more) in [
        ("acme", json!({"tenant": "acme"})),
        ("other", json!({"tenant": "other"})),
        ("all", json!({"payload": "raw"})),
    ] {
        flow.subscribe(id, &receiver.url(&format!("/{id}")), &["bill.sent"], more);
    }
    let mut connector = setup.start();
    connector.wait_ready(SOON);
    let value = "{\"n\": 7,  \"duplicate\":1,\"duplicate\":2}";
    flow.scope.produce(
        "billing",
        "k",
        value,
        &[("type", "bill.sent"), ("tenant", "acme"), ("content-type", "application/vnd.bill+json")],
    );

    let mut told: Vec<_> = flow.audit(2).iter().map(told).collect();
    told.sort();
    assert_eq!(told, ["acme 7 #1 delivered ok", "all 7 #1 delivered ok"]);
    let requests = receiver.requests();
    let raw = requests.iter().find(|request| request.path == "/all").expect("it was sent");
    assert_eq!(std::str::from_utf8(&raw.body), Ok(value));
    assert_eq!(raw.header("content-type"), "application/vnd.bill+json");
}

#[test]
fn a_cloudevent_is_delivered() {
    let receiver = Receiver::always(200);
    let flow = Fixture::new("cloudevent");
    flow.scope.create_topic("cloud", 1, &[]);
    let setup = flow.setup.clone().source(&flow.scope, "cloud", "cloudevents", "");
    flow.subscribe("crm", &receiver.url("/"), &["com.example.*"], json!({}));
    let mut connector = setup.start();
    connector.wait_ready(SOON);
    let headers = [
        ("ce_specversion", "1.0"),
        ("ce_id", "ce-1"),
        ("ce_source", "/test"),
        ("ce_type", "com.example.made"),
        ("ce_time", "2025-01-15T10:30:00Z"),
        ("content-type", "application/json"),
    ];
    flow.scope.produce("cloud", "k", r#"{"n":1}"#, &headers);
    let request = &receiver.wait_count(SOON, 1)[0];
    assert_eq!(
        request.json(),
        json!({"id": "ce-1", "timestamp": "2025-01-15T10:30:00Z", "event": "com.example.made", "version": "1.0", "data": {"n": 1}, "attempt": 1, "retryable": true})
    );
}

#[test]
fn a_subscription_that_is_deleted_gets_nothing_more() {
    let receiver = Receiver::always(200);
    let flow = Fixture::new("tombstone");
    flow.subscribe("gone", &receiver.url("/gone"), &["*"], json!({}));
    flow.subscribe("stays", &receiver.url("/stays"), &["*"], json!({}));
    let connector = flow.start();
    flow.event("evt_1", "a");
    flow.audit(2);
    flow.scope.produce_all("subscriptions", [Draft::tombstone("gone")]);
    connector.wait_status(SOON, |status| status["load"]["subscriptions"] == 1);
    flow.event("evt_2", "a");
    let told: Vec<_> = flow.audit(3).iter().skip(2).map(told).collect();
    assert_eq!(told, ["stays evt_2 #1 delivered ok"]);
    flow.wait_settled(2);
    assert_eq!(receiver.requests().len(), 3);
}

#[test]
fn a_delivery_from_the_deliver_topic_is_made_at_once() {
    let receiver = Receiver::always(200);
    let flow = Fixture::new("deliver");
    flow.subscribe("crm", &receiver.url("/"), &["never.this"], json!({}));
    let _connector = flow.start();
    let value = r#"{"id":"evt_t","event":"webhook.test","data":null}"#;
    let headers = [("webhooks-subscription", "crm"), ("webhooks-trigger", "test")];
    flow.scope.produce("deliver", "k", value, &headers);
    let audit = &flow.audit(1)[0];
    assert_eq!(told(audit), "crm evt_t #1 delivered ok");
    assert_eq!(audit["trigger"], "test");
    let sent = receiver.requests()[0].received_at;
    assert!(sent.elapsed().is_ok_and(|since| since < SOON) && sent < SystemTime::now());
}

#[test]
fn an_address_that_may_not_be_called_gets_nothing() {
    let receiver = Receiver::always(200);
    let flow = Fixture::with("egress", |setup| setup.set("egress", "allow", "[]"));
    flow.subscribe("inward", &receiver.url("/"), &["*"], json!({}));
    let connector = flow.start();
    let words = "url: is refused: the address is loopback and not in egress.allow";
    connector.wait_log(SOON, words);
    flow.event("evt_1", "order.created");
    flow.wait_settled(1);
    assert_eq!(receiver.count(), 0);
    let url = receiver.url("/");
    let created = flow.setup.run(&["subscriptions", "create", "x", "--url", &url, "--event", "*"]);
    let told = String::from_utf8_lossy(&created.stderr);
    assert!(!created.status.success() && told.contains(words), "{told}");
}
