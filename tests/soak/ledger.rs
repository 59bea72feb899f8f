//! The ledger of a soak: what was owed, and what receiver and audit say became of it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::fixture::Fixture;
use crate::support::receiver::Receiver;
use crate::support::record::Record;

/// The longest that it takes to come to rest.
const REST: Duration = Duration::from_secs(300);

/// Event and subscription.
type Delivery = (String, String);

#[derive(Default)]
pub struct Ledger {
    /// Deliveries that were owed.
    produced: usize,
    /// Deliveries that the audit calls delivered.
    delivered: usize,
    /// Requests that were made though one before had been answered 2xx.
    repeated: usize,
    /// Deliveries that the audit calls dead-lettered.
    dead_lettered: usize,
    /// Deliveries that came to no end.
    lost: usize,
    /// Deliveries that came to two ends in the audit.
    doubled: usize,
    /// Deliveries of which receiver and audit tell different things.
    disagreed: usize,
}

impl Ledger {
    /// Waits until everything has come to an end, and compares.
    pub fn read(
        flow: &Fixture,
        receiver: &Receiver,
        events: usize,
        subscriptions: &[&str],
    ) -> Self {
        let owed = events * subscriptions.len();
        let mut ends: BTreeMap<Delivery, Vec<String>> = BTreeMap::new();
        let mut looked_at = 0;
        flow.scope.wait_for("audit", REST, |records: &[Record]| {
            for record in &records[looked_at..] {
                let audit = record.json();
                let text = |name: &str| audit[name].as_str().unwrap_or_default().to_owned();
                if audit["outcome"] != "retrying" {
                    let delivery = (text("eventId"), text("subscriptionId"));
                    ends.entry(delivery).or_default().push(text("outcome"));
                }
            }
            looked_at = records.len();
            ends.len() >= owed
        });
        let mut taken: BTreeMap<Delivery, usize> = BTreeMap::new();
        for seen in receiver.requests() {
            // `failing` takes nothing, and `flaky` nothing the first time: there, repeats can't be told from retries.
            let subscription = &seen.path[1..];
            let is_taken = !matches!(subscription, "failing" | "flaky");
            let delivery = (seen.webhook_id().to_owned(), subscription.to_owned());
            *taken.entry(delivery).or_default() += usize::from(is_taken);
        }
        let mut ledger = Self { produced: owed, ..Self::default() };
        for (delivery, ends) in &ends {
            ledger.doubled += ends.len() - 1;
            ledger.delivered += usize::from(ends[0] == "delivered");
            ledger.dead_lettered += usize::from(ends[0] == "dead-lettered");
            let should_be = if delivery.1 == "failing" { "dead-lettered" } else { "delivered" };
            ledger.disagreed += usize::from(ends[0] != should_be || !taken.contains_key(delivery));
        }
        ledger.repeated = taken.values().map(|count| count.saturating_sub(1)).sum();
        ledger.lost = owed - ends.len().min(owed);
        ledger.disagreed += taken.keys().filter(|delivery| !ends.contains_key(delivery)).count();
        ledger
    }

    /// Tells whether nothing is lost and audit and receiver agree.
    pub fn is_right(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.disagreed == 0
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { produced, delivered, repeated, dead_lettered, lost, doubled, disagreed } = self;
        write!(
            f,
            "produced {produced}, delivered {delivered}, repeated {repeated}, dead-lettered {dead_lettered}, lost {lost}; in the audit: doubled {doubled}, disagreeing with the receiver {disagreed}"
        )
    }
}
