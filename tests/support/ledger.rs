//! The ledger of a load: what was owed, and what audit topic, dead-letter topic and receiver say became of it.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use super::record::Record;
use super::scope::Scope;

/// Number of an event, and of a subscription.
type Delivery = (u32, u8);

/// What each of three witnesses tells of one delivery: how often.
#[derive(Clone, Copy, Default)]
pub struct Account {
    /// The audit calls it delivered.
    delivered: u16,
    /// The audit calls it dead-lettered.
    dead_lettered: u16,
    /// It stands in the dead-letter topic.
    letters: u16,
    /// The receiver answered 2xx.
    taken: u16,
    /// The receiver answered otherwise.
    refused: u16,
}

impl Account {
    fn ends(self) -> u16 {
        self.delivered + self.dead_lettered
    }

    /// Returns how often the receiver was asked.
    pub fn requests(self) -> u16 {
        self.taken + self.refused
    }

    /// Tells whether all three tell the same.
    fn agrees(self) -> bool {
        (self.delivered > 0) == (self.taken > 0) && self.letters == self.dead_lettered
    }
}

/// The accounts of all deliveries of events `evt_0`, `evt_1`, … to the subscriptions.
pub struct Witnesses {
    subscriptions: Vec<String>,
    accounts: HashMap<Delivery, Account>,
    /// What was told of deliveries that nobody owed.
    strange: usize,
}

impl Witnesses {
    pub fn new(subscriptions: &[&str]) -> Self {
        let subscriptions = subscriptions.iter().map(|id| (*id).to_owned()).collect();
        Self { subscriptions, accounts: HashMap::new(), strange: 0 }
    }

    /// Takes down what the receiver answers, and returns the account with it.
    pub fn answered(&mut self, event: &str, subscription: &str, status: u16) -> Account {
        let Some(account) = self.account(event, subscription) else { return Account::default() };
        let is_taken = (200..300).contains(&status);
        *if is_taken { &mut account.taken } else { &mut account.refused } += 1;
        *account
    }

    /// Returns what is told of a delivery so far.
    pub fn of(&self, event: &str, subscription: &str) -> Account {
        let account = self.delivery(event, subscription).and_then(|it| self.accounts.get(&it));
        account.copied().unwrap_or_default()
    }

    /// Returns how many requests the receiver has answered.
    pub fn requests(&self) -> usize {
        self.accounts.values().map(|account| usize::from(account.requests())).sum()
    }

    fn audit(&mut self, record: &Record) {
        let audit = record.json();
        let text = |name: &str| audit[name].as_str().unwrap_or_default();
        let outcome = text("outcome");
        if outcome == "retrying" {
            return;
        }
        let Some(account) = self.account(text("eventId"), text("subscriptionId")) else { return };
        match outcome {
            "delivered" => account.delivered += 1,
            "dead-lettered" => account.dead_lettered += 1,
            _ => self.strange += 1,
        }
    }

    fn letter(&mut self, record: &Record) {
        let header = |name: &str| record.header(name).unwrap_or_default();
        let (event, subscription) = (header("webhooks-id"), header("webhooks-subscription"));
        if let Some(account) = self.account(&event, &subscription) {
            account.letters += 1;
        }
    }

    fn account(&mut self, event: &str, subscription: &str) -> Option<&mut Account> {
        let Some(delivery) = self.delivery(event, subscription) else {
            self.strange += 1;
            return None;
        };
        Some(self.accounts.entry(delivery).or_default())
    }

    fn delivery(&self, event: &str, subscription: &str) -> Option<Delivery> {
        let event = event.strip_prefix("evt_")?.parse().ok()?;
        let subscription = self.subscriptions.iter().position(|id| id == subscription)?;
        Some((event, subscription.try_into().ok()?))
    }

    /// Waits until the audit tells of an end of each delivery, or has had its time, and tells whether it does.
    pub fn wait_ends(scope: &Scope, subscriptions: &[&str], events: usize, rest: Duration) -> bool {
        let mut seen = Self::new(subscriptions);
        let owed = events * subscriptions.len();
        scope.reader("audit", rest).visit_until(|record| {
            seen.audit(&record);
            seen.accounts.len() >= owed
        })
    }

    /// Hears audit and dead-letter topic to their ends, when nothing is written any more.
    pub fn hear(&mut self, scope: &Scope) {
        const LONG: Duration = Duration::from_secs(300);
        scope.reader("audit", LONG).visit_to_end(|record| self.audit(&record));
        scope.reader("dead-letter", LONG).visit_to_end(|record| self.letter(&record));
    }

    /// Draws up the ledger of so many events.
    pub fn ledger(&self, events: usize) -> Ledger {
        let owed = (0..events as u32)
            .flat_map(|event| (0..self.subscriptions.len() as u8).map(move |it| (event, it)));
        let mut ledger = Ledger { disagreed: self.strange, ..Ledger::default() };
        let mut told = 0;
        for delivery in owed {
            let account = self.accounts.get(&delivery);
            told += usize::from(account.is_some());
            let account = account.copied().unwrap_or_default();
            ledger.produced += 1;
            ledger.delivered += usize::from(account.delivered > 0);
            ledger.dead_lettered += usize::from(account.dead_lettered > 0);
            ledger.lost += usize::from(account.ends() == 0);
            ledger.doubled += usize::from(account.ends().saturating_sub(1));
            ledger.repeated += usize::from(account.taken.saturating_sub(1));
            ledger.disagreed += usize::from(!account.agrees());
        }
        ledger.disagreed += self.accounts.len() - told;
        ledger
    }
}

/// What became of a load.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Deliveries that were owed.
    pub produced: usize,
    /// Deliveries that the audit calls delivered.
    pub delivered: usize,
    /// Requests that were made though one before had been answered 2xx.
    pub repeated: usize,
    /// Deliveries that the audit calls dead-lettered.
    pub dead_lettered: usize,
    /// Deliveries that came to no end.
    pub lost: usize,
    /// Ends in the audit beyond a delivery's first.
    pub doubled: usize,
    /// Deliveries of which audit, dead-letter topic and receiver tell different things.
    pub disagreed: usize,
}

impl Ledger {
    /// Tells whether nothing is lost, and all witnesses agree.
    pub fn is_right(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.disagreed == 0
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { produced, delivered, repeated, dead_lettered, lost, doubled, disagreed } = self;
        write!(
            f,
            "produced {produced}, delivered {delivered}, repeated {repeated}, dead-lettered {dead_lettered}, lost {lost}; in the audit doubled {doubled}; the witnesses disagree on {disagreed}"
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn audit(event: u32, subscription: &str, outcome: &str) -> Record {
        let value = json!({
            "eventId": format!("evt_{event}"), "subscriptionId": subscription, "outcome": outcome
        });
        record(Some(value.to_string().into_bytes()), &[])
    }

    fn letter(event: u32, subscription: &str) -> Record {
        let event = format!("evt_{event}");
        record(None, &[("webhooks-id", &event), ("webhooks-subscription", subscription)])
    }

    fn record(value: Option<Vec<u8>>, headers: &[(&str, &str)]) -> Record {
        let header =
            |(name, value): &(&str, &str)| ((*name).to_owned(), Some(value.as_bytes().to_vec()));
        let headers = headers.iter().map(header).collect();
        Record { partition: 0, offset: 0, timestamp_ms: 0, key: None, value, headers }
    }

    /// Two events to two subscriptions: `good` takes them, `bad` refuses them.
    fn all_is_well() -> Witnesses {
        let mut witnesses = Witnesses::new(&["good", "bad"]);
        for event in 0..2 {
            witnesses.answered(&format!("evt_{event}"), "good", 204);
            witnesses.audit(&audit(event, "good", "delivered"));
            witnesses.answered(&format!("evt_{event}"), "bad", 400);
            witnesses.audit(&audit(event, "bad", "retrying"));
            witnesses.audit(&audit(event, "bad", "dead-lettered"));
            witnesses.letter(&letter(event, "bad"));
        }
        witnesses
    }

    #[track_caller]
    fn check(witnesses: &Witnesses, events: usize, change: impl Fn(&mut Ledger)) {
        let mut expected =
            Ledger { produced: 4, delivered: 2, dead_lettered: 2, ..Ledger::default() };
        change(&mut expected);
        assert_eq!(witnesses.ledger(events), expected);
    }

    #[test]
    fn what_all_witnesses_tell_alike_is_right() {
        check(&all_is_well(), 2, |_| ());
        assert!(all_is_well().ledger(2).is_right());
    }

    #[test]
    fn a_delivery_without_an_end_is_lost() {
        check(&all_is_well(), 3, |ledger| {
            ledger.produced = 6;
            ledger.lost = 2;
        });
        assert!(!all_is_well().ledger(3).is_right());
    }

    #[test]
    fn a_second_end_is_a_double() {
        let mut witnesses = all_is_well();
        witnesses.audit(&audit(0, "good", "delivered"));
        check(&witnesses, 2, |ledger| ledger.doubled = 1);
    }

    #[test]
    fn a_request_after_a_success_is_a_repeat_and_no_fault() {
        let mut witnesses = all_is_well();
        witnesses.answered("evt_1", "good", 204);
        check(&witnesses, 2, |ledger| ledger.repeated = 1);
        assert!(witnesses.ledger(2).is_right());
    }

    #[test]
    fn witnesses_that_tell_different_things_disagree() {
        let mut delivered_to_nobody = Witnesses::new(&["good"]);
        delivered_to_nobody.audit(&audit(0, "good", "delivered"));
        let mut dead_letter_unwritten = Witnesses::new(&["good"]);
        dead_letter_unwritten.audit(&audit(0, "good", "dead-lettered"));
        let mut taken_and_dead_lettered = Witnesses::new(&["good"]);
        taken_and_dead_lettered.answered("evt_0", "good", 200);
        taken_and_dead_lettered.audit(&audit(0, "good", "dead-lettered"));
        taken_and_dead_lettered.letter(&letter(0, "good"));
        for witnesses in [delivered_to_nobody, dead_letter_unwritten, taken_and_dead_lettered] {
            assert_eq!(witnesses.ledger(1).disagreed, 1);
        }
        let mut not_owed = all_is_well();
        not_owed.audit(&audit(0, "nobody", "delivered"));
        check(&not_owed, 2, |ledger| ledger.disagreed = 1);
    }
}
