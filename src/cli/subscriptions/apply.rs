//! `subscriptions apply`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use super::input::{self, Entry};
use super::{find, problems, put, read};
use crate::cli::Failure;
use crate::kafka::Connection;
use crate::kafka::table::Row;
use crate::kafka::writer::Writer;

/// Creates or changes subscriptions, and prints a line for each. All are checked before the first is written.
pub(super) fn apply(
    file: &Path,
    connection: &Connection,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let entries = input::read(file)?;
    let rules = connection.config().subscription_rules();
    let mut problems: Vec<String> =
        entries.iter().flat_map(|entry| problems(&entry.id, &entry.definition, &rules)).collect();
    problems.extend(repeated(&entries));
    if !problems.is_empty() {
        problems.push("nothing was written".to_owned());
        return Err(Failure::Failed(problems));
    }
    let rows = read(connection)?;
    let writer = Writer::new(connection)?;
    for (done, entry) in entries.iter().enumerate() {
        let before = find(&rows, &entry.id);
        let word = match before {
            Some(row) if is_same(row, entry) => "unchanged",
            Some(_) => "updated",
            None => "created",
        };
        if word != "unchanged" {
            put(&writer, connection, &entry.id, &entry.definition, before)
                .map_err(|failure| stopped(failure, done, entries.len()))?;
        }
        writeln!(out, "{word} {}", entry.id)?;
    }
    Ok(())
}

fn is_same(row: &Row, entry: &Entry) -> bool {
    let read = |text: &[u8]| serde_json::from_slice::<Value>(text).ok();
    // A key in two places may be seen differently by others: writing it again settles that.
    row.also_in.is_empty() && read(&row.value) == read(&entry.definition)
}

fn repeated(entries: &[Entry]) -> Vec<String> {
    let mut first: BTreeMap<&str, &str> = BTreeMap::new();
    let mut problems = Vec::new();
    for Entry { id, place, .. } in entries {
        match first.get(id.as_str()) {
            Some(other) => problems.push(format!("{id}: stands in {other} and in {place}")),
            None => drop(first.insert(id.as_str(), place)),
        }
    }
    problems
}

fn stopped(failure: Failure, done: usize, all: usize) -> Failure {
    match failure {
        Failure::Failed(mut lines) => {
            lines.push(format!("{done} of {all} definitions were applied: apply the file again"));
            Failure::Failed(lines)
        }
        failure => failure,
    }
}
