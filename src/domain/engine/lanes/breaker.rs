//! A breaker: after trouble nothing is sent for a while, and then one attempt to see.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::tiers;

/// The attempts in a row without a usable answer after which nothing is sent.
const TROUBLES: u32 = 10;

/// The first wait; it doubles with each probe that fails, up to [`WAIT_MAX`].
const WAIT: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Whether an endpoint is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Breaker {
    /// It isn't; so many attempts in a row were of no use.
    Closed { troubles: u32 },
    /// It is, until then.
    Open { until: Timestamp, wait: Duration },
    /// One attempt is under way to see whether it has recovered.
    Probing { wait: Duration },
}

/// What a breaker says to an attempt; of two, the greater one holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pass {
    /// Go.
    Free,
    /// Go alone.
    Probe,
    /// Not before the one under way has ended.
    NotYet,
    /// Not before then.
    Not(Timestamp),
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { troubles: 0 }
    }
}

impl Breaker {
    /// Tells whether an attempt may be made now.
    pub(super) fn pass(&self, now: Timestamp) -> Pass {
        match *self {
            Self::Closed { .. } => Pass::Free,
            Self::Open { until, .. } if until <= now => Pass::Probe,
            Self::Open { until, .. } => Pass::Not(until),
            Self::Probing { .. } => Pass::NotYet,
        }
    }

    /// Takes note that an attempt starts that passes.
    pub(super) fn started(&mut self) {
        if let Self::Open { wait, .. } = *self {
            *self = Self::Probing { wait };
        }
    }

    /// Takes note of a usable answer; tells whether the breaker closes with it.
    ///
    /// Answers to attempts that were under way when it opened change nothing: the probe is what counts.
    pub(super) fn answered(&mut self) -> bool {
        match self {
            Self::Closed { troubles } => {
                *troubles = 0;
                false
            }
            Self::Open { .. } => false,
            Self::Probing { .. } => {
                *self = Self::default();
                true
            }
        }
    }

    /// Takes note of an attempt that was refused or not answered.
    pub(super) fn troubled(&mut self, now: Timestamp) {
        match *self {
            Self::Closed { troubles } if troubles + 1 < TROUBLES => {
                *self = Self::Closed { troubles: troubles + 1 };
            }
            Self::Closed { .. } => *self = open(now, WAIT),
            Self::Open { .. } => {}
            Self::Probing { wait } => *self = open(now, (wait * 2).min(WAIT_MAX)),
        }
    }

    /// Takes note that the endpoint wants to be left alone for this long.
    pub(super) fn asked(&mut self, now: Timestamp, alone: Duration) {
        let until = tiers::add(now, alone);
        match self {
            Self::Open { until: already, .. } => *already = until.max(*already),
            Self::Closed { .. } | Self::Probing { .. } => *self = Self::Open { until, wait: WAIT },
        }
    }

    /// Takes note that an attempt's end will not be told. If it was the probe, another is made at once.
    pub(super) fn abandoned(&mut self) {
        if let Self::Probing { wait } = *self {
            *self = Self::Open { until: Timestamp::MIN, wait };
        }
    }

    /// Tells whether attempts are made freely.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    /// Tells whether one attempt is under way to see.
    pub(super) fn is_probing(&self) -> bool {
        matches!(self, Self::Probing { .. })
    }

    /// Tells whether nothing is known that is worth keeping.
    pub(super) fn is_fresh(&self) -> bool {
        *self == Self::default()
    }
}

fn open(now: Timestamp, wait: Duration) -> Breaker {
    Breaker::Open { until: tiers::add(now, wait), wait }
}
