//! What an event topic carries and where in a record the event's attributes stand.
//!
//! These are checked settings: `config` builds them, the decoders obey them. Nothing here reads a record. A record that
//! is moved carries how it is read, in the form that [`Source::to_text`] writes: it is read the same way after the
//! settings have changed.

use std::sync::Arc;

use regex::Regex;
use serde::{Deserialize, Serialize};

/// A list of topics that share one format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Exact topic names, or regular expressions that start with `^`. Never empty in settings.
    #[serde(skip)]
    pub topics: Vec<String>,
    /// How a record's value is read.
    pub format: Format,
    /// Where the event type stands; `None` for formats that carry their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<Selector>,
    /// Where the event id stands; `None` means the format's own, or the record's position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<Selector>,
    /// Where the event's time stands; `None` means the format's own, or the record's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<Selector>,
    /// Where the tenant stands; `None` means that events have no tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Selector>,
}

impl Source {
    /// Makes a source of no topics that finds all attributes where the format has them.
    pub fn of_format(format: Format) -> Self {
        Self {
            topics: Vec::new(),
            format,
            event_type: None,
            event_id: None,
            event_time: None,
            tenant: None,
        }
    }

    /// Writes how records are read, topics left out, as one line of JSON.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("a source is plain data")
    }

    /// Reads what [`Source::to_text`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let source: Self = serde_json::from_str(text).ok()?;
        let has_type = source.event_type.is_some() || source.format.carries_type();
        has_type.then_some(source)
    }
}

/// How a record's value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The product's own JSON envelope.
    Envelope,
    /// CloudEvents 1.0, Kafka protocol binding, structured or binary.
    CloudEvents,
    /// Any JSON value, which is the data.
    Json,
    /// Avro, Protobuf or JSON Schema in the Confluent wire format; what it says in JSON is the data.
    Registry,
}

impl Format {
    /// Tells whether records of this format name their event's type themselves.
    pub fn carries_type(self) -> bool {
        matches!(self, Self::Envelope | Self::CloudEvents)
    }
}

/// A place in a record that holds one text attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Selector {
    /// The last header of this name, as UTF-8.
    Header(Arc<str>),
    /// A JSON pointer (RFC 6901) into the value, or into what a schema makes of it.
    Pointer(Arc<str>),
    /// The same text for every record.
    Literal(Arc<str>),
    /// The record's key, as UTF-8.
    Key,
}

/// The place of a source in its [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceIndex(usize);

/// All sources, with the rule which of them a topic belongs to: one that names it exactly, else the first pattern
/// that matches.
#[derive(Clone, Debug)]
pub struct Sources {
    sources: Vec<Arc<Source>>,
    patterns: Vec<(Regex, SourceIndex)>,
    /// Reads deliveries that come from no source's topic, such as tests.
    fallback: Arc<Source>,
}

/// A topic pattern that is no regular expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPattern {
    /// The place of its source.
    pub source: usize,
    /// Its place among the source's topics.
    pub topic: usize,
    /// What is wrong with it, in one line.
    pub problem: String,
}

impl Sources {
    /// Makes the rule.
    ///
    /// # Errors
    /// Every pattern that is no regular expression.
    pub fn new(sources: Vec<Source>) -> Result<Self, Vec<BadPattern>> {
        let (mut patterns, mut bad) = (Vec::new(), Vec::new());
        for (index, source) in sources.iter().enumerate() {
            for (at, topic) in source.topics.iter().enumerate() {
                if !topic.starts_with('^') {
                    continue;
                }
                match Regex::new(topic) {
                    Ok(pattern) => patterns.push((pattern, SourceIndex(index))),
                    Err(error) => {
                        let problem = error.to_string().lines().last().unwrap_or_default().into();
                        bad.push(BadPattern { source: index, topic: at, problem });
                    }
                }
            }
        }
        let sources = sources.into_iter().map(Arc::new).collect();
        let fallback = Arc::new(Source::of_format(Format::Envelope));
        if bad.is_empty() { Ok(Self { sources, patterns, fallback }) } else { Err(bad) }
    }

    /// Returns the source that a topic belongs to.
    pub fn of(&self, topic: &str) -> Option<SourceIndex> {
        let names = |source: &Arc<Source>| source.topics.iter().any(|name| name == topic);
        let exact = self.sources.iter().position(names).map(SourceIndex);
        exact.or_else(|| {
            let mut patterns = self.patterns.iter();
            patterns.find(|(pattern, _)| pattern.is_match(topic)).map(|(_, index)| *index)
        })
    }

    /// Returns the source at its place.
    pub fn get(&self, index: SourceIndex) -> &Arc<Source> {
        &self.sources[index.0]
    }

    /// Returns how an event that was produced to `topic` is read where it stands now. From a topic of no source, it
    /// is an envelope: that is what tests send.
    pub fn of_moved(&self, topic: &str) -> &Arc<Source> {
        self.of(topic).map_or(&self.fallback, |index| self.get(index))
    }

    /// Returns the sources in their order.
    pub fn all(&self) -> &[Arc<Source>] {
        &self.sources
    }

    /// Returns every topic name and pattern to consume.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().flat_map(|source| &source.topics).map(String::as_str)
    }
}

/// The rule follows from the sources alone.
impl PartialEq for Sources {
    fn eq(&self, other: &Self) -> bool {
        self.sources == other.sources
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(topics: &[&str]) -> Source {
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        Source { topics, ..Source::of_format(Format::Json) }
    }

    #[test]
    fn how_records_are_read_travels_as_text() {
        let source = Source {
            event_type: Some(Selector::Header("event-type".into())),
            event_id: Some(Selector::Pointer("/a~1b/0".into())),
            event_time: Some(Selector::Key),
            tenant: Some(Selector::Literal("a\"c".into())),
            ..source(&["orders"])
        };
        let text = source.to_text();
        assert_eq!(
            text,
            r#"{"format":"json","event_type":{"header":"event-type"},"event_id":{"pointer":"/a~1b/0"},"event_time":"key","tenant":{"literal":"a\"c"}}"#
        );
        assert_eq!(Source::parse(&text), Some(Source { topics: vec![], ..source }));
        let plain = Source::of_format(Format::Envelope);
        assert_eq!(plain.to_text(), r#"{"format":"envelope"}"#);
        assert_eq!(Source::parse(r#"{"format":"registry"}"#), None, "it has no type");
        assert_eq!(Source::parse(r#"{"format":"envelope","more":1}"#), None);
    }

    #[test]
    fn an_exact_name_comes_before_a_pattern() {
        let sources = Sources::new(vec![source(&["^pay.*"]), source(&["orders", "payments"])]);
        let sources = sources.expect("the patterns are good");
        assert_eq!(sources.of("payments"), Some(SourceIndex(1)));
        assert_eq!(sources.of("payouts"), Some(SourceIndex(0)));
        assert_eq!(sources.of("other"), None);
        assert_eq!(sources.of_moved("other").format, Format::Envelope);
    }

    #[test]
    fn every_bad_pattern_is_named() {
        let bad = Sources::new(vec![source(&["^(", "fine"]), source(&["^["])]).unwrap_err();
        let places: Vec<_> = bad.iter().map(|bad| (bad.source, bad.topic)).collect();
        assert_eq!(places, [(0, 0), (1, 0)]);
    }
}
