//! The event: what a record of an event topic says, whatever format it came in.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::cloudevent::CloudAttributes;
use super::record::{Origin, Record};
use super::source::Source;

/// The longest id that travels as it is; a longer one is hashed. Header lines have limits at receivers.
const ID_MAX: usize = 256;

/// An event's id in the form that stands in `webhook-id`: printable ASCII without dots.
///
/// It is the same on every attempt, replay and redrive, so that a receiver can tell repeats by it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(Arc<str>);

impl EventId {
    /// Makes the id from what the producer called the event.
    ///
    /// A name that Standard Webhooks forbids (a dot would blur what is signed) or that can't stand in a header
    /// becomes `evt_` and the unpadded base32 of its SHA-256.
    pub fn new(name: &str) -> Self {
        let fits = !name.is_empty()
            && name.len() <= ID_MAX
            && name.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'.')
            && name.trim_matches(' ').len() == name.len();
        if fits {
            Self(name.into())
        } else {
            Self(format!("evt_{}", base32_of_sha256(name)).into())
        }
    }

    /// Makes the id of an event that has no name of its own, from where its record stands.
    pub fn of_position(origin: &Origin) -> Self {
        Self::new(&format!("{}-{}-{}", origin.topic, origin.partition, origin.offset.0))
    }

    /// Returns the id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// RFC 4648 base32, section 6, without padding.
fn base32_of_sha256(text: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digest = Sha256::digest(text.as_bytes());
    let (mut out, mut buffer, mut bits) = (String::with_capacity(52), 0_u32, 0);
    for byte in digest {
        buffer = (buffer << 8) | u32::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(char::from(ALPHABET[(buffer >> bits) as usize & 31]));
        }
        buffer &= (1 << bits) - 1;
    }
    if bits > 0 {
        out.push(char::from(ALPHABET[(buffer << (5 - bits)) as usize & 31]));
    }
    out
}

/// What an event is called by. It is all that is told of one that was delivered, and outlives what the event says.
#[derive(Debug)]
pub struct Label {
    /// Where the event was produced; for a retry that is not where its record stands now.
    pub origin: Origin,
    /// Its id.
    pub id: EventId,
    /// Its type, dot-separated.
    pub event_type: Box<str>,
    /// The tenant it belongs to.
    pub tenant: Option<Arc<str>>,
}

/// One decoded event, shared by all its deliveries.
pub struct Event {
    /// The record it came in, as it came.
    pub record: Record,
    /// How it was read, and is read again wherever its record is moved.
    pub source: Arc<Source>,
    /// What it is called by.
    pub label: Arc<Label>,
    /// When it happened, RFC 3339 as the producer wrote it, else the record's time.
    pub time: Box<str>,
    /// The version of the producer's envelope, `1.0` where none is given.
    pub version: Box<str>,
    /// Its data: one JSON value, byte for byte as produced where the producer wrote JSON.
    pub data: Bytes,
    /// What it said as a CloudEvent, if it came as one.
    pub cloud: Option<Box<CloudAttributes>>,
    /// The body of a first attempt that may be followed by another, rendered once for all subscriptions.
    pub(super) first_body: OnceLock<Bytes>,
    /// The event as a structured CloudEvent, rendered once for all subscriptions and attempts.
    pub(super) structured: OnceLock<Bytes>,
}

impl Event {
    /// Puts an event together from a record and what was read from it.
    pub fn new(record: Record, attributes: Attributes) -> Self {
        let Attributes { source, origin, id, event_type, time, version, tenant, data, cloud } =
            attributes;
        let time = time.unwrap_or_else(|| rfc3339_ms(origin.timestamp).into());
        let version = version.unwrap_or_else(|| "1.0".into());
        Self {
            record,
            source,
            label: Arc::new(Label { origin, id, event_type, tenant }),
            time,
            version,
            data,
            cloud,
            first_body: OnceLock::new(),
            structured: OnceLock::new(),
        }
    }
}

/// What a decoder reads from a record.
pub struct Attributes {
    /// See [`Event::source`].
    pub source: Arc<Source>,
    /// See [`Label::origin`].
    pub origin: Origin,
    /// See [`Label::id`].
    pub id: EventId,
    /// See [`Label::event_type`].
    pub event_type: Box<str>,
    /// See [`Event::time`]; `None` where the record gives none.
    pub time: Option<Box<str>>,
    /// See [`Event::version`]; `None` where the record gives none.
    pub version: Option<Box<str>>,
    /// See [`Label::tenant`].
    pub tenant: Option<Arc<str>>,
    /// See [`Event::data`].
    pub data: Bytes,
    /// See [`Event::cloud`].
    pub cloud: Option<Box<CloudAttributes>>,
}

/// Names the event and hides what it says.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Label { id, event_type, origin, .. } = &*self.label;
        write!(f, "Event({id} {event_type} from {origin})")
    }
}

/// Writes a time as RFC 3339 in UTC with milliseconds, the form of every time this product writes.
pub fn rfc3339_ms(time: Timestamp) -> String {
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expect: &str) {
        assert_eq!(EventId::new(name).as_str(), expect, "{name:?}");
    }

    #[test]
    fn plain_ids_stay_as_they_are() {
        check("evt_1", "evt_1");
        check("a b~c", "a b~c");
    }

    #[test]
    fn ids_that_cannot_be_signed_or_sent_are_hashed() {
        // Python: base64.b32encode(hashlib.sha256(b"orders.v1-0-42").digest()).rstrip(b"=")
        check("orders.v1-0-42", "evt_EVMOPJOYBLPJBQKLIEBEG7ORKYFYKMWPA4IBUFNZWCWU5AWF3S7A");
        for name in ["", " a", "a ", "é", "a\nb", &"x".repeat(257)] {
            assert!(EventId::new(name).as_str().starts_with("evt_"), "{name:?}");
            assert_eq!(EventId::new(name).as_str().len(), 56);
        }
    }

    #[test]
    fn times_have_milliseconds() {
        let time = Timestamp::from_millisecond(1_736_937_000_000).expect("in range");
        assert_eq!(rfc3339_ms(time), "2025-01-15T10:30:00.000Z");
    }
}
