//! `deliveries list`.

use std::collections::VecDeque;
use std::io::{self, Write};

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::reason;
use crate::cli::Failure;
use crate::cli::audit::{Audit, outcomes, reasons, span};
use crate::cli::json::Array;
use crate::cli::table::Table;
use crate::cli::times::Time;
use crate::domain::audit::{AuditRecord, Outcome};
use crate::domain::event::{EventId, rfc3339_ms};
use crate::domain::history::Filter;
use crate::domain::outcome::Reason;
use crate::domain::pattern::EventPattern;
use crate::domain::subscription::SubscriptionId;
use crate::kafka::Connection;

const HEADINGS: [&str; 7] = ["AT", "SUBSCRIPTION", "EVENT", "TYPE", "#", "OUTCOME", "REASON"];

const MORE_HEADINGS: [&str; 7] = ["LATENCY", "NEXT", "TRIGGER", "TENANT", "SOURCE", "URL", "ERROR"];

/// Which to list, and how.
#[derive(Args)]
#[command(after_help = "\
Examples:
  kafka-webhooks deliveries list --subscription crm --outcome dead-lettered --since 2d
  kafka-webhooks deliveries list --event-type 'order.*' --reason timeout --reason connect --output wide
  kafka-webhooks deliveries list --since 2026-01-15T10:00:00Z --until 2026-01-15T11:00:00Z --output json
  kafka-webhooks deliveries list --follow")]
pub struct List {
    /// Only those to this subscription, which reads only its part of the topic; may be repeated
    #[arg(long, value_name = "ID", value_parser = SubscriptionId::parse)]
    subscription: Vec<SubscriptionId>,
    /// Only those of events of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Only those of this event
    #[arg(long, value_name = "ID")]
    event_id: Option<String>,
    /// Only those of events of a type that this matches, as in subscriptions; may be repeated
    #[arg(long, value_name = "PATTERN", value_parser = EventPattern::parse)]
    event_type: Vec<EventPattern>,
    /// Only those that came to this; may be repeated
    #[arg(long, value_parser = outcomes())]
    outcome: Vec<Outcome>,
    /// Only those with this reason; may be repeated
    #[arg(long, value_parser = reasons())]
    reason: Vec<Reason>,
    /// From when on: RFC 3339, a date (midnight, UTC), or how long ago, such as 2h
    #[arg(long, value_name = "TIME", default_value = "24h")]
    since: Time,
    /// Until when [default: now]; what was written more than 10 minutes late, because the cluster was away, may be missing
    #[arg(long, value_name = "TIME")]
    until: Option<Time>,
    /// Go on with what happens from now on, until interrupted
    #[arg(long, conflicts_with = "until")]
    follow: bool,
    /// Only the last so many before now
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    limit: Option<u32>,
    /// How to print them; with --follow, json is one object a line
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// How records are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A table for people
    #[default]
    Table,
    /// A table with more columns
    Wide,
    /// A JSON array of audit records
    Json,
}

/// Prints the records that are wanted, as they are read.
pub(super) fn list(
    list: &List,
    connection: &Connection,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let span = span(list.since, list.until, Timestamp::now())?;
    let filter = list.filter();
    let mut audit = Audit::open(connection, span, &list.subscription)?;
    let mut sink = Sink::begin(list, out)?;
    let limit = list.limit.map(|limit| limit as usize);
    let mut last = VecDeque::new();
    while let Some(record) = audit.next()? {
        if !filter.wants(&record) {
            continue;
        }
        match limit {
            None => audit.aside(|| sink.add(&record))?,
            Some(limit) => {
                last.push_back(record);
                if last.len() > limit {
                    last.pop_front();
                }
            }
        }
    }
    audit.aside(|| last.iter().try_for_each(|record| sink.add(record)))?;
    if !list.follow {
        audit.close();
        return Ok(sink.end()?);
    }
    sink.show()?;
    let following = audit.follow()?;
    loop {
        let record = following.next();
        if filter.wants(&record) {
            sink.add(&record)?;
            sink.show()?;
        }
    }
}

impl List {
    fn filter(&self) -> Filter {
        Filter {
            subscriptions: self.subscription.clone(),
            tenant: self.tenant.clone(),
            event_id: self.event_id.as_deref().map(|id| EventId::new(id).as_str().to_owned()),
            event_types: self.event_type.clone(),
            outcomes: self.outcome.clone(),
            reasons: self.reason.clone(),
        }
    }
}

/// Where records are printed, and how.
enum Sink<'o, W: Write> {
    Table(Table<'o, W, 7>),
    Wide(Table<'o, W, 14>),
    Json(Array<'o, W>),
    Lines(&'o mut W),
}

impl<'o, W: Write> Sink<'o, W> {
    fn begin(list: &List, out: &'o mut W) -> io::Result<Self> {
        Ok(match list.output {
            Output::Table => Self::Table(Table::new(HEADINGS, out)),
            Output::Wide => {
                let headings = [HEADINGS, MORE_HEADINGS].concat();
                Self::Wide(Table::new(headings.try_into().expect("twice seven"), out))
            }
            Output::Json if list.follow => Self::Lines(out),
            Output::Json => Self::Json(Array::begin(out)?),
        })
    }

    fn add(&mut self, record: &AuditRecord) -> io::Result<()> {
        match self {
            Self::Table(table) => table.row(cells(record)),
            Self::Wide(table) => {
                let cells = [cells(record), more_cells(record)].concat();
                table.row(cells.try_into().expect("twice seven"))
            }
            Self::Json(array) => array.add(record),
            Self::Lines(out) => {
                serde_json::to_writer(&mut **out, record)?;
                writeln!(out)
            }
        }
    }

    /// Prints what is held back.
    fn show(&mut self) -> io::Result<()> {
        match self {
            Self::Table(table) => table.show(),
            Self::Wide(table) => table.show(),
            Self::Json(_) => Ok(()),
            Self::Lines(out) => out.flush(),
        }
    }

    fn end(mut self) -> io::Result<()> {
        self.show()?;
        if let Self::Json(array) = self { array.end() } else { Ok(()) }
    }
}

fn cells(record: &AuditRecord) -> [String; 7] {
    [
        rfc3339_ms(record.at),
        or_dash(record.subscription_id.as_deref()),
        or_dash(record.event_id.as_deref()),
        or_dash(record.event_type.as_deref()),
        record.attempt.to_string(),
        record.outcome.as_str().to_owned(),
        reason(record),
    ]
}

fn more_cells(record: &AuditRecord) -> [String; 7] {
    let latency = record.latency_ms.map(|latency| format!("{latency} ms"));
    [
        or_dash(latency.as_deref()),
        or_dash(record.next_attempt_at.map(rfc3339_ms).as_deref()),
        record.trigger.as_str().to_owned(),
        or_dash(record.tenant.as_deref()),
        record.source.to_string(),
        or_dash(record.url.as_deref()),
        or_dash(record.error.as_deref()),
    ]
}

fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}
