//! `subscriptions …`: the definitions in the compacted topic, listed, shown and changed.

mod apply;
mod create;
mod delete;
mod difference;
mod document;
mod edit;
mod get;
mod input;
mod list;
mod sealing;
mod test;

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::Failure;
use crate::domain::record::{Headers, Offset};
use crate::domain::status::Status;
use crate::domain::subscription::{Activity, Rules, Subscription, SubscriptionId};
use crate::domain::units::parse_duration;
use crate::kafka::cluster::ClusterError;
use crate::kafka::table::{self, Row};
use crate::kafka::writer::{Target, Writer};
use crate::kafka::{self, Connection};

use apply::{Mode, Others};
pub use create::Create;
pub(in crate::cli) use document::{Definition, State};
pub use list::List;

/// What to do with subscriptions.
#[derive(Subcommand)]
pub enum Command {
    /// List subscriptions
    List(List),
    /// Show a subscription's definition, without its secrets, and what became of it
    #[command(after_help = "\
Example:
  kafka-webhooks subscriptions get crm")]
    Get {
        /// The subscription's id
        id: String,
    },
    /// Create a subscription; a secret is made and printed once, unless one is given
    Create(Box<Create>),
    /// Create or change subscriptions as files say
    #[command(after_help = "\
Examples:
  kafka-webhooks subscriptions apply -f subscriptions/ --dry-run --prune
  kafka-webhooks subscriptions apply -f -")]
    Apply {
        /// JSON or YAML: an object with its id as a field "id", an array of them, or one after the other; a folder of *.json, *.jsonl, *.yaml and *.yml; or - for standard input
        #[arg(short, long, value_name = "FILE|DIR|-")]
        file: PathBuf,
        /// Write nothing, and show what would change
        #[arg(long)]
        dry_run: bool,
        /// Delete the subscriptions that are not in the files
        #[arg(long)]
        prune: bool,
    },
    /// Delete a subscription
    #[command(after_help = "\
Example:
  kafka-webhooks subscriptions delete crm")]
    Delete {
        /// The subscription's id
        id: String,
    },
    /// Switch a subscription on, or give one that the connector disabled a fresh start
    #[command(after_help = "\
Example:
  kafka-webhooks subscriptions enable crm")]
    Enable {
        /// The subscription's id
        id: String,
    },
    /// Switch a subscription off
    #[command(after_help = "\
Example:
  kafka-webhooks subscriptions disable crm")]
    Disable {
        /// The subscription's id
        id: String,
    },
    /// Make a new secret, print it once, and let those before it sign for a while
    #[command(after_help = "\
Example:
  kafka-webhooks subscriptions rotate-secret crm --overlap 48h")]
    RotateSecret {
        /// The subscription's id
        id: String,
        /// How long the secrets before it go on signing, up to 30d; 0s ends them at once
        #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = overlap)]
        overlap: Duration,
        /// The new secret, instead of one that is made here; others may see it in the list of processes
        #[arg(long)]
        secret: Option<String>,
    },
    /// Encrypt all secrets with the first of encryption.keys
    #[command(after_help = "\
Example:
  kafka-webhooks subscriptions re-encrypt")]
    ReEncrypt,
    /// Send a test event by way of the connector, and print what came of it
    #[command(after_help = "\
Example:
  kafka-webhooks subscriptions test crm --timeout 10s")]
    Test {
        /// The subscription's id
        id: String,
        /// How long to wait for the connector
        #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
        timeout: Duration,
    },
}

fn overlap(text: &str) -> Result<Duration, String> {
    let longest = Duration::from_secs(30 * 24 * 60 * 60);
    let overlap = parse_duration(text)?;
    if overlap <= longest { Ok(overlap) } else { Err("must be at most 30d".into()) }
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
        Command::List(list) => list::list(list, connection, out),
        Command::Get { id } => get::get(&id_of(id)?, connection, out),
        Command::Create(create) => create::create(create, connection, out),
        Command::Apply { file, dry_run, prune } => {
            let mode = if *dry_run { Mode::Dry } else { Mode::Real };
            let others = if *prune { Others::Pruned } else { Others::Kept };
            apply::apply(file, mode, others, connection, out)
        }
        Command::Delete { id } => delete::delete(&id_of(id)?, connection, out),
        Command::Enable { id } => edit::activate(&id_of(id)?, Activity::Active, connection, out),
        Command::Disable { id } => edit::activate(&id_of(id)?, Activity::Inactive, connection, out),
        Command::RotateSecret { id, overlap, secret } => {
            edit::rotate(&id_of(id)?, secret.as_deref(), *overlap, connection, out)
        }
        Command::ReEncrypt => edit::re_encrypt(connection, out),
        Command::Test { id, timeout } => test::test(&id_of(id)?, *timeout, connection, out),
    }
}

fn id_of(text: &str) -> Result<SubscriptionId, Failure> {
    SubscriptionId::parse(text).map_err(|problem| Failure::of(format!("{text:?}: {problem}")))
}

/// Reads every subscription, in the order of their ids.
pub(in crate::cli) fn each(
    connection: &Connection,
    mut take: impl FnMut(Definition<'_>),
) -> Result<(), Failure> {
    let (rows, statuses) = (read(connection)?, statuses(connection)?);
    let rules = connection.config().subscription_rules();
    let definitions = rows.iter().filter_map(|row| Definition::read(row, &rules, &statuses));
    definitions.for_each(&mut take);
    Ok(())
}

fn read(connection: &Connection) -> Result<Vec<Row>, Failure> {
    Ok(table::read(connection, &connection.config().topics.subscriptions)?)
}

/// Reads what the connector made of subscriptions. Where there is no status topic yet, that is nothing.
fn statuses(connection: &Connection) -> Result<HashMap<SubscriptionId, Status>, Failure> {
    match kafka::statuses::read(connection) {
        Err(ClusterError::NoTopic(_)) => Ok(HashMap::new()),
        statuses => Ok(statuses?),
    }
}

/// Finds a row by its key; rows come in the order of their keys.
fn find<'r>(rows: &'r [Row], id: &SubscriptionId) -> Option<&'r Row> {
    let at = rows.binary_search_by(|row| row.key.as_slice().cmp(id.as_str().as_bytes()));
    at.ok().map(|at| &rows[at])
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
    let headers = Headers::default();
    Ok(writer.write(topic, target, id.as_str().as_bytes(), Some(definition), &headers)?)
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
