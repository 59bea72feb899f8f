//! The simulated receivers: each subscription has one, and each has a character.

use std::sync::Arc;
use std::time::Duration;

use kafka_webhooks::domain::egress::Egress;
use kafka_webhooks::domain::encryption::Encryption;
use kafka_webhooks::domain::outcome::{Answer, Attempted, Failure, Reason};
use kafka_webhooks::domain::record::Offset;
use kafka_webhooks::domain::subscription::{HttpUrls, Rules, Subscription, SubscriptionId};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt};

/// How a receiver behaves.
#[derive(Clone, Copy, Debug)]
pub enum Character {
    /// Answers 200 at once.
    Good,
    /// Answers 503 to one in three, sometimes with `Retry-After`.
    Flaky,
    /// Takes up to three seconds.
    Slow,
    /// Never answers: attempts end at their deadline.
    Hanging,
    /// Answers 500.
    Failing,
    /// Answers 410.
    Gone,
}

const CHARACTERS: [Character; 6] = [
    Character::Good,
    Character::Flaky,
    Character::Slow,
    Character::Hanging,
    Character::Failing,
    Character::Gone,
];

/// A subscription with the receiver behind it.
#[derive(Clone)]
pub struct Target {
    /// Its definition at the start.
    pub subscription: Arc<Subscription>,
    /// How it behaves.
    pub character: Character,
    /// Whether its definition stays as it is for the whole run, so that every event it matches is owed to it.
    pub is_stable: bool,
}

/// Makes the subscriptions of a run: most to one type, some to all, some that change.
pub fn targets(dice: &mut SmallRng, count: usize) -> Vec<Target> {
    let target = |index: usize| {
        let character = match dice.random_range(0..10) {
            0..4 => Character::Good,
            other => CHARACTERS[other % CHARACTERS.len()],
        };
        let events = match dice.random_range(0..4) {
            0 => "*".to_owned(),
            1 => "wide.*".to_owned(),
            _ => format!("narrow.{index}"),
        };
        let is_stable = dice.random_range(0..4) > 0;
        Target { subscription: define(&format!("s{index}"), &events, 0), character, is_stable }
    };
    (0..count).map(target).collect()
}

/// Parses a definition.
pub fn define(id: &str, events: &str, offset: i64) -> Arc<Subscription> {
    let json = format!(
        r#"{{"url":"https://example.com/{id}","events":["{events}"],"secret":"s3cr3t-s3cr3t-s3cr3t-s3cr3t","maxInFlight":4}}"#
    );
    let id = SubscriptionId::parse(id).expect("the id is fine");
    let egress = Egress::new(Vec::new(), Vec::new(), vec![443..=443]);
    let rules =
        Rules { http: HttpUrls::Refused, egress: egress.into(), encryption: Encryption::NONE };
    let parsed = Subscription::parse(id, json.as_bytes(), Offset(offset), &rules);
    Arc::new(parsed.unwrap_or_else(|problems| panic!("{problems:?}")))
}

impl Character {
    /// Returns how an attempt ends, and after which time.
    pub fn answer(self, dice: &mut impl Rng) -> (Duration, Attempted) {
        let quick = Duration::from_millis(dice.random_range(1..40));
        let (latency, end) = match self {
            Self::Good => (quick, Ok(200)),
            Self::Flaky if dice.random_range(0..3) == 0 => (quick, Ok(503)),
            Self::Flaky => (quick, Ok(204)),
            Self::Slow => (Duration::from_millis(dice.random_range(1..3000)), Ok(200)),
            Self::Hanging => (Duration::from_secs(10), Err(Reason::Timeout)),
            Self::Failing => (quick, Ok(500)),
            Self::Gone => (quick, Ok(410)),
        };
        let retry_after = (end == Ok(503) && dice.random()).then(|| Duration::from_secs(7));
        let answer = |status| Answer { status, retry_after, excerpt: None };
        let failure = |reason| Failure { reason, error: "the deadline passed".into() };
        let end = end.map(answer).map_err(failure);
        (latency, Attempted { latency, end })
    }
}
