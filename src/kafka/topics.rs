//! What the connector's own topics must be like: cleanup, retention and size by role. Pure data, no client.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Topics;

/// What headers of our own and their framing may add to a record that fitted its event topic, in bytes.
pub const HEADERS_ROOM: u64 = 64 * 1024;

/// What Kafka's brokers take by default (`message.max.bytes`), for clusters that don't tell.
pub const KAFKA_MESSAGE_MAX: u64 = 1_048_588;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How a compacted topic's old definitions, secrets among them, come up for compaction: a segment lasts a day.
const COMPACT_SEGMENT: Duration = DAY;

/// What one of the connector's topics must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub topic: Arc<str>,
    /// How old records go.
    pub cleanup: Cleanup,
    /// What its records hold, which says how large they are.
    pub holds: Holds,
}

/// How old records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// Only the last record of each key stays (`cleanup.policy=compact`).
    Compact,
    /// Records go by age (`cleanup.policy=delete`).
    Delete(Retention),
}

/// How long records stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// What a new topic gets.
    pub created: Duration,
    /// Less is worth a warning.
    pub advised: Duration,
    /// Less loses records that are still owed.
    pub needed: Duration,
}

/// What records hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Small documents of our own.
    Documents,
    /// Events as they came, with headers of our own: they must fit wherever the event fitted.
    Events,
}

/// Returns the plans of all own topics, in the order of [`Topics::names`].
///
/// | role | cleanup | retention of a new topic | largest record |
/// |---|---|---|---|
/// | subscriptions, status | compact, segments of a day | | the broker's default |
/// | deliver | delete | 7 days | that of the event topics + 64 KiB |
/// | dead letter | delete | 90 days | that of the event topics + 64 KiB |
/// | audit | delete | 30 days | the broker's default |
/// | retry tiers | delete | the tier + 7 days | that of the event topics + 64 KiB |
///
/// Seven days is how long the connector may be down without losing a delivery.
pub fn plans(topics: &Topics) -> Vec<Plan> {
    let compact = |topic: &Arc<str>| Plan {
        topic: topic.clone(),
        cleanup: Cleanup::Compact,
        holds: Holds::Documents,
    };
    let delete = |topic: &Arc<str>, created, advised, needed, holds| Plan {
        topic: topic.clone(),
        cleanup: Cleanup::Delete(Retention { created, advised, needed }),
        holds,
    };
    let fixed = [
        compact(&topics.subscriptions),
        compact(&topics.status),
        delete(&topics.deliver, 7 * DAY, 7 * DAY, HOUR, Holds::Events),
        delete(&topics.dead_letter, 90 * DAY, 7 * DAY, HOUR, Holds::Events),
        delete(&topics.audit, 30 * DAY, 7 * DAY, HOUR, Holds::Documents),
    ];
    let tiers = topics.tiers.iter().map(|tier| {
        let down = |time| tier.duration + time;
        delete(&tier.topic, down(7 * DAY), down(7 * DAY), down(HOUR), Holds::Events)
    });
    fixed.into_iter().chain(tiers).collect()
}

/// Returns the configuration of a new topic. What isn't in it is the broker's default.
///
/// `largest_event` is the largest `max.message.bytes` of the event topics, `broker_default` what a topic gets without.
pub fn creation_config(
    plan: &Plan,
    largest_event: Option<u64>,
    broker_default: u64,
) -> Vec<(&'static str, String)> {
    let mut config = match plan.cleanup {
        Cleanup::Compact => vec![
            ("cleanup.policy", "compact".to_owned()),
            ("segment.ms", COMPACT_SEGMENT.as_millis().to_string()),
        ],
        Cleanup::Delete(retention) => vec![
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", retention.created.as_millis().to_string()),
            // By age only: a limit of bytes would remove what isn't due yet.
            ("retention.bytes", "-1".to_owned()),
        ],
    };
    let wanted = largest_event.map(|bytes| bytes.saturating_add(HEADERS_ROOM).min(MESSAGE_MAX));
    if let (Holds::Events, Some(wanted)) = (plan.holds, wanted)
        && wanted > broker_default
    {
        config.push(("max.message.bytes", wanted.to_string()));
    }
    config
}

/// The largest value that `max.message.bytes` can have.
const MESSAGE_MAX: u64 = i32::MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Replication, Tier};

    fn topics() -> Topics {
        Topics {
            subscriptions: "s".into(),
            status: "st".into(),
            deliver: "d".into(),
            dead_letter: "dl".into(),
            audit: "a".into(),
            tiers: vec![Tier { label: "1h".into(), duration: HOUR, topic: "r".into() }],
            partitions: 1,
            replication: Replication::BrokerDefault,
        }
    }

    fn check(topic: &str, largest: Option<u64>, expected: &[(&str, &str)]) {
        let plans = plans(&topics());
        let plan = plans.iter().find(|plan| &*plan.topic == topic).expect("there is such a topic");
        let config = creation_config(plan, largest, KAFKA_MESSAGE_MAX);
        let config: Vec<_> = config.iter().map(|(key, value)| (*key, value.as_str())).collect();
        assert_eq!(config, expected, "{topic}");
    }

    #[test]
    fn definitions_are_compacted() {
        let expected = [("cleanup.policy", "compact"), ("segment.ms", "86400000")];
        check("s", Some(10_000_000), &expected);
        check("st", None, &expected);
    }

    #[test]
    fn a_tier_keeps_records_a_week_longer_than_they_wait() {
        let retention = ("retention.ms", "608400000");
        let delete = ("cleanup.policy", "delete");
        check("r", None, &[delete, retention, ("retention.bytes", "-1")]);
    }

    #[test]
    fn what_fits_an_event_topic_fits_with_its_headers() {
        let config = |size| {
            [
                ("cleanup.policy", "delete"),
                ("retention.ms", "604800000"),
                ("retention.bytes", "-1"),
                ("max.message.bytes", size),
            ]
        };
        check("d", Some(10_485_760), &config("10551296"));
        check("d", Some(KAFKA_MESSAGE_MAX), &config("1114124"));
        check("d", Some(u64::MAX), &config("2147483647"));
        check("d", Some(1000), &config("")[..3]);
    }

    #[test]
    fn every_own_topic_has_a_plan() {
        let topics = topics();
        let planned: Vec<_> = plans(&topics).into_iter().map(|plan| plan.topic).collect();
        let named: Vec<_> = topics.names().map(|(_, name)| name.clone()).collect();
        assert_eq!(planned, named);
    }
}
