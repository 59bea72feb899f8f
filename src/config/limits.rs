//! `[retry]` to `[log]`: how long, how many, how much, and where to look.
//!
//! Each type is one section, each field one key of it, within the bounds given here.

use std::net::SocketAddr;
use std::time::Duration;

use config::{Value, ValueKind};
use tracing::Level;

use super::reader::Section;
use super::topics::Span;
use super::units::{show_duration, show_size};
use super::values::{choice, duration, fraction, kind, size, socket, whole};
use crate::domain::engine::Fairness;

/// How failures are waited out, unless a subscription says otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Waits before the second attempt, the third and so on; 0..=50 of 100 ms..=30 days. None: one attempt only.
    pub schedule: Vec<Duration>,
    /// How much longer than the schedule a wait may be, as a share of it; 0..=0.1.
    pub jitter: f64,
    /// The longest `Retry-After` that is honoured, 1 s..=30 days.
    pub retry_after_max: Duration,
    /// The age at which a delivery is given up, 1 min..=365 days.
    pub expire_after: Duration,
}

/// Bounds of the requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The deadline over one attempt, from DNS to the last byte of the response; 10 ms..=10 min.
    pub timeout: Duration,
    /// The part of it that DNS, connect and TLS may take; 10 ms..=`timeout`.
    pub connect_timeout: Duration,
    /// Requests in flight, 1..=65536.
    pub max_in_flight: usize,
    /// Requests in flight to one subscription, 1..=`max_in_flight`.
    pub max_in_flight_per_subscription: usize,
    /// Between whom requests in flight are shared evenly.
    pub fairness: Fairness,
    /// Bytes of records held for delivery and of the bodies made of them, 1 MiB..=1 TiB.
    pub max_bytes_in_flight: usize,
    /// Bytes of one request's body, 1 KiB..=`max_bytes_in_flight`.
    pub max_body: usize,
}

/// When subscriptions are disabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disable {
    /// Deliveries in a row that may be dead-lettered, up to 1,000,000; 0 is any number.
    pub after_dead_letters: u32,
}

/// How outcomes are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// How long outcomes gather for one transaction, 1 ms..=10 s.
    pub commit_interval: Duration,
}

/// How the connector stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long requests in flight may still take, 1 s..=10 min.
    pub timeout: Duration,
}

/// The ops port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ops {
    /// The address it listens on.
    pub listen: SocketAddr,
    /// How long without progress counts as stalled, 1 s..=1 h.
    pub stall_after: Duration,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least severe level that is logged.
    pub level: Level,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `Human` on a terminal, `Json` elsewhere.
    Auto,
    /// Text for people.
    Human,
    /// One JSON object a line.
    Json,
}

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest tier and the shortest wait of a schedule: below it, a topic's own latency would be the longer part.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// The longest tier and the longest wait of a schedule.
const WAIT_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

const LEVELS: [(&str, Level); 5] = [
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];

const FAIRNESS: [(&str, Fairness); 2] =
    [("subscription", Fairness::Subscription), ("tenant", Fairness::Tenant)];

const LOG_FORMATS: [(&str, LogFormat); 3] =
    [("auto", LogFormat::Auto), ("human", LogFormat::Human), ("json", LogFormat::Json)];

impl Retry {
    /// Reads `[retry]` but for its tiers.
    pub(super) fn read(retry: &mut Section<'_>) -> Option<Self> {
        let schedule = retry.each("schedule", 0..=50, duration(WAIT_MIN..=WAIT_MAX));
        let jitter = retry.required("jitter", fraction(0.0..=0.1));
        let retry_after_max = retry.required("retry_after_max", duration(SECOND..=WAIT_MAX));
        let expire_after = retry.required("expire_after", duration(MINUTE..=365 * DAY));
        Some(Self {
            schedule: schedule?,
            jitter: jitter?,
            retry_after_max: retry_after_max?,
            expire_after: expire_after?,
        })
    }
}

/// Reads `retry.tiers`, shortest first.
pub(super) fn spans(retry: &mut Section<'_>) -> Option<Vec<Span>> {
    let spans = retry.each("tiers", 1..=16, span)?;
    let mut is_ascending = true;
    for (at, pair) in spans.windows(2).enumerate() {
        if pair[0].duration >= pair[1].duration {
            is_ascending = false;
            let (longer, shorter) = (&pair[0].label, &pair[1].label);
            retry.problem_at(
                "tiers",
                at + 1,
                format!("{shorter:?} must be longer than {longer:?} before it"),
            );
        }
    }
    is_ascending.then_some(spans)
}

fn span(value: &Value) -> Result<Span, String> {
    let duration = duration(WAIT_MIN..=WAIT_MAX)(value)?;
    match &value.kind {
        ValueKind::String(label) => Ok(Span { label: label.trim().to_owned(), duration }),
        _ => Err(format!("must be text, not {}", kind(value))),
    }
}

impl Delivery {
    /// Reads `[delivery]`.
    pub(super) fn read(delivery: &mut Section<'_>) -> Option<Self> {
        let timeouts = 10 * MILLISECOND..=10 * MINUTE;
        let timeout = delivery.required("timeout", duration(timeouts.clone()));
        let connect_timeout = delivery.required("connect_timeout", duration(timeouts));
        let max_in_flight = delivery.required("max_in_flight", whole(1..=65_536));
        let per_subscription =
            delivery.required("max_in_flight_per_subscription", whole(1..=65_536));
        let fairness = delivery.required("fairness", choice(&FAIRNESS));
        let max_bytes = delivery.required("max_bytes_in_flight", size(1 << 20..=1 << 40));
        let max_body = delivery.required("max_body", size(1 << 10..=1 << 30));
        let read = Self {
            timeout: timeout?,
            connect_timeout: connect_timeout?,
            max_in_flight: max_in_flight?,
            max_in_flight_per_subscription: per_subscription?,
            fairness: fairness?,
            max_bytes_in_flight: max_bytes?,
            max_body: max_body?,
        };
        read.judge(delivery);
        Some(read)
    }

    /// Notes parts that are larger than their whole.
    fn judge(&self, delivery: &mut Section<'_>) {
        let mut judge = |key: &str, part: String, whole: &str, limit: String| {
            delivery
                .problem(key, format!("{part} must not be more than delivery.{whole}, {limit}"));
        };
        if self.connect_timeout > self.timeout {
            let (part, limit) = (show_duration(self.connect_timeout), show_duration(self.timeout));
            judge("connect_timeout", part, "timeout", limit);
        }
        let (part, limit) = (self.max_in_flight_per_subscription, self.max_in_flight);
        if part > limit {
            let (part, limit) = (part.to_string(), limit.to_string());
            judge("max_in_flight_per_subscription", part, "max_in_flight", limit);
        }
        if self.max_body > self.max_bytes_in_flight {
            let show = |bytes: usize| show_size(bytes as u64);
            let (part, limit) = (show(self.max_body), show(self.max_bytes_in_flight));
            judge("max_body", part, "max_bytes_in_flight", limit);
        }
    }
}

impl Disable {
    /// Reads `[disable]`.
    pub(super) fn read(disable: &mut Section<'_>) -> Option<Self> {
        let after_dead_letters = disable.required("after_dead_letters", whole(0..=1_000_000));
        Some(Self { after_dead_letters: after_dead_letters? })
    }
}

impl Ledger {
    /// Reads `[ledger]`.
    pub(super) fn read(ledger: &mut Section<'_>) -> Option<Self> {
        let commit_interval =
            ledger.required("commit_interval", duration(MILLISECOND..=10 * SECOND))?;
        Some(Self { commit_interval })
    }
}

impl Shutdown {
    /// Reads `[shutdown]`.
    pub(super) fn read(shutdown: &mut Section<'_>) -> Option<Self> {
        let timeout = shutdown.required("timeout", duration(SECOND..=10 * MINUTE))?;
        Some(Self { timeout })
    }
}

impl Ops {
    /// Reads `[ops]`.
    pub(super) fn read(ops: &mut Section<'_>) -> Option<Self> {
        let listen = ops.required("listen", socket);
        let stall_after = ops.required("stall_after", duration(SECOND..=HOUR));
        Some(Self { listen: listen?, stall_after: stall_after? })
    }
}

impl Log {
    /// Reads `[log]`.
    pub(super) fn read(log: &mut Section<'_>) -> Option<Self> {
        let level = log.required("level", choice(&LEVELS));
        let format = log.required("format", choice(&LOG_FORMATS));
        Some(Self { level: level?, format: format? })
    }
}
