//! Capacity: how many attempts may run at once, because the threads that make them have time for them.
//!
//! `delivery.max_in_flight` says how many requests may be open. When endpoints take their time, so many are of use. When
//! they are quick, our own threads are what limits the rate, and attempts beyond those they can attend to gain nothing:
//! they hold connections and memory, and their answers lie waiting for us, which makes quick endpoints look slow.
//! So the capacity follows the share of their time that those threads are at work, by proportional control: it is
//! lowered when that share is above a goal, and raised when it is below and the capacity was used up. Where others use
//! the cores too, threads wait for these and not for work; then it is lowered while most attempts wait for them, and not
//! raised while some do.

use std::time::Duration;

use super::lanes::Slots;

/// What is begun with: enough to keep threads at work whose endpoints are quick.
const START: f64 = 128.0;

/// What is left in any case, so that a few slow endpoints can't use up what others wait for.
const LEAST: f64 = 64.0;

/// The part of the slots that is left to those who have few.
const LAST: usize = 16;

/// The share of time at work that is aimed at. It leaves the rest of the program its part of the cores.
const GOAL: f64 = 0.7;

/// An attempt that waited for us has waited long if that was more than this, and more than this part of what its
/// endpoint took.
const LONG: Duration = Duration::from_millis(1);
const LONG_PART: u32 = 8;

/// By what factor one look changes the capacity, at most: down with care, up at once.
const STEP: (f64, f64) = (0.9, 2.0);

/// See the module.
#[derive(Debug)]
pub(super) struct Capacity {
    /// From 1 to `most`, and at least [`LEAST`] unless `most` is less.
    attempts: f64,
    most: f64,
    /// Whether it was used up since the last look.
    is_reached: bool,
    /// Attempts that ended since then, and those of them that waited long for us.
    ended: usize,
    waited: usize,
}

impl Capacity {
    /// Begins with what is enough for quick endpoints; there are never more than `most`.
    pub(super) fn new(most: usize) -> Self {
        let most = most as f64;
        Self { attempts: START.min(most), most, is_reached: false, ended: 0, waited: 0 }
    }

    /// Returns how many attempts may run at once.
    pub(super) fn get(&self) -> usize {
        // From 1 to a number that was one of these, so it fits.
        self.attempts as usize
    }

    /// Tells whom the next slot is for while so many attempts run, if there is one. The last sixteenth is for those who have
    /// few.
    pub(super) fn slots(&self, in_flight: usize) -> Option<Slots> {
        match self.get().saturating_sub(in_flight) {
            0 => None,
            free if free <= self.get() / LAST => Some(Slots::ForFew),
            _ => Some(Slots::ForAll),
        }
    }

    /// Tells whether there are fewer than allowed: whoever waits for a slot then waits for our own threads.
    pub(super) fn is_lowered(&self) -> bool {
        self.attempts < self.most
    }

    /// Takes note that an attempt has to wait, because so many run.
    pub(super) fn reached(&mut self) {
        self.is_reached = true;
    }

    /// Takes note of an attempt that ended: how long its endpoint took, and how long it waited for us before and after.
    pub(super) fn ended(&mut self, latency: Duration, waited: Duration) {
        self.ended += 1;
        self.waited += usize::from(waited > LONG.max(latency / LONG_PART));
    }

    /// Takes note of the share of their time, 0 to 1, that the threads were at work since the last look.
    pub(super) fn worked(&mut self, share: f64) {
        let (down, up) = STEP;
        let up = match (self.waited, self.ended) {
            (waited, ended) if waited * 2 > ended => down,
            (waited, ended) if waited * 8 > ended => 1.0,
            _ => up,
        };
        let step = (GOAL / share).clamp(down, up);
        if step < 1.0 || self.is_reached {
            self.attempts = (self.attempts * step).max(LEAST).min(self.most);
        }
        (self.is_reached, self.ended, self.waited) = (false, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Looks so often, with the capacity used up all the time, at threads that are at work for a share of their time.
    fn look(capacity: &mut Capacity, times: usize, share: impl Fn(usize) -> f64) {
        for _ in 0..times {
            capacity.reached();
            capacity.worked(share(capacity.get()));
        }
    }

    #[test]
    fn threads_that_wait_for_endpoints_take_on_all_that_is_allowed() {
        let mut capacity = Capacity::new(1024);
        assert_eq!(capacity.get(), 128);
        look(&mut capacity, 3, |attempts| attempts as f64 / 5000.0);
        assert_eq!(capacity.get(), 1024);
    }

    #[test]
    fn threads_that_have_no_time_take_on_less_until_they_have_some() {
        let mut capacity = Capacity::new(1024);
        let share = |attempts| (attempts as f64 / 400.0).min(1.0);
        look(&mut capacity, 3, |_| 0.0);
        look(&mut capacity, 100, share);
        assert!((270..=290).contains(&capacity.get()), "{}", capacity.get());
    }

    #[test]
    fn attempts_that_wait_for_threads_become_fewer_though_these_have_time() {
        let mut capacity = Capacity::new(1024);
        let mut look = |latency: u64, waited: u64, times: usize| {
            for _ in 0..times {
                capacity.reached();
                // Of three, two decide.
                capacity.ended(Duration::from_millis(latency), Duration::ZERO);
                for _ in 0..2 {
                    let (latency, waited) = (Duration::from_millis(latency), waited);
                    capacity.ended(latency, Duration::from_millis(waited));
                }
                capacity.worked(0.1);
            }
            capacity.get()
        };
        assert_eq!(look(50, 6, 3), 1024);
        assert!((900..930).contains(&look(50, 7, 1)));
        assert_eq!(look(50, 7, 100), 64);
        assert_eq!(look(0, 1, 3), 512);
        assert_eq!(look(0, 2, 100), 64);
    }

    #[test]
    fn a_part_is_left_to_threads_that_never_have_time() {
        let mut capacity = Capacity::new(1024);
        look(&mut capacity, 1000, |_| 1.0);
        assert_eq!(capacity.get(), 64);
    }

    #[test]
    fn what_is_not_used_up_is_not_raised() {
        let mut capacity = Capacity::new(1024);
        capacity.worked(0.1);
        assert_eq!(capacity.get(), 128);
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds(
            most in 1_usize..70_000,
            shares in proptest::collection::vec(0.0_f64..=1.0, 0..50),
        ) {
            let mut capacity = Capacity::new(most);
            for share in shares {
                look(&mut capacity, 1, |_| share);
                prop_assert!((most.min(64)..=most).contains(&capacity.get()));
            }
        }
    }
}
