//! What the group and the cluster tell a member: taken note of in callbacks, acted on elsewhere.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use tracing::warn;

use super::context;
use crate::domain::record::{NextOffset, TopicPartition};

/// What the group tells this member.
#[derive(Debug)]
pub enum Notice {
    /// These partitions are ours now; answer with [`GroupConsumer::start`](super::consumer::GroupConsumer::start).
    Assigned(Vec<TopicPartition>),
    /// These are to be given back; answer with [`GroupConsumer::give_back`](super::consumer::GroupConsumer::give_back) when nothing is open.
    Revoked(Vec<TopicPartition>),
    /// These are somebody else's already; answer with [`GroupConsumer::give_back`](super::consumer::GroupConsumer::give_back) at once.
    Lost(Vec<TopicPartition>),
    /// The client is of no use any more.
    Fatal(String),
}

/// How much lies ahead of the connector in one partition.
#[derive(Clone, Debug)]
pub struct Lag {
    /// The partition.
    pub name: TopicPartition,
    /// The offset behind its last stable record.
    pub end: NextOffset,
    /// Offsets before it that were not handed over: what is fetched, and what is still to fetch. When it is none, those
    /// between the watermark and the end are the markers that stand behind transactions.
    pub ahead: u64,
}

/// Where the client's callbacks leave word.
#[derive(Default)]
pub(super) struct Context {
    pub(super) notices: Mutex<Vec<Notice>>,
    pub(super) lags: Mutex<Vec<Lag>>,
    /// Whether a broker was there when last looked at.
    pub(super) reachable: AtomicBool,
    /// Goes when the client is closed, whoever closes it.
    pub(super) _open: Option<Sender<Infallible>>,
    /// Set when nobody will answer the group any more.
    pub(super) closing: AtomicBool,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.reachable.store(false, Ordering::Relaxed);
        }
        context::client_error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let up = statistics.brokers.values().any(|broker| broker.state == "UP");
        self.reachable.store(up, Ordering::Relaxed);
        let mut lags = Vec::new();
        for (topic, stats) in &statistics.topics {
            let name: Arc<str> = topic.as_str().into();
            let assigned =
                stats.partitions.iter().filter(|(id, stats)| **id >= 0 && stats.ls_offset >= 0);
            lags.extend(assigned.map(|(id, stats)| {
                // Before the first fetch there is no next offset, only a negative number.
                let to_fetch = stats.ls_offset - stats.next_offset.clamp(0, stats.ls_offset);
                Lag {
                    name: TopicPartition { topic: name.clone(), partition: *id },
                    end: NextOffset(stats.ls_offset),
                    ahead: to_fetch.unsigned_abs() + stats.fetchq_cnt.unsigned_abs(),
                }
            }));
        }
        *self.lags.lock().expect("no holder of the lock panics") = lags;
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        err: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        if self.closing.load(Ordering::Relaxed) {
            // Nobody will answer any more, and closing waits for it.
            if let Err(error) = consumer.unassign() {
                warn!(%error, "partitions could not be given back while leaving the group");
            }
            return;
        }
        // Whoever assigns is there, long before the next statistics say so.
        self.reachable.store(true, Ordering::Relaxed);
        let names = names(list);
        let notice = match err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Notice::Assigned(names),
            _ if consumer.assignment_lost() => Notice::Lost(names),
            _ => Notice::Revoked(names),
        };
        self.notices.lock().expect("no holder of the lock panics").push(notice);
    }
}

fn names(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let elements = list.elements();
    let name = |topic: &str, partition| TopicPartition { topic: topic.into(), partition };
    elements.iter().map(|element| name(element.topic(), element.partition())).collect()
}
