//! Times as people write them on a command line.

use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::Failure;
use crate::domain::event::rfc3339_ms;
use crate::domain::tiers;
use crate::domain::units::parse_duration;

/// A time, as it was written: what it is may depend on when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// Now.
    Now,
    /// So long before now.
    Ago(Duration),
    /// This time.
    At(Timestamp),
}

impl Time {
    /// Returns the time that it is, when it is `now`.
    pub fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Now => now,
            Self::Ago(duration) => tiers::sub(now, duration),
            Self::At(time) => time,
        }
    }
}

/// Returns that a range holds nothing, because it ends where it begins or earlier.
pub(super) fn empty_range(since: Timestamp) -> Failure {
    let since = rfc3339_ms(since);
    Failure::Usage(format!("--until must be later than --since, which is {since}"))
}

/// Reads `now`, `2h` or `2h ago`, `2026-01-15` (midnight, UTC) or RFC 3339.
impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "now" {
            return Ok(Self::Now);
        }
        if let Ok(time) = text.parse::<Timestamp>() {
            return Ok(Self::At(time));
        }
        // A date is read from what begins with one too, but a time of day without a zone is no time.
        if text.len() == "2026-01-15".len()
            && let Ok(date) = text.parse::<Date>()
            && let Ok(midnight) = TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0))
        {
            return Ok(Self::At(midnight));
        }
        let duration = text.strip_suffix("ago").unwrap_or(text);
        parse_duration(duration.trim_end()).map(Self::Ago).map_err(|_| {
            "write it like \"2026-01-15T10:30:00Z\", \"2026-01-15\" (midnight, UTC), \"2h\" (ago) or \"now\"".to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what a text is when it is 2026-01-15T12:00:00Z.
    fn check(text: &str, expect: &str) {
        let at = |text: &str| text.parse::<Timestamp>().expect("tests write times");
        let time = text.parse::<Time>().expect(text);
        assert_eq!(time.at(at("2026-01-15T12:00:00Z")), at(expect), "{text}");
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        check("now", "2026-01-15T12:00:00Z");
        check("2h", "2026-01-15T10:00:00Z");
        check("2h ago", "2026-01-15T10:00:00Z");
        check("1h30m", "2026-01-15T10:30:00Z");
        check("90s", "2026-01-15T11:58:30Z");
        check("1d", "2026-01-14T12:00:00Z");
        check("2w", "2026-01-01T12:00:00Z");
        check("2026-01-02", "2026-01-02T00:00:00Z");
        check("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z");
        check("2026-01-02T03:04:05.678+02:00", "2026-01-02T01:04:05.678Z");
        check(" 2026-01-02T03:04:05Z ", "2026-01-02T03:04:05Z");
    }

    #[test]
    fn what_is_no_time_is_refused_with_what_is() {
        let others =
            ["", "2", "yesterday", "2026", "2026-13-01", "2026-01-15T10:30", "-1h", "1mo", "ago"];
        for text in others {
            let problem = text.parse::<Time>().expect_err(text);
            assert!(problem.starts_with("write it like \"2026-"), "{text}: {problem}");
        }
    }

    #[test]
    fn before_all_times_is_the_first_time() {
        let time: Time = "5000000d".parse().expect("a duration");
        assert_eq!(time.at(Timestamp::UNIX_EPOCH), Timestamp::MIN);
    }
}
