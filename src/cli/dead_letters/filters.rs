//! Which dead letters are meant, as people say it.

use std::fmt;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use crate::cli::Failure;
use crate::cli::times::{Time, empty_range};
use crate::domain::event::EventId;
use crate::domain::headers::DeadLetterKind;
use crate::domain::outcome::Reason;
use crate::domain::pattern::EventPattern;
use crate::domain::record::Offset;
use crate::domain::resend::Selection;
use crate::domain::subscription::SubscriptionId;
use crate::kafka::Connection;

/// All that is given has to be so.
#[derive(Args)]
pub struct Filters {
    /// Deliveries to this subscription
    #[arg(long, value_name = "ID", value_parser = SubscriptionId::parse)]
    subscription: Option<SubscriptionId>,
    /// Deliveries of the event with this id
    #[arg(long, value_name = "ID")]
    event_id: Option<String>,
    /// Of events of this type, such as order.created or order.*; their values are read for it
    #[arg(long, value_name = "TYPE", value_parser = pattern)]
    event_type: Option<EventPattern>,
    /// Given up for this reason, such as exhausted; may be repeated
    #[arg(long, value_name = "REASON", value_parser = reason)]
    reason: Vec<Reason>,
    /// Deliveries that were given up, or records that could not be read
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Given up then or later: 2h (ago), a date, or RFC 3339
    #[arg(long, value_name = "TIME")]
    since: Option<Time>,
    /// Given up before then
    #[arg(long, value_name = "TIME")]
    until: Option<Time>,
}

/// What a dead letter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Delivery,
    Record,
}

impl Filters {
    /// Returns the subscription that is named.
    pub(super) fn subscription(&self) -> Option<&SubscriptionId> {
        self.subscription.as_ref()
    }

    /// Returns what they say when it is `now`.
    ///
    /// # Errors
    /// Nothing can be between the two times.
    pub(super) fn selection(&self, now: Timestamp) -> Result<Selection, Failure> {
        let at = |time: Option<Time>| time.map(|time| time.at(now));
        let (since, until) = (at(self.since), at(self.until));
        if let (Some(since), Some(until)) = (since, until)
            && until <= since
        {
            return Err(empty_range(since));
        }
        Ok(Selection {
            subscription: self.subscription.clone(),
            event_id: self.event_id.as_deref().map(EventId::new),
            event_type: self.event_type.clone(),
            reasons: self.reason.clone(),
            kind: self.kind.map(|kind| match kind {
                Kind::Delivery => DeadLetterKind::Delivery,
                Kind::Record => DeadLetterKind::Record,
            }),
            since,
            until,
        })
    }
}

fn pattern(text: &str) -> Result<EventPattern, String> {
    EventPattern::parse(text).map_err(|problem| problem.to_string())
}

fn reason(text: &str) -> Result<Reason, String> {
    let words = || Reason::ALL.map(Reason::as_str).join(", ");
    Reason::parse(text).ok_or_else(|| format!("must be one of {}", words()))
}

/// Where one dead letter stands: `PARTITION/OFFSET`, or that behind the topic's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    topic: Option<String>,
    pub(super) partition: i32,
    pub(super) offset: Offset,
}

/// `PARTITION/OFFSET`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.offset.0)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = || {
            let (rest, offset) = text.rsplit_once('/')?;
            let (topic, partition) = match rest.rsplit_once('/') {
                Some((topic, partition)) => (Some(topic.to_owned()), partition),
                None => (None, rest),
            };
            let partition = partition.parse().ok().filter(|partition| *partition >= 0)?;
            let offset = offset.parse().ok().filter(|offset| *offset >= 0)?;
            Some(Self { topic, partition, offset: Offset(offset) })
        };
        place().ok_or_else(|| "write it as PARTITION/OFFSET, such as 3/42".to_owned())
    }
}

impl Place {
    /// Makes sure that it is one of the dead-letter topic.
    ///
    /// # Errors
    /// It is one of another topic.
    pub(super) fn check(&self, connection: &Connection) -> Result<(), Failure> {
        let dead_letter = &*connection.config().topics.dead_letter;
        match &self.topic {
            Some(topic) if topic != dead_letter => Err(Failure::of(format!(
                "{topic} is not the dead-letter topic, which is {dead_letter}"
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<(Option<&str>, i32, i64)>) {
        let place = text.parse::<Place>().ok();
        let place = place.as_ref().map(|it| (it.topic.as_deref(), it.partition, it.offset.0));
        assert_eq!(place, expect, "{text:?}");
    }

    #[test]
    fn a_place_is_a_partition_and_an_offset_with_or_without_the_topic() {
        check("3/42", Some((None, 3, 42)));
        check(
            "webhooks.dead-letter/3/9000000000",
            Some((Some("webhooks.dead-letter"), 3, 9_000_000_000)),
        );
        for text in ["", "3", "3/", "/3", "3/-1", "-1/3", "a/b", "a/3/b", "3/9223372036854775808"] {
            check(text, None);
        }
    }

    #[test]
    fn a_reason_that_is_none_is_answered_with_those_there_are() {
        assert_eq!(reason("exhausted"), Ok(Reason::Exhausted));
        let problem = reason("bad luck").expect_err("it is none");
        assert!(problem.starts_with("must be one of ok, http-status, "), "{problem}");
    }
}
