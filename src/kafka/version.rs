//! Which of a key's records counts.
//!
//! Within a partition the last one does. A key may stand in two partitions, because producers disagree on how keys
//! choose them (librdkafka's default is not Java's), or because partitions were added: then the later one counts.

use jiff::Timestamp;
use rdkafka::message::{BorrowedMessage, Message};

/// Where a record stands, and when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since the Unix epoch; 0 if the record has no timestamp.
    pub timestamp_ms: i64,
}

impl Version {
    pub(super) fn of(message: &BorrowedMessage<'_>) -> Self {
        Self {
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
        }
    }

    /// Returns when it was written; the beginning of time if nobody has said.
    pub(super) fn time(&self) -> Timestamp {
        match self.timestamp_ms {
            0 => Timestamp::MIN,
            at => Timestamp::from_millisecond(at).unwrap_or(Timestamp::MIN),
        }
    }

    /// Tells whether this record counts more than another of its key.
    ///
    /// A record that was read before doesn't: a partition may be read again from its start.
    pub(super) fn supersedes(&self, other: &Self) -> bool {
        let (own, others) = (self.timestamp_ms, other.timestamp_ms);
        match self.partition == other.partition {
            // A smaller offset that is later comes of a topic that was made anew.
            true => self.offset > other.offset || own > others,
            false => (own, self.partition) > (others, other.partition),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(newer: (i32, i64, i64), older: (i32, i64, i64)) {
        let version =
            |(partition, offset, timestamp_ms)| Version { partition, offset, timestamp_ms };
        let (newer, older) = (version(newer), version(older));
        assert!(newer.supersedes(&older), "{newer:?} {older:?}");
        assert!(!newer.supersedes(&newer), "{newer:?} supersedes itself");
    }

    #[test]
    fn within_a_partition_the_last_record_counts() {
        check((0, 2, 100), (0, 1, 100));
        check((0, 2, 99), (0, 1, 100));
        check((0, 0, 200), (0, 7, 100));
    }

    #[test]
    fn between_partitions_the_later_record_counts() {
        check((0, 1, 101), (1, 9, 100));
        check((1, 1, 100), (0, 9, 100));
    }
}
