//! `deliveries …`: what became of events, from the audit topic.

mod list;
mod search;
mod show;
mod tell;

use std::io::Write;

use clap::Subcommand;

use super::Failure;
use crate::domain::audit::AuditRecord;
use crate::kafka::Connection;

/// What to look at.
#[derive(Subcommand)]
pub enum Command {
    /// List attempts, and decisions made without one, in the order of time
    List(list::List),
    /// Tell the story of one event: each attempt, what waits where and until when, what was given up and why
    Show(show::Show),
}

/// Does what is asked for, and prints the result.
///
/// # Errors
/// The cluster can't be reached, or nothing is known of what is asked for.
pub fn run(
    command: &Command,
    connection: &Connection,
    out: &mut impl Write,
) -> Result<(), Failure> {
    match command {
        Command::List(list) => list::list(list, connection, out),
        Command::Show(show) => show::show(show, connection, out),
    }
}

/// Returns a record's reason and the status that it was answered, if both say something.
fn reason(record: &AuditRecord) -> String {
    let reason = record.reason.as_str();
    record.status_code.map_or(reason.to_owned(), |status| format!("{reason} {status}"))
}
