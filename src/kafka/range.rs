//! A range of one topic: committed records between two bounds, in the order of their times, to an end that is set when
//! reading begins.
//!
//! Within a partition records come as they stand there; between partitions the one with the earlier timestamp comes
//! first. Memory holds one record of each partition and what the client has fetched ahead, which is bounded.
//! Nothing is committed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use super::Connection;
use super::cluster::{ClusterError, Witness, ask, partitions, reading_refused};
use super::record::record;
use crate::domain::record::{NextOffset, Record, TopicPartition};

/// How long nothing may come of a partition that should hold more: what was compacted or aborted takes time to pass.
const SILENCE: Duration = Duration::from_secs(30);

/// One look for a record.
const LOOK: Duration = Duration::from_millis(100);

/// Where a range begins or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The first record there is.
    Beginning,
    /// Behind the last committed record there is now.
    End,
    /// The first record that was written at this time or later.
    Time(Timestamp),
    /// A position of each partition; others are left out.
    Positions(BTreeMap<i32, NextOffset>),
}

/// How far reading is, counted in offsets: where records were compacted or never committed there are fewer records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Offsets that lie behind.
    pub done: u64,
    /// Offsets altogether.
    pub total: u64,
}

/// A topic that can be asked where its partitions begin and end, and read.
pub struct Topic<'t> {
    consumer: Arc<BaseConsumer<Witness>>,
    servers: &'t str,
    name: Arc<str>,
    partitions: BTreeMap<i32, Span>,
}

/// Offsets of one partition: from the first to before the second.
type Span = (NextOffset, NextOffset);

impl<'t> Topic<'t> {
    /// Asks for the partitions of a topic, and where each begins and ends now.
    ///
    /// # Errors
    /// The topic doesn't exist or may not be read, or the cluster can't be reached.
    pub fn look_at(connection: &Connection<'t>, name: &str) -> Result<Self, ClusterError> {
        let consumer = connection.table_reader().create_with_context(Witness::default())?;
        let servers = connection.config().kafka.bootstrap_servers.as_str();
        let mut topic = Self {
            consumer: Arc::new(consumer),
            servers,
            name: name.into(),
            partitions: BTreeMap::new(),
        };
        for partition in partitions(&topic.consumer, servers, name)? {
            let (first, end) =
                topic.ask(|within| topic.consumer.fetch_watermarks(name, partition, within))?;
            topic.partitions.insert(partition, (NextOffset(first), NextOffset(end)));
        }
        Ok(topic)
    }

    /// Returns the topic's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns each partition with the offset of its first record and the one behind its last committed record.
    pub fn partitions(&self) -> &BTreeMap<i32, (NextOffset, NextOffset)> {
        &self.partitions
    }

    /// Returns where each partition has its first record that was written at this time or later; its end if there is
    /// none.
    ///
    /// # Errors
    /// The cluster can't be reached.
    pub fn positions_at(&self, time: Timestamp) -> Result<BTreeMap<i32, NextOffset>, ClusterError> {
        let found = self.ask(|within| {
            let mut list = TopicPartitionList::with_capacity(self.partitions.len());
            for partition in self.partitions.keys() {
                // Kafka knows no time before the epoch, and takes negative ones for words of its own.
                let millis = KafkaOffset::Offset(time.as_millisecond().max(0));
                list.add_partition_offset(&self.name, *partition, millis)?;
            }
            let found = self.consumer.offsets_for_times(list, within)?;
            let mut positions = BTreeMap::new();
            for element in found.elements() {
                element.error()?;
                if let KafkaOffset::Offset(offset) = element.offset() {
                    positions.insert(element.partition(), NextOffset(offset));
                }
            }
            Ok(positions)
        })?;
        let position = |(partition, (_, end)): (&i32, &Span)| {
            (*partition, found.get(partition).copied().unwrap_or(*end))
        };
        Ok(self.partitions.iter().map(position).collect())
    }

    /// Begins to read those of the topic's partitions that `wanted` names, between two bounds.
    ///
    /// The end is set now: what is written later isn't read, even if the end lies in the future.
    ///
    /// # Errors
    /// The cluster can't be reached.
    pub fn read(
        self,
        from: &Bound,
        to: &Bound,
        wanted: impl Fn(i32) -> bool,
    ) -> Result<Range, ClusterError> {
        let (from, to) = (self.positions(from)?, self.positions(to)?);
        let within = |(partition, whole): (&i32, &Span)| {
            let bounds =
                from.get(partition).zip(to.get(partition)).filter(|_| wanted(*partition))?;
            Some((*partition, cut(*whole, (*bounds.0, *bounds.1))))
        };
        let spans: BTreeMap<i32, Span> = self.partitions.iter().filter_map(within).collect();
        Range::start(self.consumer, self.name, spans)
    }

    fn positions(&self, bound: &Bound) -> Result<BTreeMap<i32, NextOffset>, ClusterError> {
        let whole = self.partitions.iter();
        Ok(match bound {
            Bound::Beginning => whole.map(|(id, (first, _))| (*id, *first)).collect(),
            Bound::End => whole.map(|(id, (_, end))| (*id, *end)).collect(),
            Bound::Time(time) => self.positions_at(*time)?,
            Bound::Positions(positions) => positions.clone(),
        })
    }

    fn ask<T>(&self, question: impl Fn(Duration) -> KafkaResult<T>) -> Result<T, ClusterError> {
        let serve = || drop(self.consumer.poll(Duration::from_millis(50)));
        ask(self.consumer.client(), serve, self.servers, question)
    }
}

/// Cuts a span to what a partition holds.
fn cut((first, end): Span, (from, to): Span) -> Span {
    let from = from.clamp(first, end);
    (from, to.clamp(from, end))
}

/// Reads a range. It ends: with the last record before the end, or where the partition ends without one.
pub struct Range {
    topic: Arc<str>,
    consumer: Arc<BaseConsumer<Witness>>,
    spans: BTreeMap<i32, Span>,
    /// The partitions in which there is something to read.
    parts: Vec<Part>,
    /// Whether an error was returned: nothing comes after it.
    is_broken: bool,
}

/// One partition that is read.
struct Part {
    name: TopicPartition,
    queue: PartitionQueue<Witness>,
    end: NextOffset,
    /// Behind what has been taken from the queue, the head included.
    taken: NextOffset,
    /// The next record.
    head: Option<Record>,
}

impl Range {
    fn start(
        consumer: Arc<BaseConsumer<Witness>>,
        topic: Arc<str>,
        spans: BTreeMap<i32, Span>,
    ) -> Result<Self, ClusterError> {
        let mut list = TopicPartitionList::with_capacity(spans.len());
        for (partition, (from, to)) in &spans {
            if from < to {
                list.add_partition_offset(&topic, *partition, KafkaOffset::Offset(from.0))?;
            }
        }
        let mut range = Self { topic, consumer, spans, parts: Vec::new(), is_broken: false };
        if list.count() == 0 {
            return Ok(range);
        }
        let Self { consumer, topic, .. } = &range;
        consumer.assign(&list)?;
        // The fetcher points a partition's messages at the consumer's queue when it starts, on another thread. Pausing is
        // answered by that thread after the start, so a queue that is split off behind it stays split off.
        consumer.pause(&list)?;
        let mut parts = Vec::with_capacity(list.count());
        for partition in list.elements().iter().map(|element| element.partition()) {
            let (from, end) = range.spans[&partition];
            let name = TopicPartition { topic: topic.clone(), partition };
            let queue = consumer.split_partition_queue(topic, partition);
            let queue = queue.ok_or_else(|| KafkaError::Subscription(name.to_string()))?;
            parts.push(Part { name, queue, end, taken: from, head: None });
        }
        consumer.resume(&list)?;
        range.parts = parts;
        Ok(range)
    }

    /// Returns the position behind what was returned, of each partition: where reading can go on later.
    pub fn positions(&self) -> BTreeMap<i32, NextOffset> {
        let mut positions: BTreeMap<_, _> =
            self.spans.iter().map(|(partition, (_, to))| (*partition, *to)).collect();
        positions.extend(self.parts.iter().map(|part| (part.name.partition, part.position())));
        positions
    }

    /// Returns how far reading is.
    pub fn progress(&self) -> Progress {
        let length = |from: NextOffset, to: NextOffset| to.0.abs_diff(from.0);
        let total = self.spans.values().map(|(from, to)| length(*from, *to)).sum();
        let left: u64 = self.parts.iter().map(|part| length(part.position(), part.end)).sum();
        Progress { done: total - left, total }
    }

    fn advance(&mut self) -> Result<Option<Record>, ClusterError> {
        for part in &mut self.parts {
            part.wait_for_head(&self.consumer, &self.topic)?;
        }
        let heads = self.parts.iter_mut().filter(|part| part.head.is_some());
        let time = |part: &&mut Part| part.head.as_ref().map(|record| record.origin.timestamp);
        Ok(heads.min_by_key(time).and_then(|part| part.head.take()))
    }
}

impl Part {
    fn position(&self) -> NextOffset {
        self.head.as_ref().map_or(self.taken, |record| record.origin.offset.at())
    }

    /// Waits until the next record is there, or nothing is left to come.
    fn wait_for_head(
        &mut self,
        consumer: &BaseConsumer<Witness>,
        topic: &str,
    ) -> Result<(), ClusterError> {
        let start = Instant::now();
        while self.head.is_none() && self.taken < self.end {
            match self.queue.poll(LOOK) {
                Some(Ok(message)) => {
                    let record = record(&message, Some(&self.name));
                    // Where one beyond the end comes, what stood before it has gone, or was no record.
                    if self.end.includes(record.origin.offset) {
                        self.taken = record.origin.offset.next();
                        self.head = Some(record);
                    } else {
                        self.taken = self.end;
                    }
                }
                // The end was one when it was asked for: this is the same, or one behind it.
                Some(Err(KafkaError::PartitionEOF(_))) => self.taken = self.end,
                // Most errors librdkafka gets over by itself; the witness keeps the reason.
                Some(Err(error)) => reading_refused(topic, &error).map_or(Ok(()), Err)?,
                // What concerns the whole client stands in its own queue.
                None => drop(consumer.poll(Duration::ZERO)),
            }
            let context = consumer.client().context();
            if start.elapsed() > SILENCE && self.head.is_none() && self.taken < self.end {
                return Err(ClusterError::Unread {
                    topic: topic.to_owned(),
                    partitions: vec![self.name.partition],
                    waited: start.elapsed(),
                    reason: context.reason(),
                });
            }
            context.hopeless().map_or(Ok(()), Err)?;
        }
        Ok(())
    }
}

/// Records, in the order of time between partitions. After an error nothing comes.
impl Iterator for Range {
    type Item = Result<Record, ClusterError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_broken {
            return None;
        }
        let next = self.advance().transpose();
        self.is_broken = matches!(next, Some(Err(_)));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(whole: (i64, i64), bounds: (i64, i64), expect: (i64, i64)) {
        let span = |(from, to)| (NextOffset(from), NextOffset(to));
        assert_eq!(cut(span(whole), span(bounds)), span(expect), "{bounds:?} of {whole:?}");
    }

    #[test]
    fn a_span_lies_within_what_the_partition_holds() {
        check((10, 20), (12, 15), (12, 15));
        check((10, 20), (0, 99), (10, 20));
        check((10, 20), (15, 12), (15, 15));
        check((10, 20), (0, 5), (10, 10));
        check((10, 20), (30, 40), (20, 20));
        check((7, 7), (0, 9), (7, 7));
    }
}
