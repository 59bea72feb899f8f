//! What `apply` reads: definitions with their ids, from files or standard input. JSON stays byte for byte as it is, but for
//! the id.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::cli::Failure;
use crate::domain::subscription::SubscriptionId;

/// The largest file, in bytes.
const FILE_MAX: u64 = 64 << 20;

/// The most definitions of one command.
const ENTRIES_MAX: usize = 100_000;

/// One definition.
#[derive(Debug)]
pub(super) struct Entry {
    /// Where it stands: the file, and its number in it from 1.
    pub place: String,
    pub id: SubscriptionId,
    /// The object without its field `id`.
    pub definition: Vec<u8>,
}

/// Reads a file, all `*.json`, `*.jsonl`, `*.yaml` and `*.yml` of a folder in the order of their names, or standard input
/// (`-`). What doesn't start like JSON is YAML.
///
/// # Errors
/// Every entry that has no good id, or the first file that can't be read.
pub(super) fn read(path: &Path) -> Result<Vec<Entry>, Failure> {
    let mut texts = Vec::new();
    if path == Path::new("-") {
        texts.push(("standard input".to_owned(), load("standard input", io::stdin().lock())?));
    } else {
        for file in files(path)? {
            let name = file.display().to_string();
            let opened = File::open(&file).map_err(|error| unreadable(&name, &error))?;
            texts.push((name.clone(), load(&name, opened)?));
        }
    }
    let (mut entries, mut problems) = (Vec::new(), Vec::new());
    for (name, text) in &texts {
        parse(name, text, &mut entries, &mut problems);
    }
    if entries.len() > ENTRIES_MAX {
        problems.push(format!("there are more than {ENTRIES_MAX} definitions: split them"));
    }
    if problems.is_empty() { Ok(entries) } else { Err(Failure::Failed(problems)) }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = |error| unreadable(&path.display().to_string(), &error);
    let found: Result<Vec<PathBuf>, io::Error> =
        fs::read_dir(path).and_then(|list| list.map(|entry| Ok(entry?.path())).collect());
    let mut found = found.map_err(unreadable)?;
    let ends = ["json", "jsonl", "yaml", "yml"];
    found.retain(|file| file.extension().is_some_and(|end| ends.iter().any(|one| end == *one)));
    found.sort();
    Ok(found)
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    Failure::of(format!("{name} can't be read: {error}"))
}

fn load(name: &str, from: impl Read) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    from.take(FILE_MAX + 1).read_to_end(&mut text).map_err(|error| unreadable(name, &error))?;
    if text.len() as u64 > FILE_MAX {
        return Err(Failure::of(format!("{name} is larger than 64 MiB: split it")));
    }
    Ok(text)
}

/// Reads the values of a text: objects, or arrays of objects, one after the other.
fn parse(name: &str, text: &[u8], entries: &mut Vec<Entry>, problems: &mut Vec<String>) {
    let start = text.trim_ascii_start().first();
    if start.is_none_or(|start| b"{[".contains(start)) {
        return parse_json(name, text, entries, problems);
    }
    match yaml(text) {
        Ok(text) => parse_json(name, &text, entries, problems),
        Err(problem) => problems.push(format!("{name}: {problem}")),
    }
}

/// Turns YAML documents into lines of JSON.
fn yaml(text: &[u8]) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "not UTF-8".to_owned())?;
    let documents: Result<Vec<serde_json::Value>, _> = serde_saphyr::from_multiple(text);
    // Its own words may repeat what stands there, secrets included.
    let documents = documents.map_err(|error| match error.location() {
        Some(place) => {
            format!("neither JSON nor YAML, at line {} column {}", place.line(), place.column())
        }
        None => "neither JSON nor YAML, or too large for one file".to_owned(),
    })?;
    let lines: Vec<String> = documents.iter().map(serde_json::Value::to_string).collect();
    Ok(lines.join("\n").into_bytes())
}

fn parse_json(name: &str, text: &[u8], entries: &mut Vec<Entry>, problems: &mut Vec<String>) {
    let mut count = 0;
    for value in serde_json::Deserializer::from_slice(text).into_iter::<&RawValue>() {
        let value = match value {
            Ok(value) => value,
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                problems.push(format!("{name}: not JSON, at line {line} column {column}"));
                return;
            }
        };
        let objects = match value.get().starts_with('[') {
            true => serde_json::from_str(value.get()).expect("it has been read as JSON"),
            false => vec![value],
        };
        for object in objects {
            count += 1;
            match entry(format!("{name}, entry {count}"), object) {
                Ok(entry) => entries.push(entry),
                Err(problem) => problems.push(problem),
            }
        }
    }
}

fn entry(place: String, object: &RawValue) -> Result<Entry, String> {
    let Ok(Fields(fields)) = serde_json::from_str(object.get()) else {
        return Err(format!("{place}: must be an object"));
    };
    let (ids, rest): (Vec<_>, Vec<_>) = fields.into_iter().partition(|(name, _)| name == "id");
    let id = match ids.as_slice() {
        [(_, id)] => id,
        [] => return Err(format!("{place}: id: is missing")),
        _ => return Err(format!("{place}: id: is given twice")),
    };
    let id: String =
        serde_json::from_str(id.get()).map_err(|_| format!("{place}: id: must be a string"))?;
    let id = SubscriptionId::parse(&id).map_err(|problem| format!("{place}: id: {problem}"))?;
    let field = |(name, value): (String, &RawValue)| {
        format!("{}:{}", serde_json::Value::from(name), value.get())
    };
    let fields: Vec<String> = rest.into_iter().map(field).collect();
    Ok(Entry { place, id, definition: format!("{{{}}}", fields.join(",")).into_bytes() })
}

/// An object's fields in their order, those given twice included: the definition's own rules judge them.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Fields(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)], expected_problems: &[&str]) {
        let (mut entries, mut problems) = (Vec::new(), Vec::new());
        parse("f", text.as_bytes(), &mut entries, &mut problems);
        let read = |entry: &Entry| {
            let definition = String::from_utf8(entry.definition.clone());
            (entry.id.to_string(), definition.expect("it is text"))
        };
        let found: Vec<_> = entries.iter().map(read).collect();
        let expected: Vec<_> =
            expected.iter().map(|(id, text)| ((*id).to_owned(), (*text).to_owned())).collect();
        assert_eq!(found, expected, "{text}");
        assert_eq!(problems, expected_problems, "{text}");
    }

    #[test]
    fn objects_arrays_and_lines_are_read() {
        check(r#"{"id":"a","url":"u"}"#, &[("a", r#"{"url":"u"}"#)], &[]);
        check(r#"[{"id":"a"}, {"x":1,"id":"b"}]"#, &[("a", "{}"), ("b", r#"{"x":1}"#)], &[]);
        check("{\"id\":\"a\"}\n{\"id\":\"b\"}\n", &[("a", "{}"), ("b", "{}")], &[]);
        check("", &[], &[]);
    }

    #[test]
    fn yaml_is_read_like_json() {
        let one = "id: a\nurl: u\nretry:\n  schedule: [5s, 2m]\n";
        let expected = ("a", r#"{"retry":{"schedule":["5s","2m"]},"url":"u"}"#);
        check(one, &[expected], &[]);
        check(&format!("# all of them\n---\n{one}---\nid: b\n"), &[expected, ("b", "{}")], &[]);
        check("- id: a\n- id: b\n", &[("a", "{}"), ("b", "{}")], &[]);
        check("id: a\nsecret: [hunter2\n", &[], &["f: neither JSON nor YAML, at line 2 column 9"]);
        check("id: a\nid: b\n", &[], &["f: neither JSON nor YAML, at line 2 column 1"]);
    }

    #[test]
    fn a_definition_stays_as_it_was_written() {
        let text = r#"{"b": 1.0, "id": "a", "a": [1,  2], "a": "ä\u00e4"}"#;
        check(text, &[("a", r#"{"b":1.0,"a":[1,  2],"a":"ä\u00e4"}"#)], &[]);
    }

    #[test]
    fn every_entry_without_a_good_id_is_told() {
        let text = r#"[{"url":"u"}, 7, {"id":"b"}, {"id":"a b"}, {"id":1}]"#;
        let expected = [
            "f, entry 1: id: is missing",
            "f, entry 2: must be an object",
            "f, entry 4: id: a subscription id has 1 to 64 of the characters A-Z a-z 0-9 _ -",
            "f, entry 5: id: must be a string",
        ];
        check(text, &[("b", "{}")], &expected);
        check("{\"id\":\"a\"}\n{", &[("a", "{}")], &["f: not JSON, at line 2 column 1"]);
    }
}
