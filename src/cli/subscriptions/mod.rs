//! `subscriptions …`: the definitions in the compacted topic, listed, shown and changed.

mod apply;
mod create;
mod delete;
mod document;
mod get;
mod input;
mod list;

use std::io::Write;
use std::path::PathBuf;

use clap::Subcommand;

use super::{Failure, Output};
use crate::domain::record::Offset;
use crate::domain::subscription::{Rules, Subscription, SubscriptionId};
use crate::kafka::Connection;
use crate::kafka::table::{self, Row};
use crate::kafka::writer::{Target, Writer};

pub use create::Create;

/// What to do with subscriptions.
#[derive(Subcommand)]
pub enum Command {
    /// List all subscriptions
    List {
        /// How to print them
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Show a subscription's definition, without its secrets
    Get {
        /// The subscription's id
        id: String,
    },
    /// Create a subscription; a secret is made and printed once, unless one is given
    Create(Box<Create>),
    /// Create or change subscriptions as files say
    Apply {
        /// JSON: an object with its id as a field "id", an array of them, or one a line; a folder of *.json and *.jsonl; or - for standard input
        #[arg(short, long, value_name = "FILE|DIR|-")]
        file: PathBuf,
    },
    /// Delete a subscription
    Delete {
        /// The subscription's id
        id: String,
    },
}

/// Does what is asked for, and prints the result.
///
/// # Errors
/// The cluster can't be reached, or the command can't be done; nothing was written unless the error says so.
pub fn run(
    command: &Command,
    connection: &Connection,
    out: &mut impl Write,
) -> Result<(), Failure> {
    match command {
        Command::List { output } => list::list(*output, connection, out),
        Command::Get { id } => get::get(&id_of(id)?, connection, out),
        Command::Create(create) => create::create(create, connection, out),
        Command::Apply { file } => apply::apply(file, connection, out),
        Command::Delete { id } => delete::delete(&id_of(id)?, connection, out),
    }
}

fn id_of(text: &str) -> Result<SubscriptionId, Failure> {
    SubscriptionId::parse(text).map_err(|problem| Failure::of(format!("{text:?}: {problem}")))
}

fn read(connection: &Connection) -> Result<Vec<Row>, Failure> {
    Ok(table::read(connection, &connection.config().topics.subscriptions)?)
}

fn find<'r>(rows: &'r [Row], id: &SubscriptionId) -> Option<&'r Row> {
    rows.iter().find(|row| row.key == id.as_str().as_bytes())
}

fn missing(id: &SubscriptionId) -> Failure {
    Failure::of(format!(
        "no subscription has the id {id}: see `kafka-webhooks subscriptions list` for those there are"
    ))
}

/// Writes a definition to where the one before stands, if there is one.
fn put(
    writer: &Writer,
    connection: &Connection,
    id: &SubscriptionId,
    definition: &[u8],
    before: Option<&Row>,
) -> Result<(), Failure> {
    let topic = &connection.config().topics.subscriptions;
    let target = before.map_or(Target::ByKey, |row| Target::Partition(row.partition));
    Ok(writer.write(topic, target, id.as_str().as_bytes(), Some(definition))?)
}

/// Returns what is wrong with a definition that is to be written, each with the id before it.
fn problems(id: &SubscriptionId, definition: &[u8], rules: &Rules) -> Vec<String> {
    let parsed = Subscription::parse(id.clone(), definition, Offset(0), rules);
    let broken = parsed.err().unwrap_or_default();
    let broken = broken.iter().map(ToString::to_string);
    let redacted = document::redacted(definition).into_iter().map(|path| {
        format!("{path}: is what is shown instead of a secret: write the secret itself")
    });
    broken.chain(redacted).map(|problem| format!("{id}: {problem}")).collect()
}
