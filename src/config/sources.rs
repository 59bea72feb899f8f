//! `[[sources]]`: which topics carry events, and where in a record their attributes stand.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::Value;

use super::reader::Section;
use super::topics::Topics;
use super::units::show_text;
use super::values::{choice, line, text, topic_name, truth};
use crate::domain::source::{Format, Selector, Source, Sources};

/// The most lists of topics, and the most topics in one.
const SOURCES_MAX: usize = 64;
const TOPICS_MAX: usize = 1000;

/// The formats by their names.
const FORMATS: [(&str, Format); 4] = [
    ("envelope", Format::Envelope),
    ("cloudevents", Format::CloudEvents),
    ("json", Format::Json),
    ("registry", Format::Registry),
];

/// Reads all sources, at least one; none of them may name one of the connector's `own` topics.
///
/// Whether a regular expression matches one of the own topics too shows only against the topics that exist.
pub(super) fn read(root: &mut Section<'_>, own: Option<&Topics>) -> Option<Sources> {
    let own = own.map(|own| own.names().map(|(key, name)| (&**name, key)).collect());
    let own = own.unwrap_or_default();
    let sources = root.tables("sources", 1..=SOURCES_MAX, |source| read_one(source, &own))?;
    judge_repeats(root, &sources);
    let sources = Sources::new(sources);
    for bad in sources.as_ref().err().into_iter().flatten() {
        let path = format!("sources[{}].topics[{}]", bad.source, bad.topic);
        root.report(path, format!("is no regular expression: {}", bad.problem));
    }
    sources.ok()
}

fn read_one(source: &mut Section<'_>, own: &BTreeMap<&str, String>) -> Option<Source> {
    let topics = source.each("topics", 1..=TOPICS_MAX, |value| topic_or_pattern(value, own));
    let format = source.required("format", choice(&FORMATS));
    let has_event_type = source.has("event_type");
    let event_type = source.optional_table("event_type", selector);
    let event_id = source.optional_table("event_id", selector);
    let event_time = source.optional_table("event_time", selector);
    let tenant = source.optional_table("tenant", selector);
    let format = format?;
    if !format.carries_type() && !has_event_type {
        let name = FORMATS.iter().find(|(_, known)| *known == format).map_or("", |(name, _)| name);
        source.problem("event_type", format!("is needed: the format {name} carries none"));
    }
    for (key, selector) in [("event_id", &event_id), ("event_time", &event_time)] {
        if let Some(Selector::Literal(_)) = selector {
            source.problem(key, "must differ from event to event: a literal is the same for all");
        }
    }
    Some(Source { topics: topics?, format, event_type, event_id, event_time, tenant })
}

/// A place in a record: a table with exactly one of the four kinds.
fn selector(place: &mut Section<'_>) -> Option<Selector> {
    let given =
        ["header", "pointer", "literal", "key"].into_iter().filter(|kind| place.has(kind)).count();
    if given != 1 {
        place.problem_here("must be one of { header = \"…\" }, { pointer = \"/…\" }, { literal = \"…\" } or { key = true }");
    }
    let header = place.optional("header", line(1024)).map(|name| Selector::Header(name.into()));
    let pointer = place.optional("pointer", pointer).map(Selector::Pointer);
    let literal = place.optional("literal", line(1024)).map(|text| Selector::Literal(text.into()));
    let key = place.optional("key", key);
    header.or(pointer).or(literal).or(key)
}

/// A JSON pointer (RFC 6901, section 3): empty for the whole value, or `/` before each token, `~` only in `~0` and `~1`.
fn pointer(value: &Value) -> Result<Arc<str>, String> {
    let pointer = text(value)?;
    let shown = show_text(&pointer);
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(format!("{shown} is no JSON pointer: it must be empty or start with \"/\""));
    }
    let mut escapes = pointer.split('~').skip(1);
    if !escapes.all(|rest| rest.starts_with(['0', '1'])) {
        return Err(format!(
            "{shown} is no JSON pointer: \"~\" is written \"~0\", and \"/\" in a name \"~1\""
        ));
    }
    Ok(pointer.into())
}

fn key(value: &Value) -> Result<Selector, String> {
    match truth(value)? {
        true => Ok(Selector::Key),
        false => Err("must be true, or be left out".into()),
    }
}

fn topic_or_pattern(value: &Value, own: &BTreeMap<&str, String>) -> Result<String, String> {
    let topic = line(1024)(value)?;
    if let Some(pattern) = topic.strip_prefix('^') {
        return match pattern.is_empty() {
            true => Err("\"^\" is an empty regular expression: it would match every topic".into()),
            false => Ok(topic),
        };
    }
    topic_name(&topic)?;
    match own.get(topic.as_str()) {
        Some(key) => Err(format!("{} is the connector's own topic ({key})", show_text(&topic))),
        None => Ok(topic),
    }
}

/// Notes topics that are named more than once: which format would hold is anyone's guess.
fn judge_repeats(root: &mut Section<'_>, sources: &[Source]) {
    let mut first: BTreeMap<&str, String> = BTreeMap::new();
    for (at, source) in sources.iter().enumerate() {
        for (position, topic) in source.topics.iter().enumerate() {
            let path = format!("sources[{at}].topics[{position}]");
            if let Some(first) = first.get(topic.as_str()) {
                root.report(path, format!("{} is named by {first} too", show_text(topic)));
            } else {
                first.insert(topic, path);
            }
        }
    }
}
