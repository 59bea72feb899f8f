//! `subscriptions list`.

use std::io::Write;

use clap::Args;

use super::document::{Definition, State};
use super::{read, statuses};
use crate::cli::table::Table;
use crate::cli::{Failure, Output};
use crate::domain::pattern::EventPattern;
use crate::kafka::Connection;

const HEADINGS: [&str; 4] = ["ID", "URL", "EVENTS", "STATE"];

/// What to list, and how.
#[derive(Args)]
#[command(after_help = "\
Examples:
  kafka-webhooks subscriptions list --state failing --state disabled
  kafka-webhooks subscriptions list --tenant acme --event order.created --output json")]
pub struct List {
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// Only those of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Only those in this state; may be repeated
    #[arg(long, value_enum)]
    state: Vec<State>,
    /// Only those that want events of this type, such as order.created
    #[arg(long, value_name = "TYPE")]
    event: Option<String>,
}

impl List {
    fn wants(&self, definition: &Definition) -> bool {
        let parsed = definition.parsed.as_ref().ok();
        let of_tenant = |tenant: &String| {
            parsed.is_some_and(|parsed| parsed.tenant.as_deref() == Some(tenant.as_str()))
        };
        let of_event = |event: &String| {
            let matches = |pattern: &EventPattern| pattern.matches(event);
            parsed.is_some_and(|parsed| parsed.events.iter().any(matches))
        };
        self.tenant.as_ref().is_none_or(of_tenant)
            && self.event.as_ref().is_none_or(of_event)
            && (self.state.is_empty() || self.state.contains(&definition.state()))
    }
}

/// Prints subscriptions in the order of their ids.
pub(super) fn list(
    list: &List,
    connection: &Connection,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let (rows, statuses) = (read(connection)?, statuses(connection)?);
    let rules = connection.config().subscription_rules();
    let mut definitions = Vec::with_capacity(rows.len());
    for row in &rows {
        match Definition::read(row, &rules, &statuses) {
            Some(definition) if list.wants(&definition) => definitions.push(definition),
            Some(_) => {}
            None => {
                let topic = &connection.config().topics.subscriptions;
                let (partition, offset) = (row.partition, row.offset.0);
                eprintln!(
                    "the key of {topic}/{partition}/{offset} is no subscription id: nothing is sent for it"
                );
            }
        }
    }
    match list.output {
        Output::Table => {
            let mut table = Table::new(HEADINGS, out);
            definitions.iter().try_for_each(|definition| table.row(cells(definition)))?;
            Ok(table.show()?)
        }
        Output::Json => {
            let documents: Vec<_> = definitions.iter().map(Definition::document).collect();
            Ok(writeln!(out, "{:#}", serde_json::Value::Array(documents))?)
        }
    }
}

fn cells(definition: &Definition) -> [String; 4] {
    let id = definition.id.to_string();
    let state = definition.state().as_str();
    match &definition.parsed {
        Ok(subscription) => {
            let events: Vec<_> = subscription.events.iter().map(|event| event.as_str()).collect();
            let reason = definition.status.as_ref().and_then(|status| status.reason.as_deref());
            let state = reason.map_or(state.to_owned(), |reason| format!("{state}: {reason}"));
            [id, subscription.audit_url().to_owned(), events.join(","), state]
        }
        Err(problems) => {
            let document = definition.document();
            let url = document["url"].as_str().unwrap_or("-").to_owned();
            let first = problems.first().map_or("", String::as_str);
            [id, url, "-".to_owned(), format!("{state}: {first}")]
        }
    }
}
