//! `stats`: what deliveries came to, in figures.

use std::collections::BTreeMap;
use std::io::{self, Write};

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde::Serialize;

use super::audit::{Audit, span};
use super::json::Array;
use super::table::Table;
use super::times::Time;
use super::{Failure, Output};
use crate::domain::audit::AuditRecord;
use crate::domain::history::{Figures, Filter};
use crate::domain::subscription::SubscriptionId;
use crate::kafka::Connection;

/// The most groups that are told apart.
const GROUPS_MAX: usize = 10_000;

/// What the rest stands under when there are more.
const OTHERS: &str = "(others)";

/// What is in no group by its own.
const NONE: &str = "(none)";

/// What to count, and how to print it.
#[derive(Args)]
#[command(after_help = "\
A delivery counts when it has ended: delivered, or failed, which is a dead letter. total is their sum, and the success rate is
delivered / total. Attempts are requests, retried ones included; latencies are theirs. With --by, JSON is an array of the groups,
each with its attempts.

Examples:
  kafka-webhooks stats
  kafka-webhooks stats --since 2026-01-15 --until 2026-01-16 --by reason
  kafka-webhooks stats --since 24h --subscription crm --output json")]
pub struct Stats {
    /// From when on: RFC 3339, a date (midnight, UTC), or how long ago, such as 2h
    #[arg(long, value_name = "TIME", default_value = "1h")]
    since: Time,
    /// Until when [default: now]; what was written more than 10 minutes late, because the cluster was away, may be missing
    #[arg(long, value_name = "TIME")]
    until: Option<Time>,
    /// Only deliveries to this subscription, which reads only its part of the audit topic; may be repeated
    #[arg(long, value_name = "ID", value_parser = SubscriptionId::parse)]
    subscription: Vec<SubscriptionId>,
    /// A line for each subscription or reason, at most 10,000
    #[arg(long, value_enum)]
    by: Option<By>,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// What a group has in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// To whom
    Subscription,
    /// What the last attempt, or the decision, came to
    Reason,
}

impl By {
    fn group<'r>(self, record: &'r AuditRecord) -> &'r str {
        match self {
            Self::Subscription => record.subscription_id.as_deref().unwrap_or(NONE),
            Self::Reason => record.reason.as_str(),
        }
    }

    fn json<'g>(self, name: &'g str, figures: &'g Figures) -> Group<'g> {
        let (subscription_id, reason) = match self {
            Self::Subscription => (Some(name), None),
            Self::Reason => (None, Some(name)),
        };
        Group { subscription_id, reason, figures, attempts: figures.attempts }
    }
}

/// The JSON of a group.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Group<'g> {
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_id: Option<&'g str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'g str>,
    #[serde(flatten)]
    figures: &'g Figures,
    attempts: u64,
}

/// Counts and prints.
///
/// # Errors
/// The cluster can't be reached, or the audit topic can't be read.
pub fn stats(stats: &Stats, connection: &Connection, out: &mut impl Write) -> Result<(), Failure> {
    let span = span(stats.since, stats.until, Timestamp::now())?;
    let mut audit = Audit::open(connection, span, &stats.subscription)?;
    let mut all = Figures::default();
    let mut groups: BTreeMap<String, Figures> = BTreeMap::new();
    let filter = Filter { subscriptions: stats.subscription.clone(), ..Filter::default() };
    while let Some(record) = audit.next()? {
        if !filter.wants(&record) {
            continue;
        }
        all.add(&record);
        if let Some(by) = stats.by {
            group(&mut groups, by.group(&record)).add(&record);
        }
    }
    audit.close();
    match (stats.output, stats.by) {
        (Output::Json, None) => Ok(writeln!(out, "{}", json(&all))?),
        (Output::Json, Some(by)) => {
            let mut array = Array::begin(out)?;
            for (name, figures) in &groups {
                array.add(&by.json(name, figures))?;
            }
            Ok(array.end()?)
        }
        (Output::Table, _) => Ok(table(&all, &groups, out)?),
    }
}

fn group<'g>(groups: &'g mut BTreeMap<String, Figures>, name: &str) -> &'g mut Figures {
    let is_known = groups.len() < GROUPS_MAX || groups.contains_key(name);
    let name = if is_known { name } else { OTHERS };
    groups.entry(name.to_owned()).or_default()
}

fn json(figures: &Figures) -> String {
    serde_json::to_string(figures).expect("numbers are JSON")
}

fn table(
    all: &Figures,
    groups: &BTreeMap<String, Figures>,
    out: &mut impl Write,
) -> io::Result<()> {
    let headings =
        ["", "TOTAL", "DELIVERED", "FAILED", "SUCCESS", "ATTEMPTS", "MEAN", "P50", "P95", "P99"];
    let mut table = Table::new(headings, out);
    for (name, figures) in groups {
        table.row(cells(name, figures))?;
    }
    table.row(cells("all", all))?;
    table.show()
}

fn cells(name: &str, figures: &Figures) -> [String; 10] {
    let latency = |latency: Option<f64>| latency.map_or("-".to_owned(), |ms| format!("{ms} ms"));
    let quantile = |share| latency(figures.latencies.quantile(share));
    let rate = figures.success_rate();
    [
        name.to_owned(),
        figures.total().to_string(),
        figures.delivered.to_string(),
        figures.failed.to_string(),
        rate.map_or("-".to_owned(), |rate| format!("{:.2} %", rate * 100.0)),
        figures.attempts.to_string(),
        latency(figures.latencies.mean()),
        quantile(0.5),
        quantile(0.95),
        quantile(0.99),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_without_number_are_counted_together() {
        let mut groups = BTreeMap::new();
        for at in 0..GROUPS_MAX + 5 {
            group(&mut groups, &at.to_string()).delivered += 1;
        }
        group(&mut groups, "7").delivered += 1;
        assert_eq!(groups.len(), GROUPS_MAX + 1);
        assert_eq!((groups[OTHERS].delivered, groups["7"].delivered), (5, 2));
    }
}
