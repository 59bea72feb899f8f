//! `[topics]`: the names of the connector's own topics, and how missing ones are made.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use config::Value;

use super::paths::join;
use super::reader::Section;
use super::units::show_text;
use super::values::{text, topic, topic_name, whole};

/// The connector's own topics. All names are legal and distinct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// Subscriptions by id, compacted.
    pub subscriptions: Arc<str>,
    /// Status of subscriptions by id, compacted.
    pub status: Arc<str>,
    /// Deliveries asked for by a command, due now.
    pub deliver: Arc<str>,
    /// What was given up, or couldn't be read.
    pub dead_letter: Arc<str>,
    /// One record for each attempt and decision.
    pub audit: Arc<str>,
    /// Retry tiers, shortest first; 1..=16.
    pub tiers: Vec<Tier>,
    /// Partitions of topics that are made, 1..=10000.
    pub partitions: u16,
    /// Replicas of topics that are made.
    pub replication: Replication,
}

/// A retry topic: its records are due when they are as old as the tier is long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// The duration as the settings write it, such as `90s`.
    pub label: String,
    /// How long a record waits, at least 100 ms.
    pub duration: Duration,
    /// The topic it waits in.
    pub topic: Arc<str>,
}

/// How many replicas a new topic gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replication {
    /// What the broker has as its default (`default.replication.factor`).
    BrokerDefault,
    /// So many, at least 1.
    Factor(u16),
}

/// A tier before it has a topic.
pub(super) struct Span {
    pub label: String,
    pub duration: Duration,
}

impl Topics {
    /// Reads `[topics]`; `spans` are the retry tiers, or `None` if they have a problem already.
    pub(super) fn read(topics: &mut Section<'_>, spans: Option<&[Span]>) -> Option<Self> {
        let prefix = topics.required("prefix", prefix);
        let mut name = |key: &str, role: &str| {
            let own = topics.optional(key, topic).map(Arc::from);
            own.or_else(|| Some(format!("{}{role}", prefix.as_ref()?).into()))
        };
        let subscriptions = name("subscriptions", "subscriptions");
        let status = name("status", "subscription-status");
        let deliver = name("deliver", "deliver");
        let dead_letter = name("dead_letter", "dead-letter");
        let audit = name("audit", "audit");
        let retry = topics.entries("retry", |label, value| retry_topic(label, value, spans));
        let tiers = tiers(topics, prefix.as_deref(), retry.as_ref(), spans);
        let partitions = topics.required("partitions", whole(1..=10_000));
        let replication = topics.required("replication_factor", replication);
        let read = Self {
            subscriptions: subscriptions?,
            status: status?,
            deliver: deliver?,
            dead_letter: dead_letter?,
            audit: audit?,
            tiers: tiers?,
            partitions: partitions?,
            replication: replication?,
        };
        read.judge(topics);
        Some(read)
    }

    /// All names, each with the key that sets it.
    pub fn names(&self) -> impl Iterator<Item = (String, &Arc<str>)> {
        let roles = [
            ("subscriptions", &self.subscriptions),
            ("status", &self.status),
            ("deliver", &self.deliver),
            ("dead_letter", &self.dead_letter),
            ("audit", &self.audit),
        ];
        let tiers = self.tiers.iter();
        roles
            .into_iter()
            .map(|(key, name)| (join("topics", key), name))
            .chain(tiers.map(|tier| (join("topics.retry", &tier.label), &tier.topic)))
    }

    /// Notes names that meet. Each by itself is legal already.
    fn judge(&self, topics: &mut Section<'_>) {
        let mut taken: BTreeMap<String, String> = BTreeMap::new();
        for (key, name) in self.names() {
            // Kafka refuses a topic whose name differs from another's only so: they would share metrics.
            let folded = name.replace('.', "_");
            if let Some(other) = taken.get(&folded) {
                let name = show_text(name);
                topics.report(
                    key,
                    format!(
                        "{name} is the topic of {other} too (\".\" and \"_\" count as the same)"
                    ),
                );
            } else {
                taken.insert(folded, key);
            }
        }
    }
}

/// Joins tiers and their topics' names. `None` means that a problem was noted.
fn tiers(
    topics: &mut Section<'_>,
    prefix: Option<&str>,
    retry: Option<&BTreeMap<String, String>>,
    spans: Option<&[Span]>,
) -> Option<Vec<Tier>> {
    let (prefix, retry, spans) = (prefix?, retry?, spans?);
    let tiers = spans.iter().enumerate().map(|(at, Span { label, duration })| {
        let own = retry.get(label).cloned();
        let topic = own.unwrap_or_else(|| format!("{prefix}retry.{label}"));
        if topic_name(&topic).is_err() {
            let key = join("topics.retry", label);
            let label = show_text(label);
            topics.report(
                format!("retry.tiers[{at}]"),
                format!(
                    "{label} can't be part of a topic's name: write it another way, or set {key}"
                ),
            );
            return None;
        }
        Some(Tier { label: label.clone(), duration: *duration, topic: topic.into() })
    });
    let tiers: Vec<Option<Tier>> = tiers.collect();
    tiers.into_iter().collect()
}

fn retry_topic(label: &str, value: &Value, spans: Option<&[Span]>) -> Result<String, String> {
    let is_tier = |spans: &[Span]| spans.iter().any(|span| span.label == label);
    if spans.is_some_and(|spans| !is_tier(spans)) {
        return Err("is none of retry.tiers".into());
    }
    topic(value)
}

/// The prefix may be empty, and leaves room for the longest role.
fn prefix(value: &Value) -> Result<String, String> {
    let prefix = text(value)?;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if prefix.len() > 200 || !prefix.chars().all(legal) {
        let shown = show_text(&prefix);
        return Err(format!(
            "{shown} must be at most 200 of a-z, A-Z, 0-9, \".\", \"_\" and \"-\""
        ));
    }
    Ok(prefix)
}

fn replication(value: &Value) -> Result<Replication, String> {
    match whole::<i16>(-1..=i64::from(i16::MAX))(value)? {
        -1 => Ok(Replication::BrokerDefault),
        factor => match u16::try_from(factor) {
            Ok(factor) if factor > 0 => Ok(Replication::Factor(factor)),
            _ => Err("must be -1 (the broker's default) or at least 1".into()),
        },
    }
}
