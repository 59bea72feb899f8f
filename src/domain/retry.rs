//! When a failed delivery is tried again. Nothing here looks at a clock or draws a random number.

use std::num::NonZeroU32;
use std::time::Duration;

/// The delays between the attempts of one delivery: `n` delays make `n + 1` attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(Box<[Duration]>);

impl Schedule {
    /// Makes a schedule of the delays after the first, second… failed attempt; without any there is one attempt.
    pub fn new(delays: impl Into<Box<[Duration]>>) -> Self {
        Self(delays.into())
    }

    /// Makes a schedule whose delays grow from `initial` by `factor`, at least 1, up to `max`, at least `initial`.
    pub fn exponential(
        attempts: NonZeroU32,
        initial: Duration,
        factor: f64,
        max: Duration,
    ) -> Self {
        assert!(factor >= 1.0 && max >= initial, "a schedule must not shrink");
        let grown = |previous: &Duration| {
            let next = previous.as_secs_f64() * factor;
            Some(if next < max.as_secs_f64() { previous.mul_f64(factor) } else { max })
        };
        let delays = std::iter::successors(Some(initial), grown);
        Self(delays.take(attempts.get() as usize - 1).collect())
    }

    /// Returns how many attempts the schedule allows in all.
    pub fn attempts(&self) -> u32 {
        u32::try_from(self.0.len()).map_or(u32::MAX, |delays| delays.saturating_add(1))
    }

    /// Returns the delay before the next attempt when `attempts_made`, at least 1, have failed; `None` when there is
    /// no next one.
    pub fn delay_after(&self, attempts_made: u32) -> Option<Duration> {
        assert!(attempts_made > 0, "a delay follows an attempt");
        self.0.get(attempts_made as usize - 1).copied()
    }
}

/// Lengthens a delay by a part of itself: `fraction`, 0 to 1, of `max_jitter`. Jitter never makes a retry early.
pub fn jittered(delay: Duration, fraction: f64, max_jitter: f64) -> Duration {
    assert!((0.0..=1.0).contains(&fraction) && max_jitter >= 0.0, "jitter only lengthens");
    delay.saturating_add(delay.mul_f64(max_jitter * fraction))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exponential(attempts: u32, initial: u64, factor: f64, max: u64) -> Vec<u64> {
        let attempts = NonZeroU32::new(attempts).expect("not zero");
        let [initial, max] = [initial, max].map(Duration::from_millis);
        let schedule = Schedule::exponential(attempts, initial, factor, max);
        let delays = (1..).map_while(|made| schedule.delay_after(made));
        delays.map(|delay| u64::try_from(delay.as_millis()).expect("small")).collect()
    }

    #[test]
    fn a_schedule_has_one_more_attempt_than_delays() {
        let schedule = Schedule::new([Duration::from_secs(5), Duration::from_secs(30)]);
        assert_eq!(schedule.attempts(), 3);
        assert_eq!(schedule.delay_after(1), Some(Duration::from_secs(5)));
        assert_eq!(schedule.delay_after(2), Some(Duration::from_secs(30)));
        assert_eq!(schedule.delay_after(3), None);
        assert_eq!(Schedule::new([]).attempts(), 1);
        assert_eq!(Schedule::new([]).delay_after(1), None);
    }

    #[test]
    fn exponential_delays_grow_up_to_the_maximum() {
        assert_eq!(exponential(5, 2_000, 2.0, 3_600_000), [2_000, 4_000, 8_000, 16_000]);
        assert_eq!(exponential(5, 2_000, 2.0, 5_000), [2_000, 4_000, 5_000, 5_000]);
        assert_eq!(exponential(3, 2_000, 1.0, 5_000), [2_000, 2_000]);
        assert_eq!(exponential(1, 2_000, 2.0, 5_000), [0; 0]);
        assert_eq!(exponential(50, 1_000, 100.0, 9_000).last(), Some(&9_000));
    }

    proptest! {
        #[test]
        fn jitter_only_lengthens_and_within_its_bound(
            millis in 0_u64..=2_592_000_000, fraction in 0.0..=1.0, max_jitter in 0.0..=0.5,
        ) {
            let delay = Duration::from_millis(millis);
            let jittered = jittered(delay, fraction, max_jitter);
            prop_assert!(jittered >= delay);
            prop_assert!(jittered <= delay + delay.mul_f64(max_jitter) + Duration::from_nanos(1));
        }

        #[test]
        fn exponential_delays_never_shrink_nor_pass_the_maximum(
            attempts in 1_u32..=50, initial in 1_u64..=10_000, factor in 1.0..=100.0, more in 0_u64..=2_592_000_000,
        ) {
            let delays = exponential(attempts, initial, factor, initial + more);
            prop_assert_eq!(delays.len() as u32, attempts - 1);
            prop_assert!(delays.is_sorted());
            prop_assert!(delays.iter().all(|delay| (initial..=initial + more).contains(delay)));
        }
    }
}
