//! Reads the audit topic for commands: what happened between two times, from where it can stand, in the order of time.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;

use super::Failure;
use super::progress::ProgressLine;
use super::times::{Time, empty_range};
use crate::domain::audit::{AuditRecord, Outcome};
use crate::domain::history::Span;
use crate::domain::outcome::Reason;
use crate::domain::partitioner::homes;
use crate::domain::record::Record;
use crate::domain::subscription::SubscriptionId;
use crate::domain::tiers;
use crate::kafka::Connection;
use crate::kafka::cluster::ClusterError;
use crate::kafka::range::{Bound, Range, Topic};
use crate::kafka::tail::Tail;

/// How much later than it happened something may stand in the topic: a broker that was away is waited for.
const LATE_MAX: Duration = Duration::from_secs(10 * 60);

/// How far the clock of a broker that stamps records itself may be behind ours.
const SKEW_MAX: Duration = Duration::from_secs(1);

/// Audit records as they are read.
pub(super) struct Audit<'c> {
    connection: Connection<'c>,
    range: Range,
    span: Span,
    line: ProgressLine,
    /// Records that are none of ours.
    strange: u64,
}

impl<'c> Audit<'c> {
    /// Begins to read what happened in a span; of the named subscriptions, if any is named.
    ///
    /// Records of a subscription are in one partition, by its id: the others aren't read. Times of records are those of
    /// writing, a moment later than what they tell of.
    pub(super) fn open(
        connection: &Connection<'c>,
        span: Span,
        subscriptions: &[SubscriptionId],
    ) -> Result<Self, Failure> {
        let topic = Topic::look_at(connection, &connection.config().topics.audit)?;
        let line = ProgressLine::begin(format!("reading {}", topic.name()));
        let from = topic.positions_at(tiers::sub(span.since, SKEW_MAX))?;
        let homes: Vec<_> =
            subscriptions.iter().map(|id| homes(id.as_str().as_bytes(), &from)).collect();
        let is_home =
            |partition| homes.is_empty() || homes.iter().any(|homes| homes.contains(&partition));
        let late = span.until.map(|until| tiers::add(until, LATE_MAX));
        let to = late.map_or(Bound::End, Bound::Time);
        let range = topic.read(&Bound::Positions(from), &to, is_home)?;
        Ok(Self { connection: connection.clone(), range, span, line, strange: 0 })
    }

    /// Returns the next record of the span; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<AuditRecord<'static>>, ClusterError> {
        while let Some(record) = self.range.next().transpose()? {
            self.line.show(self.range.progress());
            if let Some(record) = take(&record, self.span, &mut self.strange) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Prints something without the line of progress in its way.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.line.aside(print)
    }

    /// Ends reading, and says so if there was something that is none of ours.
    pub(super) fn close(self) {
        if self.strange > 0 {
            let Self { strange, connection, .. } = self;
            let topic = &connection.config().topics.audit;
            drop(self.line);
            eprintln!(
                "{strange} records of {topic} are no audit records that this version knows: they are left out"
            );
        }
    }

    /// Goes on with what comes, for ever.
    pub(super) fn follow(self) -> Result<Following, Failure> {
        let topic = &self.connection.config().topics.audit;
        let tail = Tail::resume(&self.connection, topic, &self.range.positions());
        let tail = tail.map_err(ClusterError::from)?;
        let span = self.span;
        self.close();
        Ok(Following { tail, span })
    }
}

/// Audit records as they come.
pub(super) struct Following {
    tail: Tail,
    span: Span,
}

impl Following {
    /// Waits for the next record.
    pub(super) fn next(&self) -> AuditRecord<'static> {
        const LOOK: Duration = Duration::from_secs(1);
        loop {
            let record = self.tail.next(LOOK);
            if let Some(record) = record.and_then(|record| take(&record, self.span, &mut 0)) {
                return record;
            }
        }
    }
}

fn take(record: &Record, span: Span, strange: &mut u64) -> Option<AuditRecord<'static>> {
    let read = AuditRecord::read(record.value.as_deref().unwrap_or_default());
    *strange += u64::from(read.is_none());
    read.filter(|record| span.contains(record.at))
}

/// Returns the span between two times as they were written.
///
/// # Errors
/// It holds nothing.
pub(super) fn span(since: Time, until: Option<Time>, now: Timestamp) -> Result<Span, Failure> {
    let (since, until) = (since.at(now), until.map(|until| until.at(now)));
    if until.is_some_and(|until| until <= since) {
        return Err(empty_range(since));
    }
    Ok(Span { since, until })
}

/// Reads an outcome, one of those there are.
pub(super) fn outcomes() -> impl TypedValueParser<Value = Outcome> {
    words(Outcome::ALL.map(|outcome| (outcome.as_str(), outcome)))
}

/// Reads a reason, one of those there are.
pub(super) fn reasons() -> impl TypedValueParser<Value = Reason> {
    words(Reason::ALL.map(|reason| (reason.as_str(), reason)))
}

/// Reads one of these words.
fn words<T: Copy + Send + Sync + 'static, const N: usize>(
    words: [(&'static str, T); N],
) -> impl TypedValueParser<Value = T> {
    let meaning = move |found: String| {
        let word = words.iter().find(|(word, _)| *word == found);
        word.map(|(_, meaning)| *meaning).ok_or("is none of the words")
    };
    PossibleValuesParser::new(words.map(|(word, _)| word)).try_map(meaning)
}
