//! Kafka records as plain data: positions, headers, bytes. Never a client, never a broker.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

/// The place of one record in its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

impl Offset {
    /// Returns the position at which this record is the next.
    pub fn at(self) -> NextOffset {
        NextOffset(self.0)
    }

    /// Returns the position just behind this record: what a commit that includes it says.
    pub fn next(self) -> NextOffset {
        NextOffset(self.0 + 1)
    }
}

/// The first offset that is not yet done or read: the meaning of every committed offset in Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextOffset(pub i64);

impl NextOffset {
    /// Tells whether the record at `offset` lies before this position.
    pub fn includes(self, offset: Offset) -> bool {
        offset.0 < self.0
    }
}

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// Where a record stands, and when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The record's topic.
    pub topic: Arc<str>,
    /// The record's partition.
    pub partition: i32,
    /// The record's offset.
    pub offset: Offset,
    /// The record's timestamp, to the millisecond.
    pub timestamp: Timestamp,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset.0)
    }
}

/// One record header. A value may be null, as in Kafka.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// The header's key, case-sensitive.
    pub name: Arc<str>,
    /// The header's value.
    pub value: Option<Bytes>,
}

/// A record's headers in their order; names may repeat.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<Header>);

impl Headers {
    /// Returns the value of the last header of this name; by Kafka's custom the last one counts.
    pub fn last(&self, name: &str) -> Option<&Bytes> {
        let header = self.0.iter().rev().find(|header| &*header.name == name)?;
        header.value.as_ref()
    }

    /// Returns the last header of this name as text, if it is UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.last(name)?).ok()
    }

    /// Returns the bytes of all names and values.
    pub fn size(&self) -> usize {
        let value = |header: &Header| header.value.as_ref().map_or(0, Bytes::len);
        self.0.iter().map(|header| header.name.len() + value(header)).sum()
    }

    /// Appends a header.
    pub fn push(&mut self, name: &str, value: impl Into<Bytes>) {
        self.0.push(Header { name: name.into(), value: Some(value.into()) });
    }
}

/// Shows names only: a header's value may be a credential.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|header| &header.name)).finish()
    }
}

/// A record as it was consumed.
#[derive(Clone)]
pub struct Record {
    /// Where it stands.
    pub origin: Origin,
    /// Its key, if it has one.
    pub key: Option<Bytes>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Headers,
}

impl Record {
    /// Returns the bytes that this record holds in memory, headers included.
    pub fn size(&self) -> usize {
        let held = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        held(&self.key) + held(&self.value) + self.headers.size()
    }
}

/// Shows where the record stands and its size, never what it says.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({}, {} bytes)", self.origin, self.size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_header_of_a_name_counts() {
        let mut headers = Headers::default();
        headers.push("a", "1");
        headers.push("b", "2");
        headers.push("a", "3");
        assert_eq!(headers.text("a"), Some("3"));
        assert_eq!(headers.text("c"), None);
    }

    #[test]
    fn debug_output_names_headers_and_hides_values() {
        let mut headers = Headers::default();
        headers.push("authorization", "hunter2");
        assert_eq!(format!("{headers:?}"), r#"["authorization"]"#);
    }
}
