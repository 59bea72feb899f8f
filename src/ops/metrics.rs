//! Every metric: its name, type, unit, labels and meaning, in this file and nowhere else.
//!
//! No label carries a subscription, an event or a URL: the number of series is bounded by topics, partitions, tiers
//! and reasons. The README's table, the dashboard and the alert rules are held against [`ALL`] by the tests.

mod session;

use std::time::{Duration, SystemTime};

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;

pub use self::session::Metrics;
use super::health::Report;
use crate::domain::audit::Outcome;
use crate::domain::expression::EvaluationError;
use crate::domain::outcome::Reason;

/// What a metric counts or measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Whether it only grows, goes up and down, or is a distribution.
    pub kind: Kind,
    /// Its unit; `Count` for what has none.
    pub unit: Unit,
    /// The labels that each of its series has.
    pub labels: &'static [&'static str],
    /// What it says, in a sentence without its full stop.
    pub meaning: &'static str,
}

/// The types of metrics, as Prometheus has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// A distribution, in the buckets of [`BUCKETS`].
    Histogram,
}

/// Defines the names, and [`ALL`] of them: what isn't described can't be named.
macro_rules! metrics {
    ($($constant:ident: $kind:ident($name:literal, $unit:ident, $labels:expr) $meaning:literal)*) => {
        $(const $constant: &str = $name;)*

        /// Every metric, in the order in which the README has them.
        pub const ALL: &[Metric] = &[$(Metric {
            name: $name,
            kind: Kind::$kind,
            unit: Unit::$unit,
            labels: &$labels,
            meaning: $meaning,
        },)*];
    };
}

metrics! {
    ATTEMPTS: Counter("webhooks_attempts_total", Count, ["outcome", "reason"])
        "Attempts that ended and are committed; a used-up schedule's last one has the reason `exhausted`"
    ANSWERS: Counter("webhooks_answers_total", Count, ["status"])
        "Attempts by what the receiver answered: `1xx` to `5xx`, or `none`"
    DECISIONS: Counter("webhooks_decisions_total", Count, ["outcome", "reason"])
        "Decisions made without an attempt"
    MOVES: Counter("webhooks_moves_total", Count, [])
        "Deliveries that went on to another retry topic without an attempt: down the wheel, or to wait for their endpoint"
    ATTEMPT_DURATION: Histogram("webhooks_attempt_duration_seconds", Seconds, [])
        "Time from an attempt's start to its end"
    LANE_WAIT: Histogram("webhooks_lane_wait_seconds", Seconds, [])
        "Time that a delivery waited for its turn before an attempt"
    EVENT_TO_DELIVERY: Histogram("webhooks_event_to_delivery_seconds", Seconds, [])
        "Time from an event's record to its delivery at the first attempt"
    IN_FLIGHT: Gauge("webhooks_in_flight", Count, [])
        "Attempts that run"
    IN_FLIGHT_LIMIT: Gauge("webhooks_in_flight_limit", Count, [])
        "Attempts that may run at once: `delivery.max_in_flight`"
    IN_FLIGHT_CAPACITY: Gauge("webhooks_in_flight_capacity", Count, [])
        "Attempts that may run at once at present: fewer while those that run wait for the connector itself"
    QUEUED: Gauge("webhooks_queued", Count, ["waits_for"])
        "Deliveries that wait in memory for a `slot`, for one of their subscription's own attempts to end (`limit`), for its `rate`, or for an `endpoint` or origin that is left alone"
    LANES: Gauge("webhooks_lanes", Count, ["state"])
        "Subscriptions that are `active` or `limited` (their rate is used up), and endpoints and origins that are `open` (left alone for a while)"
    BYTES: Gauge("webhooks_record_bytes", Bytes, [])
        "Bytes of records in hand and of the bodies made of them, until they are delivered or written on"
    BYTES_LIMIT: Gauge("webhooks_record_bytes_limit", Bytes, [])
        "Bytes of records at which no more are taken up: `delivery.max_bytes_in_flight`"
    MEMORY: Gauge("webhooks_resident_memory_bytes", Bytes, [])
        "Memory that the process holds, as Linux tells it"
    RECORDS: Counter("webhooks_records_total", Count, [])
        "Records taken up, of all topics"
    TOMBSTONES: Counter("webhooks_tombstones_total", Count, [])
        "Records without a value in event topics"
    UNMATCHED: Counter("webhooks_unmatched_total", Count, [])
        "Events that no subscription wanted"
    FILTERED: Counter("webhooks_filtered_total", Count, [])
        "Events that the filter of a subscription was not true of"
    FILTER_ERRORS: Counter("webhooks_filter_errors_total", Count, ["error"])
        "Events that the filter of a subscription failed on, which is no match"
    ALREADY_SETTLED: Counter("webhooks_already_settled_total", Count, [])
        "Records that a former owner of the partition had settled"
    STALE: Counter("webhooks_stale_results_total", Count, [])
        "Results that came twice, or after their partition was gone or had begun anew"
    SUBSCRIPTIONS: Gauge("webhooks_subscriptions", Count, ["state"])
        "Subscriptions that are `active`, `inactive` or `invalid`, and of the active ones those `failing` or `disabled`; every instance knows all"
    PARTITIONS: Gauge("webhooks_partitions", Count, [])
        "Partitions in hand, of all topics"
    WATERMARK_AGE: Gauge("webhooks_watermark_age_seconds", Seconds, ["topic", "partition"])
        "How long the oldest open record of a partition has been open; 0 if none is"
    OPEN: Gauge("webhooks_open_records", Count, ["topic", "partition"])
        "Records of a partition that are taken up and not settled"
    LAG: Gauge("webhooks_lag_records", Count, ["topic", "partition"])
        "Records of a partition that aren't settled, at most: the marker behind a transaction counts as one"
    TIER_WAITING: Gauge("webhooks_tier_waiting_records", Count, ["tier"])
        "Records that wait in a retry tier, in the partitions in hand, at most"
    COMMIT_DURATION: Histogram("webhooks_ledger_commit_duration_seconds", Seconds, [])
        "Time from a transaction's begin to its commit"
    ABORTS: Counter("webhooks_ledger_aborts_total", Count, [])
        "Transactions that were aborted; their outcomes are written again"
    WAITING_FOR_SCHEMAS: Gauge("webhooks_waiting_for_schema_records", Count, [])
        "Records that hold their partitions back because the schema registry can't be reached"
    REGISTRY_REQUESTS: Counter("webhooks_registry_requests_total", Count, ["outcome"])
        "Schemas asked for: `answered`, `unusable`, `unknown` (to the registry), `failed` (no registry answered)"
    TRACE_SPANS: Counter("webhooks_trace_spans_total", Count, ["outcome"])
        "Spans of attempts: `exported`, `failed` (the collector didn't take them), `dropped` (the queue was full)"
    SESSIONS: Counter("webhooks_sessions_total", Count, [])
        "Times that the connector joined its group; more than one means that a session failed"
    LIVE: Gauge("webhooks_live", Count, [])
        "1 if `/live` says so, else 0"
    READY: Gauge("webhooks_ready", Count, [])
        "1 if `/ready` says so, else 0"
    CONDITIONS: Gauge("webhooks_ready_condition", Count, ["condition"])
        "1 if a condition of `/ready` holds, else 0: `subscriptions-read`, `producer-initialised`, `partitions-assigned`, `broker-reachable`, `registry-reachable`"
    START_TIME: Gauge("webhooks_start_time_seconds", Seconds, [])
        "When the process started, in Unix time"
    BUILD_INFO: Gauge("webhooks_build_info", Count, ["version"])
        "Always 1; the label says which version runs"
}

/// Upper bounds of latency buckets, in seconds.
pub const BUCKETS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// How long a gauge is shown after it was last set.
const GAUGE_IDLE: Duration = Duration::from_secs(30);

/// Starts to record metrics, and returns the handle that renders them. Once a process.
///
/// # Errors
/// A recorder is there already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let builder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &BUCKETS)?;
    // A partition that was given back is not looked at any more, and its series ends.
    let builder = builder.idle_timeout(MetricKindMask::GAUGE, Some(GAUGE_IDLE));
    let handle = builder.install_recorder()?;
    describe();
    begin();
    Ok(handle)
}

fn describe() {
    for Metric { name, kind, unit, meaning, .. } in ALL {
        match kind {
            Kind::Counter => describe_counter!(*name, *unit, *meaning),
            Kind::Gauge => describe_gauge!(*name, *unit, *meaning),
            Kind::Histogram => describe_histogram!(*name, *unit, *meaning),
        }
    }
}

/// Begins the counters that are looked at for an increase, with nothing in them: Prometheus sees no increase in a
/// series that wasn't there before.
fn begin() {
    let given_up = |reason: &Reason| !matches!(reason, Reason::Ok | Reason::Filtered);
    let dead = Outcome::DeadLettered.as_str();
    for reason in Reason::ALL.iter().filter(|reason| given_up(reason)) {
        counter!(DECISIONS, "outcome" => dead, "reason" => reason.as_str()).increment(0);
        counter!(ATTEMPTS, "outcome" => dead, "reason" => reason.as_str()).increment(0);
    }
    for asked in [Asked::Answered, Asked::Unusable, Asked::Unknown, Asked::Failed] {
        counter!(REGISTRY_REQUESTS, "outcome" => asked.as_str()).increment(0);
    }
    for error in EvaluationError::ALL {
        counter!(FILTER_ERRORS, "error" => error.as_str()).increment(0);
    }
    for outcome in [Spans::Exported, Spans::Failed, Spans::Dropped] {
        spans(outcome, 0);
    }
}

/// Records what is true of the whole process; called before each answer of `/metrics`.
pub fn process(report: &Report, started: SystemTime) {
    let flag = |holds: bool| if holds { 1.0 } else { 0.0 };
    gauge!(LIVE).set(flag(report.live));
    gauge!(READY).set(flag(report.ready));
    for (condition, holds) in report.readiness.conditions() {
        gauge!(CONDITIONS, "condition" => condition).set(flag(holds));
    }
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    let since_epoch = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    gauge!(START_TIME).set(since_epoch.as_secs_f64());
    if let Some(bytes) = resident_memory() {
        gauge!(MEMORY).set(bytes as f64);
    }
}

/// Reads what Linux says of the process's memory; `None` elsewhere. See proc_pid_status(5).
fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes << 10)
}

/// What came of asking for a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is here.
    Answered,
    /// It is here and can't be used.
    Unusable,
    /// The registry doesn't know it.
    Unknown,
    /// No registry answered.
    Failed,
}

impl Asked {
    fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Unusable => "unusable",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
        }
    }
}

/// Records that a schema was asked for.
pub fn registry_asked(came_of_it: Asked) {
    counter!(REGISTRY_REQUESTS, "outcome" => came_of_it.as_str()).increment(1);
}

/// What became of spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spans {
    /// The collector took them.
    Exported,
    /// The collector didn't take them.
    Failed,
    /// The queue was full.
    Dropped,
}

impl Spans {
    fn as_str(self) -> &'static str {
        match self {
            Self::Exported => "exported",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// Records what became of spans.
pub fn spans(outcome: Spans, count: usize) {
    counter!(TRACE_SPANS, "outcome" => outcome.as_str()).increment(count as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The README's table, by the line that stands above it.
    fn table() -> Vec<&'static str> {
        let readme = include_str!("../../README.md").lines();
        let rows = readme.skip_while(|line| *line != "| metric | type | unit | labels | meaning |");
        rows.skip(2).take_while(|line| line.starts_with('|')).collect()
    }

    fn row(metric: &Metric) -> String {
        let Metric { name, kind, unit, labels, meaning } = metric;
        let kind = format!("{kind:?}").to_lowercase();
        let unit = if *unit == Unit::Count { "" } else { unit.as_str() };
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{name}` | {kind} | {unit} | {} | {meaning} |", labels.join(" "))
    }

    #[test]
    fn the_readme_s_table_is_what_there_is() {
        assert_eq!(table(), ALL.iter().map(row).collect::<Vec<_>>());
    }

    /// So that the number of series doesn't grow with that of subscriptions, tenants or receivers.
    #[test]
    fn labels_have_few_values() {
        const BOUNDED: [&str; 11] = [
            "outcome",
            "reason",
            "status",
            "state",
            "waits_for",
            "error",
            "topic",
            "partition",
            "tier",
            "condition",
            "version",
        ];
        for Metric { name, labels, .. } in ALL {
            assert!(labels.iter().all(|label| BOUNDED.contains(label)), "{name}");
        }
    }

    /// Prometheus, "Metric and label naming" and "Instrumentation": base units, plural, `_total` for what only grows.
    #[test]
    fn names_follow_the_conventions() {
        for Metric { name, kind, unit, labels, .. } in ALL {
            let is_plain = |text: &str| {
                text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
                    && !text.contains("__")
            };
            assert!(name.starts_with("webhooks_") && is_plain(name), "{name}");
            assert!(labels.iter().all(|label| is_plain(label)), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            let reserved = ["_bucket", "_count", "_sum"];
            assert!(!reserved.iter().any(|suffix| name.ends_with(suffix)), "{name}");
            assert!(matches!(unit, Unit::Count | Unit::Seconds | Unit::Bytes), "{name}");
            let measures = name.trim_end_matches("_limit");
            assert!(*unit == Unit::Count || measures.ends_with(unit.as_str()), "{name}");
            let same = ALL.iter().filter(|other| other.name == *name).count();
            assert_eq!(same, 1, "{name}");
        }
    }
}
