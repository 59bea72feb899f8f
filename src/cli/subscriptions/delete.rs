//! `subscriptions delete`.

use std::io::Write;

use super::{find, missing, read};
use crate::cli::Failure;
use crate::domain::record::Headers;
use crate::domain::subscription::SubscriptionId;
use crate::kafka::Connection;
use crate::kafka::table::Row;
use crate::kafka::writer::{Target, Writer};

/// Deletes a subscription.
pub(super) fn delete(
    id: &SubscriptionId,
    connection: &Connection,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let rows = read(connection)?;
    let row = find(&rows, id).ok_or_else(|| missing(id))?;
    erase(row, id, connection, &Writer::new(connection)?)?;
    Ok(writeln!(out, "deleted {id}")?)
}

/// Writes a tombstone to every partition in which the subscription stands: otherwise an older definition would come back
/// when compaction has dropped the tombstone.
pub(super) fn erase(
    row: &Row,
    id: &SubscriptionId,
    connection: &Connection,
    writer: &Writer,
) -> Result<(), Failure> {
    let topic = &connection.config().topics.subscriptions;
    for partition in row.also_in.iter().chain([&row.partition]) {
        let target = Target::Partition(*partition);
        writer.write(topic, target, id.as_str().as_bytes(), None, &Headers::default())?;
    }
    Ok(())
}
