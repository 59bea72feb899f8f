//! The rate limit of a lane: the generic cell rate algorithm (ITU-T I.371, annex A), a leaky bucket kept as one time.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::subscription::RateLimit;
use crate::domain::tiers;

/// How far attempts may run ahead of an even pace, so that a driver that comes late loses nothing.
const AHEAD: Duration = Duration::from_millis(50);

/// When the next attempt is allowed.
#[derive(Clone, Debug)]
pub(super) struct Rate {
    limit: RateLimit,
    /// When the next one is due at an even pace.
    next: Timestamp,
}

impl Rate {
    pub(super) fn new(limit: RateLimit) -> Self {
        Self { limit, next: Timestamp::MIN }
    }

    /// Takes over what the subscription says now.
    pub(super) fn set(&mut self, limit: RateLimit) {
        self.limit = limit;
    }

    /// Returns when the next attempt may be made, if not now.
    pub(super) fn wait(&self, now: Timestamp) -> Option<Timestamp> {
        let allowed = tiers::sub(self.next, AHEAD);
        (allowed > now).then_some(allowed)
    }

    /// Takes note of an attempt.
    pub(super) fn started(&mut self, now: Timestamp) {
        self.next = tiers::add(self.next.max(now), self.limit.interval());
    }
}
