//! How clients are configured: what the connector owns, what it prefers, what the user sets.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use super::consumer::Part;
use crate::config::{Config, Instance};

/// The settings of the connection to the cluster, and the clients made from them.
#[derive(Clone, Debug)]
pub struct Connection<'a>(&'a Config);

impl<'a> Connection<'a> {
    /// Takes the settings.
    pub fn new(config: &'a Config) -> Self {
        Self(config)
    }

    /// Returns the settings.
    pub fn config(&self) -> &'a Config {
        self.0
    }

    /// Makes a client's settings: what we prefer, over it the user's properties, over them what we own.
    fn client(&self, preferred: &[(&str, &str)], owned: &[(&str, &str)]) -> ClientConfig {
        let kafka = &self.0.kafka;
        let mut client = ClientConfig::new();
        client.set_log_level(RDKafkaLogLevel::Warning);
        client.set("client.id", format!("kafka-webhooks-{}", kafka.instance.id()));
        for (name, value) in COMMON.iter().chain(preferred).copied() {
            client.set(name, value);
        }
        // Where partitions start is not left to clients; a producer would complain about it.
        let properties = kafka.properties.iter().filter(|(name, _)| *name != "auto.offset.reset");
        for (name, value) in properties {
            client.set(name, value);
        }
        client.set("bootstrap.servers", &kafka.bootstrap_servers);
        for (name, value) in owned.iter().copied() {
            client.set(name, value);
        }
        client
    }

    /// Returns the settings of a client that only asks.
    pub(super) fn admin(&self) -> ClientConfig {
        self.client(&[], &[])
    }

    /// Returns the settings of a consumer that shares the group's partitions.
    pub(super) fn group_consumer(&self, part: Part) -> ClientConfig {
        let preferred = [
            ("topic.metadata.refresh.interval.ms", "30000"),
            ("statistics.interval.ms", "5000"),
            // A member hears of a rebalance with the answer to its heartbeat: the default of 3 s is waited by all others.
            ("heartbeat.interval.ms", "1000"),
        ];
        let preferred = [&READER[..], &preferred, &part.fetching()].concat();
        let mut client = self.client(&preferred, &READER_OWNED);
        client.set("group.id", &self.0.kafka.group_id);
        client.set("partition.assignment.strategy", "cooperative-sticky");
        // Only a name that somebody chose is stable; a host name may be new after each restart, and a member that
        // never comes back holds its partitions until its session ends.
        if let Instance::Configured(id) = &self.0.kafka.instance {
            client.set("group.instance.id", format!("{id}-{}", part.name()));
        }
        client
    }

    /// Returns the settings of a consumer that reads whole topics and commits nothing.
    pub(super) fn table_reader(&self) -> ClientConfig {
        // An end is told when a fetch comes back empty, which takes so long: the default of 500 is waited for by people.
        self.reads_all("50")
    }

    /// Returns the settings of a consumer that reads whole topics and goes on with them.
    pub(super) fn follower(&self) -> ClientConfig {
        // What is new comes at once, whatever this is; an idle connector asks so often. The end is waited for once.
        self.reads_all("250")
    }

    fn reads_all(&self, empty_fetch_ms: &str) -> ClientConfig {
        let fetching =
            [("queued.max.messages.kbytes", "256"), ("fetch.wait.max.ms", empty_fetch_ms)];
        let mut client = self.client(&[&READER[..], &fetching].concat(), &READER_OWNED);
        client.set("group.id", format!("{}-reads-all", self.0.kafka.group_id));
        client.set("enable.partition.eof", "true");
        client
    }

    /// Returns the settings of a producer that writes records one by one.
    pub(super) fn producer(&self) -> ClientConfig {
        // Each record is waited for: gathering more would only delay it.
        self.client(&[("linger.ms", "0")], &PRODUCER_OWNED)
    }

    /// Returns the settings of a producer that tries whether transactions are permitted.
    pub(super) fn transactional(&self, id: &str) -> ClientConfig {
        let mut client = self.producer();
        client.set("transactional.id", id);
        client
    }

    /// Returns the settings of the ledger's transactional producer.
    pub(super) fn ledger(&self, batch_size: usize) -> ClientConfig {
        let transaction = self.0.kafka.properties.duration("transaction.timeout.ms");
        // No record may outlast its transaction.
        let message = MESSAGE.min(transaction.unwrap_or(TRANSACTION));
        let [transaction, message] = [TRANSACTION, message].map(|it| it.as_millis().to_string());
        let times = [("transaction.timeout.ms", &*transaction), ("message.timeout.ms", &*message)];
        let preferred = [&TRANSACTIONAL[..], &times].concat();
        let mut client = self.client(&preferred, &PRODUCER_OWNED);
        client.set("transactional.id", self.0.kafka.transactional_id());
        client.set("delivery.report.only.error", "true");
        client.set("batch.size", batch_size.to_string());
        // What is too large is the topic's to say: a record that fitted its event topic is judged by the broker.
        client.set("message.max.bytes", "1000000000");
        client
    }
}

/// Preferences of producers that write transactions.
pub(super) const TRANSACTIONAL: [(&str, &str); 2] = [
    // The default of 100 makes every small transaction wait that long for the one before.
    ("retry.backoff.ms", "5"),
    // Longer than it takes to hand most transactions over, so that a partition's records go in one request. While five of
    // them are in flight librdkafka sends no second request, and polls without a pause once its records have lingered
    // so long (`rd_kafka_toppar_producer_serve`).
    ("linger.ms", "5"),
];

/// How long the ledger's transactions may stay open, and its records wait to be taken.
const TRANSACTION: Duration = Duration::from_secs(60);
const MESSAGE: Duration = Duration::from_secs(30);

/// Preferences of all clients: a broker that comes back is found quickly, and one that is gone isn't hammered.
const COMMON: [(&str, &str); 3] = [
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "2000"),
    ("socket.nagle.disable", "true"),
];

/// Preferences of consumers.
const READER: [(&str, &str); 2] = [
    // The default of a second makes the intake saw-tooth once the prefetch is full.
    ("fetch.queue.backoff.ms", "5"),
    // Of each partition, so that many of them don't take much. A larger batch of records comes alone.
    ("fetch.message.max.bytes", "262144"),
];

const READER_OWNED: [(&str, &str); 4] = [
    ("isolation.level", "read_committed"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // Where a partition starts is asked for and decided elsewhere. This is for positions that retention has passed.
    ("auto.offset.reset", "earliest"),
];

const PRODUCER_OWNED: [(&str, &str); 3] =
    [("enable.idempotence", "true"), ("acks", "all"), ("partitioner", "murmur2_random")];
