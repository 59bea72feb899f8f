//! Traces: one span for each attempt, sent to a collector by OTLP.
//!
//! A span is made when its attempt has ended, so that nothing is carried along while it runs, and waits in a bounded
//! queue for a thread that exports. What doesn't fit, or isn't taken, is dropped and counted: a collector that is away
//! harms no delivery. No span holds a payload, a header, or the userinfo or query of a URL.
//!
//! The names of attributes are OpenTelemetry's semantic conventions for HTTP client spans and for messaging with Kafka;
//! what they have no name for begins with `webhooks.`. The exporter's library sends further headers if the variable
//! `OTEL_EXPORTER_OTLP_HEADERS` names some; nothing else of it is left to the environment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanContext, SpanKind, Status, TraceContextExt, TraceFlags, TraceId};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_http::HttpClient;
use opentelemetry_otlp::{
    Compression, ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, IdGenerator as _, ParentBasedSampler,
    RandomIdGenerator, Sampler, SamplingDecision, ShouldSample as _, SpanData, SpanEvents,
    SpanLinks, SpanProcessor as _,
};
use sha2::{Digest, Sha256};
use tracing::warn;

use super::metrics::{self, Spans};
use crate::config;
use crate::domain::engine::Attempt;
use crate::domain::event::Event;
use crate::domain::outcome::{Attempted, Reason};
use crate::domain::record::Headers;
use crate::domain::tiers;

/// The spans of one export.
const BATCH: usize = 512;
/// How long spans gather for one.
const GATHER: Duration = Duration::from_secs(1);
/// The longest `tracestate` that a span keeps; W3C Trace Context, section 3.3.1.5, asks for so much.
const TRACESTATE_MAX: usize = 512;

/// The longest text of a span, in bytes: event types and tenants are their producers' and have no bound.
const TEXT_MAX: usize = 512;

/// HTTP requests have this method, and their spans this name.
const POST: &str = "POST";

/// Makes spans of attempts and has them exported.
pub struct Traces {
    processor: BatchSpanProcessor,
    sampler: ParentBasedSampler,
    scope: InstrumentationScope,
    /// Spans that wait or are being exported, and how many may.
    waiting: Arc<AtomicUsize>,
    most: usize,
}

impl Traces {
    /// Starts the thread that exports spans of this instance by `client`.
    ///
    /// # Errors
    /// The exporter doesn't take the settings.
    pub fn start(
        traces: &config::Traces,
        instance: &str,
        client: impl HttpClient + 'static,
    ) -> Result<Self, ExporterBuildError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_compression(Compression::Gzip)
            .with_endpoint(&traces.endpoint)
            .with_timeout(traces.timeout)
            .build()?;
        let waiting = Arc::new(AtomicUsize::new(0));
        let exporter =
            Counted { exporter, waiting: waiting.clone(), fails: AtomicBool::new(false) };
        let queue = BatchConfigBuilder::default()
            .with_max_queue_size(traces.queue_max)
            .with_max_export_batch_size(BATCH.min(traces.queue_max))
            .with_scheduled_delay(GATHER);
        let mut processor =
            BatchSpanProcessor::builder(exporter).with_batch_config(queue.build()).build();
        let name = env!("CARGO_PKG_NAME");
        let version = env!("CARGO_PKG_VERSION");
        let resource = Resource::builder_empty().with_service_name(name).with_attributes([
            KeyValue::new("service.version", version),
            KeyValue::new("service.instance.id", instance.to_owned()),
        ]);
        processor.set_resource(&resource.build());
        Ok(Self {
            processor,
            sampler: Sampler::parent_based(Sampler::TraceIdRatioBased(traces.sample_ratio)),
            scope: InstrumentationScope::builder(name).with_version(version).build(),
            waiting,
            most: traces.queue_max,
        })
    }

    /// Makes the span of an attempt that began at `started` and has just ended.
    pub fn attempted(&self, attempt: &Attempt, attempted: &Attempted, started: Timestamp) {
        if let Some(span) = self.span(attempt, attempted, started) {
            if self.waiting.fetch_add(1, Ordering::Relaxed) < self.most {
                self.processor.on_end(span);
            } else {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                metrics::spans(Spans::Dropped, 1);
            }
        }
    }

    /// Exports what waits, for so long at most.
    pub fn stop(&self, timeout: Duration) {
        if let Err(error) = self.processor.shutdown_with_timeout(timeout) {
            warn!(%error, "spans that still waited are dropped");
        }
    }

    /// Makes the span, if its trace is sampled and there was something to send.
    fn span(
        &self,
        attempt: &Attempt,
        attempted: &Attempted,
        started: Timestamp,
    ) -> Option<SpanData> {
        if attempted.end.as_ref().is_err_and(|failure| failure.reason == Reason::Filtered) {
            return None;
        }
        let context = parent(&attempt.event.record.headers);
        let parent = context.span().span_context().clone();
        let trace_id = if parent.is_valid() { parent.trace_id() } else { trace_of(&attempt.event) };
        let sampled =
            self.sampler.should_sample(Some(&context), trace_id, POST, &SpanKind::Client, &[], &[]);
        if sampled.decision != SamplingDecision::RecordAndSample {
            return None;
        }
        let span_id = RandomIdGenerator::default().new_span_id();
        let flags = TraceFlags::SAMPLED;
        let start_time = SystemTime::UNIX_EPOCH + tiers::until(started, Timestamp::UNIX_EPOCH);
        let (attributes, status) = describe(attempt, attempted);
        Some(SpanData {
            span_context: SpanContext::new(trace_id, span_id, flags, false, sampled.trace_state),
            parent_span_id: parent.span_id(),
            parent_span_is_remote: parent.is_remote(),
            span_kind: SpanKind::Client,
            name: POST.into(),
            start_time,
            end_time: start_time + attempted.latency,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: self.scope.clone(),
        })
    }
}

/// Returns what a span says of its attempt, and whether that failed.
fn describe(attempt: &Attempt, attempted: &Attempted) -> (Vec<KeyValue>, Status) {
    let Attempt { event, subscription, number, .. } = attempt;
    let origin = &event.label.origin;
    let mut attributes = vec![
        KeyValue::new("http.request.method", POST),
        text("url.full", subscription.audit_url()),
        text("server.address", subscription.url.host_str().unwrap_or_default()),
        KeyValue::new("server.port", subscription.url.port_or_known_default().map_or(0, i64::from)),
        KeyValue::new("messaging.system", "kafka"),
        KeyValue::new("messaging.operation.name", "process"),
        KeyValue::new("messaging.operation.type", "process"),
        text("messaging.destination.name", &origin.topic),
        KeyValue::new("messaging.destination.partition.id", origin.partition.to_string()),
        KeyValue::new("messaging.kafka.offset", origin.offset.0),
        text("messaging.message.id", event.label.id.as_str()),
        text("webhooks.event.type", &event.label.event_type),
        text("webhooks.subscription", subscription.id.as_str()),
        KeyValue::new("webhooks.attempt", i64::from(*number)),
    ];
    attributes.extend(event.label.tenant.as_deref().map(|tenant| text("webhooks.tenant", tenant)));
    if *number > 1 {
        attributes.push(KeyValue::new("http.request.resend_count", i64::from(number - 1)));
    }
    let (error, description) = match &attempted.end {
        Ok(answer) => {
            let status = answer.status;
            attributes.push(KeyValue::new("http.response.status_code", i64::from(status)));
            if (200..300).contains(&status) {
                return (attributes, Status::Unset);
            }
            (status.to_string(), String::new())
        }
        Err(failure) => (failure.reason.as_str().to_owned(), cut(&failure.error)),
    };
    attributes.push(KeyValue::new("error.type", error));
    (attributes, Status::error(description))
}

fn text(key: &'static str, value: &str) -> KeyValue {
    KeyValue::new(key, cut(value))
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_MAX)].to_owned()
}

/// Returns the trace that a record belongs to, as its producer said: W3C Trace Context.
fn parent(headers: &Headers) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Carrier(headers))
}

/// The trace of an event that came without one: all its attempts are one trace, whichever instance makes them.
fn trace_of(event: &Event) -> TraceId {
    let origin = &event.label.origin;
    let digest = Sha256::digest(format!("{origin} {}", origin.timestamp));
    let (id, _) = digest.split_first_chunk().expect("a digest has 32 bytes");
    TraceId::from_bytes(*id)
}

struct Carrier<'a>(&'a Headers);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.text(key).filter(|value| value.len() <= TRACESTATE_MAX)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.0.iter().map(|header| &*header.name).collect()
    }
}

/// Counts what becomes of spans.
#[derive(Debug)]
struct Counted {
    exporter: SpanExporter,
    waiting: Arc<AtomicUsize>,
    /// Whether the last export failed: an outage is told of once.
    fails: AtomicBool,
}

impl opentelemetry_sdk::trace::SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let exported = self.exporter.export(batch).await;
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        metrics::spans(if exported.is_ok() { Spans::Exported } else { Spans::Failed }, count);
        let failed_before = self.fails.swap(exported.is_err(), Ordering::Relaxed);
        if let (Err(error), false) = (&exported, failed_before) {
            warn!(%error, "the trace collector takes no spans: they are dropped until it does");
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::decode::tests::{event, record, source};
    use crate::domain::outcome::Failure;
    use crate::domain::source::Format;
    use crate::domain::subscription::tests::subscription;
    use crate::http::Collector;

    const EVENT: &str = r#"{"id":"evt_1","event":"order.created","data":{}}"#;
    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const NOT_SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    /// Makes the span of a failed attempt at an event with these headers.
    fn span(sample_ratio: f64, headers: &[(&str, &str)], reason: Reason) -> Option<SpanData> {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
        let settings = config::Traces {
            endpoint: "http://127.0.0.1:9/v1/traces".into(),
            headers: Default::default(),
            sample_ratio,
            queue_max: 1,
            timeout: Duration::from_secs(1),
        };
        let collector = Collector::new(&settings, None, runtime.handle().clone());
        let collector = collector.expect("the client can be made");
        let traces = Traces::start(&settings, "a", collector).expect("the settings are good");
        let event = event(source(Format::Envelope), record(EVENT, headers));
        let definition = json!({"url": "https://example.com/?key=s3cret"});
        let attempt = Attempt::of_none(event, subscription("crm", &definition), 2);
        let end = Err(Failure { reason, error: "no answer".into() });
        let attempted = Attempted { latency: Duration::from_millis(20), end };
        let started = Timestamp::from_second(1_736_937_000).expect("in range");
        traces.span(&attempt, &attempted, started)
    }

    #[test]
    fn what_is_sampled_is_the_producer_s_choice_and_else_the_setting_s() {
        let is_made = |ratio, headers: &[_]| span(ratio, headers, Reason::Timeout).is_some();
        assert!(is_made(1.0, &[]) && !is_made(0.0, &[]));
        assert!(is_made(0.0, &[("traceparent", SAMPLED)]));
        assert!(!is_made(1.0, &[("traceparent", NOT_SAMPLED)]));
        assert!(!is_made(0.0, &[("traceparent", "00-none-of-01")]));
    }

    #[test]
    fn an_attempt_without_an_answer_is_an_error_by_its_reason() {
        let span = span(1.0, &[], Reason::Timeout).expect("it is sampled");
        assert_eq!(span.status, Status::error("no answer"));
        let said =
            |key, value: &str| span.attributes.contains(&KeyValue::new(key, value.to_owned()));
        assert!(said("error.type", "timeout") && said("url.full", "https://example.com/"));
        assert_eq!(span.end_time, span.start_time + Duration::from_millis(20));
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(cut(&"ü".repeat(TEXT_MAX)).len(), TEXT_MAX);
        assert_eq!(cut(&format!("a{}", "ü".repeat(TEXT_MAX))).len(), TEXT_MAX - 1);
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn where_nothing_was_to_be_sent_there_is_no_span() {
        assert_eq!(span(1.0, &[], Reason::Filtered), None);
    }
}
