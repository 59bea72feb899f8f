//! What a session records, by handles that are made once. It names no metric: those stand in the module above.

use std::time::Duration;

use metrics::{Counter, Histogram, counter, gauge, histogram};
use rustc_hash::FxHashMap;

use super::*;
use crate::config::Delivery;
use crate::domain::ending::{Ending, Next};
use crate::domain::engine::{self, Counts, LaneCounts};
use crate::ops::snapshot::{Partition, Snapshot, Waiting};

/// The classes of statuses, RFC 9110, section 15; the first one is no answer.
const STATUSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The handles that the pipeline records by, made once.
pub struct Metrics {
    attempts: FxHashMap<(Outcome, Reason), Counter>,
    decisions: FxHashMap<(Outcome, Reason), Counter>,
    /// By the first digit of the status; 0 is no answer.
    answers: [Counter; STATUSES.len()],
    moves: Counter,
    attempt_duration: Histogram,
    lane_wait: Histogram,
    event_to_delivery: Histogram,
    commit_duration: Histogram,
    aborts: Counter,
    /// The most attempts that run at once, and the most bytes of records.
    limits: (usize, usize),
    /// What was counted when last looked at.
    counts: Counts,
}

impl Metrics {
    /// Makes the handles for a session that begins.
    pub fn of_session(delivery: &Delivery) -> Self {
        counter!(SESSIONS).increment(1);
        Self {
            attempts: FxHashMap::default(),
            decisions: FxHashMap::default(),
            answers: STATUSES.map(|status| counter!(ANSWERS, "status" => status)),
            moves: counter!(MOVES),
            attempt_duration: histogram!(ATTEMPT_DURATION),
            lane_wait: histogram!(LANE_WAIT),
            event_to_delivery: histogram!(EVENT_TO_DELIVERY),
            commit_duration: histogram!(COMMIT_DURATION),
            aborts: counter!(ABORTS),
            limits: (delivery.max_in_flight, delivery.max_bytes_in_flight),
            counts: Counts::default(),
        }
    }

    /// Records an ending that is committed.
    pub fn ended(&mut self, ending: &Ending) {
        let Ending::Delivery(ending) = ending else {
            let key = (Outcome::DeadLettered, Reason::Unreadable);
            return labelled(&mut self.decisions, DECISIONS, key).increment(1);
        };
        let Some(key) = ending.next.outcome() else { return self.moves.increment(1) };
        let Some(attempted) = &ending.attempted else {
            return labelled(&mut self.decisions, DECISIONS, key).increment(1);
        };
        labelled(&mut self.attempts, ATTEMPTS, key).increment(1);
        let status = attempted.end.as_ref().map_or(0, |answer| usize::from(answer.status / 100));
        self.answers.get(status).unwrap_or(&self.answers[0]).increment(1);
        self.attempt_duration.record(attempted.latency);
        if let Some(waited) = ending.waited {
            self.lane_wait.record(waited);
        }
        if ending.next == Next::Delivered && ending.attempts == 1 {
            let since = ending.at.duration_since(ending.label.origin.timestamp);
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
    pub fn stand(&mut self, snapshot: &Snapshot, counts: Counts) {
        let load = &snapshot.load;
        let (in_flight, bytes) = self.limits;
        gauge!(IN_FLIGHT).set(load.in_flight as f64);
        gauge!(IN_FLIGHT_LIMIT).set(in_flight as f64);
        gauge!(IN_FLIGHT_CAPACITY).set(load.capacity as f64);
        let engine::Waiting { slot, limit, rate, endpoint } = load.waiting;
        let waiting = [("slot", slot), ("limit", limit), ("rate", rate), ("endpoint", endpoint)];
        for (what, count) in waiting {
            gauge!(QUEUED, "waits_for" => what).set(count as f64);
        }
        gauge!(BYTES).set(load.bytes as f64);
        gauge!(BYTES_LIMIT).set(bytes as f64);
        let LaneCounts { active, limited, open } = load.lanes;
        for (state, count) in [("active", active), ("limited", limited), ("open", open)] {
            gauge!(LANES, "state" => state).set(count as f64);
        }
        self.count(counts);
        for (state, count) in [
            ("active", load.active_subscriptions),
            ("inactive", load.subscriptions - load.active_subscriptions),
            ("invalid", load.invalid_subscriptions),
            ("failing", load.failing_subscriptions),
            ("disabled", load.disabled_subscriptions),
        ] {
            gauge!(SUBSCRIPTIONS, "state" => state).set(count as f64);
        }
        gauge!(PARTITIONS).set(load.partitions as f64);
        for Partition { topic, partition, lag, open, watermark_age_seconds, .. } in
            &snapshot.partitions
        {
            let labels = [("topic", topic.to_string()), ("partition", partition.to_string())];
            gauge!(WATERMARK_AGE, &labels).set(*watermark_age_seconds);
            gauge!(OPEN, &labels).set(*open as f64);
            gauge!(LAG, &labels).set(lag.unwrap_or(0) as f64);
        }
        for Waiting { tier, waiting } in &snapshot.tiers {
            gauge!(TIER_WAITING, "tier" => tier.clone()).set(*waiting as f64);
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
