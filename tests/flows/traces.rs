//! Traces: each attempt is a span of the trace that its event belongs to, and a collector that is away harms nobody.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;
use serde_json::json;

use crate::fixture::{Fixture, SOON};
use crate::support::connector::{Connector, quoted};
use crate::support::exchange::{Answer, Seen};
use crate::support::free_port;
use crate::support::receiver::Receiver;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A flow whose spans go to this base address.
fn traced(name: &str, endpoint: &str, more: &[(&str, &str)]) -> Fixture {
    Fixture::with(name, |setup| {
        let setup = setup.set("traces", "endpoint", &quoted(endpoint));
        more.iter().fold(setup, |setup, (key, value)| setup.set("traces", key, value))
    })
}

/// A receiver that takes the second attempt of each delivery.
fn reluctant() -> Receiver {
    Receiver::start(|_, nth| Answer::status(if nth == 1 { 503 } else { 200 }))
}

/// Returns what a request of OTLP holds, which comes compressed.
fn unpacked(seen: &Seen) -> Vec<u8> {
    assert_eq!(seen.header("content-encoding"), "gzip");
    let mut body = Vec::new();
    GzDecoder::new(&*seen.body).read_to_end(&mut body).expect("the body is gzip");
    body
}

/// Returns the spans that a collector has got, in the order of their attempts.
fn spans(seen: &[Arc<Seen>]) -> Vec<Span> {
    let requests = seen.iter().map(|seen| {
        ExportTraceServiceRequest::decode(&*unpacked(seen)).expect("a request of OTLP")
    });
    let resources = requests.flat_map(|request| request.resource_spans);
    let scopes = resources.flat_map(|resource| resource.scope_spans);
    let mut spans: Vec<_> = scopes.flat_map(|scope| scope.spans).collect();
    spans.sort_by_key(|span| span.start_time_unix_nano);
    spans
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<&str, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?} is neither text nor a number"),
    };
    let value = |one: &KeyValue| one.value.as_ref().and_then(|it| it.value.as_ref().map(text));
    attributes.iter().map(|one| (one.key.as_str(), value(one).unwrap_or_default())).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A string takes any amount of text.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[test]
fn an_attempt_is_a_span_of_the_trace_that_its_event_carries() {
    let (collector, receiver) = (Receiver::always(200), reluctant());
    let mut flow = traced("traces", &collector.url(""), &[]);
    let headers = r#"{ authorization = "Bearer t0ken" }"#;
    flow.setup = flow.setup.env("KAFKA_WEBHOOKS__TRACES__HEADERS", headers);
    let connector = flow.start();
    let retry = json!({"retry": {"schedule": ["1s"]}});
    flow.subscribe("crm", &receiver.url("/hooks?key=s3cret"), &["order.*"], retry);
    connector.wait_status(SOON, |status| status["load"]["subscriptions"] == 1);
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let event = json!({"id": "evt_1", "event": "order.created", "data": {"note": "pr1vate"}});
    let headers = [("traceparent", traceparent.as_str()), ("tracestate", "a=1")];
    flow.scope.produce("orders", "k", event.to_string(), &headers);

    let seen = collector.wait_until(SOON, |seen| spans(seen).len() == 2);
    let spans = spans(&seen);
    let outcomes = [(StatusCode::Error, "503"), (StatusCode::Unset, "200")];
    for ((span, number), (status, answered)) in spans.iter().zip(1..).zip(outcomes) {
        assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.into(), PARENT.into()));
        assert_eq!((span.name.as_str(), span.trace_state.as_str()), ("POST", "a=1"));
        assert_eq!(span.kind(), SpanKind::Client);
        assert_eq!(span.status.as_ref().map(|status| status.code()), Some(status));
        assert!(span.start_time_unix_nano < span.end_time_unix_nano);
        let attributes = texts(&span.attributes);
        assert_eq!(attributes["http.request.method"], "POST");
        assert_eq!(attributes["http.response.status_code"], answered);
        assert_eq!(attributes["url.full"], receiver.url("/hooks"));
        assert_eq!(attributes["server.address"], "127.0.0.1");
        assert_eq!(attributes["messaging.system"], "kafka");
        assert_eq!(attributes["messaging.destination.name"], flow.scope.topic("orders"));
        assert_eq!(attributes["messaging.kafka.offset"], "0");
        assert_eq!(attributes["messaging.message.id"], "evt_1");
        assert_eq!(attributes["webhooks.subscription"], "crm");
        assert_eq!(attributes["webhooks.attempt"], number.to_string());
        assert_eq!(
            attributes.get("error.type").map(String::as_str),
            (number == 1).then_some("503")
        );
    }
    assert_ne!(spans[0].span_id, spans[1].span_id);
    for request in receiver.requests() {
        assert_eq!(request.header("traceparent"), traceparent);
        assert_eq!(request.header("tracestate"), "a=1");
    }
    for export in &seen {
        assert_eq!(
            (export.path.as_str(), export.header("authorization")),
            ("/v1/traces", "Bearer t0ken")
        );
        let body = unpacked(export);
        let body = String::from_utf8_lossy(&body);
        assert!(body.contains("kafka-webhooks") && body.contains("service.instance.id"));
        assert!(!body.contains("s3cret") && !body.contains("pr1vate"));
    }
}

#[test]
fn a_trace_begins_with_an_event_that_carries_none_and_none_with_one_that_is_not_sampled() {
    let (collector, receiver) = (Receiver::always(200), reluctant());
    let flow = traced("traces-begin", &collector.url(""), &[]);
    let mut connector = flow.start();
    let retry = json!({"retry": {"schedule": ["1s"]}});
    flow.subscribe("crm", &receiver.url("/"), &["order.*"], retry);
    connector.wait_status(SOON, |status| status["load"]["subscriptions"] == 1);
    let event = json!({"id": "evt_1", "event": "order.created", "data": {}}).to_string();
    let unsampled = format!("00-{TRACE}-{PARENT}-00");
    flow.scope.produce("orders", "a", &event, &[("traceparent", &unsampled)]);
    flow.event("evt_2", "order.created");
    flow.audit(4);
    // What waits for its export goes out before it ends.
    connector.sigterm();
    assert!(connector.wait_exit(SOON).success());

    let spans = spans(&collector.requests());
    let of: Vec<_> = spans.iter().map(|span| texts(&span.attributes)).collect();
    assert_eq!(of.iter().map(|it| &it["webhooks.attempt"]).collect::<Vec<_>>(), ["1", "2"]);
    assert!(of.iter().all(|it| it["messaging.message.id"] == "evt_2"));
    assert_eq!(spans[0].trace_id, spans[1].trace_id);
    assert!(spans.iter().all(|span| span.parent_span_id.is_empty()));
}

/// Delivers with a collector that takes nothing, and looks what becomes of the spans.
fn check_away(name: &str, endpoint: &str) {
    const EVENTS: usize = 50;
    let receiver = Receiver::always(200);
    let flow = traced(name, endpoint, &[("queue_max", "4"), ("timeout", r#""500ms""#)]);
    let mut connector = flow.start();
    flow.subscribe("crm", &receiver.url("/"), &["order.*"], json!({}));
    connector.wait_status(SOON, |status| status["load"]["subscriptions"] == 1);
    for number in 0..EVENTS {
        flow.event(&format!("evt_{number}"), "order.created");
    }
    let audit = flow.audit(EVENTS);
    assert!(audit.iter().all(|record| record["outcome"] == "delivered"));
    let deadline = Instant::now() + SOON;
    while lost(&connector) != EVENTS as u64 {
        assert!(Instant::now() < deadline, "{} of {EVENTS} are told of", lost(&connector));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(count(&connector, "dropped") > 0 && count(&connector, "exported") == 0);
    connector.sigterm();
    assert!(connector.wait_exit(SOON).success());
}

fn lost(connector: &Connector) -> u64 {
    count(connector, "failed") + count(connector, "dropped")
}

fn count(connector: &Connector, outcome: &str) -> u64 {
    let (_, metrics) = connector.get("/metrics");
    let series = format!("webhooks_trace_spans_total{{outcome=\"{outcome}\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&series));
    value.and_then(|value| value.parse().ok()).expect("it is exported from the start")
}

#[test]
fn a_collector_that_is_away_harms_no_delivery() {
    check_away("traces-away", &format!("http://127.0.0.1:{}", free_port()));
}

#[test]
fn a_collector_that_hangs_harms_no_delivery() {
    let collector = Receiver::start(|_, _| Answer::hang());
    check_away("traces-hang", &collector.url(""));
}
