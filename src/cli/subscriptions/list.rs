//! `subscriptions list`.

use std::io::Write;

use super::document::Definition;
use super::read;
use crate::cli::{Failure, Output};
use crate::domain::subscription::Activity;
use crate::kafka::Connection;

/// The widest that a column but the last gets, in characters.
const COLUMN_MAX: usize = 60;

const HEADINGS: [&str; 4] = ["ID", "URL", "EVENTS", "STATE"];

/// Prints all subscriptions in the order of their ids.
pub(super) fn list(
    output: Output,
    connection: &Connection,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let rows = read(connection)?;
    let rules = connection.config().subscription_rules();
    let mut definitions = Vec::with_capacity(rows.len());
    for row in &rows {
        match Definition::read(row, &rules) {
            Some(definition) => definitions.push(definition),
            None => {
                let topic = &connection.config().topics.subscriptions;
                let (partition, offset) = (row.partition, row.offset.0);
                eprintln!(
                    "the key of {topic}/{partition}/{offset} is no subscription id: nothing is sent for it"
                );
            }
        }
    }
    match output {
        Output::Table => table(&definitions, out),
        Output::Json => {
            let documents: Vec<_> = definitions.iter().map(Definition::document).collect();
            Ok(writeln!(out, "{:#}", serde_json::Value::Array(documents))?)
        }
    }
}

fn table(definitions: &[Definition], out: &mut impl Write) -> Result<(), Failure> {
    let rows: Vec<[String; 4]> = definitions.iter().map(cells).collect();
    let headings = HEADINGS.map(str::to_owned);
    let width = |column: usize| {
        let cells = rows.iter().chain([&headings]).map(|row| row[column].chars().count());
        cells.max().unwrap_or_default().min(COLUMN_MAX)
    };
    let widths = [width(0), width(1), width(2)];
    for [id, url, events, state] in [&headings].into_iter().chain(&rows) {
        let [a, b, c] = widths;
        writeln!(out, "{id:<a$}  {url:<b$}  {events:<c$}  {state}")?;
    }
    Ok(())
}

fn cells(definition: &Definition) -> [String; 4] {
    let id = definition.id.to_string();
    match &definition.parsed {
        Ok(subscription) => {
            let events: Vec<_> = subscription.events.iter().map(|event| event.as_str()).collect();
            let state = match subscription.state {
                Activity::Active => "active",
                Activity::Inactive => "inactive",
            };
            [id, subscription.audit_url.to_string(), events.join(","), state.to_owned()]
        }
        Err(problems) => {
            let document = definition.document();
            let url = document["url"].as_str().unwrap_or("-").to_owned();
            let first = problems.first().map_or("", String::as_str);
            [id, url, "-".to_owned(), format!("invalid: {first}")]
        }
    }
}
