//! `deliveries show`: the audit topic tells what was tried, the topics that wait tell what is to come, and the event's own
//! topic tells of what came to nothing.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use super::search::search;
use super::tell::tell;
use crate::cli::audit::{Audit, span};
use crate::cli::progress::ProgressLine;
use crate::cli::table::printable;
use crate::cli::times::Time;
use crate::cli::{Failure, Output};
use crate::domain::event::rfc3339_ms;
use crate::domain::history::{Produced, Span, Story, Subject};
use crate::domain::record::{NextOffset, Offset, Record};
use crate::domain::subscription::SubscriptionId;
use crate::domain::tiers;
use crate::kafka::Connection;
use crate::kafka::cluster::ClusterError;
use crate::kafka::range::{Bound, Range, Topic};
use crate::kafka::settled::Settled;

/// How far from its audit record a dead letter may stand: they are written in one transaction.
const APART_MAX: Duration = Duration::from_secs(60);

/// The most places of one event that are looked up; an id has one, unless a producer gives it again and again.
const LOOKED_UP_MAX: usize = 100;

/// Which event, and how to tell of it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  kafka-webhooks deliveries show evt_1
  kafka-webhooks deliveries show evt_1 --subscription crm --since 30d --output json
  kafka-webhooks deliveries show orders/3/42")]
pub struct Show {
    /// The event's id, the producer's or as in `webhook-id`, or where it was produced, as topic/partition/offset
    #[arg(value_name = "EVENT_ID", value_parser = subject)]
    event: Subject,
    /// Only what became of it at this subscription, which reads only its part of the audit topic; may be repeated
    #[arg(long, value_name = "ID", value_parser = SubscriptionId::parse)]
    subscription: Vec<SubscriptionId>,
    /// From when on to look for attempts: RFC 3339, a date (midnight, UTC), or how long ago; what waits is always found
    #[arg(long, value_name = "TIME", default_value = "3d")]
    since: Time,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

fn subject(text: &str) -> Result<Subject, String> {
    if text.is_empty() { Err("must not be empty".into()) } else { Ok(Subject::parse(text)) }
}

/// Finds what is known of an event, and prints it.
///
/// # Errors
/// Nothing is known of it.
pub(super) fn show(
    show: &Show,
    connection: &Connection,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let span = span(show.since, None, Timestamp::now())?;
    let mut story = gather(show, span, connection)?;
    if story.deliveries.is_empty() {
        search(connection, &show.event, span.since, &mut story)?;
    }
    if story.deliveries.is_empty() && story.sources.is_empty() {
        return Err(nothing(show, span.since));
    }
    for produced in story.sources.iter_mut().take(LOOKED_UP_MAX) {
        look_up(connection, produced)?;
    }
    match show.output {
        Output::Json => {
            let json = serde_json::to_string_pretty(&story).expect("texts and numbers are JSON");
            writeln!(out, "{json}")?;
        }
        Output::Table => {
            for line in tell(&story) {
                writeln!(out, "{}", printable(&line))?;
            }
        }
    }
    Ok(())
}

/// Reads what was tried, what waits, and what was given up.
fn gather(show: &Show, span: Span, connection: &Connection) -> Result<Story, Failure> {
    let Show { event, subscription, .. } = show;
    let is_wanted = |id: Option<&str>| {
        let is_it = |wanted: &SubscriptionId| Some(wanted.as_str()) == id;
        subscription.is_empty() || subscription.iter().any(is_it)
    };
    let mut story = Story::default();
    let mut audit = Audit::open(connection, span, subscription)?;
    while let Some(record) = audit.next()? {
        if event.is_of(&record) && is_wanted(record.subscription_id.as_deref()) {
            story.add(record);
        }
    }
    audit.close();
    let topics = &connection.config().topics;
    for topic in topics.tiers.iter().map(|tier| &tier.topic).chain([&topics.deliver]) {
        read_waiting(connection, topic, |record| story.add_waiting(event, record))?;
    }
    if let Some((first, last)) = story.given_up() {
        let from = Bound::Time(tiers::sub(first, APART_MAX));
        let to = Bound::Time(tiers::add(last, APART_MAX));
        let topic = Topic::look_at(connection, &topics.dead_letter)?;
        let range = topic.read(&from, &to, |_| true)?;
        each(range, &topics.dead_letter, |record| story.add_dead_letter(event, record))?;
    }
    story.deliveries.retain(|id, _| is_wanted(id.as_deref()));
    Ok(story)
}

fn nothing(show: &Show, since: Timestamp) -> Failure {
    let what = match &show.event {
        Subject::Event(id) => id.as_str(),
        Subject::Record(place) => place,
    };
    Failure::of(format!(
        "nothing is known of {what} since {}, and no event topic holds it: look further back with --since",
        rfc3339_ms(since)
    ))
}

/// Reads what waits in a topic: what is settled already is passed over.
fn read_waiting(
    connection: &Connection,
    name: &str,
    mut take: impl FnMut(&Record),
) -> Result<(), Failure> {
    let topic = match Topic::look_at(connection, name) {
        // It is made when the connector starts.
        Err(ClusterError::NoTopic(_)) => return Ok(()),
        topic => topic?,
    };
    let settled = Settled::of(connection, &topic)?;
    let mut from: BTreeMap<_, _> =
        topic.partitions().iter().map(|(partition, (first, _))| (*partition, *first)).collect();
    from.extend(settled.watermarks());
    let range = topic.read(&Bound::Positions(from), &Bound::End, |_| true)?;
    each(range, name, |record| {
        if !settled.includes(record.origin.partition, record.origin.offset) {
            take(record);
        }
    })
}

/// Reads a range to its end and shows how far it is.
fn each(mut range: Range, name: &str, mut take: impl FnMut(&Record)) -> Result<(), Failure> {
    let line = ProgressLine::begin(format!("reading {name}"));
    while let Some(record) = range.next().transpose()? {
        take(&record);
        line.show(range.progress());
    }
    Ok(())
}

/// Finds out whether an event's record is still there, and whether the connector is done with it.
fn look_up(connection: &Connection, produced: &mut Produced) -> Result<(), Failure> {
    let source = &produced.source;
    let topic = match Topic::look_at(connection, &source.topic) {
        Err(ClusterError::NoTopic(_)) => {
            produced.present = Some(false);
            return Ok(());
        }
        topic => topic?,
    };
    let offset = Offset(source.offset);
    let settled = Settled::of(connection, &topic)?;
    produced.settled = Some(settled.includes(source.partition, offset));
    let position = |next: NextOffset| Bound::Positions(BTreeMap::from([(source.partition, next)]));
    let mut range = topic.read(&position(offset.at()), &position(offset.next()), |_| true)?;
    produced.present = Some(range.next().transpose()?.is_some());
    Ok(())
}
