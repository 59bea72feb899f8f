//! Capacity: how many attempts may run at once, because the threads that make them have time for them.
//!
//! `delivery.max_in_flight` says how many requests may be open. When endpoints take their time, so many are of use. When
//! they are quick, our own threads are what limits the rate, and attempts beyond those they can attend to gain nothing:
//! they hold connections and memory, and their answers lie waiting for us, which makes quick endpoints look slow.
//! So the capacity follows the share of their time that those threads are at work, by proportional control: it is
//! lowered when that share is above a goal, and raised when it is below and the capacity was used up. Where others use
//! the cores too, threads wait for these and not for work; so it is also lowered while most attempts wait for us, and not
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

/// An attempt has waited long for us that waited for more than this part of what its endpoint took, within these bounds.
const LONG_PART: u32 = 8;
const LONG_LEAST: Duration = Duration::from_millis(1);
const LONG_MOST: Duration = Duration::from_millis(10);

/// By what factor one look changes the capacity, at most: down with care, up at once.
const LOWER: f64 = 0.9;
const HIGHER: f64 = 2.0;

/// See the module.
#[derive(Debug)]
pub(super) struct Capacity {
    /// From 1 to `most`, and at least [`LEAST`] unless `most` is less.
    attempts: f64,
    most: f64,
    /// Whether it was used up since the last look.
    is_reached: bool,
    /// Attempts that ended since then and lately, each look counting half of the one after it.
    recent: Recent,
}

#[derive(Debug, Default)]
struct Recent {
    ended: f64,
    /// Those that waited long for us.
    waited: f64,
    /// Seconds for which all held their slots, and for which was looked.
    held: f64,
    span: f64,
}

impl Capacity {
    /// Begins with what is enough for quick endpoints; there are never more than `most`.
    pub(super) fn new(most: usize) -> Self {
        let most = most as f64;
        let (is_reached, recent) = Default::default();
        Self { attempts: START.min(most), most, is_reached, recent }
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

    /// Takes note of an attempt that ended: how long it held its slot, and how long of that a thread was at it.
    pub(super) fn ended(&mut self, held: Duration, latency: Duration) {
        let long = (latency / LONG_PART).clamp(LONG_LEAST, LONG_MOST);
        self.recent.ended += 1.0;
        self.recent.waited += f64::from(u8::from(held.saturating_sub(latency) > long));
        self.recent.held += held.as_secs_f64();
    }

    /// Takes note of the share of their time, 0 to 1, that the threads were at work since the last look, which was `span`
    /// ago, and of how many attempts run.
    pub(super) fn worked(&mut self, share: f64, span: Duration, in_flight: usize) {
        self.recent.span += span.as_secs_f64();
        let Recent { ended, waited, held, span } = self.recent;
        // Those that hang hold slots and don't end: what the few others say doesn't hold for them (Little's law).
        let are_few = held * 4.0 < span * in_flight as f64;
        let highest = match waited / ended {
            _ if are_few => HIGHER,
            part if part > 0.5 => LOWER,
            part if part > 0.125 => 1.0,
            _ => HIGHER,
        };
        let step = (GOAL / share).clamp(LOWER, highest);
        if step < 1.0 || self.is_reached {
            self.attempts = (self.attempts * step).max(LEAST).min(self.most);
        }
        self.is_reached = false;
        self.recent =
            Recent { ended: ended / 2.0, waited: waited / 2.0, held: held / 2.0, span: span / 2.0 };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPAN: Duration = Duration::from_millis(25);

    /// Looks so often, with the capacity used up all the time, at threads that are at work for a share of their time, and
    /// at as many attempts as ran, all of which ended: the milliseconds that a thread was at each, and that it waited.
    fn look(
        capacity: &mut Capacity,
        times: usize,
        share: impl Fn(usize) -> f64,
        attempt: impl Fn(usize) -> (u64, u64),
    ) {
        for _ in 0..times {
            let all = capacity.get();
            let (latency, waited) = attempt(all);
            let [latency, waited] = [latency, waited].map(Duration::from_millis);
            capacity.reached();
            // So often has each slot had one that ended.
            let turns = SPAN.as_millis() / (latency + waited).as_millis().clamp(1, 25);
            (0..all * turns as usize).for_each(|_| capacity.ended(latency + waited, latency));
            capacity.worked(share(all), SPAN, all);
        }
    }

    #[test]
    fn threads_that_wait_for_endpoints_take_on_all_that_is_allowed() {
        let mut capacity = Capacity::new(1024);
        assert_eq!(capacity.get(), 128);
        look(&mut capacity, 3, |attempts| attempts as f64 / 5000.0, |_| (50, 0));
        assert_eq!(capacity.get(), 1024);
    }

    #[test]
    fn threads_that_have_no_time_take_on_less_until_they_have_some() {
        let mut capacity = Capacity::new(1024);
        let share = |attempts| (attempts as f64 / 400.0).min(1.0);
        look(&mut capacity, 3, |_| 0.0, |_| (50, 0));
        look(&mut capacity, 100, share, |_| (50, 0));
        assert!((270..=290).contains(&capacity.get()), "{}", capacity.get());
    }

    #[test]
    fn attempts_that_wait_for_threads_become_fewer_until_they_do_not() {
        let mut capacity = Capacity::new(1024);
        look(&mut capacity, 3, |_| 0.1, |_| (50, 0));
        look(&mut capacity, 100, |_| 0.7, |attempts| (50, attempts as u64 / 50));
        assert!((280..350).contains(&capacity.get()), "{}", capacity.get());
    }

    #[test]
    fn what_is_long_depends_on_what_the_attempt_takes() {
        let check = |latency, waited, expect| {
            let mut capacity = Capacity::new(1024);
            look(&mut capacity, 1, |_| 0.1, |_| (latency, waited));
            assert_eq!(capacity.get(), expect, "{waited} of {latency}");
        };
        check(0, 1, 256);
        check(0, 2, 115);
        check(50, 6, 256);
        check(50, 7, 115);
        check(1000, 10, 256);
        check(1000, 11, 115);
    }

    #[test]
    fn while_some_wait_there_are_neither_more_nor_fewer() {
        for (waiting, expect) in [(12, 256), (13, 128), (50, 128), (51, 115)] {
            let mut capacity = Capacity::new(1024);
            for n in 0..100 {
                let latency = if n < waiting { Duration::ZERO } else { SPAN };
                capacity.ended(SPAN, latency);
            }
            capacity.reached();
            capacity.worked(0.1, SPAN, 100);
            assert_eq!(capacity.get(), expect, "{waiting} of 100");
        }
    }

    #[test]
    fn a_moment_in_which_nothing_ends_says_nothing() {
        let mut capacity = Capacity::new(1024);
        for (ends, expect) in [(100, 128), (0, 128), (0, 256)] {
            for n in 0..ends {
                let latency = if n < 20 { Duration::ZERO } else { SPAN };
                capacity.ended(SPAN, latency);
            }
            capacity.reached();
            capacity.worked(0.1, SPAN, 100);
            assert_eq!(capacity.get(), expect);
        }
    }

    #[test]
    fn the_few_that_end_beside_those_that_hang_lower_nothing() {
        for (hanging, expect) in [(70, 115), (80, 256)] {
            let mut capacity = Capacity::new(1024);
            capacity.reached();
            (hanging..100).for_each(|_| capacity.ended(SPAN, Duration::ZERO));
            capacity.worked(0.1, SPAN, 100);
            assert_eq!(capacity.get(), expect, "{hanging} of 100 hang");
        }
    }

    #[test]
    fn a_part_is_left_to_threads_that_never_have_time() {
        let mut capacity = Capacity::new(1024);
        look(&mut capacity, 1000, |_| 1.0, |_| (50, 0));
        assert_eq!(capacity.get(), 64);
        let mut capacity = Capacity::new(1024);
        look(&mut capacity, 1000, |_| 0.1, |_| (0, 1000));
        assert_eq!(capacity.get(), 64);
    }

    #[test]
    fn what_is_not_used_up_is_not_raised() {
        let mut capacity = Capacity::new(1024);
        capacity.worked(0.1, SPAN, 100);
        assert_eq!(capacity.get(), 128);
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds(
            most in 1_usize..70_000,
            looks in proptest::collection::vec((0.0_f64..=1.0, 0_u64..100, 0_u64..20), 0..50),
        ) {
            let mut capacity = Capacity::new(most);
            for (share, latency, waited) in looks {
                look(&mut capacity, 1, |_| share, |_| (latency, waited));
                prop_assert!((most.min(64)..=most).contains(&capacity.get()));
            }
        }
    }
}
