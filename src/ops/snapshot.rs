//! Snapshots: how things stand, looked at once a second. Gauges, `/status` and the page tell of the same one.

use std::sync::Arc;

use jiff::Timestamp;
use rustc_hash::FxHashMap;
use serde::{Serialize, Serializer};

use crate::config::Tier;
use crate::domain::engine::{self, Engine, LaneCounts, Role, Standing, Troubled};
use crate::domain::record::TopicPartition;
use crate::domain::status::State;
use crate::kafka::group::Lag;

/// The most subscriptions in trouble that are named; the rest is counted.
const NAMED_MAX: usize = 50;

/// How much is in the connector's hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Partitions in hand.
    pub partitions: usize,
    /// Attempts that run.
    pub in_flight: usize,
    /// How many may run at once at present.
    pub capacity: usize,
    /// Deliveries that wait in memory.
    pub queued: usize,
    /// Those, by what they wait for.
    pub waiting: engine::Waiting,
    /// Bytes of records in hand and of the bodies made of them, until they are delivered or written on.
    pub bytes: usize,
    /// Subscriptions with something in hand, by what they do.
    pub lanes: LaneCounts,
    /// Usable subscriptions.
    pub subscriptions: usize,
    /// Those of them that are active.
    pub active_subscriptions: usize,
    /// Subscriptions that can't be used.
    pub invalid_subscriptions: usize,
    /// Subscriptions with many dead letters in a row.
    pub failing_subscriptions: usize,
    /// Subscriptions that were disabled for it.
    pub disabled_subscriptions: usize,
}

/// How things stood at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// How much is in hand.
    pub load: Load,
    /// Every partition in hand.
    pub partitions: Vec<Partition>,
    /// Every retry tier, shortest first.
    pub tiers: Vec<Waiting>,
    /// Subscriptions that somebody should look after, disabled ones first; at most 50, and `load` counts them all.
    pub troubled: Vec<InTrouble>,
}

/// How far one partition is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Partition {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its number.
    pub partition: i32,
    /// What its records are: `events`, `deliver`, `tier` or `audit`.
    #[serde(serialize_with = "as_word")]
    pub role: Role,
    /// Records that aren't settled, as far as the broker has told the end; `None` until it has. At most: a transaction's
    /// marker among them counts as one.
    pub lag: Option<u64>,
    /// Records that are taken up and not settled.
    pub open: usize,
    /// Seconds that the oldest of them has been open; 0 if there is none.
    pub watermark_age_seconds: f64,
}

/// What waits in one retry tier, in the partitions in hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// The tier, as the settings write it.
    pub tier: String,
    /// Records at most; see [`Partition::lag`].
    pub waiting: u64,
}

/// A subscription that somebody should look after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InTrouble {
    /// Which.
    pub id: String,
    /// Failing, disabled or invalid.
    pub state: State,
    /// Where its deliveries go, without userinfo and query.
    pub url: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Since when, as far as that is known.
    pub since: Option<Timestamp>,
}

impl Snapshot {
    /// Looks at everything once.
    pub fn take(engine: &Engine, lags: &[Lag], tiers: &[Tier], now: Timestamp) -> Self {
        let lags: FxHashMap<_, _> = lags.iter().map(|lag| (&lag.name, lag)).collect();
        let partition =
            |standing: Standing| Partition::of(&standing, lags.get(standing.name).copied(), now);
        let partitions: Vec<_> = engine.standings().map(partition).collect();
        let waiting = |tier: &Tier| Waiting::of(tier, &partitions);
        let tiers = tiers.iter().map(waiting).collect();
        let (registry, invalid) = engine.subscriptions();
        let troubled: Vec<_> = engine.troubled().collect();
        let count = |state| troubled.iter().filter(|it| it.state == state).count();
        let load = Load {
            partitions: partitions.len(),
            in_flight: engine.in_flight(),
            capacity: engine.capacity(),
            queued: engine.queued(),
            waiting: engine.waiting(),
            bytes: engine.bytes(),
            lanes: engine.lanes(),
            subscriptions: registry.len(),
            active_subscriptions: registry.active(),
            invalid_subscriptions: invalid,
            failing_subscriptions: count(State::Failing),
            disabled_subscriptions: count(State::Disabled),
        };
        Self { load, partitions, tiers, troubled: named(troubled) }
    }
}

impl Partition {
    fn of(standing: &Standing, lag: Option<&Lag>, now: Timestamp) -> Self {
        let TopicPartition { topic, partition } = standing.name;
        let age = standing.open_since.map_or(0.0, |since| now.duration_since(since).as_secs_f64());
        Self {
            topic: topic.clone(),
            partition: *partition,
            role: standing.role,
            lag: lag.map(|lag| {
                // Either is too much at times: offsets that are no records, or records that are settled since.
                let offsets = u64::try_from(lag.end.0 - standing.watermark.0).unwrap_or(0);
                offsets.min(lag.ahead + standing.open as u64)
            }),
            open: standing.open,
            watermark_age_seconds: age.max(0.0),
        }
    }
}

impl Waiting {
    fn of(tier: &Tier, partitions: &[Partition]) -> Self {
        let its = partitions.iter().filter(|partition| partition.topic == tier.topic);
        let waiting = its.filter_map(|partition| partition.lag).sum();
        Self { tier: tier.label.clone(), waiting }
    }
}

/// Names the first of those in trouble.
fn named(mut troubled: Vec<Troubled>) -> Vec<InTrouble> {
    let rank = |it: &Troubled| match it.state {
        State::Disabled => 0,
        State::Failing => 1,
        State::Invalid | State::Active => 2,
    };
    let order = |a: &Troubled, b: &Troubled| (rank(a), a.id).cmp(&(rank(b), b.id));
    if troubled.len() > NAMED_MAX {
        // There may be very many, and all but a few need no order.
        troubled.select_nth_unstable_by(NAMED_MAX, order);
        troubled.truncate(NAMED_MAX);
    }
    troubled.sort_unstable_by(order);
    troubled.iter().map(InTrouble::from).collect()
}

impl From<&Troubled<'_>> for InTrouble {
    fn from(it: &Troubled) -> Self {
        Self {
            id: it.id.to_string(),
            state: it.state,
            url: it.url.map(str::to_owned),
            reason: it.reason.map(str::to_owned),
            since: it.since,
        }
    }
}

fn as_word<S: Serializer>(role: &Role, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match role {
        Role::Events => "events",
        Role::Deliver => "deliver",
        Role::Tier(_) => "tier",
        Role::Audit => "audit",
    })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::domain::engine::{Fairness, Policy};
    use crate::domain::outcome::RetryRules;
    use crate::domain::record::{NextOffset, Offset};
    use crate::domain::retry::Schedule;
    use crate::domain::source::Sources;
    use crate::domain::status::Status;
    use crate::domain::subscription::tests::{id, subscription};
    use crate::domain::tiers::{TierIndex, Wheel};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn engine() -> Engine {
        Engine::new(Policy {
            wheel: Wheel::new(vec![Duration::from_secs(1)]),
            retry: RetryRules {
                schedule: Schedule::new([]),
                jitter: 0.0,
                retry_after_max: Duration::ZERO,
                expire_after: Duration::ZERO,
            },
            sources: Sources::new(Vec::new()).expect("there are no patterns"),
            max_in_flight: 1,
            max_in_flight_per_subscription: NonZeroU32::MIN,
            fairness: Fairness::Subscription,
            disable_after: 10,
            max_bytes_in_flight: 1,
            commit_interval: Duration::ZERO,
        })
    }

    fn name(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }

    #[test]
    fn lag_is_from_the_watermark_to_the_end_and_summed_by_tier() {
        let mut engine = engine();
        let topics = [("orders", Role::Events), ("r1", Role::Tier(TierIndex(0)))];
        for (topic, role) in topics {
            for partition in 0..2 {
                engine.assign(name(topic, partition), role, NextOffset(5), "");
            }
        }
        let lag = |topic, partition, end, ahead| Lag {
            name: name(topic, partition),
            end: NextOffset(end),
            ahead,
        };
        let lags = [
            lag("orders", 0, 9, 4),
            // Older than what is settled.
            lag("orders", 1, 4, 0),
            // Some of what lay ahead is settled since.
            lag("r1", 0, 8, 20),
            // The last two offsets are markers of transactions.
            lag("r1", 1, 9, 2),
        ];
        let tier = |topic: &str| Tier {
            label: topic.to_owned(),
            duration: Duration::from_secs(1),
            topic: topic.into(),
        };
        let tiers = [tier("r1"), tier("r5")];
        let told = Snapshot::take(&engine, &lags, &tiers, NOW);
        let lags: Vec<_> = told.partitions.iter().map(|it| it.lag).collect();
        assert_eq!(lags, [Some(4), Some(0), Some(3), Some(2)]);
        let waiting: Vec<_> = told.tiers.iter().map(|it| (&*it.tier, it.waiting)).collect();
        assert_eq!(waiting, [("r1", 5), ("r5", 0)]);
        let untold = Snapshot::take(&engine, &[], &tiers, NOW).partitions;
        assert_eq!(untold[0].lag, None);
    }

    #[test]
    fn subscriptions_in_trouble_are_counted_and_the_first_are_named() {
        let mut engine = engine();
        for (name, state) in [("z", State::Disabled), ("y", State::Failing)] {
            engine.put_subscription(subscription(name, &json!({})), NOW);
            let status = Status { state, ..Status::active(Offset(7), NOW) };
            engine.status_read(id(name), Some(&status));
        }
        for n in 0..60 {
            engine.invalidate_subscription(id(&format!("bad-{n:02}")), Offset(1), "url", NOW);
        }
        let told = Snapshot::take(&engine, &[], &[], NOW);
        let Load { invalid_subscriptions: invalid, failing_subscriptions: failing, .. } = told.load;
        assert_eq!((invalid, failing, told.load.disabled_subscriptions), (60, 1, 1));
        let named: Vec<_> = told.troubled.iter().map(|it| &*it.id).collect();
        assert_eq!((named.len(), &named[..4]), (NAMED_MAX, &["z", "y", "bad-00", "bad-01"][..]));
        assert_eq!(named[NAMED_MAX - 1], "bad-47");
    }
}
