//! Audit records in figures.

use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};

use crate::domain::audit::{AuditRecord, Outcome};

/// Decimal places that quantiles are right in.
const DIGITS: u8 = 2;

/// Latencies are counted in tenths of a millisecond, as audit records tell them.
const PER_MILLISECOND: f64 = 10.0;

/// What deliveries came to.
///
/// A delivery counts when it has ended: delivered, or dead-lettered, which is `failed`. So `total` is their sum, and also
/// the number of dead letters and deliveries that stand in the topics. What waits for another attempt, or had nothing to
/// send, isn't counted; a dead letter that is sent again ends a second time.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Deliveries that arrived.
    pub delivered: u64,
    /// Deliveries, and records, that were given up.
    pub failed: u64,
    /// Attempts: requests that were made, whatever came of them.
    pub attempts: u64,
    /// How long they took.
    pub latencies: Latencies,
}

impl Figures {
    /// Counts an audit record.
    pub fn add(&mut self, record: &AuditRecord) {
        match record.outcome {
            Outcome::Delivered => self.delivered += 1,
            Outcome::DeadLettered => self.failed += 1,
            Outcome::Retrying | Outcome::Skipped => {}
        }
        if let Some(latency_ms) = record.latency_ms {
            self.attempts += 1;
            self.latencies.add(latency_ms);
        }
    }

    /// Returns how many deliveries ended.
    pub fn total(&self) -> u64 {
        self.delivered + self.failed
    }

    /// Returns the share of those that arrived, 0 to 1; `None` if none has ended.
    pub fn success_rate(&self) -> Option<f64> {
        let share = self.delivered as f64 / self.total() as f64;
        (self.total() > 0).then_some(share)
    }
}

/// How long attempts took, in milliseconds: the mean exactly, quantiles to a hundredth of their value.
///
/// Memory grows with the logarithm of the longest, to some 20 KiB.
#[derive(Clone, Debug)]
pub struct Latencies {
    tenths: Histogram<u64>,
    sum: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        let tenths = Histogram::new(DIGITS).expect("two digits are a precision");
        Self { tenths, sum: 0.0 }
    }
}

impl Latencies {
    fn add(&mut self, latency_ms: f64) {
        self.sum += latency_ms;
        // Years and more are no latencies, and a negative number, which nobody measures, becomes zero.
        let tenths = (latency_ms * PER_MILLISECOND).round() as u32;
        self.tenths.record(tenths.into()).expect("a histogram grows to what it has to hold");
    }

    /// Returns the mean; `None` if there was no attempt.
    pub fn mean(&self) -> Option<f64> {
        let mean = self.sum / self.tenths.len() as f64;
        (!self.tenths.is_empty()).then(|| (mean * PER_MILLISECOND).round() / PER_MILLISECOND)
    }

    /// Returns what a share of attempts, 0 to 1, took at most; `None` if there was no attempt.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        // 0.07 of 100 is a little more than 7 in floating point, and would be the eighth.
        let tenths = self.tenths.value_at_quantile(share - 1e-9) as f64;
        (!self.tenths.is_empty()).then_some(tenths / PER_MILLISECOND)
    }
}

/// The form of the contract: `{"total","delivered","failed","successRate","latencyMs":{"mean","p50","p95","p99"}}`. What can't be
/// told, because nothing ended or no attempt was made, is null.
impl Serialize for Figures {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Form {
            total: u64,
            delivered: u64,
            failed: u64,
            success_rate: Option<f64>,
            latency_ms: LatencyMs,
        }
        #[derive(Serialize)]
        struct LatencyMs {
            mean: Option<f64>,
            p50: Option<f64>,
            p95: Option<f64>,
            p99: Option<f64>,
        }
        let quantile = |share| self.latencies.quantile(share);
        let latency_ms = LatencyMs {
            mean: self.latencies.mean(),
            p50: quantile(0.5),
            p95: quantile(0.95),
            p99: quantile(0.99),
        };
        let Self { delivered, failed, .. } = *self;
        let (total, success_rate) = (self.total(), self.success_rate());
        Form { total, delivered, failed, success_rate, latency_ms }.serialize(to)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::audit::tests::{record, records};
    use crate::domain::outcome::Reason;

    fn told(outcome: Outcome, latency_ms: Option<f64>) -> AuditRecord<'static> {
        AuditRecord { latency_ms, ..record("crm", "evt_1", outcome, Reason::Ok) }
    }

    fn figures(records: &[AuditRecord]) -> Figures {
        let mut figures = Figures::default();
        records.iter().for_each(|record| figures.add(record));
        figures
    }

    #[test]
    fn what_ended_adds_up_and_what_goes_on_is_an_attempt() {
        let figures = figures(&[
            told(Outcome::Retrying, Some(25.0)),
            told(Outcome::Delivered, Some(10.0)),
            told(Outcome::Delivered, Some(10.0)),
            told(Outcome::Delivered, Some(12.4)),
            told(Outcome::DeadLettered, Some(20.0)),
            told(Outcome::DeadLettered, None),
            told(Outcome::Skipped, None),
        ]);
        assert_eq!((figures.total(), figures.attempts), (5, 5));
        let json = serde_json::to_string(&figures).expect("numbers are JSON");
        assert_eq!(
            json,
            r#"{"total":5,"delivered":3,"failed":2,"successRate":0.6,"latencyMs":{"mean":15.5,"p50":12.4,"p95":25.0,"p99":25.0}}"#
        );
    }

    #[test]
    fn of_nothing_nothing_is_told() {
        let json = serde_json::to_string(&Figures::default()).expect("numbers are JSON");
        assert_eq!(
            json,
            r#"{"total":0,"delivered":0,"failed":0,"successRate":null,"latencyMs":{"mean":null,"p50":null,"p95":null,"p99":null}}"#
        );
    }

    proptest! {
        #[test]
        fn figures_of_any_records_add_up(records in prop::collection::vec(records(), 0..50)) {
            let figures = figures(&records);
            let ended = |outcome| records.iter().filter(|record| record.outcome == outcome).count() as u64;
            prop_assert_eq!(figures.delivered, ended(Outcome::Delivered));
            prop_assert_eq!(figures.failed, ended(Outcome::DeadLettered));
            prop_assert_eq!(figures.total(), figures.delivered + figures.failed);
        }

        #[test]
        fn a_quantile_is_within_a_hundredth_of_what_counting_gives(
            mut tenths in prop::collection::vec(0..5_000_000_u32, 1..200),
            percent in 1..100_u32,
        ) {
            let mut latencies = Latencies::default();
            tenths.iter().for_each(|tenths| latencies.add(f64::from(*tenths) / 10.0));
            tenths.sort_unstable();
            let rank = (tenths.len() * percent as usize).div_ceil(100);
            let exact = f64::from(tenths[rank - 1]) / 10.0;
            let told = latencies.quantile(f64::from(percent) / 100.0).expect("there is one");
            prop_assert!((told - exact).abs() <= exact * 0.01 + 0.1, "{} is not {}", told, exact);
        }
    }
}
