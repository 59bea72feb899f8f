//! A replay's name, by which the same command finds it again, and what its commits say.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::domain::record::NextOffset;

/// Returns the name of a replay: the same for the same words of a command, whenever it is given.
///
/// `words` are what says which events go to whom, in a fixed order.
pub fn replay_id<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let mut hash = Sha256::new();
    for word in words {
        // The length keeps words apart.
        hash.update((word.len() as u64).to_be_bytes());
        hash.update(word);
    }
    let mut id = String::with_capacity(16);
    for byte in &hash.finalize()[..8] {
        write!(id, "{byte:02x}").expect("a string takes all that is written");
    }
    id
}

/// How far a replay is in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    /// Where it goes on.
    pub next: NextOffset,
    /// Where it ends, as it was decided when it began.
    pub end: NextOffset,
}

impl Leg {
    /// Returns the metadata of the commit of `next`: it keeps the end.
    pub fn metadata(self) -> String {
        format!("end={}", self.end.0)
    }

    /// Reads a commit; `None` if it isn't a replay's.
    pub fn read(next: NextOffset, metadata: &str) -> Option<Self> {
        let end = metadata.strip_prefix("end=")?.parse().ok()?;
        Some(Self { next, end: NextOffset(end) })
    }

    /// Tells whether nothing is left of it.
    pub fn is_done(self) -> bool {
        self.next >= self.end
    }
}
