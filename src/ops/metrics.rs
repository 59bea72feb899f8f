//! Every metric: its name, unit and labels, in this file and nowhere else.
//!
//! No label carries a subscription, an event or a URL: the number of series is bounded by topics, partitions, tiers
//! and reasons.

use std::time::Duration;

use jiff::Timestamp;
use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;
use rustc_hash::FxHashMap;

use crate::config::Tier;
use crate::domain::audit::Outcome;
use crate::domain::ending::{Ending, Next};
use crate::domain::engine::{Counts, Engine, LaneCounts};
use crate::domain::expression::EvaluationError;
use crate::domain::outcome::Reason;
use crate::domain::record::TopicPartition;
use crate::kafka::group::Lag;

const ATTEMPTS: &str = "webhooks_attempts_total";
const DECISIONS: &str = "webhooks_decisions_total";
const ATTEMPT_DURATION: &str = "webhooks_attempt_duration_seconds";
const EVENT_TO_DELIVERY: &str = "webhooks_event_to_delivery_seconds";
const IN_FLIGHT: &str = "webhooks_in_flight";
const QUEUED: &str = "webhooks_queued";
const LANES: &str = "webhooks_lanes";
const BYTES: &str = "webhooks_record_bytes";
const RECORDS: &str = "webhooks_records_total";
const TOMBSTONES: &str = "webhooks_tombstones_total";
const UNMATCHED: &str = "webhooks_unmatched_total";
const FILTERED: &str = "webhooks_filtered_total";
const FILTER_ERRORS: &str = "webhooks_filter_errors_total";
const ALREADY_SETTLED: &str = "webhooks_already_settled_total";
const STALE: &str = "webhooks_stale_results_total";
const SUBSCRIPTIONS: &str = "webhooks_subscriptions";
const PARTITIONS: &str = "webhooks_partitions";
const WATERMARK_AGE: &str = "webhooks_watermark_age_seconds";
const LAG: &str = "webhooks_lag_records";
const TIER_WAITING: &str = "webhooks_tier_waiting_records";
const COMMIT_DURATION: &str = "webhooks_ledger_commit_duration_seconds";
const ABORTS: &str = "webhooks_ledger_aborts_total";
const WAITING_FOR_SCHEMAS: &str = "webhooks_waiting_for_schema_records";
const REGISTRY_REQUESTS: &str = "webhooks_registry_requests_total";
const SESSIONS: &str = "webhooks_sessions_total";

/// Upper bounds of latency buckets, in seconds.
const BUCKETS: [f64; 16] = [
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
    Ok(handle)
}

fn describe() {
    describe_counter!(ATTEMPTS, "Attempts that ended, by outcome and reason");
    describe_counter!(DECISIONS, "Decisions made without an attempt, by outcome and reason");
    describe_histogram!(ATTEMPT_DURATION, Unit::Seconds, "Time from an attempt's start to its end");
    describe_histogram!(
        EVENT_TO_DELIVERY,
        Unit::Seconds,
        "Time from an event's record to its delivery at the first attempt"
    );
    describe_gauge!(IN_FLIGHT, "Attempts that run");
    describe_gauge!(QUEUED, "Deliveries that wait in memory for their turn");
    describe_gauge!(
        LANES,
        "Subscriptions with something in hand, by state: active, limited (their rate is used up), open (left alone)"
    );
    describe_gauge!(
        BYTES,
        Unit::Bytes,
        "Bytes of records in hand, until their outcomes are committed"
    );
    describe_counter!(RECORDS, "Records taken up, of all topics");
    describe_counter!(TOMBSTONES, "Records without a value in event topics");
    describe_counter!(UNMATCHED, "Events that no subscription wanted");
    describe_counter!(FILTERED, "Events that the filter of a subscription was not true of");
    describe_counter!(
        FILTER_ERRORS,
        "Events that the filter of a subscription failed on, which is no match, by error"
    );
    describe_counter!(ALREADY_SETTLED, "Records that a former owner of the partition had settled");
    describe_counter!(STALE, "Results that came after their partition was gone");
    describe_gauge!(SUBSCRIPTIONS, "Subscriptions by state");
    describe_gauge!(PARTITIONS, "Partitions in hand, of all topics");
    describe_gauge!(
        WATERMARK_AGE,
        Unit::Seconds,
        "How long the oldest open record of a partition has been open"
    );
    describe_gauge!(LAG, "Records between a partition's watermark and its end");
    describe_gauge!(TIER_WAITING, "Records that wait in a retry tier, in the partitions in hand");
    describe_histogram!(
        COMMIT_DURATION,
        Unit::Seconds,
        "Time from a transaction's begin to its commit"
    );
    describe_counter!(ABORTS, "Transactions that were aborted; their outcomes are written again");
    describe_gauge!(
        WAITING_FOR_SCHEMAS,
        "Records that hold their partitions back because the schema registry can't be reached"
    );
    describe_counter!(REGISTRY_REQUESTS, "Schemas asked for, by what came of it");
    describe_counter!(SESSIONS, "Times that the connector joined its group");
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

/// The handles that the pipeline records by, made once.
pub struct Metrics {
    attempts: FxHashMap<(Outcome, Reason), Counter>,
    decisions: FxHashMap<(Outcome, Reason), Counter>,
    attempt_duration: Histogram,
    event_to_delivery: Histogram,
    in_flight: Gauge,
    queued: Gauge,
    bytes: Gauge,
    commit_duration: Histogram,
    aborts: Counter,
    /// What was counted when last looked at.
    counts: Counts,
}

impl Metrics {
    /// Makes the handles for a session that begins.
    pub fn of_session() -> Self {
        counter!(SESSIONS).increment(1);
        Self {
            attempts: FxHashMap::default(),
            decisions: FxHashMap::default(),
            attempt_duration: histogram!(ATTEMPT_DURATION),
            event_to_delivery: histogram!(EVENT_TO_DELIVERY),
            in_flight: gauge!(IN_FLIGHT),
            queued: gauge!(QUEUED),
            bytes: gauge!(BYTES),
            commit_duration: histogram!(COMMIT_DURATION),
            aborts: counter!(ABORTS),
            counts: Counts::default(),
        }
    }

    /// Records an ending that is committed.
    pub fn ended(&mut self, ending: &Ending) {
        let Ending::Delivery(ending) = ending else {
            let key = (Outcome::DeadLettered, Reason::Unreadable);
            return labelled(&mut self.decisions, DECISIONS, key).increment(1);
        };
        let Some(key) = ending.next.outcome() else { return };
        let Some(attempted) = &ending.attempted else {
            return labelled(&mut self.decisions, DECISIONS, key).increment(1);
        };
        labelled(&mut self.attempts, ATTEMPTS, key).increment(1);
        self.attempt_duration.record(attempted.latency);
        if ending.next == Next::Delivered && ending.attempts == 1 {
            let since = ending.at.duration_since(ending.event.origin.timestamp);
            self.event_to_delivery.record(since.as_secs_f64().max(0.0));
        }
    }

    /// Records a commit.
    pub fn committed(&self, took: Duration) {
        self.commit_duration.record(took);
    }

    /// Records an abort.
    pub fn aborted(&self) {
        self.aborts.increment(1);
    }

    /// Records how many records wait for a schema registry that can't be reached.
    pub fn waiting_for_schemas(&self, records: usize) {
        gauge!(WAITING_FOR_SCHEMAS).set(records as f64);
    }

    /// Records how things stand; called about once a second.
    pub fn stand(&mut self, engine: &Engine, lags: &[Lag], tiers: &[Tier], now: Timestamp) {
        self.in_flight.set(engine.in_flight() as f64);
        self.queued.set(engine.queued() as f64);
        self.bytes.set(engine.bytes() as f64);
        let LaneCounts { active, limited, open } = engine.lanes();
        for (state, count) in [("active", active), ("limited", limited), ("open", open)] {
            gauge!(LANES, "state" => state).set(count as f64);
        }
        self.count(engine.counts());
        let (registry, invalid) = engine.subscriptions();
        let (failing, disabled) = engine.unhealthy();
        for (state, count) in [
            ("active", registry.active()),
            ("inactive", registry.len() - registry.active()),
            ("invalid", invalid),
            ("failing", failing),
            ("disabled", disabled),
        ] {
            gauge!(SUBSCRIPTIONS, "state" => state).set(count as f64);
        }
        let mut waiting = vec![0.0; tiers.len()];
        let mut partitions = 0;
        for standing in engine.standings() {
            partitions += 1;
            let TopicPartition { topic, partition } = standing.name;
            let labels = [("topic", topic.to_string()), ("partition", partition.to_string())];
            let age =
                standing.open_since.map_or(0.0, |since| now.duration_since(since).as_secs_f64());
            gauge!(WATERMARK_AGE, &labels).set(age.max(0.0));
            let end = lags.iter().find(|lag| lag.name == *standing.name).map(|lag| lag.end);
            let lag = end.map_or(0, |end| (end.0 - standing.watermark.0).max(0)) as f64;
            gauge!(LAG, &labels).set(lag);
            if let Some(tier) = tiers.iter().position(|tier| tier.topic == *topic) {
                waiting[tier] += lag;
            }
        }
        gauge!(PARTITIONS).set(f64::from(partitions));
        for (tier, waiting) in tiers.iter().zip(waiting) {
            gauge!(TIER_WAITING, "tier" => tier.label.clone()).set(waiting);
        }
    }

    fn count(&mut self, counts: Counts) {
        let last = std::mem::replace(&mut self.counts, counts);
        counter!(RECORDS).increment(counts.records - last.records);
        counter!(TOMBSTONES).increment(counts.tombstones - last.tombstones);
        counter!(UNMATCHED).increment(counts.unmatched - last.unmatched);
        counter!(FILTERED).increment(counts.filtered - last.filtered);
        for (at, error) in EvaluationError::ALL.into_iter().enumerate() {
            let errors = counts.filter_errors[at] - last.filter_errors[at];
            if errors > 0 {
                counter!(FILTER_ERRORS, "error" => error.as_str()).increment(errors);
            }
        }
        counter!(ALREADY_SETTLED).increment(counts.already_settled - last.already_settled);
        counter!(STALE).increment(counts.stale - last.stale);
    }
}

fn labelled<'a>(
    handles: &'a mut FxHashMap<(Outcome, Reason), Counter>,
    name: &'static str,
    key: (Outcome, Reason),
) -> &'a Counter {
    handles
        .entry(key)
        .or_insert_with(|| counter!(name, "outcome" => key.0.as_str(), "reason" => key.1.as_str()))
}
