//! How many attempts a lane has in flight: as many as its endpoint shows that it can take.
//!
//! The limit starts small. It doubles each round (TCP's slow start, RFC 5681, section 3.1) until something is wrong, and
//! grows by one a round from then on (additive increase, multiplicative decrease: Chiu and Jain, 1989). A round is as
//! many answers as the limit lets out at once. It is halved after a round most of whose attempts were refused or got
//! no answer, and at once by a 429; it grows no further while answers take much longer than they used to, and is lowered
//! when they take longer still (as in TCP Vegas: Brakmo and Peterson, 1995). An endpoint that answers 503 now and then is
//! not slowed by that: its deliveries wait in the tiers anyway.

use std::num::NonZeroU32;
use std::time::Duration;

/// The limit of a lane of which nothing is known.
const INITIAL: f64 = 16.0;

/// What latencies may rise by, whatever they were, before that says anything: our own threads take turns, too.
const NOISE: Duration = Duration::from_millis(10);

/// Latencies that are so many times the usual stop growth, and lower the limit.
const SLOW: u32 = 2;
const TOO_SLOW: u32 = 3;

/// By what slow answers lower the limit, once a round.
const LOWER: f64 = 0.9;

/// How far one latency moves what is usual, and what is usual at present.
const WEIGHT: f64 = 0.1;

/// With so few in flight, an endpoint is at ease: however long it takes is what is usual. With more, only what is
/// quicker counts. So one that has become slower for good is lowered until it shows that.
const FEW: u32 = 4;

/// How an attempt went, as far as it says something about its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::domain) enum Experience {
    /// It was answered, in this time.
    Answered(Duration),
    /// It was refused or not answered: 5xx, a timeout, no connection.
    Troubled,
    /// 429: too much.
    TooMuch,
}

/// A lane's limit.
#[derive(Clone, Debug)]
pub(super) enum Limit {
    /// The subscription says it: from 1 to what all may have.
    Fixed(u32),
    /// The endpoint's answers say it.
    Adaptive(Adaptive),
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Adaptive {
    limit: f64,
    max: NonZeroU32,
    /// Whether nothing has been wrong yet.
    is_new: bool,
    /// Whether the limit was reached in this round, or the one before: what isn't used says nothing of whether more
    /// would be too much.
    is_reached: [bool; 2],
    /// Answers of this round, and how many of them were none.
    answers: u32,
    troubled: u32,
    /// Seconds; nothing until the first answer.
    usual: Option<f64>,
    present: f64,
}

impl Limit {
    /// Makes the limit of a lane that is allowed `own`, or else what its endpoint takes; either up to `max`, as slots aren't
    /// a subscription's own to give.
    pub(super) fn new(own: Option<NonZeroU32>, max: NonZeroU32) -> Self {
        match own {
            // As numbers that may be zero: rustc 1.95 takes a `None` for `Some(0)` where `min` is that of `NonZeroU32`.
            Some(own) => Self::Fixed(own.get().min(max.get())),
            None => Self::Adaptive(Adaptive::new(max)),
        }
    }

    /// Returns how many attempts may be in flight.
    pub(super) fn get(&self) -> u32 {
        match self {
            Self::Fixed(limit) => *limit,
            Self::Adaptive(adaptive) => adaptive.get(),
        }
    }

    /// Takes note of an attempt that starts and with which so many are in flight.
    pub(super) fn started(&mut self, in_flight: u32) {
        if let Self::Adaptive(adaptive) = self {
            adaptive.is_reached[0] |= in_flight >= adaptive.get();
        }
    }

    /// Takes note of how an attempt went while so many were in flight, itself included.
    pub(super) fn learn(&mut self, experience: Experience, in_flight: u32) {
        if let Self::Adaptive(adaptive) = self {
            adaptive.learn(experience, in_flight);
        }
    }

    /// Forgets what was learnt: the endpoint was away.
    pub(super) fn restart(&mut self) {
        if let Self::Adaptive(adaptive) = self {
            *adaptive = Adaptive::new(adaptive.max);
        }
    }
}

impl Adaptive {
    fn new(max: NonZeroU32) -> Self {
        let limit = INITIAL.min(max.get().into());
        Self {
            limit,
            max,
            is_new: true,
            is_reached: [false; 2],
            answers: 0,
            troubled: 0,
            usual: None,
            present: 0.0,
        }
    }

    fn get(&self) -> u32 {
        // From 1 to `max`, so it fits.
        self.limit as u32
    }

    fn learn(&mut self, experience: Experience, in_flight: u32) {
        self.answers += 1;
        match experience {
            Experience::Answered(latency) => self.answered(latency, in_flight),
            Experience::Troubled => self.troubled += 1,
            Experience::TooMuch => return self.lower(0.5),
        }
        if self.answers >= self.get() {
            if self.troubled * 2 > self.answers {
                self.lower(0.5);
            } else if self.is_slow(TOO_SLOW) {
                self.lower(LOWER);
            }
            self.begin_round();
        }
    }

    fn begin_round(&mut self) {
        (self.answers, self.troubled) = (0, 0);
        self.is_reached = [false, self.is_reached[0]];
    }

    fn answered(&mut self, latency: Duration, in_flight: u32) {
        let seconds = latency.as_secs_f64();
        match &mut self.usual {
            None => (self.usual, self.present) = (Some(seconds), seconds),
            Some(usual) => {
                if seconds < *usual || in_flight <= FEW {
                    *usual += (seconds - *usual) * WEIGHT;
                }
                self.present += (seconds - self.present) * WEIGHT;
            }
        }
        if self.is_reached.contains(&true) && !self.is_slow(SLOW) {
            let step = if self.is_new { 1.0 } else { 1.0 / self.limit };
            self.limit = (self.limit + step).min(self.max.get().into());
        }
    }

    fn is_slow(&self, times: u32) -> bool {
        let slow = |usual: f64| f64::from(times) * usual + NOISE.as_secs_f64();
        self.usual.is_some_and(|usual| self.present > slow(usual))
    }

    fn lower(&mut self, factor: f64) {
        self.limit = (self.limit * factor).max(1.0);
        self.is_new = false;
        self.begin_round();
    }
}
