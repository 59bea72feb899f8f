//! `topics create`: makes what is missing, changes nothing that exists.

use std::io::Write;

use clap::Subcommand;

use super::Failure;
use crate::kafka::Connection;
use crate::kafka::admin::{Admin, Creation};

/// What to do with the connector's own topics.
#[derive(Subcommand)]
pub enum Command {
    /// Create those that are missing; change none that exists
    #[command(after_help = "\
Example:
  kafka-webhooks topics create")]
    Create,
}

/// Makes the own topics that are missing, and prints a line for each topic.
///
/// # Errors
/// The cluster can't be reached, or refuses some of them: the others are made all the same.
pub fn create(connection: &Connection, out: &mut impl Write) -> Result<(), Failure> {
    let mut refused = Vec::new();
    for (topic, how) in Admin::new(connection)?.create_missing()? {
        match how {
            Creation::Created => writeln!(out, "created {topic}")?,
            Creation::Exists => writeln!(out, "exists  {topic}")?,
            Creation::Refused(reason) => {
                refused.push(format!("the broker refused to create {topic} ({reason}): check the permissions, topics.partitions and topics.replication_factor"));
            }
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(Failure::Failed(refused)) }
}
