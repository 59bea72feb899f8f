//! Which audit records are wanted.

use jiff::Timestamp;

use crate::domain::audit::{AuditRecord, Outcome};
use crate::domain::outcome::Reason;
use crate::domain::pattern::EventPattern;
use crate::domain::subscription::SubscriptionId;

/// From a time to before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first time that belongs to it.
    pub since: Timestamp,
    /// The first time that doesn't any more; `None` is open.
    pub until: Option<Timestamp>,
}

impl Span {
    /// Tells whether a time belongs to it.
    pub fn contains(&self, time: Timestamp) -> bool {
        self.since <= time && self.until.is_none_or(|until| time < until)
    }
}

/// What an audit record must be; a list that is empty wants any.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// One of these subscriptions.
    pub subscriptions: Vec<SubscriptionId>,
    /// This tenant.
    pub tenant: Option<String>,
    /// This event.
    pub event_id: Option<String>,
    /// Of a type that one of these patterns matches.
    pub event_types: Vec<EventPattern>,
    /// One of these outcomes.
    pub outcomes: Vec<Outcome>,
    /// One of these reasons.
    pub reasons: Vec<Reason>,
}

impl Filter {
    /// Tells whether a record is wanted.
    pub fn wants(&self, record: &AuditRecord) -> bool {
        let of_subscription =
            |id: &SubscriptionId| record.subscription_id.as_deref() == Some(id.as_str());
        let of_type = |pattern: &EventPattern| {
            record.event_type.as_deref().is_some_and(|event_type| pattern.matches(event_type))
        };
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        any(&self.subscriptions, of_subscription)
            && is(&self.tenant, record.tenant.as_deref())
            && is(&self.event_id, record.event_id.as_deref())
            && any(&self.event_types, of_type)
            && any(&self.outcomes, |outcome| *outcome == record.outcome)
            && any(&self.reasons, |reason| *reason == record.reason)
    }
}

fn any<T>(wanted: &[T], is: impl Fn(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(is)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::tests::record;
    use crate::domain::subscription::tests::id;

    fn pattern(text: &str) -> EventPattern {
        EventPattern::parse(text).expect("a pattern")
    }

    /// Checks whether a record of `evt_1`, `order.created`, tenant `acme`, to `crm`, that was delivered is wanted.
    fn check(filter: Filter, expect: bool) {
        let record = record("crm", "evt_1", Outcome::Delivered, Reason::Ok);
        assert_eq!(filter.wants(&record), expect, "{filter:?}");
    }

    #[test]
    fn without_a_wish_everything_is_wanted() {
        check(Filter::default(), true);
    }

    #[test]
    fn each_wish_tells_records_apart() {
        let none = Filter::default;
        check(Filter { subscriptions: vec![id("a"), id("crm")], ..none() }, true);
        check(Filter { subscriptions: vec![id("a")], ..none() }, false);
        check(Filter { tenant: Some("acme".into()), ..none() }, true);
        check(Filter { tenant: Some("other".into()), ..none() }, false);
        check(Filter { event_id: Some("evt_1".into()), ..none() }, true);
        check(Filter { event_id: Some("evt_2".into()), ..none() }, false);
        check(Filter { event_types: vec![pattern("a"), pattern("order.*")], ..none() }, true);
        check(Filter { event_types: vec![pattern("order")], ..none() }, false);
        check(Filter { outcomes: vec![Outcome::Delivered], ..none() }, true);
        check(Filter { outcomes: vec![Outcome::Retrying], ..none() }, false);
        check(Filter { reasons: vec![Reason::Timeout, Reason::Ok], ..none() }, true);
        check(Filter { reasons: vec![Reason::Timeout], ..none() }, false);
    }

    #[test]
    fn all_wishes_must_be_met() {
        let crm = Filter { subscriptions: vec![id("crm")], ..Filter::default() };
        check(Filter { tenant: Some("acme".into()), ..crm.clone() }, true);
        check(Filter { tenant: Some("other".into()), ..crm }, false);
    }

    #[test]
    fn a_record_that_is_no_event_has_nothing_that_could_be_wished_for() {
        let record = AuditRecord {
            event_id: None,
            event_type: None,
            tenant: None,
            subscription_id: None,
            ..record("crm", "evt_1", Outcome::DeadLettered, Reason::Unreadable)
        };
        let none = Filter::default;
        assert!(none().wants(&record));
        assert!(Filter { reasons: vec![Reason::Unreadable], ..none() }.wants(&record));
        assert!(!Filter { subscriptions: vec![id("crm")], ..none() }.wants(&record));
        assert!(!Filter { event_types: vec![pattern("*")], ..none() }.wants(&record));
        assert!(!Filter { tenant: Some(String::new()), ..none() }.wants(&record));
    }

    #[test]
    fn a_span_begins_at_its_first_time_and_ends_before_its_last() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let span = Span { since: at(5), until: Some(at(7)) };
        let contained: Vec<_> = (0..10).filter(|second| span.contains(at(*second))).collect();
        assert_eq!(contained, [5, 6]);
        assert!(Span { until: None, ..span }.contains(at(1000)));
    }
}
