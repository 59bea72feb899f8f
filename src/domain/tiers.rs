//! The timing wheel: retry topics as tiers of waiting, walked down until a record is due.
//!
//! A record written to tier T at time W has been through it at W + T. All records of a partition wait equally long, so
//! the partition is in the order in which they come through, and a reader waits at its head without delaying any.

use std::time::Duration;

use jiff::Timestamp;

/// One of the wheel's tiers, by its place from the shortest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TierIndex(pub usize);

/// The tiers of waiting, shortest first. Never empty.
#[derive(Clone, Debug)]
pub struct Wheel {
    tiers: Vec<Duration>,
}

/// What a record that came through its tier does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is due: deliver it.
    Due,
    /// Less than the shortest tier remains: keep it until then.
    Wait(Timestamp),
    /// More remains: write it to this tier.
    Move(TierIndex),
}

impl Wheel {
    /// Makes a wheel of tiers in strictly ascending order.
    ///
    /// # Panics
    /// If there is no tier or they don't ascend; the settings have been checked for it.
    pub fn new(tiers: Vec<Duration>) -> Self {
        assert!(!tiers.is_empty(), "a wheel has a tier");
        assert!(tiers.is_sorted_by(|a, b| a < b), "tiers ascend");
        Self { tiers }
    }

    /// Returns the tier for a record that is due in `remaining`: the longest that isn't longer, else the shortest.
    pub fn tier_for(&self, remaining: Duration) -> TierIndex {
        let fitting = self.tiers.iter().take_while(|tier| **tier <= remaining).count();
        TierIndex(fitting.saturating_sub(1))
    }

    /// Returns the shortest tier's wait: what is shorter is waited out at the head of a partition.
    pub fn shortest(&self) -> Duration {
        self.tiers[0]
    }

    /// Returns by what a tier may be longer than what remains of a wait that goes on.
    fn slack(&self) -> Duration {
        self.tiers[0] / 4
    }

    /// Returns when a record written to a tier at `written` wants to be looked at again.
    ///
    /// That is when it has been through the tier, or when it is due if that comes first.
    pub fn ready_at(&self, tier: TierIndex, written: Timestamp, due: Timestamp) -> Timestamp {
        add(written, self.tiers[tier.0]).min(due)
    }

    /// Decides about a record that is due at `due` and has come through its tier.
    ///
    /// Reading and writing take some time off a wait, so it may go on to a tier that is somewhat longer than what remains:
    /// otherwise 10 s were 5 s and then four times 1 s. It is looked at when it is due, but those that were written to that
    /// tier before it may make it that much late.
    pub fn step(&self, due: Timestamp, now: Timestamp) -> Step {
        let remaining = until(due, now);
        if remaining.is_zero() {
            Step::Due
        } else if remaining < self.tiers[0] {
            Step::Wait(due)
        } else {
            Step::Move(self.tier_for(remaining + self.slack()))
        }
    }
}

/// Returns `time + wait`, or the end of time.
pub fn add(time: Timestamp, wait: Duration) -> Timestamp {
    time.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

/// Returns `time - wait`, or the beginning of time.
pub fn sub(time: Timestamp, wait: Duration) -> Timestamp {
    time.saturating_sub(wait).unwrap_or(Timestamp::MIN)
}

/// Returns the first whole millisecond at or behind `time`: what is written in milliseconds must not become earlier.
pub fn ceil_ms(time: Timestamp) -> Timestamp {
    let millis = time.as_nanosecond().div_euclid(1_000_000);
    let is_whole = time.as_nanosecond().rem_euclid(1_000_000) == 0;
    let millis = i64::try_from(millis).map(|millis| millis + i64::from(!is_whole));
    millis.ok().and_then(|millis| Timestamp::from_millisecond(millis).ok()).unwrap_or(time)
}

/// Returns how long it is from `now` until `time`; zero when it has passed.
pub fn until(time: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(now)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wheel() -> Wheel {
        Wheel::new([1, 5, 30, 120, 600, 3600, 21600].map(Duration::from_secs).to_vec())
    }

    fn at(ms: u64) -> Timestamp {
        add(Timestamp::UNIX_EPOCH, Duration::from_millis(ms))
    }

    fn check(remaining_ms: u64, expect: usize) {
        assert_eq!(wheel().tier_for(Duration::from_millis(remaining_ms)), TierIndex(expect));
    }

    #[test]
    fn a_wait_goes_to_the_longest_tier_within_it() {
        check(0, 0);
        check(999, 0);
        check(4_999, 0);
        check(5_000, 1);
        check(31_000, 2);
        check(86_400_000, 6);
    }

    #[test]
    fn a_record_due_before_its_tier_ends_is_looked_at_when_it_is_due() {
        assert_eq!(wheel().ready_at(TierIndex(1), at(0), at(200)), at(200));
        assert_eq!(wheel().ready_at(TierIndex(1), at(0), at(7_000)), at(5_000));
    }

    /// Walks a wait down the wheel, with such a delay after each tier as reading and writing cost, perhaps behind others
    /// that were written just before it and are due later. Returns when it was over and how many tiers it took.
    fn walk(wait_ms: u64, is_behind: bool, delay_ms: impl Fn(usize) -> u64) -> (Timestamp, usize) {
        let (wheel, due) = (wheel(), at(wait_ms));
        let (mut now, mut tier) = (at(0), wheel.tier_for(until(due, at(0))));
        for count in 1..64 {
            let alone = wheel.ready_at(tier, now, due);
            let ready = if is_behind { add(now, wheel.tiers[tier.0]) } else { alone };
            now = add(ready.max(now), Duration::from_millis(delay_ms(count)));
            match wheel.step(due, now) {
                Step::Due => return (now, count),
                Step::Wait(until) => return (until, count),
                Step::Move(next) => tier = next,
            }
        }
        panic!("the walk doesn't end");
    }

    #[test]
    fn what_a_tier_takes_beyond_its_time_costs_no_walk_down_the_shorter_ones() {
        let check = |wait_ms, expect| assert_eq!(walk(wait_ms, false, |_| 60).1, expect);
        check(5_000, 1);
        check(10_000, 2);
        check(20_000, 4);
        check(240_000, 2);
        check(245_000, 3);
    }

    proptest! {
        #[test]
        fn a_walk_is_never_early_and_ends_within_the_shortest_tier_of_its_wish(
            wait_ms in 0_u64..200_000_000,
            delays_ms in prop::collection::vec(0_u64..50, 1..64),
            is_behind: bool,
        ) {
            let (end, _) = walk(wait_ms, is_behind, |count| delays_ms[count % delays_ms.len()]);
            prop_assert!(end >= at(wait_ms));
            prop_assert!(until(end, at(wait_ms)) <= Duration::from_millis(1_000 + 50));
        }
    }
}
