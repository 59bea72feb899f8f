//! What an attempt came to, and what follows from it: contract, section 6.
//!
//! An outcome says whose fault it was. A request that we could not build, or would not send, is never the receiver's.

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::retry::{Schedule, jittered};
use super::subscription::Subscription;
use super::tiers;

/// Why an outcome is what it is: the closed list that audit records, headers and metrics use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The receiver answered 2xx.
    Ok,
    /// The receiver answered another status.
    HttpStatus,
    /// The deadline of the attempt passed.
    Timeout,
    /// No connection could be made.
    Connect,
    /// The host's name could not be resolved.
    Dns,
    /// TLS could not be agreed on.
    Tls,
    /// The connection broke.
    Reset,
    /// The answer was not HTTP.
    Protocol,
    /// The egress rule forbids the address.
    EgressRefused,
    /// Credentials for the request could not be had.
    Auth,
    /// The proxy of `egress.proxy` failed.
    Proxy,
    /// The receiver answered 410.
    Gone,
    /// The last attempt of the schedule failed.
    Exhausted,
    /// The delivery grew older than `retry.expire_after`.
    Expired,
    /// The subscription is not active.
    SubscriptionDisabled,
    /// The subscription does not exist any more.
    SubscriptionRemoved,
    /// The record can't be read as an event.
    Unreadable,
    /// A record or body is larger than what its way takes.
    TooLarge,
    /// The request could not be built from the event.
    Transform,
    /// The subscription's transform wanted nothing sent.
    Filtered,
}

impl Reason {
    /// Every reason, in the order of the contract; `proxy` is in addition to its list.
    pub const ALL: [Self; 20] = [
        Self::Ok,
        Self::HttpStatus,
        Self::Timeout,
        Self::Connect,
        Self::Dns,
        Self::Tls,
        Self::Reset,
        Self::Protocol,
        Self::EgressRefused,
        Self::Auth,
        Self::Proxy,
        Self::Gone,
        Self::Exhausted,
        Self::Expired,
        Self::SubscriptionDisabled,
        Self::SubscriptionRemoved,
        Self::Unreadable,
        Self::TooLarge,
        Self::Transform,
        Self::Filtered,
    ];

    /// Returns the word that stands in audit records, headers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::HttpStatus => "http-status",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::EgressRefused => "egress-refused",
            Self::Auth => "auth",
            Self::Proxy => "proxy",
            Self::Gone => "gone",
            Self::Exhausted => "exhausted",
            Self::Expired => "expired",
            Self::SubscriptionDisabled => "subscription-disabled",
            Self::SubscriptionRemoved => "subscription-removed",
            Self::Unreadable => "unreadable",
            Self::TooLarge => "too-large",
            Self::Transform => "transform",
            Self::Filtered => "filtered",
        }
    }

    /// Tells whether a failed attempt may be laid to the receiver. Our own faults (its address is refused, the request
    /// can't be built, a token can't be had, the proxy fails) say nothing about it: they must not count against it. Of a
    /// delivery that is `exhausted` it is the last attempt's own reason that tells.
    pub fn is_receivers(self) -> bool {
        match self {
            Self::HttpStatus
            | Self::Timeout
            | Self::Connect
            | Self::Dns
            | Self::Tls
            | Self::Reset
            | Self::Protocol
            | Self::Gone
            | Self::Exhausted => true,
            Self::Ok
            | Self::EgressRefused
            | Self::Auth
            | Self::Proxy
            | Self::Expired
            | Self::SubscriptionDisabled
            | Self::SubscriptionRemoved
            | Self::Unreadable
            | Self::TooLarge
            | Self::Transform
            | Self::Filtered => false,
        }
    }

    /// Reads the word back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let word = String::deserialize(from)?;
        Self::parse(&word).ok_or_else(|| D::Error::custom("no such reason"))
    }
}

/// One attempt that is over.
#[derive(Clone, Debug)]
pub struct Attempted {
    /// From the attempt's start to its end.
    pub latency: Duration,
    /// What it came to.
    pub end: Result<Answer, Failure>,
}

/// What a receiver answered.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// How long the receiver wants to be left alone.
    pub retry_after: Option<Duration>,
    /// The beginning of the body as text; only of answers other than 2xx, at most 1 KiB.
    pub excerpt: Option<Box<str>>,
}

/// Hides the excerpt: a receiver may repeat what it was sent.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({})", self.status)
    }
}

/// An attempt that got no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong.
    pub reason: Reason,
    /// More about it; never a payload, a secret or a URL's query.
    pub error: Box<str>,
}

/// What follows from an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done.
    Delivered,
    /// Another attempt is due at this time.
    Retry(Timestamp, Reason),
    /// Given up.
    DeadLetter(Reason),
}

/// The settings that verdicts follow; a subscription's own come first.
#[derive(Clone, Debug)]
pub struct RetryRules {
    /// The schedule of subscriptions that have none.
    pub schedule: Schedule,
    /// The most that jitter adds, as a share of the delay.
    pub jitter: f64,
    /// The longest `Retry-After` that is honoured.
    pub retry_after_max: Duration,
    /// The age since the first attempt at which a delivery is given up.
    pub expire_after: Duration,
}

impl RetryRules {
    /// Returns the schedule that deliveries to this subscription follow.
    pub fn schedule_of<'a>(&'a self, subscription: &'a Subscription) -> &'a Schedule {
        subscription.retry.as_ref().unwrap_or(&self.schedule)
    }

    /// Returns how long an attempt's endpoint wants to be left alone, if it says so with anything but a success.
    pub fn wish_of(&self, attempted: &Attempted) -> Option<Duration> {
        let answer = attempted.end.as_ref().ok();
        let answer = answer.filter(|answer| !(200..300).contains(&answer.status))?;
        answer.retry_after.map(|wish| wish.min(self.retry_after_max))
    }

    /// Decides what follows from an attempt that ended at `now`.
    ///
    /// `attempts` counts this one; `first_at` is when the first was made; `fraction` in 0..1 is the jitter's dice.
    pub fn judge(
        &self,
        attempted: &Attempted,
        subscription: &Subscription,
        attempts: u32,
        first_at: Timestamp,
        now: Timestamp,
        fraction: f64,
    ) -> Verdict {
        let reason = match &attempted.end {
            Ok(answer) => match answer.status {
                200..=299 => return Verdict::Delivered,
                410 => return Verdict::DeadLetter(Reason::Gone),
                status if subscription.no_retry_on.contains(&status) => {
                    return Verdict::DeadLetter(Reason::HttpStatus);
                }
                _ => Reason::HttpStatus,
            },
            Err(failure) => match failure.reason {
                Reason::EgressRefused | Reason::Transform | Reason::TooLarge => {
                    return Verdict::DeadLetter(failure.reason);
                }
                reason => reason,
            },
        };
        let Some(delay) = self.schedule_of(subscription).delay_after(attempts) else {
            return Verdict::DeadLetter(Reason::Exhausted);
        };
        let wished = self.wish_of(attempted).unwrap_or_default();
        let wait = jittered(delay, fraction, self.jitter).max(wished);
        // The record that waits tells milliseconds.
        let due = tiers::ceil_ms(tiers::add(now, wait));
        if due > tiers::add(first_at, self.expire_after) {
            return Verdict::DeadLetter(Reason::Expired);
        }
        Verdict::Retry(due, reason)
    }
}

/// Reads a `Retry-After` header: seconds, or an HTTP date (RFC 9110, section 10.2.3) in any of its three forms
/// (section 5.6.7).
///
/// Seconds that no number holds count as the largest one, as RFC 9111, section 1.2.2 has it.
pub fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    if !header.is_empty() && header.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(header.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(header).ok()?;
    Some(tiers::until(Timestamp::try_from(date).ok()?, now))
}
