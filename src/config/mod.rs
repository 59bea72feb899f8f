//! Settings: from file, environment and flags to one checked [`Config`], with all problems at once.
//!
//! The shipped `config/connector.toml` is compiled in and is the only place of defaults, but for its example sources.
//! Over it lie the user's file, then the environment, then flags.
//!
//! # Environment
//!
//! `KAFKA_WEBHOOKS__DELIVERY__TIMEOUT=5s` sets `delivery.timeout`: two underscores separate keys.
//! - A list is written with commas (`1s,5s,30s`; empty for none), or as a TOML list, which `sources` needs:
//!   `KAFKA_WEBHOOKS__SOURCES='[{ topics = ["orders"], format = "envelope" }]'`. It replaces the file's list.
//! - A table may be written as a TOML inline table, which is merged into the file's:
//!   `KAFKA_WEBHOOKS__TOPICS__RETRY='{ "5s" = "retry-5s" }'`.
//! - Behind `KAFKA_WEBHOOKS__KAFKA__PROPERTIES__` stands one property's name with `_` for its dots:
//!   `KAFKA_WEBHOOKS__KAFKA__PROPERTIES__SASL_PASSWORD` sets `sasl.password`.
//!
//! Variables with a single underscore behind `KAFKA_WEBHOOKS` are no settings.
//!
//! This module reads files and the environment and nothing else does. It never talks to a broker: whether topics exist,
//! or librdkafka takes a property, is not its question. No message and no Debug output holds a property's value.

mod egress;
mod encryption;
mod hints;
mod kafka;
mod layers;
mod limits;
mod paths;
mod reader;
mod registry;
mod sources;
#[cfg(test)]
mod tests;
mod topics;
mod traces;
mod units;
mod values;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

pub use egress::{Authorities, Egress, Proxy};
pub use kafka::{Instance, Kafka, Properties};
pub use limits::{Delivery, Disable, Ledger, Log, LogFormat, Ops, Retry, Shutdown};
pub use registry::{Credentials, Registry};
pub use topics::{Replication, Tier, Topics};
pub use traces::Traces;
pub use units::{parse_duration, parse_size, show_duration, show_size};

use crate::domain::encryption::Encryption;
use crate::domain::source::Sources;
use crate::domain::subscription::{HttpUrls, Rules};
use layers::Layer;
use reader::{Reader, Section};

/// Checked settings. Every value is within its bounds and fits the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The connection to the cluster.
    pub kafka: Kafka,
    /// The connector's own topics, retry tiers among them.
    pub topics: Topics,
    /// Where events come from; never empty, no topic named twice.
    pub sources: Sources,
    /// Where the schemas of events are.
    pub registry: Registry,
    /// How failures are waited out.
    pub retry: Retry,
    /// Bounds of the requests.
    pub delivery: Delivery,
    /// Which endpoints may be called.
    pub egress: Egress,
    /// When subscriptions are disabled.
    pub disable: Disable,
    /// How secrets may stand in definitions, and the keys that open them.
    pub encryption: Encryption,
    /// How outcomes are committed.
    pub ledger: Ledger,
    /// How the connector stops.
    pub shutdown: Shutdown,
    /// The ops port.
    pub ops: Ops,
    /// Where spans of attempts are sent; `None`: nowhere.
    pub traces: Option<Traces>,
    /// What is logged.
    pub log: Log,
}

/// One thing that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `sources[1].format`; or the file or variable that can't be read.
    pub path: String,
    /// What is wrong with it, and often what would be right.
    pub message: String,
}

/// The process's environment, as [`Config::load`] wants it.
pub fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}

impl Config {
    /// Loads the settings: defaults, then `file`, then `environment`, then `flags` (key paths with dots, and their values
    /// as text, read like variables).
    ///
    /// # Errors
    ///
    /// All problems, at least one: variables and flags that name nothing, then the sections in their order, then unknown
    /// keys. If the file can't be read, its keys are not judged. The caller prints them and exits with 64.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Vec<Problem>> {
        let environment: BTreeMap<OsString, OsString> = environment.into_iter().collect();
        let flags = flags.into_iter();
        let flags = flags.map(|(key, value)| layers::flag(&key, &value));
        let mut problems = Vec::new();
        let over_file: Vec<Layer> = layers::environment(&environment)
            .into_iter()
            .chain(flags)
            .filter_map(|layer| layer.map_err(|problem| problems.push(problem)).ok())
            .collect();
        let file = match file.map(layers::file).transpose() {
            Ok(file) => file,
            Err(problem) => {
                problems.insert(0, problem);
                return Err(problems);
            }
        };
        let layers = [layers::defaults()].into_iter().chain(file);
        let tree = layers::merge(layers.chain(over_file));
        let host_name = layers::host_name(&environment);
        let mut reader = Reader::default();
        let config = reader.walk(tree, |root| Self::read(root, host_name.as_deref()));
        problems.extend(reader.finish());
        if problems.is_empty() {
            return Ok(config.expect("a part is missing only if it has a problem"));
        }
        Err(problems)
    }

    /// Returns what these settings allow a subscription.
    pub fn subscription_rules(&self) -> Rules {
        Rules {
            http: if self.egress.allow_http { HttpUrls::Allowed } else { HttpUrls::Refused },
            egress: self.egress.rule.clone(),
            encryption: self.encryption.clone(),
        }
    }

    /// Reads every section before any is missed, so that all problems are noted.
    fn read(root: &mut Section<'_>, host_name: Option<&str>) -> Option<Self> {
        let kafka = root.table("kafka", |kafka| Kafka::read(kafka, host_name));
        let (spans, retry) =
            root.table("retry", |retry| Some((limits::spans(retry), Retry::read(retry)))).unzip();
        let topics =
            root.table("topics", |topics| Topics::read(topics, spans.flatten().as_deref()));
        let sources = sources::read(root, topics.as_ref());
        let registry =
            root.table("registry", |registry| Registry::read(registry, sources.as_ref()));
        let delivery = root.table("delivery", Delivery::read);
        let egress = root.table("egress", Egress::read);
        let disable = root.table("disable", Disable::read);
        let encryption = root.table("encryption", encryption::read);
        let ledger = root.table("ledger", Ledger::read);
        let shutdown = root.table("shutdown", Shutdown::read);
        let ops = root.table("ops", Ops::read);
        let traces = root.table("traces", Traces::read);
        let log = root.table("log", Log::read);
        Some(Self {
            kafka: kafka?,
            topics: topics?,
            sources: sources?,
            registry: registry?,
            retry: retry.flatten()?,
            delivery: delivery?,
            egress: egress?,
            disable: disable?,
            encryption: encryption?,
            ledger: ledger?,
            shutdown: shutdown?,
            ops: ops?,
            traces: traces?,
            log: log?,
        })
    }
}

impl Problem {
    /// Names a key and what is wrong with it.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl std::error::Error for Problem {}
