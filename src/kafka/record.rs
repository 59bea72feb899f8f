//! From librdkafka's messages to records of our own, and back.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, ProducerContext};

use crate::domain::record::{Header, Headers, Offset, Origin, Record, TopicPartition};

/// Hands a record to a producer that somebody polls, and waits when its queue is full: that drains as the broker takes
/// records, and if it doesn't, they time out.
///
/// # Errors
/// The producer refuses the record.
pub(super) fn hand_over<C: ProducerContext<DeliveryOpaque = usize>>(
    producer: &BaseProducer<C>,
    mut record: BaseRecord<'_, [u8], [u8], usize>,
) -> KafkaResult<()> {
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                std::thread::sleep(Duration::from_millis(1));
            }
            Err((error, _)) => return Err(error),
        }
    }
}

/// Copies a message out of librdkafka's memory.
pub(super) fn record(message: &BorrowedMessage, name: Option<&TopicPartition>) -> Record {
    let topic = name.map_or_else(|| message.topic().into(), |name| name.topic.clone());
    let millis = message.timestamp().to_millis().unwrap_or(0);
    let headers = message.headers().map(|headers| {
        let header = |header: rdkafka::message::Header<&[u8]>| Header {
            name: header.key.into(),
            value: header.value.map(Bytes::copy_from_slice),
        };
        Headers(headers.iter().map(header).collect())
    });
    Record {
        origin: Origin {
            topic,
            partition: message.partition(),
            offset: Offset(message.offset()),
            timestamp: Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH),
        },
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        headers: headers.unwrap_or_default(),
    }
}

/// Copies headers into librdkafka's memory.
pub(super) fn owned(headers: &Headers) -> OwnedHeaders {
    let to = OwnedHeaders::new_with_capacity(headers.0.len());
    headers.0.iter().fold(to, |to, header| {
        let value = header.value.as_deref();
        to.insert(rdkafka::message::Header { key: &header.name, value })
    })
}
