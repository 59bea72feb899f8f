//! How durations and sizes are written in settings: the one place that reads and shows them.
//!
//! Knows text only. Bounds and key paths are the business of [`super::values`] and [`super::reader`].

use std::time::Duration;

use jiff::SignedDuration;
use jiff::fmt::friendly::SpanParser;

/// Names of binary sizes and how many bytes one holds, largest first.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads a duration such as `10s`, `50ms`, `24h` or `1h 30m`.
///
/// # Errors
///
/// Says how to write a duration when `text` is none, has no unit, is negative, or uses a unit longer than an hour.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    SpanParser::new().parse_unsigned_duration(text.trim()).map_err(|_| {
        format!(
            "{} is no duration: write it like \"50ms\", \"10s\", \"2m\", \"24h\" or \"1h 30m\"",
            show_text(text)
        )
    })
}

/// Shows a duration as [`parse_duration`] reads it.
pub fn show_duration(duration: Duration) -> String {
    // Settings stay below a year, far below what the signed form holds.
    let signed = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    format!("{signed:#}")
}

/// Reads a size such as `64MiB`, `512 KiB` or `1048576` (bytes).
///
/// # Errors
///
/// Says how to write a size when `text` is none, uses a decimal unit, or exceeds 64 bits.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let digits = trimmed.len() - trimmed.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = trimmed.split_at(digits);
    let bytes_each = match unit.trim_start() {
        "" => Some(1),
        unit => SIZES.iter().find(|(name, _)| *name == unit).map(|(_, bytes)| *bytes),
    };
    let number = number.parse::<u64>().ok();
    number
        .zip(bytes_each)
        .and_then(|(number, bytes)| number.checked_mul(bytes))
        .ok_or_else(|| {
            format!(
                "{} is no size: write it like \"512KiB\", \"64MiB\" or \"1GiB\", or as a number of bytes",
                show_text(text)
            )
        })
}

/// Shows a size with the largest unit that divides it.
pub fn show_size(bytes: u64) -> String {
    SIZES
        .iter()
        .find(|(_, each)| bytes >= *each && bytes.is_multiple_of(*each))
        .map_or_else(|| format!("{bytes}B"), |(name, each)| format!("{}{name}", bytes / each))
}

/// Shows a setting's text in quotes, cut to 64 characters so that a message stays a line.
pub fn show_text(text: &str) -> String {
    const SHOWN: usize = 64;
    match text.char_indices().nth(SHOWN) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let check = |text, millis| {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}")
        };
        check("10s", 10_000);
        check("50ms", 50);
        check("2m", 120_000);
        check("24h", 86_400_000);
        check("1h 30m", 5_400_000);
        check("1h30m", 5_400_000);
        check("1.5s", 1_500);
        check(" 0s ", 0);
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "10", "-10s", "10s ago", "s", "7d", "1 month", "PT10S", "10 quux", "1e99h"]
        {
            let problem = parse_duration(text).expect_err(text);
            assert!(problem.contains("is no duration"), "{problem}");
        }
    }

    #[test]
    fn sizes_are_binary() {
        let check = |text, bytes| assert_eq!(parse_size(text), Ok(bytes), "{text}");
        check("64MiB", 64 << 20);
        check("512 KiB", 512 << 10);
        check("1GiB", 1 << 30);
        check("7B", 7);
        check("1048576", 1 << 20);
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "MiB", "64MB", "64mib", "-1MiB", "1.5MiB", "99999999999GiB", "1 2"] {
            let problem = parse_size(text).expect_err(text);
            assert!(problem.contains("is no size"), "{problem}");
        }
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let shown = show_text(&"ä".repeat(100));
        assert_eq!(shown, format!("\"{}\"…", "ä".repeat(64)));
    }

    proptest! {
        #[test]
        fn a_shown_size_reads_back(bytes: u64) {
            prop_assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }

        #[test]
        fn a_shown_duration_reads_back(millis in 0u64..100_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in ".{0,40}") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }
    }
}
