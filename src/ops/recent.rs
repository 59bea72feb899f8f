//! What became of deliveries lately: counts and latencies of the last five minutes, in slots that take each other's
//! place, and counts since the start.
//!
//! What is kept doesn't grow: 60 slots of about 5 KiB each.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::domain::audit::Outcome;
use crate::domain::ending::{Ending, Next};

/// How long a slot takes counts.
const SLOT: Duration = Duration::from_secs(5);

/// How many slots are kept.
const SLOTS: usize = 60;

/// How many slots the rates of now are taken from, and how many are the last minute.
const NOW: usize = 2;
const MINUTE: usize = 12;

/// The longest latency that is told apart, in microseconds: a day.
const LATENCY_MAX: u64 = 86_400_000_000;

/// Endings by outcome. Deliveries that only moved to another tier are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// The receiver took it.
    pub delivered: u64,
    /// An attempt failed, another is due.
    pub retrying: u64,
    /// Given up, records that can't be read included.
    pub dead_lettered: u64,
    /// Nothing was to be sent.
    pub skipped: u64,
}

/// What became of deliveries, as `/status` tells it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// Since the process started.
    pub total: Tally,
    /// Deliveries a second, over the last 5 to 10 seconds.
    pub delivered_per_second: f64,
    /// Endings a second that were none: to be retried, or given up.
    pub failed_per_second: f64,
    /// The last minute.
    pub last_minute: LastMinute,
    /// The last five minutes at most, oldest first; the last slot is not over yet.
    pub history: History,
}

/// The last minute.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastMinute {
    /// How long it really is: 55 to 60 seconds, less when the process has just started.
    pub seconds: f64,
    /// What it brought.
    #[serde(flatten)]
    pub tally: Tally,
    /// The share of endings that were deliveries, 0..=1, those skipped aside; `None` if nothing ended.
    pub success_rate: Option<f64>,
    /// Time of attempts, from start to end.
    pub attempt_ms: Option<Quantiles>,
    /// Time from an event's record to its delivery at the first attempt.
    pub event_to_delivery_ms: Option<Quantiles>,
}

/// Quantiles in milliseconds, each exact to 1/16.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// 95 of 100 took no longer.
    pub p95: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
}

/// Slots of equal length.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// How long one is.
    pub slot_seconds: u64,
    /// Oldest first.
    pub slots: Vec<Point>,
}

/// One slot.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// Deliveries.
    pub delivered: u64,
    /// Attempts and decisions that were to be retried or given up.
    pub failed: u64,
    /// The time that 99 of 100 attempts took no longer than.
    pub attempt_p99_ms: Option<f64>,
}

/// Keeps count.
pub(super) struct Recent {
    began: Instant,
    total: Tally,
    /// How many slots were over when the last one of `slots` began.
    over: u64,
    /// Oldest first, never empty.
    slots: VecDeque<Slot>,
}

struct Slot {
    tally: Tally,
    /// Microseconds.
    attempts: Histogram<u32>,
    /// Microseconds.
    arrivals: Histogram<u32>,
}

impl Recent {
    pub(super) fn new(now: Instant) -> Self {
        let slots = VecDeque::from([Slot::default()]);
        Self { began: now, total: Tally::default(), over: 0, slots }
    }

    /// Counts endings that are committed.
    pub(super) fn count<'a>(&mut self, endings: impl Iterator<Item = &'a Ending>, now: Instant) {
        let slot = self.turn(now);
        let mut tally = Tally::default();
        for ending in endings {
            slot.count(ending, &mut tally);
        }
        slot.tally += tally;
        self.total += tally;
    }

    /// Tells what came of all that.
    pub(super) fn activity(&mut self, now: Instant) -> Activity {
        self.turn(now);
        let (seconds, current) = self.last(NOW, now);
        // The first moments of a process say nothing of a second.
        let a_second = |count: u64| count as f64 / seconds.max(1.0);
        Activity {
            total: self.total,
            delivered_per_second: a_second(current.tally.delivered),
            failed_per_second: a_second(current.tally.failed()),
            last_minute: self.last_minute(now),
            history: History {
                slot_seconds: SLOT.as_secs(),
                slots: self.slots.iter().map(Slot::point).collect(),
            },
        }
    }

    fn last_minute(&self, now: Instant) -> LastMinute {
        let (seconds, Slot { tally, attempts, arrivals }) = self.last(MINUTE, now);
        let ended = tally.delivered + tally.failed();
        LastMinute {
            seconds,
            tally,
            success_rate: (ended > 0).then(|| tally.delivered as f64 / ended as f64),
            attempt_ms: Quantiles::of(&attempts),
            event_to_delivery_ms: Quantiles::of(&arrivals),
        }
    }

    /// Returns the slot that takes counts now, and forgets those that are too old.
    fn turn(&mut self, now: Instant) -> &mut Slot {
        let over = (now.duration_since(self.began).as_nanos() / SLOT.as_nanos()) as u64;
        for _ in 0..over.saturating_sub(self.over).min(SLOTS as u64) {
            if self.slots.len() == SLOTS {
                self.slots.pop_front();
            }
            self.slots.push_back(Slot::default());
        }
        self.over = self.over.max(over);
        self.slots.back_mut().expect("it is never empty")
    }

    /// Puts the last slots together; tells how many seconds they are.
    fn last(&self, slots: usize, now: Instant) -> (f64, Slot) {
        let mut sum = Slot::default();
        let count = slots.min(self.slots.len());
        for slot in self.slots.iter().rev().take(count) {
            sum.tally += slot.tally;
            for (sum, part) in
                [(&mut sum.attempts, &slot.attempts), (&mut sum.arrivals, &slot.arrivals)]
            {
                sum.add(part).expect("all have the same bounds");
            }
        }
        let since = now.duration_since(self.began).as_secs_f64();
        let before = SLOT.as_secs_f64() * (self.over + 1 - count as u64) as f64;
        (since - before, sum)
    }
}

impl Default for Slot {
    fn default() -> Self {
        let empty = || {
            let histogram = Histogram::new_with_bounds(1, LATENCY_MAX, 1);
            histogram.expect("the bounds are in order, and one digit is allowed")
        };
        Self { tally: Tally::default(), attempts: empty(), arrivals: empty() }
    }
}

impl Slot {
    fn count(&mut self, ending: &Ending, tally: &mut Tally) {
        let Ending::Delivery(ending) = ending else {
            tally.dead_lettered += 1;
            return;
        };
        match ending.next.outcome() {
            None => return,
            Some((Outcome::Delivered, _)) => tally.delivered += 1,
            Some((Outcome::Retrying, _)) => tally.retrying += 1,
            Some((Outcome::DeadLettered, _)) => tally.dead_lettered += 1,
            Some((Outcome::Skipped, _)) => tally.skipped += 1,
        }
        if let Some(attempted) = &ending.attempted {
            self.attempts.saturating_record(attempted.latency.as_micros() as u64);
        }
        if ending.next == Next::Delivered && ending.attempts == 1 {
            let since = ending.at.duration_since(ending.label.origin.timestamp);
            self.arrivals.saturating_record(u64::try_from(since.as_micros()).unwrap_or(0));
        }
    }

    fn point(&self) -> Point {
        Point {
            delivered: self.tally.delivered,
            failed: self.tally.failed(),
            attempt_p99_ms: Quantiles::of(&self.attempts).map(|of| of.p99),
        }
    }
}

impl Tally {
    fn failed(self) -> u64 {
        self.retrying + self.dead_lettered
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.delivered += more.delivered;
        self.retrying += more.retrying;
        self.dead_lettered += more.dead_lettered;
        self.skipped += more.skipped;
    }
}

impl Quantiles {
    fn of(micros: &Histogram<u32>) -> Option<Self> {
        let at = |quantile| micros.value_at_quantile(quantile) as f64 / 1000.0;
        (!micros.is_empty()).then(|| Self { p50: at(0.5), p95: at(0.95), p99: at(0.99) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ending::tests::{answer, attempted, decided, unreadable};
    use crate::domain::outcome::Reason;

    fn delivered() -> Ending {
        Ending::Delivery(Box::new(attempted(Next::Delivered, answer(200, ""))))
    }

    fn given_up() -> Ending {
        let next = Next::DeadLetter(Reason::SubscriptionDisabled);
        Ending::Delivery(Box::new(decided(next)))
    }

    fn after(seconds: u64) -> impl Fn(Instant) -> Instant {
        move |began| began + Duration::from_secs(seconds)
    }

    /// Counts endings, each so many seconds after the start, and tells of them at `at`.
    fn check(endings: &[(u64, Ending)], at: u64) -> Activity {
        let began = Instant::now();
        let mut recent = Recent::new(began);
        for (seconds, ending) in endings {
            recent.count(std::iter::once(ending), after(*seconds)(began));
        }
        recent.activity(after(at)(began))
    }

    #[test]
    fn endings_are_counted_by_outcome() {
        let unreadable = Ending::Unreadable(Box::new(unreadable()));
        let told = check(&[(0, delivered()), (0, given_up()), (0, unreadable)], 1);
        let expected = Tally { delivered: 1, dead_lettered: 2, ..Tally::default() };
        assert_eq!((told.total, told.last_minute.tally), (expected, expected));
        assert_eq!(told.last_minute.success_rate, Some(1.0 / 3.0));
        assert_eq!((told.delivered_per_second, told.failed_per_second), (1.0, 2.0));
    }

    #[test]
    fn nothing_is_neither_a_success_nor_a_failure() {
        let told = check(&[], 0).last_minute;
        assert_eq!((told.success_rate, told.attempt_ms), (None, None));
        assert_eq!(told.tally, Tally::default());
    }

    #[test]
    fn what_is_old_leaves_the_rates_then_the_minute_then_the_history() {
        let seen = |at| {
            let told = check(&[(2, delivered())], at);
            let Activity { total, last_minute, history, .. } = told;
            assert_eq!(total.delivered, 1);
            let in_history: u64 = history.slots.iter().map(|slot| slot.delivered).sum();
            (told.delivered_per_second > 0.0, last_minute.tally.delivered, in_history)
        };
        assert_eq!(seen(9), (true, 1, 1));
        assert_eq!(seen(10), (false, 1, 1));
        assert_eq!(seen(59), (false, 1, 1));
        assert_eq!(seen(60), (false, 0, 1));
        assert_eq!(seen(299), (false, 0, 1));
        assert_eq!(seen(300), (false, 0, 0));
    }

    #[test]
    fn rates_are_over_the_time_that_they_are_taken_from() {
        let endings = [(0, delivered()), (5, delivered()), (6, delivered()), (7, delivered())];
        let told = check(&endings, 8);
        assert_eq!((told.delivered_per_second, told.last_minute.seconds), (0.5, 8.0));
        let later = check(&endings, 12);
        assert_eq!((later.delivered_per_second, later.last_minute.seconds), (3.0 / 7.0, 12.0));
        assert_eq!(check(&endings, 1000).last_minute.seconds, 55.0);
    }

    #[test]
    fn history_is_bounded_however_long_nothing_happens() {
        for at in [0, 4, 5, 299, 300, 1_000_000] {
            let slots = check(&[(0, delivered())], at).history.slots.len();
            assert_eq!(slots, ((at / 5 + 1) as usize).min(SLOTS), "after {at} s");
        }
    }

    #[test]
    fn quantiles_are_exact_to_a_sixteenth() {
        let took = |latency| {
            let mut ending = attempted(Next::Delivered, answer(200, ""));
            ending.attempted.as_mut().expect("there is one").latency = latency;
            Ending::Delivery(Box::new(ending))
        };
        let endings: Vec<_> = (1..=100).map(|ms| (0, took(Duration::from_millis(ms)))).collect();
        let told = check(&endings, 0).last_minute.attempt_ms.expect("there were some");
        for (told, exact) in [(told.p50, 50.0), (told.p95, 95.0), (told.p99, 99.0)] {
            assert!((told - exact).abs() <= exact / 16.0, "{told} is not {exact}");
        }
        let days = took(Duration::from_secs(1_000_000));
        assert!(check(&[(0, days)], 0).last_minute.attempt_ms.is_some());
    }
}
