use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::*;
use crate::domain::subscription::tests::subscription;

const DAY: u64 = 86_400;

/// 2025-01-15T10:30:00Z, a Wednesday.
const NOW: Timestamp = Timestamp::constant(1_736_937_000, 0);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The contract's defaults, with a schedule of two retries.
fn rules() -> RetryRules {
    RetryRules {
        schedule: Schedule::new([10, 100].map(seconds)),
        jitter: 0.1,
        retry_after_max: seconds(DAY),
        expire_after: seconds(3 * DAY),
    }
}

fn answer(status: u16) -> Result<Answer, Failure> {
    Ok(Answer { status, retry_after: None, excerpt: None })
}

/// An answer that wants to be left alone for so many seconds.
fn wishing(status: u16, wish: u64) -> Result<Answer, Failure> {
    Ok(Answer { status, retry_after: Some(seconds(wish)), excerpt: None })
}

fn failure(reason: Reason) -> Result<Answer, Failure> {
    Err(Failure { reason, error: "it failed".into() })
}

/// A delivery just before its attempt ends at [`NOW`].
struct Case {
    rules: RetryRules,
    /// What its subscription's definition says beside the required.
    changes: Value,
    attempts: u32,
    /// Seconds since the first attempt.
    age: u64,
    fraction: f64,
}

impl Case {
    fn new() -> Self {
        Self { rules: rules(), changes: json!({}), attempts: 1, age: 0, fraction: 0.0 }
    }

    fn judge(&self, end: Result<Answer, Failure>) -> Verdict {
        let first_at = NOW - seconds(self.age);
        let attempted = Attempted { latency: seconds(1), end };
        let subscription = subscription("crm", &self.changes);
        self.rules.judge(&attempted, &subscription, self.attempts, first_at, NOW, self.fraction)
    }

    /// Checks what follows from an end, told as `delivered`, `retry in <seconds>: <reason>` or `dead letter: <reason>`.
    fn check(&self, end: Result<Answer, Failure>, expect: &str) {
        let found = match self.judge(end.clone()) {
            Verdict::Delivered => "delivered".to_owned(),
            Verdict::DeadLetter(reason) => format!("dead letter: {}", reason.as_str()),
            Verdict::Retry(due, reason) => {
                format!("retry in {}: {}", tiers::until(due, NOW).as_secs(), reason.as_str())
            }
        };
        assert_eq!(found, expect, "{end:?} {}", self.changes);
    }
}

fn check(end: Result<Answer, Failure>, expect: &str) {
    Case::new().check(end, expect);
}

#[test]
fn any_2xx_is_delivered() {
    for status in [200, 201, 202, 204, 206, 299] {
        check(answer(status), "delivered");
        check(wishing(status, 100), "delivered");
    }
    let last = Case { attempts: 3, age: 100 * DAY, ..Case::new() };
    last.check(answer(200), "delivered");
    let picky = Case { changes: json!({"noRetryOn": [200]}), ..Case::new() };
    picky.check(answer(200), "delivered");
}

#[test]
fn gone_is_given_up_at_once() {
    check(answer(410), "dead letter: gone");
    check(wishing(410, 100), "dead letter: gone");
    let listed = Case { changes: json!({"noRetryOn": [410]}), ..Case::new() };
    listed.check(answer(410), "dead letter: gone");
}

#[test]
fn any_other_status_is_retried_redirects_included() {
    for status in [100, 199, 300, 301, 302, 304, 307, 308, 400, 401, 403, 404, 422, 499, 500, 599] {
        check(answer(status), "retry in 10: http-status");
    }
}

#[test]
fn an_overloaded_receiver_is_left_alone_for_as_long_as_it_wishes() {
    for status in [429, 502, 503, 504] {
        check(answer(status), "retry in 10: http-status");
        check(wishing(status, 30), "retry in 30: http-status");
    }
    check(wishing(301, 30), "retry in 30: http-status");
    check(wishing(500, 30), "retry in 30: http-status");
}

#[test]
fn a_wish_is_capped_and_never_shortens_the_schedule() {
    check(wishing(503, 0), "retry in 10: http-status");
    check(wishing(503, 9), "retry in 10: http-status");
    check(wishing(503, DAY), "retry in 86400: http-status");
    check(wishing(503, DAY + 1), "retry in 86400: http-status");
    check(wishing(503, u64::MAX), "retry in 86400: http-status");
}

#[test]
fn failures_of_network_and_credentials_are_retried() {
    for reason in ["timeout", "connect", "dns", "tls", "reset", "protocol", "auth"] {
        let end = failure(Reason::parse(reason).expect("a reason"));
        check(end, &format!("retry in 10: {reason}"));
    }
}

#[test]
fn what_is_our_fault_is_given_up_at_once() {
    for reason in ["egress-refused", "transform", "too-large"] {
        let end = failure(Reason::parse(reason).expect("a reason"));
        check(end, &format!("dead letter: {reason}"));
    }
}

#[test]
fn a_listed_status_is_given_up_and_only_that() {
    let picky = Case { changes: json!({"noRetryOn": [400, 503]}), ..Case::new() };
    picky.check(answer(400), "dead letter: http-status");
    picky.check(wishing(503, 30), "dead letter: http-status");
    picky.check(answer(401), "retry in 10: http-status");
    picky.check(failure(Reason::Timeout), "retry in 10: timeout");
    let last = Case { attempts: 3, ..picky };
    last.check(answer(400), "dead letter: http-status");
}

#[test]
fn a_used_up_schedule_is_exhausted() {
    let after = |attempts, changes| Case { attempts, changes, ..Case::new() };
    after(2, json!({})).check(answer(500), "retry in 100: http-status");
    after(3, json!({})).check(answer(500), "dead letter: exhausted");
    after(3, json!({})).check(wishing(503, 30), "dead letter: exhausted");
    after(3, json!({})).check(failure(Reason::Timeout), "dead letter: exhausted");
    after(40, json!({})).check(answer(500), "dead letter: exhausted");
    let once = json!({"retry": {"schedule": []}});
    after(1, once).check(answer(500), "dead letter: exhausted");
}

#[test]
fn a_subscriptions_own_schedule_comes_first() {
    let own = json!({"retry": {"schedule": ["3s", "4s", "5s"]}});
    let after = |attempts| Case { attempts, changes: own.clone(), ..Case::new() };
    after(1).check(answer(500), "retry in 3: http-status");
    after(3).check(answer(500), "retry in 5: http-status");
    after(4).check(answer(500), "dead letter: exhausted");
}

#[test]
fn a_retry_that_would_come_too_late_is_expired() {
    let aged = |age| Case { age, ..Case::new() };
    aged(3 * DAY - 10).check(answer(500), "retry in 10: http-status");
    aged(3 * DAY - 9).check(answer(500), "dead letter: expired");
    aged(3 * DAY - 9).check(failure(Reason::Dns), "dead letter: expired");
    aged(2 * DAY).check(wishing(503, DAY), "retry in 86400: http-status");
    aged(2 * DAY + 1).check(wishing(503, DAY), "dead letter: expired");
}

#[test]
fn jitter_is_the_dices_share_of_a_tenth() {
    let diced = |fraction| Case { attempts: 2, fraction, ..Case::new() };
    diced(0.0).check(answer(500), "retry in 100: http-status");
    diced(0.5).check(answer(500), "retry in 105: http-status");
    diced(1.0).check(answer(500), "retry in 110: http-status");
    diced(1.0).check(wishing(503, 107), "retry in 110: http-status");
    diced(1.0).check(wishing(503, 120), "retry in 120: http-status");
}

#[test]
fn reasons_are_the_contracts_words_and_read_back() {
    let words: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let contract = "ok http-status timeout connect dns tls reset protocol egress-refused auth proxy gone exhausted expired \
                    subscription-disabled subscription-removed unreadable too-large transform filtered";
    assert_eq!(words.join(" "), contract);
    assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len(), "a word is there twice");
    for reason in Reason::ALL {
        assert_eq!(Reason::parse(reason.as_str()), Some(reason));
    }
    for other in ["", "OK", " ok", "http_status", "okay"] {
        assert_eq!(Reason::parse(other), None, "{other:?}");
    }
}

#[test]
fn our_own_faults_are_not_the_receivers() {
    let receivers = Reason::ALL.into_iter().filter(|reason| reason.is_receivers());
    let receivers: Vec<_> = receivers.map(Reason::as_str).collect();
    let expect = "http-status timeout connect dns tls reset protocol gone exhausted";
    assert_eq!(receivers.join(" "), expect);
}

fn check_retry_after(header: &str, expect: Option<u64>) {
    assert_eq!(retry_after(header, NOW), expect.map(seconds), "{header:?}");
}

#[test]
fn a_wish_is_seconds_or_a_date() {
    check_retry_after("0", Some(0));
    check_retry_after("120", Some(120));
    check_retry_after(" 0120\t", Some(120));
    check_retry_after("Wed, 15 Jan 2025 10:32:00 GMT", Some(120));
    check_retry_after("Thu, 16 Jan 2025 10:30:00 GMT", Some(DAY));
    // RFC 850's form and asctime's.
    check_retry_after("Wednesday, 15-Jan-25 10:32:00 GMT", Some(120));
    check_retry_after("Wed Jan 15 10:32:00 2025", Some(120));
    check_retry_after("Sun Nov  6 08:49:37 1994", Some(0));
    check_retry_after("Sunday, 06-Nov-94 08:49:37 GMT", Some(0));
}

#[test]
fn a_date_that_has_passed_wishes_nothing() {
    check_retry_after("Wed, 15 Jan 2025 10:30:00 GMT", Some(0));
    check_retry_after("Wed, 15 Jan 2025 10:29:59 GMT", Some(0));
    check_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", Some(0));
}

#[test]
fn what_is_neither_seconds_nor_a_date_is_no_wish() {
    for garbage in ["", " ", "soon", "-1", "+1", "1.5", "1e3", "1 2", "١", "Wed,", "Wed, 15 Jan"] {
        check_retry_after(garbage, None);
    }
    check_retry_after("Wed, 32 Jan 2025 10:32:00 GMT", None);
    check_retry_after("Wed, 15 Jan 2025 10:32:00 +0100", None);
    check_retry_after("2025-01-15T10:32:00Z", None);
    // A date that contradicts its weekday says nothing for sure.
    check_retry_after("Thu, 15 Jan 2025 10:32:00 GMT", None);
    check_retry_after("Thursday, 15-Jan-25 10:32:00 GMT", None);
    check_retry_after("Thu Jan 15 10:32:00 2025", None);
}

#[test]
fn a_wish_beyond_all_numbers_is_the_longest_there_is() {
    check_retry_after("18446744073709551615", Some(u64::MAX));
    check_retry_after("18446744073709551616", Some(u64::MAX));
    check_retry_after(&"9".repeat(1000), Some(u64::MAX));
}

/// Any end of an attempt that is retried, with its wish.
fn retried() -> impl Strategy<Value = Result<Answer, Failure>> {
    let status = select(vec![301, 400, 429, 500, 503]);
    let wish = prop::option::of(prop_oneof![0..300_u64, 0..2 * DAY, any::<u64>()]);
    let answer = (status, wish).prop_map(|(status, wish)| {
        Ok(Answer { status, retry_after: wish.map(seconds), excerpt: None })
    });
    let reasons = vec![Reason::Timeout, Reason::Connect, Reason::Reset, Reason::Auth];
    prop_oneof![answer, select(reasons).prop_map(failure)]
}

proptest! {
    #[test]
    fn every_status_has_its_row_in_the_table(status in 100_u16..1000) {
        let expect = match status {
            200..=299 => "delivered",
            410 => "dead letter: gone",
            _ => "retry in 10: http-status",
        };
        check(answer(status), expect);
    }

    #[test]
    fn a_retry_is_never_early_and_at_most_a_tenth_late(
        end in retried(), attempts in 1_u32..=2, fraction in 0.0..=1.0,
    ) {
        let wish = end.as_ref().ok().and_then(|answer| answer.retry_after).unwrap_or_default();
        let wish = wish.min(seconds(DAY));
        let delay = seconds([10, 100][attempts as usize - 1]);
        let Verdict::Retry(due, _) = Case { attempts, fraction, ..Case::new() }.judge(end) else {
            panic!("it is retried");
        };
        let wait = tiers::until(due, NOW);
        prop_assert!(wait >= delay && wait >= wish);
        prop_assert!(wait <= delay.mul_f64(1.1).max(wish) + Duration::from_nanos(1));
    }

    #[test]
    fn no_header_makes_the_reader_panic(header in any::<String>()) {
        retry_after(&header, NOW);
    }

    #[test]
    fn no_date_makes_the_reader_panic(
        header in "(Sun|Wed|wed)?,? ?[0-9]{1,3} (Jan|Feb|dec) [0-9]{1,6} [0-9]{1,2}:[0-9]{1,3}(:[0-9]{1,2})? ?(GMT|UT|Z|[+-][0-9]{4}|)\\(?",
    ) {
        retry_after(&header, NOW);
    }
}

#[test]
fn the_readme_says_what_every_reason_means() {
    let readme = include_str!("../../../README.md");
    let rows = readme.split_once("| reason | means |").expect("there is such a table").1;
    let rows = rows.split_once("\n\n").expect("the table ends").0;
    let told: Vec<_> = rows
        .lines()
        .filter_map(|row| row.strip_prefix("| `")?.split_once("` | "))
        .flat_map(|(reasons, _)| reasons.split("` `"))
        .collect();
    let mut known = Reason::ALL.map(Reason::as_str).to_vec();
    known.sort_unstable();
    let mut sorted = told.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, known);
}
