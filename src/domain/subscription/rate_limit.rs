//! `rateLimit`: how often a subscription may be called.

use std::num::NonZeroU32;
use std::time::Duration;

use super::reader::{Field, Problems};

/// So many requests in so long, evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests, 1 to 1,000,000.
    pub requests: NonZeroU32,
    /// In this time, 1 s to 1 d.
    pub per: Duration,
}

impl RateLimit {
    /// Returns the time from one request to the next.
    pub fn interval(&self) -> Duration {
        self.per / self.requests.get()
    }
}

pub(super) fn read(field: Field, problems: &mut Problems) -> Option<RateLimit> {
    let mut object = field.object(problems)?;
    let requests = object.required("requests", problems);
    let requests = requests.and_then(|field| field.integer(1, 1_000_000, problems));
    let per = object.required("per", problems);
    let per = per.and_then(|field| field.duration("1s", "1d", problems));
    object.close(problems);
    Some(RateLimit { requests: NonZeroU32::new(requests?)?, per: per? })
}
