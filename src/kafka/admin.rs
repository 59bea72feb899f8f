//! Questions about the cluster's topics, and making new ones. It never changes a topic that exists.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer};
use tokio::runtime::Runtime;

use super::Connection;
use super::cluster::{ClusterError, REACH, Witness, metadata};
use super::context::LogContext;
use super::topics::{KAFKA_MESSAGE_MAX, Plan, creation_config, plans};
use crate::config::{Config, Replication};

/// How long a cluster may take to describe or make topics.
const ADMIN: Duration = Duration::from_secs(30);

/// How many topics are described by one request.
const DESCRIBED_AT_ONCE: usize = 200;

/// How long a client that isn't sure of an answer waits for one while something else waits for it.
const GLANCE: Duration = Duration::from_secs(3);

/// The most bytes of one batch that the ledger sends to a partition, if the topics take so much.
const BATCH_SIZE: usize = 1_000_000;

/// Asks about a cluster and makes topics.
pub struct Admin<'a> {
    connection: Connection<'a>,
    /// Finds out what is there, and why nothing can be reached: the other client keeps its errors to itself.
    asker: BaseProducer<Witness>,
    client: AdminClient<LogContext>,
    runtime: Runtime,
}

/// What there is in a cluster.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// The brokers' ids.
    pub brokers: Vec<i32>,
    /// Topics by name with their number of partitions.
    pub topics: BTreeMap<String, usize>,
}

/// The settings of a topic that matter to the connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// `cleanup.policy`, a list.
    pub cleanup_policy: Vec<String>,
    /// `retention.ms`; `None` is for ever.
    pub retention: Option<Duration>,
    /// `retention.bytes` of a partition; `None` is no limit.
    pub retention_bytes: Option<u64>,
    /// `max.message.bytes`.
    pub max_message_bytes: u64,
}

/// Topics with their settings, or the reason why those aren't told.
pub type Described<'t> = Vec<(&'t str, Result<TopicSettings, String>)>;

/// How the making of a topic went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// It is new.
    Created,
    /// It was there already.
    Exists,
    /// The broker refused; its reason.
    Refused(String),
}

impl<'a> Admin<'a> {
    /// Makes the clients. Nothing is asked yet.
    ///
    /// # Errors
    /// librdkafka refuses the settings.
    pub fn new(connection: &Connection<'a>) -> Result<Self, ClusterError> {
        let client = connection.admin();
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        Ok(Self {
            connection: connection.clone(),
            asker: client.create_with_context(Witness::default())?,
            client: client.create_with_context(LogContext)?,
            runtime: runtime.map_err(|error| ClusterError::Client(error.to_string()))?,
        })
    }

    /// Returns what there is in the cluster.
    ///
    /// # Errors
    /// The cluster can't be reached, within 10 s.
    pub fn cluster(&self) -> Result<Cluster, ClusterError> {
        let serve = || self.asker.poll(Duration::from_millis(50));
        let servers = &self.connection.config().kafka.bootstrap_servers;
        let metadata = metadata(self.asker.client(), serve, servers, None)?;
        let topics = metadata.topics().iter().filter(|topic| topic.error().is_none());
        Ok(Cluster {
            brokers: metadata.brokers().iter().map(|broker| broker.id()).collect(),
            topics: topics.map(|t| (t.name().to_owned(), t.partitions().len())).collect(),
        })
    }

    /// Returns the settings of topics, each with its name; the reason where they aren't told.
    ///
    /// # Errors
    /// The cluster gives no such answers, or none in time.
    pub fn describe<'t>(&self, topics: &[&'t str]) -> Result<Described<'t>, ClusterError> {
        self.describe_within(topics, ADMIN)
    }

    fn describe_within<'t>(
        &self,
        topics: &[&'t str],
        timeout: Duration,
    ) -> Result<Described<'t>, ClusterError> {
        let options = AdminOptions::new().request_timeout(Some(timeout));
        let mut described = Vec::with_capacity(topics.len());
        for topics in topics.chunks(DESCRIBED_AT_ONCE) {
            let specifiers: Vec<_> = topics.iter().map(|t| ResourceSpecifier::Topic(t)).collect();
            let answers = self.client.describe_configs(&specifiers, &options);
            let answers = self.runtime.block_on(answers);
            let answers = answers.map_err(|error| refused("describe topics", &error))?;
            let answers = answers.into_iter().map(|answer| match answer {
                Ok(resource) => read_settings(&resource),
                Err(code) => Err(code.to_string()),
            });
            described.extend(topics.iter().copied().zip(answers));
        }
        Ok(described)
    }

    /// Returns what records a topic takes if nothing else is said, in bytes, as far as a broker tells.
    fn broker_message_max(&self, cluster: &Cluster) -> Option<u64> {
        let broker = ResourceSpecifier::Broker(*cluster.brokers.first()?);
        let options = AdminOptions::new().request_timeout(Some(GLANCE));
        let answer = self.runtime.block_on(self.client.describe_configs([&broker], &options));
        let resource = answer.ok()?.into_iter().next()?.ok()?;
        value(&resource, "message.max.bytes").ok()?.parse().ok()
    }

    /// Makes the own topics that are missing, and tells of each how it went, in the order of the plans.
    ///
    /// # Errors
    /// The cluster can't be reached, or takes no such requests.
    pub fn create_missing(&self) -> Result<Vec<(Arc<str>, Creation)>, ClusterError> {
        let config = self.connection.config();
        let cluster = self.cluster()?;
        let plans = plans(&config.topics);
        let missing: Vec<&Plan> =
            plans.iter().filter(|plan| !cluster.topics.contains_key(&*plan.topic)).collect();
        let events = cluster.event_topics(config);
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        // Without permission to describe them, new topics get the broker's default, and `check` says what it can't see.
        let described = self.describe(&events).unwrap_or_default();
        let sizes = described.into_iter().filter_map(|(_, settings)| settings.ok());
        let largest_event = sizes.map(|settings| settings.max_message_bytes).max();
        let broker_default = self.broker_message_max(&cluster).unwrap_or(KAFKA_MESSAGE_MAX);
        let mut made = self.create(&missing, largest_event, broker_default)?;
        let created = made.iter().filter(|(_, how)| **how == Creation::Created);
        let new: Vec<&str> = created.map(|(topic, _)| *topic).collect();
        self.wait_until_visible(&new)?;
        let result = plans.iter().map(|plan| {
            let how = made.remove(&*plan.topic).unwrap_or(Creation::Exists);
            (plan.topic.clone(), how)
        });
        Ok(result.collect())
    }

    fn create<'p>(
        &self,
        plans: &[&'p Plan],
        largest_event: Option<u64>,
        broker_default: u64,
    ) -> Result<BTreeMap<&'p str, Creation>, ClusterError> {
        if plans.is_empty() {
            return Ok(BTreeMap::new());
        }
        let settings = &self.connection.config().topics;
        let replication = match settings.replication {
            Replication::BrokerDefault => -1,
            Replication::Factor(factor) => i32::from(factor),
        };
        let configs: Vec<_> =
            plans.iter().map(|plan| creation_config(plan, largest_event, broker_default)).collect();
        let topics: Vec<_> = plans
            .iter()
            .zip(&configs)
            .map(|(plan, config)| NewTopic {
                name: &plan.topic,
                num_partitions: i32::from(settings.partitions),
                replication: TopicReplication::Fixed(replication),
                config: config.iter().map(|(key, value)| (*key, value.as_str())).collect(),
            })
            .collect();
        let options =
            AdminOptions::new().request_timeout(Some(ADMIN)).operation_timeout(Some(ADMIN));
        let answers = self.runtime.block_on(self.client.create_topics(&topics, &options));
        let answers = answers.map_err(|error| refused("create topics", &error))?;
        let answers: BTreeMap<String, Creation> = answers.into_iter().map(creation).collect();
        let of = |plan: &&'p Plan| {
            let silence = || Creation::Refused("no answer".to_owned());
            (&*plan.topic, answers.get(&*plan.topic).cloned().unwrap_or_else(silence))
        };
        Ok(plans.iter().map(of).collect())
    }

    /// Waits until all these topics are to be seen, so that what comes next finds them; at most [`REACH`].
    fn wait_until_visible(&self, topics: &[&str]) -> Result<(), ClusterError> {
        let start = Instant::now();
        while !topics.is_empty() && start.elapsed() < REACH {
            let cluster = self.cluster()?;
            if topics.iter().all(|topic| cluster.topics.contains_key(*topic)) {
                return Ok(());
            }
            // The controller has them; the broker that answers learns of it within milliseconds.
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Cluster {
    /// Makes sure that topics exist, for one that would wait for them in vain.
    ///
    /// # Errors
    /// [`ClusterError::NoTopic`] of the first that doesn't.
    pub fn require(&self, topics: &[&str]) -> Result<(), ClusterError> {
        match topics.iter().find(|topic| !self.topics.contains_key(**topic)) {
            Some(missing) => Err(ClusterError::NoTopic((*missing).to_owned())),
            None => Ok(()),
        }
    }

    /// Returns the event topics that exist, the connector's own left out.
    pub fn event_topics(&self, config: &Config) -> Vec<String> {
        let own = |topic: &str| config.topics.names().any(|(_, name)| &**name == topic);
        let names = self.topics.keys();
        names.filter(|topic| config.sources.of(topic).is_some() && !own(topic)).cloned().collect()
    }
}

/// Returns how many bytes one batch of the ledger may have: what each of the topics it writes takes, at most 1,000,000.
///
/// A cluster that doesn't tell within a few seconds gets the default: what is too large shows when it is written.
pub fn batch_size(connection: &Connection) -> usize {
    let topics = &connection.config().topics;
    let written = [&topics.audit, &topics.dead_letter];
    let written = written.into_iter().chain(topics.tiers.iter().map(|tier| &tier.topic));
    let names: Vec<&str> = written.map(|topic| &**topic).collect();
    batch_size_of(connection, &names)
}

/// Returns how many bytes one batch to any of these topics may have; see [`batch_size`].
pub(super) fn batch_size_of(connection: &Connection, topics: &[&str]) -> usize {
    let described = Admin::new(connection).and_then(|admin| admin.describe_within(topics, GLANCE));
    let sizes = described.into_iter().flatten().filter_map(|(_, settings)| settings.ok());
    let sizes = sizes.filter_map(|settings| usize::try_from(settings.max_message_bytes).ok());
    sizes.min().map_or(BATCH_SIZE, |smallest| smallest.clamp(1, BATCH_SIZE))
}

fn creation(answer: Result<String, (String, RDKafkaErrorCode)>) -> (String, Creation) {
    match answer {
        Ok(topic) => (topic, Creation::Created),
        // Somebody else was faster.
        Err((topic, RDKafkaErrorCode::TopicAlreadyExists)) => (topic, Creation::Exists),
        Err((topic, code)) => (topic, Creation::Refused(code.to_string())),
    }
}

fn refused(request: &str, error: &KafkaError) -> ClusterError {
    let reason = match error.rdkafka_error_code() {
        Some(code) => code.to_string(),
        None => error.to_string(),
    };
    ClusterError::Refused { request: request.to_owned(), reason }
}

fn value<'r>(resource: &'r ConfigResource, name: &str) -> Result<&'r str, String> {
    let entry = resource.get(name).and_then(|entry| entry.value.as_deref());
    entry.ok_or_else(|| format!("the broker doesn't tell {name}"))
}

fn read_settings(resource: &ConfigResource) -> Result<TopicSettings, String> {
    let number = |name| {
        let text = value(resource, name)?;
        text.parse::<i64>().map_err(|_| format!("the broker says {name}={text:?}"))
    };
    let policies = value(resource, "cleanup.policy")?.split(',').map(str::trim);
    // Negative is no limit.
    let limit = |number: i64| u64::try_from(number).ok();
    Ok(TopicSettings {
        cleanup_policy: policies.filter(|p| !p.is_empty()).map(str::to_owned).collect(),
        retention: limit(number("retention.ms")?).map(Duration::from_millis),
        retention_bytes: limit(number("retention.bytes")?),
        max_message_bytes: limit(number("max.message.bytes")?).unwrap_or_default(),
    })
}
