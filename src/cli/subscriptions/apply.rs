//! `subscriptions apply`.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use super::delete::erase;
use super::difference::difference;
use super::input::{self, Entry};
use super::{find, problems, put, read, sealing};
use crate::cli::Failure;
use crate::domain::encryption::Encryption;
use crate::domain::subscription::SubscriptionId;
use crate::kafka::Connection;
use crate::kafka::table::Row;
use crate::kafka::writer::Writer;

/// Whether anything is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Changes are made.
    Real,
    /// Changes are shown.
    Dry,
}

/// What happens to subscriptions that are not in the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    /// They stay.
    Kept,
    /// They are deleted.
    Pruned,
}

/// Creates, changes and, if asked for, deletes subscriptions, so that the topic says what the files say; prints a line for
/// each. All are checked before the first is written.
pub(super) fn apply(
    file: &Path,
    mode: Mode,
    others: Others,
    connection: &Connection,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut entries = input::read(file)?;
    let rules = connection.config().subscription_rules();
    for entry in &mut entries {
        entry.definition = sealing::sealed(&entry.id, &entry.definition, &rules.encryption);
    }
    let mut problems: Vec<String> =
        entries.iter().flat_map(|entry| problems(&entry.id, &entry.definition, &rules)).collect();
    problems.extend(repeated(&entries));
    if others == Others::Pruned && entries.is_empty() {
        problems.push("no definition was read, and --prune would delete every subscription".into());
    }
    if !problems.is_empty() {
        problems.push("nothing was written".to_owned());
        return Err(Failure::Failed(problems));
    }
    let rows = read(connection)?;
    let gone = match others {
        Others::Kept => Vec::new(),
        Others::Pruned => not_in(&rows, &entries),
    };
    let writer = Writer::new(connection)?;
    let all = entries.len() + gone.len();
    for (done, entry) in entries.iter().enumerate() {
        let before = find(&rows, &entry.id);
        let (word, differences) = judge(before, entry, &rules.encryption);
        if word != "unchanged" && mode == Mode::Real {
            put(&writer, connection, &entry.id, &entry.definition, before)
                .map_err(|failure| stopped(failure, done, all))?;
        }
        say(out, mode, word, &entry.id)?;
        for line in differences.iter().filter(|_| mode == Mode::Dry) {
            writeln!(out, "  {line}")?;
        }
    }
    for (done, (id, row)) in gone.iter().enumerate() {
        if mode == Mode::Real {
            erase(row, id, connection, &writer)
                .map_err(|failure| stopped(failure, entries.len() + done, all))?;
        }
        say(out, mode, "deleted", id)?;
    }
    Ok(())
}

fn say(out: &mut impl Write, mode: Mode, word: &str, id: &SubscriptionId) -> Result<(), Failure> {
    let would = match (mode, word) {
        (Mode::Dry, word) if word != "unchanged" => "would be ",
        _ => "",
    };
    Ok(writeln!(out, "{would}{word} {id}")?)
}

/// Tells what applying an entry does, and what differs.
fn judge(
    before: Option<&Row>,
    entry: &Entry,
    encryption: &Encryption,
) -> (&'static str, Vec<String>) {
    let Some(before) = before else { return ("created", Vec::new()) };
    let read = |text: &[u8]| {
        let mut document: Value = serde_json::from_slice(text).ok()?;
        // What can't be decrypted differs from whatever is given.
        sealing::open(&entry.id, &mut document, encryption).ok()?;
        Some(document)
    };
    let (old, new) = (read(&before.value), read(&entry.definition));
    // A key in two places may be seen differently by others, and one that is no longer encrypted as it should be is to
    // be: writing it again settles that.
    let is_kept = before.also_in.is_empty()
        && (!encryption.can_seal()
            || serde_json::from_slice(&before.value)
                .is_ok_and(|row| sealing::is_current(&row, encryption)));
    match (old, new) {
        (Some(old), Some(new)) if old == new && is_kept => ("unchanged", Vec::new()),
        (Some(old), Some(new)) => ("updated", difference(&old, &new)),
        _ => ("updated", Vec::new()),
    }
}

/// Returns the subscriptions that are not among the entries.
fn not_in<'r>(rows: &'r [Row], entries: &[Entry]) -> Vec<(SubscriptionId, &'r Row)> {
    let given: HashSet<&SubscriptionId> = entries.iter().map(|entry| &entry.id).collect();
    let ids = rows.iter().filter_map(|row| Some((SubscriptionId::from_key(&row.key)?, row)));
    ids.filter(|(id, _)| !given.contains(id)).collect()
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
