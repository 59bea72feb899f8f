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

    /// Returns when a record written to a tier at `written` wants to be looked at again.
    ///
    /// That is when it has been through the tier, or when it is due if that comes first.
    pub fn ready_at(&self, tier: TierIndex, written: Timestamp, due: Timestamp) -> Timestamp {
        add(written, self.tiers[tier.0]).min(due)
    }

    /// Decides about a record that is due at `due` and has come through its tier.
    pub fn step(&self, due: Timestamp, now: Timestamp) -> Step {
        let remaining = until(due, now);
        if remaining.is_zero() {
            Step::Due
        } else if remaining < self.tiers[0] {
            Step::Wait(due)
        } else {
            Step::Move(self.tier_for(remaining))
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

    proptest! {
        /// Walks a wait down the wheel with a delay at each step, as reading and writing cost time.
        #[test]
        fn a_walk_is_never_early_and_ends_within_the_shortest_tier_of_its_wish(
            wait_ms in 0_u64..200_000_000,
            delays_ms in prop::collection::vec(0_u64..50, 1..64),
        ) {
            let due = at(wait_ms);
            let (mut now, mut steps) = (at(0), 0);
            let mut tier = wheel().tier_for(until(due, now));
            let end = loop {
                let delay = Duration::from_millis(delays_ms[steps % delays_ms.len()]);
                steps += 1;
                now = add(wheel().ready_at(tier, now, due).max(now), delay);
                match wheel().step(due, now) {
                    Step::Due => break now,
                    Step::Wait(until) => break until,
                    Step::Move(next) => tier = next,
                }
                prop_assert!(steps < 64, "the walk doesn't end");
            };
            prop_assert!(end >= due);
            prop_assert!(until(end, due) <= Duration::from_secs(1));
        }
    }
}
