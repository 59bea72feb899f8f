//! Durations as people write them. Nothing here repeats what was written.

use std::time::Duration;

use jiff::SpanRelativeTo;
use jiff::fmt::friendly::SpanParser;

/// Reads a duration such as `10s`, `2m`, `1h 30m` or `30d`; a day has 24 hours.
///
/// # Errors
/// A text that follows the name of a setting, such as "must be a duration such as …".
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let unfit = |_| "must be a duration such as \"10s\", \"2m\" or \"1h 30m\"".to_owned();
    let span = SpanParser::new().parse_span(text).map_err(unfit)?;
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err("must not count years or months, whose length varies".to_owned());
    }
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(unfit)?;
    Duration::try_from(duration).map_err(|_| "must not be negative".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<u64, &str>) {
        let found = parse_duration(text);
        let expect = expect.map(Duration::from_millis).map_err(str::to_owned);
        match expect {
            Err(expect) => assert!(found.as_ref().is_err_and(|e| e.contains(&expect)), "{text:?}"),
            expect => assert_eq!(found, expect, "{text:?}"),
        }
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        check("0s", Ok(0));
        check("100ms", Ok(100));
        check("1.5s", Ok(1_500));
        check("2m", Ok(120_000));
        check("1h 30m", Ok(5_400_000));
        check("1h30m", Ok(5_400_000));
        check("30d", Ok(30 * 86_400_000));
        check("1w", Ok(7 * 86_400_000));
    }

    #[test]
    fn what_is_no_duration_is_refused_and_not_repeated() {
        for text in ["", " ", "10", "s", "hunter2", "10 parsecs", "99999999999999999999s"] {
            check(text, Err("must be a duration such as"));
        }
        check("1mo", Err("must not count years or months"));
        check("2y 1s", Err("must not count years or months"));
        check("-1s", Err("must not be negative"));
        check("1s ago", Err("must not be negative"));
    }
}
