//! `replay`: a range of an event topic once more, for one subscription.
//!
//! Deliveries and how far the replay is are committed together, in a group of its own that is named by the words of the
//! command: given again, it goes on where it stopped, exactly.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{ArgGroup, Args};
use jiff::Timestamp;
use serde::Serialize;

use super::progress::ProgressLine;
use super::resend::{Decoder, Handed, Outbox, recipients};
use super::times::Time;
use super::{Failure, Output};
use crate::domain::headers::Trigger;
use crate::domain::record::{NextOffset, Record, TopicPartition};
use crate::domain::resend::{Leg, Pace, Rate, Recipients, Resend, Unfit, replay_id};
use crate::domain::subscription::SubscriptionId;
use crate::kafka::Connection;
use crate::kafka::range::{Bound, Range, Topic};
use crate::kafka::transactions::{Bookmark, Position};

/// Deliveries of one transaction, at most.
const BATCH: usize = 500;

/// How often it is committed how far the replay is, also where nothing is sent.
const COMMIT: Duration = Duration::from_secs(1);

/// The most events that can't be read of which each is told.
const UNREADABLE_MAX: u64 = 10;

/// What to send to whom.
#[derive(Args)]
#[command(
    group = ArgGroup::new("start").required(true).args(["from", "from_offset"]),
    group = ArgGroup::new("end").args(["to", "to_offset"]),
    after_help = "Events are matched as new ones are: by type, tenant, topics and filter, of the subscription as it is now. The \
        end of the range is set when the replay begins. If it is ended, the same command goes on where it stopped.\n\n\
        Example: kafka-webhooks replay --subscription crm --topic orders --from 2026-01-15 --to 2h --dry-run"
)]
pub struct Replay {
    /// Who gets the events
    #[arg(long, value_name = "ID", value_parser = SubscriptionId::parse)]
    subscription: SubscriptionId,
    /// The event topic
    #[arg(long, value_name = "TOPIC")]
    topic: String,
    /// Events that were written then or later: 2h (ago), a date, or RFC 3339
    #[arg(long, value_name = "TIME")]
    from: Option<Time>,
    /// Events of a partition from this offset on, and of no other partition; may be repeated
    #[arg(long, value_name = "PARTITION:OFFSET", value_parser = position)]
    from_offset: Vec<(i32, NextOffset)>,
    /// Events that were written before then [default: all there are now]
    #[arg(long, value_name = "TIME")]
    to: Option<Time>,
    /// Events of a partition before this offset; may be repeated
    #[arg(long, value_name = "PARTITION:OFFSET", value_parser = position)]
    to_offset: Vec<(i32, NextOffset)>,
    /// How many events are sent, at most
    #[arg(long, value_name = "NUMBER/s", default_value = "100/s", value_parser = Rate::parse)]
    rate: Rate,
    /// Begin anew, also if the same replay was begun or done before
    #[arg(long)]
    restart: bool,
    /// Send nothing: count what would be sent
    #[arg(long)]
    dry_run: bool,
    /// How to print what came of it
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

fn position(text: &str) -> Result<(i32, NextOffset), String> {
    let position = text.split_once(':').and_then(|(partition, offset)| {
        let partition = partition.parse().ok().filter(|partition| *partition >= 0)?;
        let offset = offset.parse().ok().filter(|offset| *offset >= 0)?;
        Some((partition, NextOffset(offset)))
    });
    position.ok_or_else(|| "write it as PARTITION:OFFSET, such as 3:42".to_owned())
}

/// What came of it.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tally {
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

/// How far the replay is in each partition, by number.
type Legs = BTreeMap<i32, Leg>;

/// Replays, and prints what came of it.
///
/// # Errors
/// The topic is no source, nothing can be sent to the subscription, or the cluster can't be reached; what was sent
/// before is committed.
pub fn run(replay: &Replay, connection: &Connection, out: &mut impl Write) -> Result<(), Failure> {
    let config = connection.config();
    if config.sources.of(&replay.topic).is_none() {
        let topics: Vec<_> = config.sources.topics().collect();
        let (topic, topics) = (&replay.topic, topics.join(", "));
        return Err(Failure::of(format!(
            "{topic} is the topic of no source: the settings have {topics}"
        )));
    }
    let recipients = recipients(connection, Some(&replay.subscription))?;
    recipients.judge(&replay.subscription).map_err(|why| unfit(replay, why))?;
    let group = format!("{}.replay.{}", config.kafka.group_id, replay.id());
    // From here on, nobody else replays the same.
    let outbox = match replay.dry_run {
        true => None,
        false => Some(Outbox::open(connection, &group, replay.rate.batch(BATCH))?),
    };
    let bookmark = Bookmark::of_group(connection, &group)?;
    let topic = Topic::look_at(connection, &replay.topic)?;
    let begun = if replay.restart { None } else { begun(&bookmark, &topic, replay)? };
    let resumed = begun.is_some();
    let legs = match begun {
        Some(legs) => legs,
        None => replay.legs(&topic)?,
    };
    if resumed && legs.values().all(|leg| leg.is_done()) {
        eprintln!("this replay was done before: --restart begins it anew");
    }
    tell_of_gaps(&legs, &topic);
    let bound = |position: fn(&Leg) -> NextOffset| {
        Bound::Positions(legs.iter().map(|(id, leg)| (*id, position(leg))).collect())
    };
    let range = topic.read(&bound(|leg| leg.next), &bound(|leg| leg.end), |_| true)?;
    let progress = ProgressLine::begin(format!("replaying {}", replay.topic));
    let run = Run {
        name: replay.topic.as_str().into(),
        decoder: Decoder::new(config)?,
        tally: Tally { dry_run: replay.dry_run, resumed, ..Tally::default() },
        recipients,
        subscription: &replay.subscription,
        bookmark,
        outbox,
        legs,
        pace: Pace::new(replay.rate, Instant::now()),
        committed: Instant::now(),
        progress,
    };
    run.finish(range)?.tell(replay, out)
}

fn unfit(replay: &Replay, why: Unfit) -> Failure {
    let id = &replay.subscription;
    let advice = match why {
        Unfit::Missing => "see `kafka-webhooks subscriptions list` for those there are".to_owned(),
        Unfit::Invalid => {
            format!("see `kafka-webhooks subscriptions get {id}` for what is wrong with it")
        }
        Unfit::Inactive | Unfit::Disabled => {
            format!("switch it on first, with `kafka-webhooks subscriptions enable {id}`")
        }
    };
    Failure::of(format!("the subscription {id} {why}: {advice}"))
}

/// Finds out how far an earlier replay of the same words is, if there was one.
fn begun(
    bookmark: &Bookmark<'_>,
    topic: &Topic<'_>,
    replay: &Replay,
) -> Result<Option<Legs>, Failure> {
    let name: Arc<str> = replay.topic.as_str().into();
    let partition = |id: &i32| TopicPartition { topic: name.clone(), partition: *id };
    let names: Vec<_> = topic.partitions().keys().map(partition).collect();
    let positions = bookmark.positions(&names)?;
    let leg = |position: Position| {
        Some((position.name.partition, Leg::read(position.next, &position.metadata)?))
    };
    let legs: Legs = positions.into_iter().filter_map(leg).collect();
    Ok(Some(legs).filter(|legs| !legs.is_empty()))
}

/// Tells which records of the range are there no more.
fn tell_of_gaps(legs: &Legs, topic: &Topic<'_>) {
    for (id, leg) in legs {
        let Some((first, _)) = topic.partitions().get(id) else { continue };
        let gone = first.0.min(leg.end.0) - leg.next.0;
        if gone > 0 {
            eprintln!("partition {id}: retention has taken {gone} records of the range");
        }
    }
}

impl Replay {
    /// Names the replay by the words that say which events go to whom.
    fn id(&self) -> String {
        let time = |time: &Option<Time>| match time {
            None => String::new(),
            Some(Time::Now) => "now".to_owned(),
            Some(Time::Ago(ago)) => format!("{} ms ago", ago.as_millis()),
            Some(Time::At(at)) => at.to_string(),
        };
        let positions = |positions: &[(i32, NextOffset)]| {
            let mut words: Vec<_> =
                positions.iter().map(|(id, next)| format!("{id}:{}", next.0)).collect();
            words.sort_unstable();
            words.join(" ")
        };
        let (from, to) = (time(&self.from), time(&self.to));
        let (from_offset, to_offset) = (positions(&self.from_offset), positions(&self.to_offset));
        let id = self.subscription.as_str();
        replay_id([id, &self.topic, &from, &from_offset, &to, &to_offset])
    }

    /// Returns the range, as it is now, of each partition that is in it.
    fn legs(&self, topic: &Topic<'_>) -> Result<Legs, Failure> {
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

/// A replay under way.
struct Run<'c> {
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

impl Run<'_> {
    fn finish(mut self, mut range: Range) -> Result<Tally, Failure> {
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
    fn tell(&self, replay: &Replay, out: &mut impl Write) -> Result<(), Failure> {
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn replay(line: &str) -> Result<Replay, clap::Error> {
        let words = ["kafka-webhooks", "replay", "--subscription", "crm", "--topic", "orders"];
        let words = words.into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words)?.command {
            Command::Replay(replay) => Ok(replay),
            _ => panic!("another command"),
        }
    }

    fn id(line: &str) -> String {
        replay(line).expect(line).id()
    }

    #[test]
    fn a_replay_is_named_by_its_range_and_by_nothing_else() {
        let whole = id("--from 2h");
        assert_eq!(whole, id("--rate 1/s --from 120m --output json"));
        assert_ne!(whole, id("--from 3h"));
        assert_ne!(whole, id("--from 2h --to 1h"));
        assert_eq!(
            id("--from-offset 0:1 --from-offset 1:2"),
            id("--from-offset 1:2 --from-offset 0:1")
        );
        assert_ne!(
            id("--from-offset 0:1 --to-offset 0:2"),
            id("--from-offset 0:1 --to-offset 0:3")
        );
    }

    #[test]
    fn a_range_has_one_start_and_one_end_at_most() {
        for line in
            ["", "--to 1h", "--from 2h --from-offset 0:1", "--from 2h --to 1h --to-offset 0:1"]
        {
            assert_eq!(replay(line).err().map(|error| error.exit_code()), Some(2), "{line}");
        }
        for line in
            ["--from-offset 3", "--from-offset a:1", "--from-offset 0:-1", "--from 2h --rate 0/s"]
        {
            assert_eq!(replay(line).err().map(|error| error.exit_code()), Some(2), "{line}");
        }
    }
}
