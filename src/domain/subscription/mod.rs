//! The subscription: who wants which events, where they go and how.
//!
//! A [`Subscription`] exists only if its definition kept every rule; [`Subscription::parse`] tells all that it broke.

mod auth;
mod headers;
mod json;
mod lock;
mod parse;
mod rate_limit;
mod reader;
#[cfg(test)]
mod schema_tests;
mod signing;
#[cfg(test)]
pub(crate) mod tests;

use std::borrow::Borrow;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use smol_str::SmolStr;
use url::Url;

use super::egress::Egress;
use super::encryption::Encryption;
use super::expression::{EvaluationError, Expression, Values};
use super::pattern::EventPattern;
use super::record::Offset;
use super::retry::Schedule;
use super::secret::Secret;
use super::signature::Signing;

pub use auth::{Auth, ClientAuthentication, ClientCredentials};
pub use rate_limit::RateLimit;
pub use reader::Problem;

/// A subscription's id: 1 to 64 letters, digits, `_` and `-` of ASCII.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(SmolStr);

impl SubscriptionId {
    /// Reads an id.
    ///
    /// # Errors
    /// [`BadId`] if it is too long, empty, or has other characters.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if fits { Ok(Self(text.into())) } else { Err(BadId) }
    }

    /// Reads the id that a record's key is; `None` if it is none.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        Self::parse(std::str::from_utf8(key).ok()?).ok()
    }

    /// Returns the id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Maps by id are looked into by a text too: it hashes and compares alike.
impl Borrow<str> for SubscriptionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no subscription id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadId;

impl fmt::Display for BadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a subscription id has 1 to 64 of the characters A-Z a-z 0-9 _ -")
    }
}

impl std::error::Error for BadId {}

/// A short name of a subscription that every process computes alike; two subscriptions may share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionHash(pub u32);

impl SubscriptionHash {
    /// Computes the hash: the first four bytes, big-endian, of the id's SHA-256.
    pub fn of(id: &SubscriptionId) -> Self {
        let [a, b, c, d, ..] = Sha256::digest(id.as_str()).0;
        Self(u32::from_be_bytes([a, b, c, d]))
    }
}

/// A checked subscription.
pub struct Subscription {
    /// Its id.
    pub id: SubscriptionId,
    /// The hash of its id: its place in fan-outs and its name in commit metadata.
    pub hash: SubscriptionHash,
    /// The offset of the record that defines it.
    pub definition_offset: Offset,
    /// When that record was written; `Timestamp::MIN` where nobody has said.
    pub defined_at: Timestamp,
    /// Where its requests go.
    pub url: Url,
    /// What [`Subscription::audit_url`] returns, if it isn't `url` itself.
    pub(super) audit_url: Option<Box<str>>,
    /// The event types it wants, 1 to 100 patterns.
    pub events: Vec<EventPattern>,
    /// The topics it wants events of, at most 100; empty is all.
    pub topics: Vec<Arc<str>>,
    /// The tenant whose events it is limited to.
    pub tenant: Option<SmolStr>,
    /// What must be true of the events it wants.
    pub filter: Option<Box<Expression>>,
    /// Whether it is to receive anything.
    pub state: Activity,
    /// How its requests are signed.
    pub signing: Signing,
    /// Headers added to its requests, at most 32, names in lower case; a value may be a credential.
    pub headers: Vec<(Box<str>, Secret)>,
    /// How its requests prove who sends them, beside their signatures.
    pub auth: Option<Box<Auth>>,
    /// In whose name its receiver is asked for permission before the first request; `None` if it isn't.
    pub origin: Option<Box<str>>,
    /// What its bodies hold, unless `transform` makes them.
    pub payload: Payload,
    /// What makes its bodies.
    pub transform: Option<Box<Expression>>,
    /// The deadline of one attempt, 100 ms to 5 min; `None` is the connector's.
    pub timeout: Option<Duration>,
    /// When failed attempts are repeated; `None` is the connector's schedule.
    pub retry: Option<Schedule>,
    /// Statuses, 100 to 599 in order, after which no attempt follows.
    pub no_retry_on: Vec<u16>,
    /// How many of its requests may be in flight at once; `None` is what its endpoint takes, up to the connector's limit.
    pub max_in_flight: Option<NonZeroU32>,
    /// How often it may be called, by each instance.
    pub rate_limit: Option<RateLimit>,
    /// What people call it.
    pub description: Option<Box<str>>,
}

impl Subscription {
    /// Says when the record that defines it was written.
    pub fn written(self, at: Timestamp) -> Self {
        Self { defined_at: at, ..self }
    }

    /// Returns the URL as it may be shown: without userinfo, query and fragment.
    pub fn audit_url(&self) -> &str {
        self.audit_url.as_deref().unwrap_or(self.url.as_str())
    }

    /// Tells whether its filter lets an event through; without one, it lets all.
    ///
    /// # Errors
    /// The filter failed, which is no match.
    pub fn admits(&self, values: &Values<'_>) -> Result<bool, EvaluationError> {
        self.filter.as_ref().map_or(Ok(true), |filter| filter.is_true(values))
    }
}

/// Whether a subscription is to receive anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It receives events.
    Active,
    /// It was switched off by its definition.
    Inactive,
}

/// What a request's body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The product's own envelope around the event's data.
    Envelope,
    /// The record's value, byte for byte.
    Raw,
    /// A CloudEvent in structured mode.
    CloudEvents,
    /// A CloudEvent in binary mode: its data, with the attributes in headers.
    CloudEventsBinary,
}

/// What the connector's settings allow a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether `http:` URLs are allowed.
    pub http: HttpUrls,
    /// Which hosts, addresses and ports are.
    pub egress: Arc<Egress>,
    /// How secrets may stand in definitions, and the keys that open them.
    pub encryption: Encryption,
}

/// Whether URLs without TLS are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpUrls {
    /// Only `https:` is.
    Refused,
    /// Both are.
    Allowed,
}

/// Shows what a log may: no secret, no header's value, no query or userinfo of the URL.
impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Subscription")
            .field("id", &self.id.as_str())
            .field("definition_offset", &self.definition_offset.0)
            .field("url", &self.audit_url())
            .field("events", &self.events)
            .field("topics", &self.topics)
            .field("tenant", &self.tenant)
            .field("state", &self.state)
            .field("headers", &headers)
            .finish_non_exhaustive()
    }
}
