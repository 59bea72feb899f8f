//! `[kafka]`: which cluster, as whom, and librdkafka's own properties.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use config::{Value, ValueKind};

use super::reader::Section;
use super::units::show_text;
use super::values::{kind, line, text};

/// The connection to the cluster and the place in its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kafka {
    /// Brokers to ask first, `host:port` with commas between.
    pub bootstrap_servers: String,
    /// The consumer group all instances share, 1..=249 characters.
    pub group_id: String,
    /// Which of the group's instances this is.
    pub instance: Instance,
    /// What goes to librdkafka as it is.
    pub properties: Properties,
}

/// Which instance this is, and who said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instance {
    /// The settings name it. It is meant to outlive a restart, so that static group membership can be used.
    Configured(String),
    /// The machine's host name stands in. It may change with every start: no static membership.
    HostName(String),
}

/// Properties for librdkafka by name; none is one the connector owns. Values may be passwords, so Debug shows names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, String>);

/// Properties the connector sets itself, and why nobody else may.
const OWNED: [(&str, &str); 24] = [
    ("bootstrap.servers", "set kafka.bootstrap_servers"),
    ("metadata.broker.list", "set kafka.bootstrap_servers"),
    ("group.id", "set kafka.group_id"),
    ("group.instance.id", "set kafka.instance_id"),
    ("transactional.id", "it is kafka.group_id + \"-\" + kafka.instance_id"),
    ("enable.auto.commit", OFFSETS),
    ("auto.commit.enable", OFFSETS),
    ("auto.commit.interval.ms", OFFSETS),
    ("enable.auto.offset.store", OFFSETS),
    ("offset.store.method", OFFSETS),
    ("offset.store.path", OFFSETS),
    ("isolation.level", "records of aborted transactions must not be read"),
    ("enable.idempotence", OUTCOMES),
    ("enable.gapless.guarantee", OUTCOMES),
    ("acks", OUTCOMES),
    ("request.required.acks", OUTCOMES),
    ("max.in.flight", OUTCOMES),
    ("max.in.flight.requests.per.connection", OUTCOMES),
    ("retries", OUTCOMES),
    ("message.send.max.retries", OUTCOMES),
    ("partition.assignment.strategy", REBALANCE),
    ("group.protocol", REBALANCE),
    ("group.remote.assignor", REBALANCE),
    ("enable.partition.eof", "the end of the subscriptions topic must be seen"),
];
const OFFSETS: &str = "offsets are committed with the outcomes they stand for";
const OUTCOMES: &str = "outcomes must be written exactly once";
const REBALANCE: &str = "partitions move by the connector's rules";

/// librdkafka's `session.timeout.ms` unless it is set.
const SESSION: Duration = Duration::from_secs(45);

impl Kafka {
    /// Reads `[kafka]`; `host_name` is what an empty instance id stands for.
    pub(super) fn read(kafka: &mut Section<'_>, host_name: Option<&str>) -> Option<Self> {
        let bootstrap_servers = kafka.required("bootstrap_servers", bootstrap_servers);
        let group_id = kafka.required("group_id", line(249));
        let instance = kafka.required("instance_id", |value| instance(value, host_name));
        let properties = kafka.entries("properties", property);
        Some(Self {
            bootstrap_servers: bootstrap_servers?,
            group_id: group_id?,
            instance: instance?,
            properties: Properties(properties?),
        })
    }

    /// How long the group waits for a member that says nothing.
    pub fn session(&self) -> Duration {
        self.properties.duration("session.timeout.ms").unwrap_or(SESSION)
    }

    /// The producer's transactional id: group id, `-`, instance id.
    pub fn transactional_id(&self) -> String {
        format!("{}-{}", self.group_id, self.instance.id())
    }
}

impl Instance {
    /// The instance's id, 1..=249 of `[a-zA-Z0-9._-]`.
    pub fn id(&self) -> &str {
        match self {
            Self::Configured(id) | Self::HostName(id) => id,
        }
    }
}

impl Properties {
    /// The properties in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of one property.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of one property whose name ends in `.ms`; `None` also for what is no such number.
    pub fn duration(&self, name: &str) -> Option<Duration> {
        self.get(name).and_then(|ms| ms.parse().ok()).map(Duration::from_millis)
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn bootstrap_servers(value: &Value) -> Result<String, String> {
    let servers = line(4096)(value)?;
    match servers.split(',').any(|server| server.trim().is_empty()) {
        true => Err(format!("{} names an empty broker", show_text(&servers))),
        false => Ok(servers),
    }
}

/// The id as Kafka judges a `group.instance.id`, or the host name for an empty one.
fn instance(value: &Value, host_name: Option<&str>) -> Result<Instance, String> {
    let configured = text(value)?;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let is_id = |id: &str| {
        (1..=249).contains(&id.len()) && !matches!(id, "." | "..") && id.chars().all(legal)
    };
    let rule = "1 to 249 of a-z, A-Z, 0-9, \".\", \"_\" and \"-\"";
    match (configured.as_str(), host_name) {
        ("", Some(host)) if is_id(host) => Ok(Instance::HostName(host.to_owned())),
        ("", Some(host)) => {
            Err(format!("is empty, and the host name {} won't do: set {rule}", show_text(host)))
        }
        ("", None) => Err(format!("is empty, and the host name can't be read: set {rule}")),
        (id, _) if is_id(id) => Ok(Instance::Configured(configured)),
        (id, _) => Err(format!("{} must be {rule}", show_text(id))),
    }
}

/// One property. Its value stands in no message: it may be a password.
fn property(name: &str, value: &Value) -> Result<String, String> {
    if let Some((_, why)) = OWNED.iter().find(|(owned, _)| *owned == name) {
        return Err(format!("is set by the connector: {why}"));
    }
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err("is no property's name".into());
    }
    match &value.kind {
        // librdkafka takes C strings, which end at a NUL.
        ValueKind::String(text) if text.contains('\0') => {
            Err("must not hold a NUL character".into())
        }
        ValueKind::String(_) => text(value),
        ValueKind::I64(number) => Ok(number.to_string()),
        ValueKind::Float(number) => Ok(number.to_string()),
        ValueKind::Boolean(truth) => Ok(truth.to_string()),
        ValueKind::Table(inner) => {
            let inner = inner.keys().min().map_or("…", String::as_str);
            Err(format!(
                "is a table: write the property's whole name in quotes, such as \"{name}.{inner}\""
            ))
        }
        _ => Err(format!("must be text, a number or a truth value, not {}", kind(value))),
    }
}
