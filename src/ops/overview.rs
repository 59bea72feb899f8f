//! What `/status` answers, and the page shows: everything that is known, bounded.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::failures::Failure;
use super::health::{Instance, Report};
use super::recent::Activity;
use super::snapshot::{InTrouble, Partition, Snapshot, Waiting};
use crate::domain::engine::Role;

/// The most partitions that are shown one by one; the rest is counted and summed.
const PARTITIONS_MAX: usize = 50;

/// The answer of `/status`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// What `/live` and `/ready` say.
    #[serde(flatten)]
    pub report: Report,
    /// Who answers.
    pub instance: Arc<Instance>,
    /// When it answers.
    pub at: Timestamp,
    /// How long ago the pipeline reported; it does once a second, and not between two sessions.
    pub reported_seconds_ago: f64,
    /// What became of deliveries lately.
    pub activity: Activity,
    /// How far partitions are; those of retry tiers are in `tiers`.
    pub partitions: Partitions,
    /// What waits in each tier.
    pub tiers: Vec<Waiting>,
    /// Subscriptions that somebody should look after.
    pub troubled_subscriptions: Troubled,
    /// The latest failure of each kind, the latest first; at most 20.
    pub last_failures: Vec<Failure>,
}

/// Partitions of event topics, of the deliver topic and of the audit topic.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Partitions {
    /// Records that aren't settled, of what is to be delivered: without the audit topic.
    pub lag: u64,
    /// Seconds that the oldest open record of these has been open.
    pub watermark_age_seconds: f64,
    /// Those that are furthest behind; at most 50.
    pub shown: Vec<Partition>,
    /// How many aren't shown.
    pub more: usize,
}

/// Subscriptions that are disabled, failing or invalid.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Troubled {
    /// Some of them, disabled ones first; at most 50.
    pub shown: Vec<InTrouble>,
    /// How many aren't shown.
    pub more: usize,
}

impl Partitions {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let is_tier = |it: &&Partition| matches!(it.role, Role::Tier(_));
        let its = snapshot.partitions.iter().filter(|it| !is_tier(it));
        let mut all: Vec<_> = its.collect();
        let to_deliver = || all.iter().filter(|it| it.role != Role::Audit);
        let lag = to_deliver().filter_map(|it| it.lag).sum();
        let ages = to_deliver().map(|it| it.watermark_age_seconds);
        let watermark_age_seconds = ages.fold(0.0, f64::max);
        let rank = |it: &Partition| match it.role {
            Role::Events => 0,
            Role::Deliver | Role::Tier(_) => 1,
            Role::Audit => 2,
        };
        all.sort_unstable_by(|a, b| {
            let behind = b.lag.unwrap_or(0).cmp(&a.lag.unwrap_or(0));
            let age = b.watermark_age_seconds.total_cmp(&a.watermark_age_seconds);
            let name = (&a.topic, a.partition).cmp(&(&b.topic, b.partition));
            behind.then(age).then(rank(a).cmp(&rank(b))).then(name)
        });
        let more = all.len().saturating_sub(PARTITIONS_MAX);
        let shown = all.into_iter().take(PARTITIONS_MAX).cloned().collect();
        Self { lag, watermark_age_seconds, shown, more }
    }
}

impl Troubled {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let shown = snapshot.troubled.clone();
        let load = &snapshot.load;
        let count =
            load.invalid_subscriptions + load.failing_subscriptions + load.disabled_subscriptions;
        Self { more: count - shown.len(), shown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tiers::TierIndex;

    fn partition(topic: &str, number: i32, role: Role, lag: Option<u64>, age: f64) -> Partition {
        Partition {
            topic: topic.into(),
            partition: number,
            role,
            lag,
            open: 0,
            watermark_age_seconds: age,
        }
    }

    fn shown(partitions: Vec<Partition>) -> (Partitions, Vec<String>) {
        let told = Partitions::of(&Snapshot { partitions, ..Snapshot::default() });
        let names = told.shown.iter().map(|it| format!("{}/{}", it.topic, it.partition));
        (told.clone(), names.collect())
    }

    #[test]
    fn partitions_that_are_behind_come_first_and_tiers_not_at_all() {
        let (told, names) = shown(vec![
            partition("audit", 0, Role::Audit, Some(3), 9.0),
            partition("audit", 1, Role::Audit, Some(0), 0.0),
            partition("orders", 0, Role::Events, None, 0.0),
            partition("orders", 1, Role::Events, Some(0), 1.5),
            partition("orders", 2, Role::Events, Some(7), 0.5),
            partition("retry.1s", 0, Role::Tier(TierIndex(0)), Some(50), 60.0),
        ]);
        assert_eq!(names, ["orders/2", "audit/0", "orders/1", "orders/0", "audit/1"]);
        assert_eq!((told.lag, told.watermark_age_seconds, told.more), (7, 1.5, 0));
    }

    #[test]
    fn partitions_beyond_the_first_are_counted_and_summed() {
        let many = (0..1000).map(|n| partition("orders", n, Role::Events, Some(2), 0.0));
        let (told, names) = shown(many.collect());
        assert_eq!((names.len(), told.more, told.lag), (PARTITIONS_MAX, 950, 2000));
        assert_eq!(names[..2], ["orders/0", "orders/1"]);
    }
}
