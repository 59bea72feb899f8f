//! What an event topic carries and where in a record the event's attributes stand.
//!
//! These are checked settings: `config` builds them, the decoders obey them. Nothing here reads a record.

use std::sync::Arc;

use regex::Regex;

/// A list of topics that share one format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Exact topic names, or regular expressions that start with `^`. Never empty.
    pub topics: Vec<String>,
    /// How a record's value is read.
    pub format: Format,
    /// Where the event type stands; `None` for formats that carry their own.
    pub event_type: Option<Selector>,
    /// Where the event id stands; `None` means the format's own, or the record's position.
    pub event_id: Option<Selector>,
    /// Where the tenant stands; `None` means that events have no tenant.
    pub tenant: Option<Selector>,
}

/// How a record's value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The product's own JSON envelope.
    Envelope,
    /// CloudEvents 1.0, Kafka protocol binding, structured or binary.
    CloudEvents,
    /// Any JSON value, which is the data.
    Json,
}

/// A place in a record that holds one text attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The last header of this name, as UTF-8.
    Header(Arc<str>),
    /// A JSON pointer (RFC 6901) into the value.
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
    sources: Vec<Source>,
    patterns: Vec<(Regex, SourceIndex)>,
    /// Reads deliveries that come from no source's topic, such as tests.
    fallback: Source,
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
        let fallback = Source {
            topics: vec![],
            format: Format::Envelope,
            event_type: None,
            event_id: None,
            tenant: None,
        };
        if bad.is_empty() { Ok(Self { sources, patterns, fallback }) } else { Err(bad) }
    }

    /// Returns the source that a topic belongs to.
    pub fn of(&self, topic: &str) -> Option<SourceIndex> {
        let names = |source: &Source| source.topics.iter().any(|name| name == topic);
        let exact = self.sources.iter().position(names).map(SourceIndex);
        exact.or_else(|| {
            let mut patterns = self.patterns.iter();
            patterns.find(|(pattern, _)| pattern.is_match(topic)).map(|(_, index)| *index)
        })
    }

    /// Returns the source at its place.
    pub fn get(&self, index: SourceIndex) -> &Source {
        &self.sources[index.0]
    }

    /// Returns how an event that was produced to `topic` is read where it stands now. From a topic of no source, it
    /// is an envelope: that is what tests send.
    pub fn of_moved(&self, topic: &str) -> &Source {
        self.of(topic).map_or(&self.fallback, |index| self.get(index))
    }

    /// Returns the sources in their order.
    pub fn all(&self) -> &[Source] {
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
        Source {
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            format: Format::Json,
            event_type: None,
            event_id: None,
            tenant: None,
        }
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
