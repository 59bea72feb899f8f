//! The range of a replay: as an earlier run of the same words left it, or as it is now.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::Replay;
use crate::cli::Failure;
use crate::domain::record::{NextOffset, TopicPartition};
use crate::domain::resend::Leg;
use crate::kafka::bookmark::{Bookmark, Position};
use crate::kafka::range::Topic;

/// How far the replay is in each partition, by number.
pub(super) type Legs = BTreeMap<i32, Leg>;

/// Tells which records of the range are there no more.
pub(super) fn tell_of_gaps(legs: &Legs, topic: &Topic<'_>) {
    for (id, leg) in legs {
        let Some((first, _)) = topic.partitions().get(id) else { continue };
        let gone = first.0.min(leg.end.0) - leg.next.0;
        if gone > 0 {
            eprintln!("partition {id}: retention has taken {gone} records of the range");
        }
    }
}

impl Replay {
    /// Finds out how far an earlier replay of the same words is, if there was one.
    pub(super) fn begun(
        &self,
        bookmark: &Bookmark<'_>,
        topic: &Topic<'_>,
    ) -> Result<Option<Legs>, Failure> {
        let name: Arc<str> = self.topic.as_str().into();
        let partition = |id: &i32| TopicPartition { topic: name.clone(), partition: *id };
        let names: Vec<_> = topic.partitions().keys().map(partition).collect();
        let positions = bookmark.positions(&names)?;
        let leg = |position: Position| {
            Some((position.name.partition, Leg::read(position.next, &position.metadata)?))
        };
        let legs: Legs = positions.into_iter().filter_map(leg).collect();
        Ok(Some(legs).filter(|legs| !legs.is_empty()))
    }

    /// Returns the range, as it is now, of each partition that is in it.
    pub(super) fn legs(&self, topic: &Topic<'_>) -> Result<Legs, Failure> {
        let now = Timestamp::now();
        let whole = topic.partitions();
        for (partition, _) in self.from_offset.iter().chain(&self.to_offset) {
            if !whole.contains_key(partition) {
                let topic = &self.topic;
                return Err(Failure::of(format!("{topic} has no partition {partition}")));
            }
        }
        let starts: BTreeMap<i32, NextOffset> = match self.from {
            Some(from) => topic.positions_at(from.at(now))?,
            None => self.from_offset.iter().copied().collect(),
        };
        let mut ends: BTreeMap<i32, NextOffset> =
            whole.iter().map(|(id, (_, end))| (*id, *end)).collect();
        if let Some(to) = self.to {
            ends = topic.positions_at(to.at(now))?;
        }
        for (partition, to) in &self.to_offset {
            ends.entry(*partition).and_modify(|end| *end = (*end).min(*to));
        }
        let leg = |(id, start): (i32, NextOffset)| {
            let end = ends.get(&id).copied()?;
            Some((id, Leg { next: start, end: end.max(start) }))
        };
        Ok(starts.into_iter().filter_map(leg).collect())
    }
}
