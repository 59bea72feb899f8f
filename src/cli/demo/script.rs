//! The demo's script: who subscribes, what happens, how the receiver behaves.

use axum::http::StatusCode;

use crate::receiver::Received;

/// The secret that the demo's subscriptions sign with and its receiver verifies with.
pub(super) const SECRET: &str = "whsec_ZGVtby1zZWNyZXQtb2Yta2Fma2Etd2ViaG9va3M=";

/// Subscriptions by id.
pub(super) const SUBSCRIPTIONS: [(&str, &str); 3] = [
    ("crm", r#"{"url":"{receiver}/crm","events":["order.*"],"secret":"{secret}"}"#),
    (
        "billing",
        r#"{"url":"{receiver}/billing","events":["payment.*"],"secret":"{secret}","retry":{"schedule":["1s","5s"]}}"#,
    ),
    (
        "legacy",
        r#"{"url":"{receiver}/legacy","events":["order.created"],"secret":"{secret}","retry":{"schedule":["1s"]}}"#,
    ),
];

/// Topic, key and value of each event record.
pub(super) const EVENTS: [(&str, &str, &str); 6] = [
    (
        "orders",
        "o-1",
        r#"{"id":"evt_order_1","event":"order.created","data":{"orderId":1,"amount":120.50}}"#,
    ),
    (
        "payments",
        "o-1",
        r#"{"id":"evt_payment_1","event":"payment.received","data":{"orderId":1}}"#,
    ),
    ("orders", "o-1", r#"{"id":"evt_order_2","event":"order.shipped","data":{"orderId":1}}"#),
    ("orders", "o-2", "this is no event"),
    (
        "payments",
        "o-2",
        r#"{"id":"evt_payment_2","event":"payment.refunded","data":{"orderId":2}}"#,
    ),
    ("orders", "o-2", r#"{"id":"evt_order_3","event":"order.cancelled","data":{"orderId":2}}"#),
];

/// Returns every topic of the demo, with the names that the connector uses by default.
pub(super) fn topics() -> Vec<String> {
    let own = [
        "subscriptions",
        "subscription-status",
        "deliver",
        "retry.1s",
        "retry.5s",
        "retry.30s",
        "retry.2m",
        "retry.10m",
        "retry.1h",
        "retry.6h",
        "dead-letter",
        "audit",
    ];
    let own = own.iter().map(|role| format!("webhooks.{role}"));
    ["orders", "payments"].iter().map(|topic| (*topic).to_owned()).chain(own).collect()
}

/// Returns how the receiver answers: `/billing` is busy at first, `/legacy` is broken.
pub(super) fn answer(received: &Received) -> StatusCode {
    match (received.path.as_str(), received.attempt) {
        ("/billing", 1) => StatusCode::SERVICE_UNAVAILABLE,
        ("/legacy", _) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::OK,
    }
}

/// Says what is about to be seen.
pub(super) fn introduction(receiver: &str) -> String {
    format!(
        "kafka-webhooks, all in one process: an embedded broker, the connector, and a receiver at {receiver}
that verifies every signature. The connector takes about four seconds to join its group.

  crm      wants order.*         and answers 200
  billing  wants payment.*       and answers 503 the first time: its deliveries wait in a retry topic
  legacy   wants order.created   and always answers 500: its delivery ends in the dead-letter topic

   time  what happened   where                  what it says"
    )
}

/// Says how to go on from here.
pub(super) const FAREWELL: &str = "Now with your own Kafka:

  1. copy config/connector.toml, set kafka.bootstrap_servers and [[sources]]
  2. kafka-webhooks topics create --config FILE     make the connector's topics
  3. kafka-webhooks check --config FILE             look whether all is well
  4. kafka-webhooks subscriptions create crm --url https://… --event 'order.*' --config FILE
  5. kafka-webhooks run --config FILE";
