//! Records as tests write and read them.

use std::fmt;

use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use serde_json::Value;

/// A record to be produced; without a key it goes to any partition, without a value it is a tombstone.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
    /// `None` leaves the choice to the key.
    pub partition: Option<i32>,
}

impl Draft {
    /// A record with a key and a value.
    pub fn new(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        Self {
            key: Some(key.as_ref().to_vec()),
            value: Some(value.as_ref().to_vec()),
            ..Self::default()
        }
    }

    /// A record with a key and a null value.
    pub fn tombstone(key: impl AsRef<[u8]>) -> Self {
        Self { key: Some(key.as_ref().to_vec()), ..Self::default() }
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Says which partition it goes to.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }
}

/// A record that was read.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// In the record's order; a name may stand more than once.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// Returns the key as text, `""` when there is none.
    pub fn key_text(&self) -> String {
        text(self.key.as_deref())
    }

    /// Returns the value as text, `""` for a tombstone.
    pub fn value_text(&self) -> String {
        text(self.value.as_deref())
    }

    /// Returns the value read as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(self.value.as_deref().unwrap_or_default())
            .unwrap_or_else(|error| panic!("{self:?} has no JSON value: {error}"))
    }

    /// Returns the header of that name as text; `None` when there is none.
    ///
    /// # Panics
    ///
    /// When the name stands more than once.
    pub fn header(&self, name: &str) -> Option<String> {
        let mut values = self.headers.iter().filter(|(n, _)| n == name);
        let (_, value) = values.next()?;
        assert!(values.next().is_none(), "header {name} stands more than once in {self:?}");
        Some(text(value.as_deref()))
    }
}

impl From<&BorrowedMessage<'_>> for Record {
    fn from(message: &BorrowedMessage<'_>) -> Self {
        Self {
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: message
                .headers()
                .into_iter()
                .flat_map(|headers| headers.iter())
                .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect(),
        }
    }
}

/// Shows text as text, and of a long value only the beginning.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 300;
        let value: String = self.value_text().chars().take(SHOWN).collect();
        write!(f, "{}/{} key ", self.partition, self.offset)?;
        write!(f, "{:?} headers {{", self.key_text())?;
        for (name, value) in &self.headers {
            write!(f, "{name}: {:?} ", text(value.as_deref()))?;
        }
        match self.value {
            Some(_) => write!(f, "}} value {value:?}"),
            None => write!(f, "}} tombstone"),
        }
    }
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}
