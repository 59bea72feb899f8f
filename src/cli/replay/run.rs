//! A replay under way, and what comes of it.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Replay;
use super::legs::{Legs, tell_of_gaps};
use crate::cli::progress::ProgressLine;
use crate::cli::resend::{Decoder, Handed, Outbox};
use crate::cli::{Failure, Output};
use crate::config::Config;
use crate::domain::headers::Trigger;
use crate::domain::record::{NextOffset, Record, TopicPartition};
use crate::domain::resend::{Leg, Pace, Recipients, Resend};
use crate::domain::subscription::SubscriptionId;
use crate::kafka::bookmark::{Bookmark, Position};
use crate::kafka::range::{Bound, Topic};

/// How often it is committed how far the replay is, also where nothing is sent.
const COMMIT: Duration = Duration::from_secs(1);

/// The most events that can't be read of which each is told.
const UNREADABLE_MAX: u64 = 10;

/// A replay under way.
pub(super) struct Run<'c> {
    name: Arc<str>,
    subscription: &'c SubscriptionId,
    recipients: Recipients,
    decoder: Decoder,
    bookmark: Bookmark<'c>,
    /// `None` if nothing is to be sent.
    outbox: Option<Outbox<'c, ()>>,
    legs: Legs,
    pace: Pace,
    committed: Instant,
    progress: ProgressLine,
    tally: Tally,
}

impl<'c> Run<'c> {
    /// Prepares a replay; without an outbox nothing is sent.
    pub(super) fn new(
        replay: &'c Replay,
        config: &Config,
        recipients: Recipients,
        bookmark: Bookmark<'c>,
        outbox: Option<Outbox<'c, ()>>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            name: replay.topic.as_str().into(),
            subscription: &replay.subscription,
            recipients,
            decoder: Decoder::new(config)?,
            bookmark,
            outbox,
            legs: Legs::new(),
            pace: Pace::new(replay.rate, Instant::now()),
            committed: Instant::now(),
            progress: ProgressLine::begin(format!("replaying {}", replay.topic)),
            tally: Tally { dry_run: replay.dry_run, ..Tally::default() },
        })
    }

    /// Goes on with a replay that was begun before.
    pub(super) fn resume(mut self, legs: Legs, topic: Topic<'_>) -> Result<Tally, Failure> {
        self.tally.resumed = true;
        if legs.values().all(|leg| leg.is_done()) {
            eprintln!("this replay was done before: --restart begins it anew");
        }
        self.begin(legs, topic)
    }

    /// Replays what is left of a range.
    pub(super) fn begin(mut self, legs: Legs, topic: Topic<'_>) -> Result<Tally, Failure> {
        tell_of_gaps(&legs, &topic);
        let bound = |position: fn(&Leg) -> NextOffset| {
            Bound::Positions(legs.iter().map(|(id, leg)| (*id, position(leg))).collect())
        };
        let mut range = topic.read(&bound(|leg| leg.next), &bound(|leg| leg.end), |_| true)?;
        self.legs = legs;
        // The end is kept with the first commit, so that it stays where it is now.
        self.commit()?;
        while let Some(record) = range.next() {
            let resend = self.resend(record?)?;
            self.progress.show(range.progress());
            match (resend, &mut self.outbox) {
                (Some(resend), Some(outbox)) => outbox.add((), vec![resend]),
                (Some(_), None) => self.tally.sent += 1,
                (None, _) => {}
            }
            let is_late = self.committed.elapsed() >= COMMIT;
            if self.outbox.as_ref().is_some_and(|outbox| outbox.is_full() || is_late) {
                for (id, next) in range.positions() {
                    self.legs.entry(id).and_modify(|leg| leg.next = next);
                }
                self.commit()?;
            }
        }
        for leg in self.legs.values_mut() {
            leg.next = leg.end;
        }
        self.commit()?;
        Ok(self.tally)
    }

    /// Returns the delivery that a record comes to, if it does.
    fn resend(&mut self, record: Record) -> Result<Option<Resend>, Failure> {
        if record.value.is_none() {
            return Ok(None);
        }
        self.tally.read += 1;
        let origin = record.origin.clone();
        let event = match self.decoder.event(record, &origin)? {
            Ok(event) => event,
            Err(reason) => {
                self.tally.unreadable += 1;
                if self.tally.unreadable <= UNREADABLE_MAX {
                    self.progress.aside(|| eprintln!("{origin} can't be read: {reason}"));
                }
                return Ok(None);
            }
        };
        let wanted = self.recipients.wanting(&event);
        self.tally.filtered += wanted.filtered;
        self.tally.filter_errors += wanted.filter_errors;
        if wanted.by.is_empty() {
            self.tally.unmatched += u64::from(wanted.filtered + wanted.filter_errors == 0);
            return Ok(None);
        }
        Ok(Some(Resend::of_event(&event, self.subscription, Trigger::Replay, 0)))
    }

    /// Hands over what is held together with how far the replay is, and keeps the pace.
    fn commit(&mut self) -> Result<(), Failure> {
        let Some(outbox) = &mut self.outbox else { return Ok(()) };
        let position = |(id, leg): (&i32, &Leg)| Position {
            name: TopicPartition { topic: self.name.clone(), partition: *id },
            next: leg.next,
            metadata: leg.metadata(),
        };
        let positions: Vec<_> = self.legs.iter().map(position).collect();
        let Handed { sent, too_large } = outbox.commit(&self.bookmark, &positions)?;
        self.tally.sent += sent.len() as u64;
        self.tally.too_large += too_large.len() as u64;
        self.committed = Instant::now();
        std::thread::sleep(self.pace.went(sent.len(), self.committed));
        Ok(())
    }
}

impl Tally {
    /// Tells what came of it.
    pub(super) fn tell(&self, replay: &Replay, out: &mut impl Write) -> Result<(), Failure> {
        if replay.output == Output::Json {
            let told = serde_json::to_value(self).expect("numbers are always JSON");
            return Ok(writeln!(out, "{told:#}")?);
        }
        let Self { read, sent, .. } = self;
        let done = if self.dry_run { "would be sent" } else { "sent" };
        let more = if self.resumed { "; those before were sent by an earlier run" } else { "" };
        writeln!(out, "{sent} of {read} events {done} to {}{more}", replay.subscription)?;
        let others = [
            (self.unmatched, "are not of its events, topics or tenant"),
            (self.filtered, "don't pass its filter"),
            (self.filter_errors, "make its filter fail, which is no match"),
            (self.unreadable, "can't be read: they are not sent"),
            (self.too_large, "are too large for the deliver topic: raise its max.message.bytes"),
        ];
        for (count, what) in others.iter().filter(|(count, _)| *count > 0) {
            writeln!(out, "{count} {what}")?;
        }
        Ok(())
    }
}

/// What came of it.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tally {
    dry_run: bool,
    /// Whether an earlier replay went on.
    resumed: bool,
    /// Events that were read, those that can't be read included.
    read: u64,
    sent: u64,
    /// Not of the types, topics or tenant that the subscription wants.
    unmatched: u64,
    filtered: u64,
    filter_errors: u64,
    unreadable: u64,
    too_large: u64,
}
