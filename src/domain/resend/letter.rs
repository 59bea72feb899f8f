//! What stands in the dead-letter topic: dead letters, and marks that say which of them were sent again.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::headers::{self, BadHeader, Carried, DeadLetterKind, Obituary};
use crate::domain::outcome::Reason;
use crate::domain::record::{Headers, Offset, Origin, Record};

/// A record of the dead-letter topic.
#[derive(Debug)]
pub enum Entry {
    /// A dead letter.
    Letter(Box<DeadLetter>),
    /// Which dead letters before it, in its partition, were sent again.
    Mark(Mark),
}

/// What is known of a dead letter without reading its value.
#[derive(Debug)]
pub struct DeadLetter {
    /// Where it stands, and when it became one.
    pub place: Origin,
    /// What was given up.
    pub subject: Subject,
    /// Where its event was produced.
    pub origin: Origin,
    /// Why it was given up.
    pub reason: Reason,
    /// More about that.
    pub error: Option<Box<str>>,
    /// The bytes of its key, value and headers.
    pub bytes: usize,
    /// Whether its value was dropped because it didn't fit: only the origin is left.
    pub is_hollow: bool,
}

/// What was given up.
#[derive(Debug)]
pub enum Subject {
    /// A delivery.
    Delivery(Box<Carried>),
    /// A record that could not be read.
    Record,
}

impl Entry {
    /// Reads a record of the dead-letter topic.
    ///
    /// # Errors
    /// [`BadHeader`] when somebody else has written it.
    pub fn read(record: &Record) -> Result<Self, BadHeader> {
        if headers::is_mark(&record.headers) {
            return Mark::read(record).map(Self::Mark);
        }
        let end = Obituary::read(&record.headers)?;
        let (subject, reason) = match end.kind {
            DeadLetterKind::Delivery => {
                let carried = Carried::read(&record.headers)?;
                let reason = carried.reason;
                (Subject::Delivery(Box::new(carried)), reason)
            }
            DeadLetterKind::Record => (Subject::Record, headers::reason(&record.headers)?),
        };
        let origin = headers::origin(&record.headers)?;
        Ok(Self::Letter(Box::new(DeadLetter {
            place: record.origin.clone(),
            subject,
            origin: origin.ok_or(BadHeader::ORIGIN)?,
            reason: reason.ok_or(BadHeader::REASON)?,
            error: end.error,
            bytes: record.size(),
            is_hollow: record.value.is_none(),
        })))
    }
}

impl DeadLetter {
    /// Returns what kind it is of.
    pub fn kind(&self) -> DeadLetterKind {
        match self.subject {
            Subject::Delivery(_) => DeadLetterKind::Delivery,
            Subject::Record => DeadLetterKind::Record,
        }
    }

    /// Returns what the headers of its delivery say, if it is one.
    pub fn delivery(&self) -> Option<&Carried> {
        match &self.subject {
            Subject::Delivery(carried) => Some(carried),
            Subject::Record => None,
        }
    }

    /// Returns how often it was sent again before it came to this.
    pub fn redrives(&self) -> u32 {
        self.delivery().map_or(0, |carried| carried.redrives)
    }
}

/// Says which dead letters of its partition were sent again. It stands behind them, so retention never takes it first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Where they stand.
    redriven: Vec<i64>,
}

impl Mark {
    /// Marks dead letters of one partition.
    pub fn of(offsets: impl IntoIterator<Item = Offset>) -> Self {
        Self { redriven: offsets.into_iter().map(|offset| offset.0).collect() }
    }

    fn read(record: &Record) -> Result<Self, BadHeader> {
        let value = record.value.as_deref().unwrap_or_default();
        serde_json::from_slice(value).map_err(|_| BadHeader::KIND)
    }

    /// Returns the record's value and headers; it has no key.
    pub fn write(&self) -> (Bytes, Headers) {
        let value = serde_json::to_vec(self).expect("numbers are always JSON");
        (value.into(), headers::mark())
    }

    /// Returns where the marked dead letters stand.
    pub fn offsets(&self) -> impl Iterator<Item = Offset> {
        self.redriven.iter().copied().map(Offset)
    }
}
