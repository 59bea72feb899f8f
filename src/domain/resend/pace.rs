//! A pace that is kept: so many in a time, evenly, without catching up after a pause.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// How many a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(NonZeroU32);

impl Rate {
    /// Reads a rate such as `100/s`: a whole number of at least one a second.
    ///
    /// # Errors
    /// What a rate looks like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rate = text.strip_suffix("/s").and_then(|number| number.parse().ok()).map(Self);
        rate.ok_or_else(|| "must be a whole number a second, such as \"100/s\"".to_owned())
    }

    /// Returns how many are handed over together: what a tenth of a second brings, 1 to `max`.
    pub fn batch(self, max: usize) -> usize {
        (self.0.get() as usize / 10).clamp(1, max)
    }
}

/// Tells when the next may go.
pub struct Pace {
    rate: Rate,
    next: Instant,
}

impl Pace {
    /// Starts now.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, next: now }
    }

    /// Takes note that so many went, and returns how long to wait before the next.
    pub fn went(&mut self, count: usize, now: Instant) -> Duration {
        let each = Duration::from_secs(1).as_nanos() as f64 / f64::from(self.rate.0.get());
        self.next = self.next.max(now) + Duration::from_nanos((each * count as f64) as u64);
        self.next.saturating_duration_since(now)
    }
}
