//! What goes out.

use std::collections::BTreeSet;

use super::server::{Reply, Seen, Server, answer, with_length};
use super::*;
use crate::domain::outcome::Reason;
use crate::domain::signature::{verify_standard, verify_x_webhook};

const OK: &str = "200 OK";

/// Sends an attempt and returns the one request that came of it.
async fn requested(value: &str, headers: &[(&str, &str)], changes: Value) -> Seen {
    let mut server = Server::start(|_| answer(OK, b"")).await;
    let mut changes = changes;
    if changes.get("url").is_none() {
        changes["url"] = url("http", server.port).into();
    }
    let attempted = send(&sender(), &attempt(value, headers, &changes)).await;
    assert_eq!(attempted.end.map(|answer| answer.status), Ok(200));
    let mut seen = server.seen();
    assert_eq!(seen.len(), 1);
    seen.remove(0)
}

/// Verifies the signatures of both usual schemes with one secret.
fn verify(seen: &Seen, secret: &str) {
    let [id, timestamp, signatures] =
        ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|name| seen.header(name));
    let tolerance = Duration::ZERO;
    let standard = verify_standard(secret, id, timestamp, signatures, &seen.body, now(), tolerance);
    assert_eq!(standard, Ok(()));
}

#[tokio::test]
async fn a_request_is_what_the_contract_says() {
    let trace = [("traceparent", "00-4bf92f-00f067-01"), ("tracestate", "a=1"), ("other", "no")];
    let changes = json!({"headers": {"X-Env": "prod", "accept": "text/plain", "x-name": "é"}});
    let seen = requested(EVENT, &trace, changes).await;
    assert_eq!(seen.line, "POST /hooks?token=hunter2 HTTP/1.1");
    assert_eq!(
        String::from_utf8_lossy(&seen.body),
        r#"{"id":"evt_1","timestamp":"2025-01-15T10:30:00.000Z","event":"order.created","version":"1.0","data":{"total": 1.0},"attempt":2,"retryable":true}"#
    );
    verify(&seen, "s");
    assert_eq!(verify_x_webhook("s", seen.header("x-webhook-signature"), &seen.body), Ok(()));
    let length = seen.body.len().to_string();
    let host = seen.header("host");
    assert!(host.starts_with("127.0.0.1:"), "{host}");
    let agent = concat!("kafka-webhooks/", env!("CARGO_PKG_VERSION"));
    let mut expect = [
        ("accept", "text/plain"),
        // printf hunter2:hunter2 | base64
        ("authorization", "Basic aHVudGVyMjpodW50ZXIy"),
        ("content-length", &length),
        ("content-type", "application/json"),
        ("host", host),
        ("traceparent", "00-4bf92f-00f067-01"),
        ("tracestate", "a=1"),
        ("user-agent", agent),
        ("webhook-id", "evt_1"),
        ("webhook-signature", seen.header("webhook-signature")),
        ("webhook-timestamp", "1736937000"),
        ("x-env", "prod"),
        ("x-name", "é"),
        ("x-webhook-attempt", "2"),
        ("x-webhook-event", "order.created"),
        ("x-webhook-id", "evt_1"),
        ("x-webhook-signature", seen.header("x-webhook-signature")),
    ];
    expect.sort_unstable();
    let mut found: Vec<_> = seen.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    found.sort_unstable();
    assert_eq!(found, expect);
}

#[tokio::test]
async fn every_live_secret_signs() {
    let [newest, older, expired] = ["newest", "older", "expired"];
    let secrets = json!([
        {"key": newest}, {"key": older, "expiresAt": "2025-01-15T10:30:01Z"},
        {"key": expired, "expiresAt": "2025-01-15T10:30:00Z"},
    ]);
    let seen = requested(EVENT, &[], json!({"secret": null, "secrets": secrets})).await;
    verify(&seen, newest);
    verify(&seen, older);
    assert_eq!(seen.header("webhook-signature").split(' ').count(), 2);
}

#[tokio::test]
async fn every_scheme_has_its_header() {
    let signatures =
        json!(["github", "stripe", {"scheme": "x-webhook", "header": "Acme-Signature"}]);
    let seen = requested(EVENT, &[], json!({ "signatures": signatures })).await;
    assert!(seen.header("x-hub-signature-256").starts_with("sha256="));
    assert!(seen.header("stripe-signature").starts_with("t=1736937000,v1="));
    assert_eq!(verify_x_webhook("s", seen.header("acme-signature"), &seen.body), Ok(()));
}

#[tokio::test]
async fn a_raw_request_is_the_records_value_with_its_content_type() {
    let headers = [("content-type", "application/vnd.acme+json")];
    let seen = requested(EVENT, &headers, json!({"payload": "raw"})).await;
    assert_eq!(seen.body, EVENT.as_bytes());
    assert_eq!(seen.header("content-type"), "application/vnd.acme+json");
}

#[tokio::test]
async fn a_type_beyond_ascii_goes_as_utf_8() {
    let seen = requested(r#"{"event":"größe.geändert"}"#, &[], json!({})).await;
    assert_eq!(seen.header("x-webhook-event"), "größe.geändert");
}

#[tokio::test]
async fn credentials_of_the_subscriptions_headers_come_before_those_of_its_url() {
    let seen = requested(EVENT, &[], json!({"headers": {"authorization": "Bearer t"}})).await;
    let given = seen.headers.iter().filter(|(name, _)| name == "authorization");
    assert_eq!(given.map(|(_, value)| &**value).collect::<Vec<_>>(), ["Bearer t"]);
}

#[tokio::test]
async fn a_trace_that_cannot_stand_in_a_header_is_left_out() {
    let long = "x".repeat(5000);
    let headers = [("traceparent", "a\r\nb: c"), ("tracestate", &long)];
    let seen = requested(EVENT, &headers, json!({})).await;
    assert!(seen.headers.iter().all(|(name, _)| !name.starts_with("trace") && name != "b"));
}

/// Checks that an attempt ends before anything is sent.
async fn check_unsent(value: &str, changes: Value, expect: (Reason, &str)) {
    let mut server = Server::start(|_| answer(OK, b"")).await;
    let mut changes = changes;
    if changes.get("url").is_none() {
        changes["url"] = url("http", server.port).into();
    }
    let attempted = send(&sender(), &attempt(value, &[], &changes)).await;
    let failure = attempted.end.expect_err("nothing answers what isn't sent");
    assert_eq!((failure.reason, &*failure.error), expect);
    assert_eq!((server.connections(), server.seen().len()), (0, 0));
}

#[tokio::test]
async fn a_request_that_cannot_be_built_is_our_failure() {
    let expired = json!([{"key": "s", "expiresAt": "2025-01-15T10:30:00Z"}]);
    let unsigned = (Reason::Transform, "every secret that could sign has expired");
    check_unsent(EVENT, json!({"secret": null, "secrets": expired}), unsigned).await;
    let no_uri = (Reason::Transform, "the URL is not one by RFC 3986");
    check_unsent(EVENT, json!({"url": "http://{hunter2}/"}), no_uri).await;
}

#[tokio::test]
async fn a_body_larger_than_allowed_is_not_sent() {
    let value = format!(r#"{{"event":"a","data":"{}"}}"#, "x".repeat(1002));
    assert_eq!(value.len(), 1025);
    let expect = (Reason::TooLarge, "the body has 1025 bytes, 1024 are allowed");
    check_unsent(&value, json!({"payload": "raw"}), expect).await;
}

#[tokio::test]
async fn a_connection_that_closes_under_a_request_costs_no_request_twice() {
    const ATTEMPTS: usize = 50;
    let closing = Reply::Last(with_length(OK, 2, b"ok"));
    let mut server = Server::start(|_| closing).await;
    let (sender, url) = (sender(), url("http", server.port));
    let mut taken = 0;
    for _ in 0..ATTEMPTS {
        match send_to(&sender, &url).await.end {
            Ok(_) => taken += 1,
            // It closed in the moment of writing: nobody knows what became of the request, and the domain repeats it.
            Err(failure) => assert_eq!(failure.reason, Reason::Reset, "{failure:?}"),
        }
    }
    assert_eq!(server.seen().len(), taken);
    assert!(taken > ATTEMPTS / 2, "{taken}");
}

/// Checks that the README tells receivers of every header, in the table that stands there for them.
#[tokio::test]
async fn the_readme_tells_of_every_header_that_is_sent() {
    let readme = include_str!("../../../README.md");
    let table = readme.split_once("with these headers, beside those of the subscription:");
    let (table, _) =
        table.and_then(|(_, rest)| rest.split_once("\n\nTwo commands")).expect("a table");
    let rows = table.lines().filter_map(|row| row.strip_prefix("| `")?.split_once("` | "));
    let told: Vec<_> = rows.flat_map(|(names, _)| names.split("` `")).collect();
    let is_told = |name: &str| match name.strip_prefix("ce-") {
        Some(_) => told.contains(&"ce-*"),
        None => told.contains(&name),
    };
    let trace = [("traceparent", "00-4bf92f-00f067-01"), ("tracestate", "a=1")];
    let all = json!(["standard", "x-webhook", "github", "stripe"]);
    let mut sent = BTreeSet::new();
    for changes in [
        json!({}),
        json!({ "signatures": all, "payload": "cloudevents-binary" }),
        json!({"payload": "cloudevents", "auth": {"type": "bearer", "token": "t"}}),
        json!({"payload": "raw", "auth": {"type": "basic", "username": "u", "password": "p"}}),
        json!({"abuseProtection": {"origin": "hooks.example.com"}}),
    ] {
        let permitted = answer("200 OK\r\nwebhook-allowed-origin: *", b"");
        let mut server = Server::start(|_| permitted).await;
        let mut changes = changes;
        changes["url"] = format!("http://127.0.0.1:{}/", server.port).into();
        let attempted = send(&sender(), &attempt(EVENT, &trace, &changes)).await;
        assert!(attempted.end.is_ok(), "{attempted:?}");
        let seen = server.seen();
        sent.extend(seen.into_iter().flat_map(|seen| seen.headers).map(|(name, _)| name));
    }
    let untold: Vec<_> = sent.iter().filter(|name| !is_told(name)).collect();
    assert!(untold.is_empty(), "{untold:?}");
    let is_sent = |name: &&str| match name.strip_suffix('*') {
        Some(start) => sent.iter().any(|sent| sent.starts_with(start)),
        None => sent.contains(*name),
    };
    assert!(told.iter().all(is_sent), "{told:?} and {sent:?}");
}
