//! The statuses as they stand when audit partitions are taken over: whoever folded them before has committed both them
//! and the position that they belong to.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;

use super::Connection;
use super::cluster::ClusterError;
use super::context::LogContext;
use super::table;
use crate::domain::status::Status;
use crate::domain::subscription::SubscriptionId;

/// How long one question to the cluster may take.
const ASK: Duration = Duration::from_secs(10);

/// How long a transaction is waited for: longer than one that nobody ends may stay open.
const DECIDE: Duration = Duration::from_secs(90);

/// Between looks at transactions that are about to end.
const PAUSE: Duration = Duration::from_millis(20);

/// All statuses, and what tells whose they are.
#[derive(Debug)]
pub struct Statuses {
    /// How many partitions the audit topic has.
    pub audit_partitions: usize,
    /// By subscription.
    pub all: HashMap<SubscriptionId, Status>,
}

/// Reads all statuses, those included that were written together with a position that is committed.
///
/// The position is one that the group told: its transaction is decided, but the partitions of the status topic may learn
/// of that a moment later, and until then a reader of committed records doesn't get so far. So the ends of what is written
/// are asked for first, and waited for until all before them is decided.
///
/// # Errors
/// The cluster can't be reached, or the topic can't be read.
pub(super) fn read_decided(connection: &Connection) -> Result<Statuses, ClusterError> {
    let topics = &connection.config().topics;
    await_decided(connection, &topics.status)?;
    let audit_partitions = partitions(&client(&connection.table_reader())?, &topics.audit)?.len();
    if audit_partitions == 0 {
        return Err(ClusterError::NoTopic(topics.audit.to_string()));
    }
    Ok(Statuses { audit_partitions, all: read(connection)? })
}

/// Reads all statuses.
///
/// # Errors
/// The cluster can't be reached, or the topic can't be read.
pub fn read(connection: &Connection) -> Result<HashMap<SubscriptionId, Status>, ClusterError> {
    let rows = table::read(connection, &connection.config().topics.status)?;
    let statuses = rows
        .iter()
        .filter_map(|row| Some((SubscriptionId::from_key(&row.key)?, Status::read(&row.value)?)));
    Ok(statuses.collect())
}

fn await_decided(connection: &Connection, topic: &str) -> Result<(), ClusterError> {
    let deadline = Instant::now() + DECIDE;
    let committed = connection.table_reader();
    let mut written = committed.clone();
    written.set("isolation.level", "read_uncommitted");
    let (committed, written) = (client(&committed)?, client(&written)?);
    for partition in partitions(&written, topic)? {
        let (_, end) = written.fetch_watermarks(topic, partition, ASK)?;
        while committed.fetch_watermarks(topic, partition, ASK)?.1 < end {
            if Instant::now() >= deadline {
                return Err(ClusterError::Unread {
                    topic: topic.to_owned(),
                    partitions: vec![partition],
                    waited: DECIDE,
                    reason: Some("a transaction is still open".into()),
                });
            }
            std::thread::sleep(PAUSE);
        }
    }
    Ok(())
}

fn partitions(client: &BaseConsumer<LogContext>, topic: &str) -> KafkaResult<Vec<i32>> {
    let metadata = client.fetch_metadata(Some(topic), ASK)?;
    let found = metadata.topics().iter().flat_map(|topic| topic.partitions());
    Ok(found.map(|partition| partition.id()).collect())
}

fn client(config: &ClientConfig) -> KafkaResult<BaseConsumer<LogContext>> {
    config.create_with_context(LogContext)
}
