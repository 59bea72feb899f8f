//! `subscriptions delete`.

use std::io::Write;

use super::{find, missing, read};
use crate::cli::Failure;
use crate::domain::subscription::SubscriptionId;
use crate::kafka::Connection;
use crate::kafka::writer::{Target, Writer};

/// Writes a tombstone to every partition in which the subscription stands: otherwise an older definition would come back
/// when compaction has dropped the tombstone.
pub(super) fn delete(
    id: &SubscriptionId,
    connection: &Connection,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let rows = read(connection)?;
    let row = find(&rows, id).ok_or_else(|| missing(id))?;
    let writer = Writer::new(connection)?;
    let topic = &connection.config().topics.subscriptions;
    for partition in row.also_in.iter().chain([&row.partition]) {
        writer.write(topic, Target::Partition(*partition), id.as_str().as_bytes(), None)?;
    }
    Ok(writeln!(out, "deleted {id}")?)
}
