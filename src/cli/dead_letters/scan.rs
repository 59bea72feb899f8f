//! The dead-letter topic, read to where it ended when the command began: first the marks, then the dead letters.

use std::collections::{BTreeMap, HashSet};

use super::filters::Place;
use crate::cli::Failure;
use crate::cli::progress::ProgressLine;
use crate::cli::resend::Decoder;
use crate::domain::headers::is_mark;
use crate::domain::record::{NextOffset, Offset, Record};
use crate::domain::resend::{DeadLetter, Entry, Selection, Subject};
use crate::kafka::Connection;
use crate::kafka::range::{Bound, Range, Topic};

/// Dead letters that are meant, in the order of time between partitions.
pub(super) struct Scan {
    selection: Selection,
    /// Which dead letters were sent again.
    marked: HashSet<(i32, Offset)>,
    letters: Range,
    decoder: Decoder,
    progress: ProgressLine,
    /// Records of the topic that are neither dead letters nor marks.
    foreign: u64,
}

/// A dead letter that is meant.
pub(super) struct Found {
    pub(super) letter: DeadLetter,
    pub(super) record: Record,
    /// Whether it was sent again before.
    pub(super) is_redriven: bool,
}

impl Scan {
    /// Begins to look for the dead letters that a selection means, or for the one at a place.
    ///
    /// # Errors
    /// The topic can't be read.
    pub(super) fn begin(
        connection: &Connection,
        selection: Selection,
        place: Option<&Place>,
    ) -> Result<Self, Failure> {
        let name = &connection.config().topics.dead_letter;
        let look = || Topic::look_at(connection, name);
        let progress = ProgressLine::begin(format!("reading {name}"));
        let topic = look()?;
        let ends: BTreeMap<i32, NextOffset> =
            topic.partitions().iter().map(|(id, (_, end))| (*id, *end)).collect();
        let end = Bound::Positions(ends);
        let (from, to) = match (place, selection.since) {
            (Some(Place { partition, offset, .. }), _) => (
                Bound::Positions([(*partition, offset.at())].into()),
                Bound::Positions([(*partition, offset.next())].into()),
            ),
            (None, Some(since)) => (Bound::Time(since), end.clone()),
            (None, None) => (Bound::Beginning, end.clone()),
        };
        let mut marked = HashSet::new();
        let mut marks = topic.read(&from, &end, |_| true)?;
        while let Some(record) = marks.next() {
            let record = record?;
            progress.show(marks.progress());
            if is_mark(&record.headers)
                && let Ok(Entry::Mark(mark)) = Entry::read(&record)
            {
                marked.extend(mark.offsets().map(|offset| (record.origin.partition, offset)));
            }
        }
        let letters = look()?.read(&from, &to, |_| true)?;
        let decoder = Decoder::new(connection.config())?;
        Ok(Self { selection, marked, letters, decoder, progress, foreign: 0 })
    }

    /// Returns the next.
    ///
    /// # Errors
    /// The topic can't be read, or a schema that is needed can't be had.
    pub(super) fn next(&mut self) -> Result<Option<Found>, Failure> {
        while let Some(record) = self.letters.next() {
            let record = record?;
            self.progress.show(self.letters.progress());
            match Entry::read(&record) {
                Ok(Entry::Letter(letter)) if self.is_meant(&letter, &record)? => {
                    let place = (record.origin.partition, record.origin.offset);
                    let is_redriven = self.marked.contains(&place);
                    return Ok(Some(Found { letter: *letter, record, is_redriven }));
                }
                Ok(Entry::Letter(_) | Entry::Mark(_)) => {}
                Err(_) => self.foreign += 1,
            }
        }
        if self.foreign > 0 {
            let foreign = std::mem::take(&mut self.foreign);
            let tell = || eprintln!("{foreign} records of the topic are no dead letters");
            self.progress.aside(tell);
        }
        Ok(None)
    }

    /// Returns what reads events.
    pub(super) fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Prints without the line of progress in the way.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.progress.aside(print)
    }

    fn is_meant(&self, letter: &DeadLetter, record: &Record) -> Result<bool, Failure> {
        if !self.selection.picks(letter) {
            return Ok(false);
        }
        let Some(pattern) = &self.selection.event_type else { return Ok(true) };
        let (record, origin) = (record.clone(), &letter.origin);
        let event = match &letter.subject {
            Subject::Delivery(carried) => self.decoder.delivery(record, carried, origin)?,
            Subject::Record => self.decoder.event(record, origin)?,
        };
        Ok(event.is_ok_and(|event| pattern.matches(&event.label.event_type)))
    }
}
