//! `subscriptions get`.

use std::io::Write;

use super::document::Definition;
use super::{find, missing, read, statuses};
use crate::cli::Failure;
use crate::domain::subscription::SubscriptionId;
use crate::kafka::Connection;

/// Prints a subscription's definition as JSON, without its secrets.
pub(super) fn get(
    id: &SubscriptionId,
    connection: &Connection,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let rows = read(connection)?;
    let row = find(&rows, id).ok_or_else(|| missing(id))?;
    let rules = connection.config().subscription_rules();
    let statuses = statuses(connection)?;
    let definition =
        Definition::read(row, &rules, &statuses).expect("its key is an id, which was looked for");
    Ok(writeln!(out, "{:#}", definition.document())?)
}
