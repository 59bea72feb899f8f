//! A compacted topic as a table: read once, from its start to its end, the last record of each key.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use super::Connection;
use super::cluster::{ClusterError, REACH, Witness, partitions, reading_refused};
use super::version::Version;
use crate::domain::record::Offset;

/// The longest that reading may take altogether; a topic that is written to without end is not waited for.
const READ: Duration = Duration::from_secs(300);

/// One look for a record.
const LOOK: Duration = Duration::from_millis(100);

/// A key that has a value.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    /// The record's key.
    pub key: Vec<u8>,
    /// The record's value.
    pub value: Vec<u8>,
    /// The record's offset.
    pub offset: Offset,
    /// The record's partition: a new value is written to it, so that the key stands in one place.
    pub partition: i32,
    /// Other partitions in which the key has an older value: a deletion has to reach them too.
    pub also_in: Vec<i32>,
}

/// Shows where the row stands, never what it says.
impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = String::from_utf8_lossy(&self.key);
        write!(f, "Row({key:?} at {}/{})", self.partition, self.offset.0)
    }
}

/// Reads a topic to the end that each partition has when it is reached: committed records only, rows in the order of
/// their keys. Records without a key are passed over.
///
/// # Errors
/// The topic doesn't exist, the cluster can't be reached, or nothing comes of some partitions for 10 s.
pub fn read(connection: &Connection, topic: &str) -> Result<Vec<Row>, ClusterError> {
    let consumer: BaseConsumer<Witness> =
        connection.table_reader().create_with_context(Witness::default())?;
    let servers = &connection.config().kafka.bootstrap_servers;
    let mut unread = assign_all(&consumer, servers, topic)?;
    let start = Instant::now();
    let mut last = start;
    let mut table = Table::default();
    while !unread.is_empty() {
        match consumer.poll(LOOK) {
            Some(Ok(message)) => {
                last = Instant::now();
                if let Some(key) = message.key() {
                    table.add(key, Version::of(&message), message.payload());
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                last = Instant::now();
                unread.remove(&partition);
            }
            // Most errors librdkafka gets over by itself; the witness keeps the reason.
            Some(Err(error)) => reading_refused(topic, &error).map_or(Ok(()), Err)?,
            None => {}
        }
        if last.elapsed() > REACH || start.elapsed() > READ {
            return Err(ClusterError::Unread {
                topic: topic.to_owned(),
                partitions: unread.into_iter().collect(),
                waited: last.elapsed(),
                reason: consumer.client().context().reason(),
            });
        }
    }
    Ok(table.rows())
}

/// Stands at the start of all partitions, and returns them.
fn assign_all(
    consumer: &BaseConsumer<Witness>,
    servers: &str,
    topic: &str,
) -> Result<BTreeSet<i32>, ClusterError> {
    let partitions = partitions(consumer, servers, topic)?;
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in &partitions {
        list.add_partition_offset(topic, *partition, KafkaOffset::Beginning)?;
    }
    consumer.assign(&list)?;
    Ok(partitions)
}

/// The last record of each key in each partition. Tombstones stay until the end: an older value may yet come from
/// another partition.
#[derive(Default)]
struct Table(BTreeMap<Vec<u8>, Vec<Cell>>);

/// The last record of a key in one partition.
struct Cell {
    version: Version,
    value: Option<Vec<u8>>,
}

impl Table {
    fn add(&mut self, key: &[u8], version: Version, value: Option<&[u8]>) {
        let cell = Cell { version, value: value.map(<[u8]>::to_vec) };
        let cells = match self.0.get_mut(key) {
            Some(cells) => cells,
            None => self.0.entry(key.to_vec()).or_default(),
        };
        match cells.iter_mut().find(|known| known.version.partition == version.partition) {
            Some(known) => *known = cell,
            None => cells.push(cell),
        }
    }

    fn rows(self) -> Vec<Row> {
        self.0.into_iter().filter_map(|(key, cells)| row(key, cells)).collect()
    }
}

fn row(key: Vec<u8>, mut cells: Vec<Cell>) -> Option<Row> {
    let mut latest = 0;
    for at in 1..cells.len() {
        if cells[at].version.supersedes(&cells[latest].version) {
            latest = at;
        }
    }
    let Cell { version, value } = cells.swap_remove(latest);
    let older = cells.iter().filter(|cell| cell.value.is_some());
    Some(Row {
        key,
        value: value?,
        offset: Offset(version.offset),
        partition: version.partition,
        also_in: older.map(|cell| cell.version.partition).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds records (partition, offset, timestamp, value) of one key and shows the row's place, value and others.
    fn check(records: &[(i32, i64, i64, Option<&str>)], expected: Option<(i32, &str, &[i32])>) {
        let mut table = Table::default();
        for (partition, offset, timestamp_ms, value) in records.iter().copied() {
            let version = Version { partition, offset, timestamp_ms };
            table.add(b"k", version, value.map(str::as_bytes));
        }
        let rows = table.rows();
        let shown = rows.first().map(|row| {
            let value = std::str::from_utf8(&row.value).expect("tests write text");
            (row.partition, value, row.also_in.as_slice())
        });
        assert_eq!(shown, expected, "{records:?}");
    }

    #[test]
    fn the_last_value_of_a_key_counts() {
        check(&[(0, 0, 1, Some("a")), (0, 1, 2, Some("b"))], Some((0, "b", &[])));
        check(&[(0, 0, 1, Some("a")), (0, 1, 2, None)], None);
        check(&[(0, 0, 1, None), (0, 1, 2, Some("b"))], Some((0, "b", &[])));
        check(&[], None);
    }

    #[test]
    fn a_key_in_two_partitions_has_its_later_value_and_tells_of_the_other() {
        let older = (0, 7, 1, Some("old"));
        let newer = (3, 0, 2, Some("new"));
        check(&[older, newer], Some((3, "new", &[0])));
        check(&[newer, older], Some((3, "new", &[0])));
        check(&[older, newer, (0, 8, 3, None)], None);
        check(&[(0, 8, 3, None), newer, (3, 1, 4, Some("again"))], Some((3, "again", &[])));
    }
}
