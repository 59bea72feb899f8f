//! Patterns of event types, and what they match. [`registry`](super::registry) finds by them without trying each.

use std::fmt;

/// The longest pattern; event types have the same limit.
const PATTERN_MAX: usize = 256;

/// A pattern of dot-separated event types.
///
/// `*` in the middle stands for exactly one segment, at the end for one or more; `*` alone matches all.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventPattern(Box<str>);

/// One step of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment<'a> {
    /// Exactly this segment.
    Exact(&'a str),
    /// Any one segment.
    One,
    /// Any segments, at least one; always the last step.
    Rest,
}

impl EventPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`BadPattern`] if it is empty or too long, has an empty segment or a control character, or has a `*` beside
    /// other characters of a segment.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let problem = match text {
            "" => "is empty",
            text if text.len() > PATTERN_MAX => "is longer than 256 bytes",
            text if text.chars().any(char::is_control) => "has a control character",
            text if text.trim().len() != text.len() => "starts or ends with a space",
            text if text.split('.').any(str::is_empty) => "has an empty segment",
            text if text.split('.').any(|segment| segment != "*" && segment.contains('*')) => {
                "has a segment with `*` and something else; `*` stands for whole segments"
            }
            _ => return Ok(Self(text.into())),
        };
        Err(BadPattern(problem))
    }

    /// Returns the pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether the pattern matches an event type. One pattern is tried; no index is asked.
    pub fn matches(&self, event_type: &str) -> bool {
        let mut given = event_type.split('.');
        for segment in self.segments() {
            match (segment, given.next()) {
                (_, None) => return false,
                (Segment::Rest, Some(_)) => return true,
                (Segment::Exact(expected), Some(given)) if expected != given => return false,
                (Segment::Exact(_) | Segment::One, Some(_)) => {}
            }
        }
        given.next().is_none()
    }

    /// Tells whether it stands for more than one event type.
    pub(super) fn has_wildcard(&self) -> bool {
        self.0.contains('*')
    }

    /// Returns the pattern's steps.
    pub(super) fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        let mut segments = self.0.split('.').peekable();
        std::iter::from_fn(move || {
            let segment = segments.next()?;
            Some(match (segment, segments.peek()) {
                ("*", None) => Segment::Rest,
                ("*", Some(_)) => Segment::One,
                (exact, _) => Segment::Exact(exact),
            })
        })
    }
}

impl fmt::Debug for EventPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why a text is no pattern; it repeats nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPattern(&'static str);

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadPattern {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        let pattern = EventPattern::parse(pattern).expect("a pattern");
        for event_type in matching {
            assert!(pattern.matches(event_type), "{pattern:?} should match {event_type:?}");
        }
        for event_type in others {
            assert!(!pattern.matches(event_type), "{pattern:?} should not match {event_type:?}");
        }
    }

    #[test]
    fn an_exact_pattern_matches_its_type_only() {
        check("a.b", &["a.b"], &["a", "a.b.c", "a.B", "b.a", ""]);
    }

    #[test]
    fn a_star_in_the_middle_stands_for_one_segment() {
        check("a.*.c", &["a.b.c", "a.x.c"], &["a.c", "a.b.b.c", "a.b.d", "a.b.c.d"]);
        check("*.b", &["a.b", "x.b"], &["b", "a.b.c"]);
    }

    #[test]
    fn a_star_at_the_end_stands_for_one_or_more() {
        check("a.*", &["a.b", "a.b.c"], &["a", "b.a", "ab.c"]);
        check("*.*", &["a.b", "a.b.c"], &["a"]);
        check("*", &["a", "a.b", "a.b.c"], &[]);
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_reason() {
        let check = |text: &str, expect: &str| {
            let problem = EventPattern::parse(text).expect_err("no pattern");
            assert!(problem.to_string().contains(expect), "{text:?}: {problem}");
        };
        check("", "is empty");
        check("a..b", "an empty segment");
        check(".a", "an empty segment");
        check("a.", "an empty segment");
        check("a*", "whole segments");
        check("a.**", "whole segments");
        check("a\n", "a control character");
        check(" a", "a space");
        check(&"a".repeat(257), "longer than 256 bytes");
    }

    proptest! {
        #[test]
        fn a_type_matches_itself_and_itself_with_stars(
            segments in prop::collection::vec("[a-c]{1,2}", 1..5),
            stars in any::<u8>(),
        ) {
            let starred: Vec<_> = segments.iter().enumerate()
                .map(|(at, segment)| if stars >> at & 1 == 1 { "*" } else { segment.as_str() })
                .collect();
            let pattern = EventPattern::parse(&starred.join(".")).expect("a pattern");
            prop_assert!(pattern.matches(&segments.join(".")));
            prop_assert_eq!(pattern.segments().count(), segments.len());
        }
    }
}
