//! Walks the tree of settings: takes what is known, converts it, and notes every problem with its key path.
//!
//! A problem never stops the walk. What nobody asked for is an unknown key. Values are not judged here: that is what
//! the converters passed in are for.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use config::{Map, Value, ValueKind};

use super::Problem;
use super::hints::hint;
use super::paths::{join, without_positions};
use super::values::{kind, list};

/// What a walk has found so far.
#[derive(Default)]
pub struct Reader {
    problems: Vec<Problem>,
    /// Keys that were present and not asked for: their path, and what set them if it wasn't a file.
    unknown: Vec<(String, Option<String>)>,
    /// Every key that was asked for, with list positions left out.
    asked: BTreeSet<String>,
}

impl Reader {
    /// Walks the whole tree with `read`, then notes the keys it left.
    pub fn walk<T>(
        &mut self,
        tree: Map<String, Value>,
        read: impl FnOnce(&mut Section<'_>) -> Option<T>,
    ) -> Option<T> {
        self.section(String::new(), tree, read)
    }

    /// Ends the walk: every problem in the order found, then the unknown keys in the order of their paths.
    pub fn finish(mut self) -> Vec<Problem> {
        self.unknown.sort();
        for (path, origin) in self.unknown {
            let hint = match hint(&without_positions(&path), &self.asked) {
                Some(known) => format!("unknown key, did you mean {known}?"),
                None => "unknown key".to_owned(),
            };
            self.problems.push(Problem::new(path, with_source(hint, origin.as_deref())));
        }
        self.problems
    }

    /// Every key that was asked for, with list positions left out.
    #[cfg(test)]
    pub fn asked(&self) -> &BTreeSet<String> {
        &self.asked
    }

    fn section<T>(
        &mut self,
        path: String,
        entries: Map<String, Value>,
        read: impl FnOnce(&mut Section<'_>) -> Option<T>,
    ) -> Option<T> {
        let mut section = Section { reader: self, path, entries };
        let read = read(&mut section);
        let Section { path, entries, .. } = section;
        let left = entries.into_iter();
        self.unknown.extend(left.map(|(key, value)| (join(&path, &key), origin(&value))));
        read
    }
}

/// One table of the tree while it is read.
pub struct Section<'r> {
    reader: &'r mut Reader,
    path: String,
    entries: Map<String, Value>,
}

impl Section<'_> {
    /// Whether this table holds `key`, whatever its value.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Reads a key that must be there. `None` means that a problem was noted.
    pub fn required<T>(
        &mut self,
        key: &str,
        convert: impl Fn(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.take_required(key)?;
        self.convert(join(&self.path, key), &value, convert)
    }

    /// Reads a key that may be missing. `None` means that it is, or that a problem was noted.
    pub fn optional<T>(
        &mut self,
        key: &str,
        convert: impl Fn(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.take(key)?;
        self.convert(join(&self.path, key), &value, convert)
    }

    /// Reads a list of `count` items; outside a file it may be written with commas or as a TOML list.
    pub fn each<T>(
        &mut self,
        key: &str,
        count: RangeInclusive<usize>,
        convert: impl Fn(&Value) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let value = self.take_required(key)?;
        let items = self.items(key, value, count)?;
        let path = join(&self.path, key);
        let converted: Vec<Option<T>> = items
            .iter()
            .enumerate()
            .map(|(at, item)| self.convert(format!("{path}[{at}]"), item, &convert))
            .collect();
        converted.into_iter().collect()
    }

    /// Reads a table whose keys are free; the converter sees the key too. A missing table is an empty one.
    pub fn entries<T>(
        &mut self,
        key: &str,
        convert: impl Fn(&str, &Value) -> Result<T, String>,
    ) -> Option<BTreeMap<String, T>> {
        let Some(value) = self.take(key) else {
            return Some(BTreeMap::new());
        };
        let path = join(&self.path, key);
        // Sorted, so that problems come in the same order every time.
        let entries: BTreeMap<String, Value> = self.table_of(&path, value)?.into_iter().collect();
        let converted: Vec<Option<(String, T)>> = entries
            .into_iter()
            .map(|(name, value)| {
                let converted =
                    self.convert(join(&path, &name), &value, |value| convert(&name, value))?;
                Some((name, converted))
            })
            .collect();
        converted.into_iter().collect()
    }

    /// Reads a table with `read`; a missing one is read as an empty one.
    pub fn table<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&mut Section<'_>) -> Option<T>,
    ) -> Option<T> {
        let path = join(&self.path, key);
        let entries = match self.take(key) {
            None => Map::new(),
            Some(value) => self.table_of(&path, value)?,
        };
        self.reader.section(path, entries, read)
    }

    /// Reads a table that may be missing, with `read`. `None` means that it is, or that a problem was noted.
    pub fn optional_table<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&mut Section<'_>) -> Option<T>,
    ) -> Option<T> {
        if self.has(key) {
            return self.table(key, read);
        }
        // Asked for all the same: the key is known.
        self.take(key);
        None
    }

    /// Reads a list of `count` tables, each with `read`; a missing list is an empty one.
    pub fn tables<T>(
        &mut self,
        key: &str,
        count: RangeInclusive<usize>,
        mut read: impl FnMut(&mut Section<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let value = self.take(key).unwrap_or_else(|| Value::new(None, Vec::<Value>::new()));
        let items = self.items(key, value, count)?;
        let path = join(&self.path, key);
        let mut all = Vec::with_capacity(items.len());
        for (at, item) in items.into_iter().enumerate() {
            let path = format!("{path}[{at}]");
            let entries = self.table_of(&path, item);
            all.push(entries.and_then(|entries| self.reader.section(path, entries, &mut read)));
        }
        all.into_iter().collect()
    }

    /// Notes a problem of one of this table's keys.
    pub fn problem(&mut self, key: &str, message: impl Into<String>) {
        let path = join(&self.path, key);
        self.report(path, message);
    }

    /// Notes a problem of one item of a list.
    pub fn problem_at(&mut self, key: &str, position: usize, message: impl Into<String>) {
        let path = format!("{}[{position}]", join(&self.path, key));
        self.report(path, message);
    }

    /// Notes a problem of this table as a whole.
    pub fn problem_here(&mut self, message: impl Into<String>) {
        let path = self.path.clone();
        self.report(path, message);
    }

    /// Notes a problem of a key anywhere, by its full path.
    pub fn report(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.reader.problems.push(Problem::new(path, message));
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        let path = without_positions(&join(&self.path, key));
        self.reader.asked.insert(path);
        self.entries.remove(key)
    }

    fn take_required(&mut self, key: &str) -> Option<Value> {
        let value = self.take(key);
        if value.is_none() {
            self.problem(key, "is needed");
        }
        value
    }

    fn convert<T>(
        &mut self,
        path: String,
        value: &Value,
        convert: impl Fn(&Value) -> Result<T, String>,
    ) -> Option<T> {
        convert(value)
            .map_err(|message| self.report(path, with_source(message, origin(value).as_deref())))
            .ok()
    }

    fn table_of(&mut self, path: &str, value: Value) -> Option<Map<String, Value>> {
        match value.kind {
            ValueKind::Table(table) => Some(table),
            _ => {
                let message = format!("must be a table, not {}", kind(&value));
                self.report(path, with_source(message, value.origin()));
                None
            }
        }
    }

    fn items(
        &mut self,
        key: &str,
        value: Value,
        count: RangeInclusive<usize>,
    ) -> Option<Vec<Value>> {
        let source = origin(&value);
        let judged = list(value).and_then(|items| match items.len() {
            0 if *count.start() == 1 => Err("at least one is needed".to_owned()),
            found if !count.contains(&found) => {
                let (least, most) = (count.start(), count.end());
                Err(format!("{found} entries, must be from {least} to {most}"))
            }
            _ => Ok(items),
        });
        judged.map_err(|message| self.problem(key, with_source(message, source.as_deref()))).ok()
    }
}

/// What set a value, or something inside it, if it wasn't a file.
fn origin(value: &Value) -> Option<String> {
    value.origin().map(str::to_owned).or_else(|| match &value.kind {
        ValueKind::Table(table) => table.values().find_map(origin),
        ValueKind::Array(items) => items.iter().find_map(origin),
        _ => None,
    })
}

fn with_source(message: String, origin: Option<&str>) -> String {
    match origin {
        Some(origin) => format!("{message} (from {origin})"),
        None => message,
    }
}
