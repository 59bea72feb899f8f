//! `dead-letters list`.

use std::io::Write;

use clap::Args;
use jiff::Timestamp;

use super::document::{Document, HEADINGS, cells};
use super::filters::Filters;
use super::scan::Scan;
use crate::cli::json::Array;
use crate::cli::table::Table;
use crate::cli::{Failure, Output};
use crate::kafka::Connection;

/// Which to list, and how.
#[derive(Args)]
#[command(after_help = "Example: kafka-webhooks dead-letters list --subscription crm --since 2h")]
pub struct List {
    #[command(flatten)]
    filters: Filters,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Prints dead letters, the earliest first.
pub(super) fn list(
    list: &List,
    connection: &Connection,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut scan = Scan::begin(connection, list.filters.selection(Timestamp::now())?, None)?;
    match list.output {
        Output::Table => {
            let mut table = Table::new(HEADINGS, out);
            while let Some(found) = scan.next()? {
                scan.aside(|| table.row(cells(&found)))?;
            }
            Ok(scan.aside(|| table.show())?)
        }
        Output::Json => {
            let mut array = Array::begin(out)?;
            while let Some(found) = scan.next()? {
                scan.aside(|| array.add(&Document::of(&found)))?;
            }
            Ok(array.end()?)
        }
    }
}
