//! Is the cluster ready for the connector? Findings as data, for `check` and for the start of `run`.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer};
use regex::Regex;

use super::Connection;
use super::admin::{Admin, Cluster, TopicSettings};
use super::cluster::{ClusterError, REACH, Witness};
use super::topics::{Cleanup, Holds, Plan, plans};
use crate::config::{show_duration, show_size};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at: a topic, a setting, the broker.
    pub subject: String,
    /// What was found.
    pub found: String,
    /// What to do about it; empty when all is well.
    pub advice: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// All is well.
    Fine,
    /// The connector works, but somebody should look at it.
    Warning,
    /// The connector would not work, or lose something.
    Error,
}

impl Finding {
    fn fine(subject: &str, found: String) -> Self {
        Self { severity: Severity::Fine, subject: subject.to_owned(), found, advice: String::new() }
    }

    fn warning(subject: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let severity = Severity::Warning;
        Self { severity, subject: subject.to_owned(), found: found.into(), advice: advice.into() }
    }

    fn error(subject: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let severity = Severity::Error;
        Self { severity, subject: subject.to_owned(), found: found.into(), advice: advice.into() }
    }
}

/// What is known of topics, or why it isn't.
type Described = BTreeMap<String, Result<TopicSettings, String>>;

/// Looks at the broker, the connector's own topics and the event topics, within a bounded time.
///
/// The first finding is that of the broker; if it is an error, there are no others.
pub fn preflight(connection: &Connection) -> Vec<Finding> {
    let asked = Admin::new(connection).and_then(|admin| Ok((admin.cluster()?, admin)));
    let (cluster, admin) = match asked {
        Ok(asked) => asked,
        Err(error) => return vec![unreachable(&error)],
    };
    let count = cluster.brokers.len();
    let servers = &connection.config().kafka.bootstrap_servers;
    let mut findings = vec![Finding::fine("broker", format!("{servers}, {count} in the cluster"))];
    let plans = plans(&connection.config().topics);
    let events = cluster.event_topics(connection.config());
    let own = plans.iter().map(|plan| &*plan.topic);
    let existing = |topic: &&str| cluster.topics.contains_key(*topic);
    let names: Vec<&str> = own.filter(existing).chain(events.iter().map(String::as_str)).collect();
    let described: Described = match admin.describe(&names) {
        Ok(described) => described.into_iter().map(|(t, s)| (t.to_owned(), s)).collect(),
        Err(error) => {
            let advice = "permit DescribeConfigs to have their settings checked";
            findings.push(Finding::warning("topics", error.to_string(), advice));
            Described::new()
        }
    };
    let largest = largest_event(&events, &described);
    for plan in &plans {
        findings.extend(own_topic(plan, &cluster, &described, largest));
    }
    findings.extend(sources(connection, &cluster, &plans));
    findings
}

fn unreachable(error: &ClusterError) -> Finding {
    Finding::error("broker", error.found(), error.advice())
}

/// Looks whether transactions are permitted, by one of a name that no instance has: it ends nobody else's.
pub fn transactions(connection: &Connection) -> Finding {
    // No instance id has a slash.
    let id = format!("{}/check", connection.config().kafka.transactional_id());
    try_transactions(connection, "transactions", &id, Finding::error)
}

/// Looks whether the transactions of commands that send again are permitted, which have names of their own: the connector
/// works without.
pub fn resending(connection: &Connection) -> Finding {
    let id = format!("{}.redrive/check", connection.config().kafka.group_id);
    try_transactions(connection, "redrive and replay", &id, Finding::warning)
}

/// Begins to write transactions of a name, and tells what came of it.
fn try_transactions(
    connection: &Connection,
    subject: &str,
    id: &str,
    refused: fn(&str, String, String) -> Finding,
) -> Finding {
    let made = connection.transactional(id).create_with_context(Witness::default());
    let producer: BaseProducer<Witness> = match made {
        Ok(producer) => producer,
        Err(error) => return unreachable(&error.into()),
    };
    match producer.init_transactions(REACH) {
        Ok(()) => Finding::fine(subject, format!("transactions permitted, tried with {id}")),
        Err(error) => {
            let reason = match &error {
                KafkaError::Transaction(error) => error.to_string(),
                error => error.to_string(),
            };
            let found = format!("transactions can't be used by {id}: {reason}");
            let advice = format!(
                "permit Write and Describe on transactional ids that start with {}",
                connection.config().kafka.group_id
            );
            refused(subject, found, advice)
        }
    }
}

/// Returns the largest `max.message.bytes` of these topics, as far as it is known.
fn largest_event(topics: &[String], described: &Described) -> Option<u64> {
    let settings = topics.iter().filter_map(|topic| described.get(topic)?.as_ref().ok());
    settings.map(|settings| settings.max_message_bytes).max()
}

fn own_topic(
    plan: &Plan,
    cluster: &Cluster,
    described: &Described,
    largest_event: Option<u64>,
) -> Vec<Finding> {
    let topic = &*plan.topic;
    let Some(partitions) = cluster.topics.get(topic) else {
        let advice = "create it with `kafka-webhooks topics create`";
        return vec![Finding::error(topic, "doesn't exist", advice)];
    };
    match described.get(topic) {
        Some(Ok(settings)) => {
            let problems = judge(plan, settings, largest_event);
            if problems.is_empty() {
                let found = format!("{}, {}", count(*partitions), show(settings));
                return vec![Finding::fine(topic, found)];
            }
            problems
        }
        Some(Err(reason)) => {
            let found = format!("its settings can't be read: {reason}");
            vec![Finding::warning(topic, found, "permit DescribeConfigs on it")]
        }
        None => vec![Finding::fine(topic, format!("{}, settings unknown", count(*partitions)))],
    }
}

fn count(partitions: usize) -> String {
    format!("{partitions} partition{}", if partitions == 1 { "" } else { "s" })
}

fn show(settings: &TopicSettings) -> String {
    let policy = settings.cleanup_policy.join(",");
    let days = |time: Duration| format!(", kept {}", show_duration(time));
    let kept = settings.retention.filter(|_| policy.contains("delete")).map_or(String::new(), days);
    format!("{policy}{kept}, records to {}", show_size(settings.max_message_bytes))
}

/// Compares a topic with its plan.
fn judge(plan: &Plan, settings: &TopicSettings, largest_event: Option<u64>) -> Vec<Finding> {
    let topic = &*plan.topic;
    let mut findings = Vec::new();
    let policy = settings.cleanup_policy.join(",");
    let has = |name: &str| settings.cleanup_policy.iter().any(|policy| policy == name);
    match plan.cleanup {
        Cleanup::Compact if !has("compact") || has("delete") => {
            let found = format!("cleanup.policy is {policy:?}: definitions would be lost by age");
            findings.push(Finding::error(topic, found, "set cleanup.policy=compact on the topic"));
        }
        Cleanup::Delete(_) if has("compact") => {
            let found = format!("cleanup.policy is {policy:?}: records of one key would be lost");
            findings.push(Finding::error(topic, found, "set cleanup.policy=delete on the topic"));
        }
        Cleanup::Compact => {}
        Cleanup::Delete(wanted) => {
            let kept = settings.retention.filter(|_| has("delete")).unwrap_or(Duration::MAX);
            if kept < wanted.advised {
                let millis = wanted.created.as_millis();
                let found = format!("keeps records for {} only", show_duration(kept));
                let advice = format!("set retention.ms={millis} on the topic");
                findings.push(match kept < wanted.needed {
                    true => Finding::error(topic, found, advice),
                    false => Finding::warning(topic, found, advice),
                });
            }
            if let Some(bytes) = settings.retention_bytes.filter(|_| has("delete")) {
                let found = format!("drops records beyond {} a partition", show_size(bytes));
                let advice = "set retention.bytes=-1 on the topic";
                findings.push(Finding::warning(topic, found, advice));
            }
        }
    }
    if let (Holds::Events, Some(largest)) = (plan.holds, largest_event)
        && settings.max_message_bytes < largest
    {
        let own = settings.max_message_bytes;
        let found = format!("max.message.bytes is {own}, and event topics take {largest}");
        let advice = format!("set max.message.bytes to {largest} or more on the topic");
        // What doesn't fit is dead-lettered without its value: not lost, but worth a look.
        findings.push(Finding::warning(topic, found, advice));
    }
    findings
}

/// Looks whether each entry of each source finds topics, and none that it must not.
fn sources(connection: &Connection, cluster: &Cluster, plans: &[Plan]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, source) in connection.config().sources.all().iter().enumerate() {
        for (position, topic) in source.topics.iter().enumerate() {
            let path = format!("sources[{at}].topics[{position}]");
            findings.push(match topic.strip_prefix('^') {
                Some(_) => pattern(&path, topic, cluster, plans),
                None => exact(topic, cluster),
            });
        }
    }
    findings
}

fn exact(topic: &str, cluster: &Cluster) -> Finding {
    match cluster.topics.get(topic) {
        Some(partitions) => Finding::fine(topic, format!("{}, events", count(*partitions))),
        None => {
            let found = "doesn't exist, and a source names it";
            Finding::error(topic, found, "create it, or take it out of [[sources]]")
        }
    }
}

fn pattern(path: &str, pattern: &str, cluster: &Cluster, plans: &[Plan]) -> Finding {
    let regex = Regex::new(pattern).expect("the settings hold no other");
    let matched: Vec<&str> =
        cluster.topics.keys().map(String::as_str).filter(|topic| regex.is_match(topic)).collect();
    let reserved =
        |topic: &&&str| topic.starts_with("__") || plans.iter().any(|plan| *plan.topic == ***topic);
    if let Some(topic) = matched.iter().find(reserved) {
        let found = format!("{pattern:?} matches {topic}, which is no event topic");
        return Finding::error(path, found, "write the pattern so that it leaves it out");
    }
    match matched.len() {
        0 => {
            let found = format!("{pattern:?} matches no topic yet");
            Finding::warning(path, found, "check it, unless the topics are still to come")
        }
        count => Finding::fine(path, format!("{pattern:?} matches {count} topics")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::topics::Retention;

    const HOUR: Duration = Duration::from_secs(3600);

    fn plan(cleanup: Cleanup) -> Plan {
        Plan { topic: "t".into(), cleanup, holds: Holds::Events }
    }

    fn check(plan: &Plan, policy: &str, hours: u32, expected: &[(Severity, &str)]) {
        let settings = TopicSettings {
            cleanup_policy: policy.split(',').map(str::to_owned).collect(),
            retention: Some(hours * HOUR),
            retention_bytes: None,
            max_message_bytes: 1000,
        };
        let found = judge(plan, &settings, Some(1000));
        let found: Vec<_> = found.iter().map(|f| (f.severity, f.advice.as_str())).collect();
        assert_eq!(found, expected, "{policy} {hours}");
    }

    #[test]
    fn a_table_must_be_compacted_and_only_that() {
        let set = [(Severity::Error, "set cleanup.policy=compact on the topic")];
        let table = plan(Cleanup::Compact);
        check(&table, "compact", 1, &[]);
        check(&table, "delete", 1, &set);
        check(&table, "compact,delete", 1, &set);
    }

    #[test]
    fn what_is_owed_must_stay_long_enough() {
        let retention = Retention { created: 9 * HOUR, advised: 8 * HOUR, needed: 2 * HOUR };
        let log = plan(Cleanup::Delete(retention));
        let advice = "set retention.ms=32400000 on the topic";
        check(&log, "delete", 8, &[]);
        check(&log, "delete", 7, &[(Severity::Warning, advice)]);
        check(&log, "delete", 1, &[(Severity::Error, advice)]);
        let set = [(Severity::Error, "set cleanup.policy=delete on the topic")];
        check(&log, "compact", 8, &set);
    }

    #[test]
    fn an_event_must_fit_wherever_it_goes() {
        let settings = TopicSettings {
            cleanup_policy: vec!["compact".into()],
            retention: None,
            retention_bytes: None,
            max_message_bytes: 1000,
        };
        let found = judge(&plan(Cleanup::Compact), &settings, Some(1001));
        assert_eq!(found[0].found, "max.message.bytes is 1000, and event topics take 1001");
        let documents = Plan { holds: Holds::Documents, ..plan(Cleanup::Compact) };
        assert_eq!(judge(&documents, &settings, Some(1001)), []);
    }

    #[test]
    fn a_pattern_finds_event_topics_only() {
        let cluster = |names: &[&str]| Cluster {
            brokers: vec![1],
            topics: names.iter().map(|name| ((*name).to_owned(), 1)).collect(),
        };
        let look = |names| pattern("p", "^(o|t|__)", &cluster(names), &[plan(Cleanup::Compact)]);
        assert_eq!(look(&["orders", "x"]).severity, Severity::Fine);
        assert_eq!(look(&["x"]).severity, Severity::Warning);
        assert_eq!(look(&["orders", "t"]).severity, Severity::Error);
        assert_eq!(look(&["orders", "__consumer_offsets"]).severity, Severity::Error);
    }
}
