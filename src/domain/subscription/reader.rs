//! A JSON document read field by field, with every problem noted where it stands and nothing of it repeated.

use std::fmt;
use std::time::Duration;

use super::json::Json;
use crate::domain::units::parse_duration;

/// The most problems that are told of one document.
const PROBLEMS_MAX: usize = 50;

/// The most fields of one object.
const FIELDS_MAX: usize = 100;

/// The longest part of a path, in characters, that is a name out of the document.
const NAME_MAX: usize = 64;

/// One thing wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, as `events[1]` or `retry.factor`; empty for the document itself.
    pub path: String,
    /// What, to be read after the path. It repeats no value of the document.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.what),
            path => write!(f, "{path}: {}", self.what),
        }
    }
}

impl std::error::Error for Problem {}

/// The problems found so far.
#[derive(Default)]
pub(super) struct Problems(pub(super) Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, path: &str, what: impl Into<String>) {
        if self.0.len() < PROBLEMS_MAX {
            self.0.push(Problem { path: path.to_owned(), what: what.into() });
        }
    }
}

/// A value and its place in the document. `null` is not a value: it counts as absent.
pub(super) struct Field {
    path: String,
    json: Json,
}

impl Field {
    /// Reads a whole document.
    pub(super) fn of_document(bytes: &[u8], problems: &mut Problems) -> Option<Self> {
        match serde_json::from_slice(bytes) {
            Ok(json) => Some(Self { path: String::new(), json }),
            Err(error) => {
                let place = format!("line {} column {}", error.line(), error.column());
                problems.add("", format!("not JSON, at {place}"));
                None
            }
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.json, Json::Text(_))
    }

    fn wrong<T>(&self, expected: &str, problems: &mut Problems) -> Option<T> {
        problems.add(&self.path, format!("must be {expected}"));
        None
    }

    /// Reads a text and the path to it.
    pub(super) fn text(self, problems: &mut Problems) -> Option<(String, String)> {
        match self.json {
            Json::Text(mut text) => Some((self.path, std::mem::take(&mut *text))),
            _ => self.wrong("a string", problems),
        }
    }

    pub(super) fn bool(self, problems: &mut Problems) -> Option<bool> {
        match self.json {
            Json::Bool(value) => Some(value),
            _ => self.wrong("true or false", problems),
        }
    }

    /// Reads an integer of a range, given as two bounds.
    pub(super) fn integer(self, least: u32, most: u32, problems: &mut Problems) -> Option<u32> {
        let number = match &self.json {
            Json::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
            _ => None,
        };
        match number.filter(|number| (least..=most).contains(number)) {
            None => self.wrong(&format!("an integer from {least} to {most}"), problems),
            number => number,
        }
    }

    /// Reads a number of a range, given as two bounds.
    pub(super) fn number(self, least: f64, most: f64, problems: &mut Problems) -> Option<f64> {
        let number = match &self.json {
            Json::Number(number) => number.as_f64(),
            _ => None,
        };
        match number.filter(|number| (least..=most).contains(number)) {
            None => self.wrong(&format!("a number from {least} to {most}"), problems),
            number => number,
        }
    }

    /// Reads a duration of a range, given as texts.
    pub(super) fn duration(
        self,
        least: &str,
        most: &str,
        problems: &mut Problems,
    ) -> Option<Duration> {
        let (path, text) = self.text(problems)?;
        let bound = |text| parse_duration(text).expect("bounds are written in the code");
        match parse_duration(&text) {
            Err(problem) => problems.add(&path, problem),
            Ok(value) if (bound(least)..=bound(most)).contains(&value) => return Some(value),
            Ok(_) => problems.add(&path, format!("must be {least} to {most}")),
        }
        None
    }

    /// Reads a list of a bounded length; an entry that is `null` is a wrong one, whatever is expected.
    pub(super) fn list(
        self,
        least: usize,
        most: usize,
        problems: &mut Problems,
    ) -> Option<Vec<Field>> {
        let Json::List(entries) = self.json else { return self.wrong("a list", problems) };
        if !(least..=most).contains(&entries.len()) {
            problems.add(&self.path, format!("must have {least} to {most} entries"));
            return None;
        }
        let place = |(at, json)| Field { path: format!("{}[{at}]", self.path), json };
        Some(entries.into_iter().enumerate().map(place).collect())
    }

    /// Opens an object.
    pub(super) fn object(self, problems: &mut Problems) -> Option<Object> {
        let Json::Object(given) = self.json else { return self.wrong("an object", problems) };
        if given.len() > FIELDS_MAX {
            problems.add(&self.path, format!("must have at most {FIELDS_MAX} fields"));
            return None;
        }
        let mut object = Object { path: self.path, fields: Vec::with_capacity(given.len()) };
        for (name, json) in given {
            if object.fields.iter().any(|(known, _)| *known == name) {
                problems.add(&object.path_to(&name), "is given twice");
            } else {
                object.fields.push((name, json));
            }
        }
        Some(object)
    }
}

/// Reads all entries of a list, also behind a wrong one.
pub(super) fn each<T>(
    field: Field,
    least: usize,
    most: usize,
    p: &mut Problems,
    read: impl Fn(Field, &mut Problems) -> Option<T>,
) -> Option<Vec<T>> {
    let entries = field.list(least, most, p)?;
    let count = entries.len();
    let mut read: Vec<T> = entries.into_iter().filter_map(|entry| read(entry, p)).collect();
    // The list takes over the memory of the fields, which are larger.
    read.shrink_to_fit();
    Some(read).filter(|read| read.len() == count)
}

/// An object whose fields are taken out one by one; what is left in the end is unknown.
pub(super) struct Object {
    path: String,
    fields: Vec<(String, Json)>,
}

impl Object {
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Returns the path to a field. The name may come out of the document: it is cut and its controls are escaped.
    pub(super) fn path_to(&self, name: &str) -> String {
        let dot = if self.path.is_empty() { "" } else { "." };
        let shown: String = name.chars().take(NAME_MAX).collect();
        let cut = if shown.len() < name.len() { "…" } else { "" };
        format!("{}{dot}{}{cut}", self.path, shown.escape_debug())
    }

    /// Takes a field out.
    pub(super) fn take(&mut self, name: &str) -> Option<Field> {
        let at = self.fields.iter().position(|(known, _)| known == name)?;
        let (_, json) = self.fields.swap_remove(at);
        let path = self.path_to(name);
        Some(Field { path, json }).filter(|field| !matches!(field.json, Json::Null))
    }

    /// Takes a field out that must be there.
    pub(super) fn required(&mut self, name: &str, problems: &mut Problems) -> Option<Field> {
        let field = self.take(name);
        if field.is_none() {
            problems.add(&self.path_to(name), "is missing");
        }
        field
    }

    /// Reads a field that has a default; `None` says that it is there and wrong.
    pub(super) fn read_or<T>(
        &mut self,
        name: &str,
        default: T,
        problems: &mut Problems,
        read: impl FnOnce(Field, &mut Problems) -> Option<T>,
    ) -> Option<T> {
        match self.take(name) {
            None => Some(default),
            Some(field) => read(field, problems),
        }
    }

    /// Takes out all fields that are left, with their names.
    pub(super) fn take_all(&mut self) -> Vec<(String, Field)> {
        let fields = std::mem::take(&mut self.fields);
        let place = |(name, json): (String, Json)| {
            let path = self.path_to(&name);
            (name, Field { path, json })
        };
        fields.into_iter().map(place).collect()
    }

    /// Notes the fields that nobody took.
    pub(super) fn close(self, problems: &mut Problems) {
        let mut paths: Vec<_> = self.fields.iter().map(|(name, _)| self.path_to(name)).collect();
        paths.sort_unstable();
        for path in paths {
            problems.add(&path, "is not a known field");
        }
    }
}
