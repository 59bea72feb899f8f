//! The pending set: what is open behind the watermark, and its form in a commit's metadata.
//!
//! Version 1 is the character `1` and unpadded base64url of these bytes, numbers as LEB128:
//!
//! ```text
//! frontier - watermark
//! 0 | 1 and 4 bytes        the last entry is half added: deliveries above this hash were never started
//! n, n × 4 bytes           the subscription hashes that occur below
//! n, n × an entry:         (gap << 1) | listed, and where listed: k, k × index into the hashes
//! ```
//!
//! The gap counts the offsets between an entry and the one before it. An offset before the frontier that has no entry is settled.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustc_hash::FxHashMap;

use crate::domain::record::{NextOffset, Offset};
use crate::domain::subscription::SubscriptionHash;

/// The most characters that a broker takes as a commit's metadata (`offset.metadata.max.bytes`, by default).
pub const METADATA_MAX: usize = 4096;

/// The most bytes that fit behind the version character.
pub(super) const BYTES_MAX: usize = (METADATA_MAX - 1) / 4 * 3;

const VERSION: char = '1';

/// What of one record is pending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pending {
    /// All its deliveries.
    Whole,
    /// Those to the subscriptions of these hashes.
    Only(Vec<SubscriptionHash>),
}

impl Pending {
    /// Returns the hashes that are listed; `None` when all deliveries are pending.
    pub(super) fn listed(&self) -> Option<&[SubscriptionHash]> {
        match self {
            Self::Whole => None,
            Self::Only(listed) => Some(listed),
        }
    }
}

/// What is pending between a watermark and a frontier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingSet {
    /// The first offset that was never opened.
    pub frontier: NextOffset,
    /// The records before the frontier that are not settled.
    pub records: BTreeMap<Offset, Pending>,
    /// Set when the last of `records` is half added: its deliveries above this hash were never started.
    pub cursor: Option<SubscriptionHash>,
}

impl PendingSet {
    /// Returns the set that holds nothing: everything from `next` on is new.
    pub fn empty(next: NextOffset) -> Self {
        Self { frontier: next, records: BTreeMap::new(), cursor: None }
    }

    /// Reads a commit's metadata. What is of another version or damaged counts as empty: records are then delivered
    /// again, and none is lost.
    pub fn decode(watermark: NextOffset, metadata: &str) -> Self {
        Self::read(watermark, metadata).unwrap_or_else(|| Self::empty(watermark))
    }

    fn read(watermark: NextOffset, metadata: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(metadata.strip_prefix(VERSION)?).ok()?;
        let mut reader = Reader(&bytes);
        let frontier = NextOffset(watermark.0.checked_add_unsigned(reader.number()?)?);
        let cursor = match reader.number()? {
            0 => None,
            1 => Some(reader.hash()?),
            _ => return None,
        };
        let count = reader.number()?;
        let hashes: Vec<_> = (0..count).map_while(|_| reader.hash()).collect();
        if hashes.len() as u64 != count {
            return None;
        }
        let mut records = BTreeMap::new();
        let mut at = watermark;
        for _ in 0..reader.number()? {
            let head = reader.number()?;
            let offset = Offset(at.0.checked_add_unsigned(head >> 1)?);
            let pending = match head & 1 {
                0 => Pending::Whole,
                _ => Pending::Only(reader.list(&hashes)?),
            };
            if !frontier.includes(offset) {
                return None;
            }
            records.insert(offset, pending);
            at = offset.next();
        }
        let whole = reader.0.is_empty() && (cursor.is_none() || !records.is_empty());
        whole.then_some(Self { frontier, records, cursor })
    }
}

/// Reads numbers and hashes off the front of a slice.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..63).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn hash(&mut self) -> Option<SubscriptionHash> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(SubscriptionHash(u32::from_be_bytes(*bytes)))
    }

    fn list(&mut self, hashes: &[SubscriptionHash]) -> Option<Vec<SubscriptionHash>> {
        let count = self.number()?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(*hashes.get(usize::try_from(self.number()?).ok()?)?);
        }
        Some(list)
    }
}

/// Writes a pending set, entry by entry in the order of offsets, and never grows past what a commit can carry.
///
/// An entry that doesn't fit ends the set: the frontier moves back to its offset, so that it and all behind it count
/// as never opened. That repeats deliveries and loses none; a window that keeps to its room never gets there.
pub(super) struct Writer {
    watermark: NextOffset,
    at: NextOffset,
    entries: Vec<u8>,
    count: u64,
    hashes: Vec<SubscriptionHash>,
    indexes: FxHashMap<SubscriptionHash, u64>,
    cut: Option<Offset>,
}

/// An upper bound of the bytes beside hashes and entries: frontier, cursor, two counts.
const HEAD_MAX: usize = 10 + 5 + 3 + 3;

impl Writer {
    pub(super) fn new(watermark: NextOffset) -> Self {
        Self {
            watermark,
            at: watermark,
            entries: Vec::new(),
            count: 0,
            hashes: Vec::new(),
            indexes: FxHashMap::default(),
            cut: None,
        }
    }

    /// Adds the record at `offset`; `None` stands for all its deliveries.
    pub(super) fn entry(&mut self, offset: Offset, only: Option<&[SubscriptionHash]>) {
        if self.cut.is_some() {
            return;
        }
        let (length, known) = (self.entries.len(), self.hashes.len());
        let gap =
            u64::try_from(offset.0 - self.at.0).expect("entries come in the order of offsets");
        put(&mut self.entries, (gap << 1) | u64::from(only.is_some()));
        if let Some(only) = only {
            put(&mut self.entries, only.len() as u64);
            for &hash in only {
                let index = *self.indexes.entry(hash).or_insert_with(|| {
                    self.hashes.push(hash);
                    self.hashes.len() as u64 - 1
                });
                put(&mut self.entries, index);
            }
        }
        if HEAD_MAX + 4 * self.hashes.len() + self.entries.len() > BYTES_MAX {
            self.entries.truncate(length);
            self.hashes.truncate(known);
            self.cut = Some(offset);
            return;
        }
        self.count += 1;
        self.at = offset.next();
    }

    /// Returns the metadata: empty when there is nothing to say.
    pub(super) fn finish(self, frontier: NextOffset, cursor: Option<SubscriptionHash>) -> String {
        let frontier = self.cut.map_or(frontier, |cut| cut.at());
        let cursor = cursor.filter(|_| self.cut.is_none());
        if self.entries.is_empty() && frontier == self.watermark {
            return String::new();
        }
        let mut bytes = Vec::with_capacity(HEAD_MAX + 4 * self.hashes.len() + self.entries.len());
        let span = u64::try_from(frontier.0 - self.watermark.0);
        put(&mut bytes, span.expect("the frontier is never behind the watermark"));
        match cursor {
            None => bytes.push(0),
            Some(SubscriptionHash(hash)) => {
                bytes.push(1);
                bytes.extend(hash.to_be_bytes());
            }
        }
        put(&mut bytes, self.hashes.len() as u64);
        for SubscriptionHash(hash) in &self.hashes {
            bytes.extend(hash.to_be_bytes());
        }
        put(&mut bytes, self.count);
        bytes.extend(&self.entries);
        let mut metadata = String::with_capacity(1 + bytes.len().div_ceil(3) * 4);
        metadata.push(VERSION);
        URL_SAFE_NO_PAD.encode_string(bytes, &mut metadata);
        assert!(metadata.len() <= METADATA_MAX, "a pending set outgrew its bound");
        metadata
    }
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}
