//! What becomes of one delivery, and of records that are none.

use super::*;
use crate::domain::event::EventId;
use crate::domain::source::{Selector, Source};

#[test]
fn a_delivered_event_is_told_of_and_committed_together() {
    let mut rig = Rig::new(&crm());
    let orders = rig.orders();
    rig.event(orders, 100, "a");
    let attempts = rig.attempts();
    assert_eq!(told(&attempts), ["e100 to crm #1"]);
    rig.answer(&attempts[0], 200);
    let batch = rig.batch();
    assert_eq!(endings(&batch), ["e100 to crm: delivered ok"]);
    assert_eq!(commits(&batch), ["orders/0 at 101:"]);
    assert!(!format!("{batch:?}").contains("hunter2"), "a batch shows payloads");
}

#[test]
fn nothing_is_committed_of_what_is_in_the_air() {
    let mut rig = Rig::new(&crm());
    let orders = rig.orders();
    for offset in [100, 101, 102] {
        rig.event(orders, offset, "a");
    }
    let attempts = rig.attempts();
    rig.check_quiet();
    rig.answer(&attempts[1], 200);
    let batch = rig.commit();
    assert_eq!(endings(&batch), ["e101 to crm: delivered ok"]);
    assert_eq!(commits(&batch), ["orders/0 at 100: 100 102"]);
    rig.answer(&attempts[0], 200);
    assert_eq!(commits(&rig.commit()), ["orders/0 at 102: 102"]);
}

#[test]
fn a_failed_attempt_goes_on_in_a_tier_and_the_last_one_ends() {
    let mut rig = Rig::new(&crm());
    let deliver = rig.moved(Role::Deliver);
    for (offset, attempts) in [(100, 0), (101, 1), (102, 2)] {
        rig.delivery(deliver, offset, &Carried { attempts, ..due(rig.now) });
    }
    let attempts = rig.attempts();
    assert_eq!(told(&attempts), ["e100 to crm #1", "e101 to crm #2", "e102 to crm #3"]);
    let retryable: Vec<_> = attempts.iter().map(|attempt| attempt.retryable).collect();
    assert_eq!(retryable, [Retryable::Retryable, Retryable::Retryable, Retryable::Last]);
    for attempt in &attempts {
        rig.answer(attempt, 500);
    }
    let batch = rig.commit();
    let expect = [
        "e100 to crm: retrying http-status",
        "e101 to crm: retrying http-status",
        "e102 to crm: dead-lettered exhausted",
    ];
    assert_eq!(endings(&batch), expect);
    // After 1 second and after 8, of tiers of 1, 5 and 30.
    let tiers = batch.endings.iter().filter_map(|(_, ending)| match ending {
        Ending::Delivery(ending) => match ending.next {
            Next::Retry(_, tier, _) => Some(tier),
            _ => None,
        },
        Ending::Unreadable(_) => None,
    });
    assert_eq!(tiers.collect::<Vec<_>>(), [TierIndex(0), TierIndex(1)]);
}

/// Checks what becomes of a delivery that waits while its subscription changes.
fn check_changed(change: impl FnOnce(&mut Engine), expect: &str) {
    let mut rig = Rig::new(&crm());
    let orders = rig.orders();
    rig.event(orders, 100, "a");
    change(&mut rig.engine);
    assert_eq!(told(&rig.attempts()), [""; 0]);
    let batch = rig.commit();
    assert_eq!(endings(&batch), [expect]);
    assert_eq!(commits(&batch), ["orders/0 at 101:"]);
}

#[test]
fn a_delivery_whose_subscription_is_not_usable_any_more_is_given_up() {
    check_changed(
        |engine| engine.remove_subscription(&id("crm"), START_AT),
        "e100 to crm: dead-lettered subscription-removed",
    );
    check_changed(
        |engine| engine.invalidate_subscription(id("crm"), Offset(9), "broken", START_AT),
        "e100 to crm: dead-lettered subscription-disabled",
    );
    check_changed(
        |engine| engine.put_subscription(subscription("crm", &json!({"active": false})), START_AT),
        "e100 to crm: dead-lettered subscription-disabled",
    );
    check_changed(
        |engine| {
            engine.invalidate_subscription(id("crm"), Offset(9), "broken", START_AT);
            engine.remove_subscription(&id("crm"), START_AT);
        },
        "e100 to crm: dead-lettered subscription-removed",
    );
}

#[test]
fn a_good_definition_heals_an_invalid_subscription() {
    let mut rig = Rig::new(&crm());
    let orders = rig.orders();
    rig.event(orders, 100, "a");
    rig.engine.invalidate_subscription(id("crm"), Offset(9), "broken", START_AT);
    assert_eq!(rig.engine.subscriptions().1, 1);
    rig.engine.put_subscription(
        subscription("crm", &json!({"url": "https://example.com/new"})),
        START_AT,
    );
    assert_eq!(rig.engine.subscriptions().1, 0);
    let attempts = rig.attempts();
    assert_eq!(told(&attempts), ["e100 to crm #1"]);
    assert_eq!(attempts[0].subscription.url.path(), "/new", "the definition in force counts");
}

#[test]
fn an_attempt_that_runs_while_its_subscription_is_removed_is_told_of_as_it_ended() {
    let mut rig = Rig::new(&crm());
    let orders = rig.orders();
    rig.event(orders, 100, "a");
    let attempts = rig.attempts();
    rig.engine.remove_subscription(&id("crm"), START_AT);
    rig.answer(&attempts[0], 200);
    assert_eq!(endings(&rig.commit()), ["e100 to crm: delivered ok"]);
}

#[test]
fn a_delivery_that_grew_too_old_is_given_up_without_an_attempt() {
    let mut rig = Rig::new(&crm());
    let deliver = rig.moved(Role::Deliver);
    let began = |age| Carried { first_at: Some(rig.now - seconds(age)), ..due(rig.now) };
    let (old, young) = (began(3601), began(3600));
    rig.delivery(deliver, 100, &old);
    rig.delivery(deliver, 101, &young);
    assert_eq!(told(&rig.attempts()), ["e101 to crm #2"]);
    assert_eq!(endings(&rig.commit()), ["e100 to crm: dead-lettered expired"]);
}

#[test]
fn a_redriven_delivery_of_an_old_event_is_as_young_as_its_next_attempt() {
    let mut rig = Rig::new(&crm());
    let deliver = rig.moved(Role::Deliver);
    let origin = Origin {
        topic: "orders".into(),
        partition: 0,
        offset: Offset(1),
        timestamp: rig.now - seconds(30 * 86_400),
    };
    let origin = Some(origin);
    let redriven = Carried { origin, redrives: 1, ..Carried::due_now(id("crm"), Trigger::Redrive) };
    rig.delivery(deliver, 100, &redriven);
    let attempts = rig.attempts();
    assert_eq!(told(&attempts), ["e100 to crm #1"]);
    rig.answer(&attempts[0], 500);
    assert_eq!(endings(&rig.commit()), ["e100 to crm: retrying http-status"]);
}

#[test]
fn a_delivery_that_was_asked_for_is_not_matched_again() {
    let wants = json!({"events": ["other"], "filter": "false"});
    let mut rig = Rig::new(&subscriptions(&[("crm", wants)]));
    let deliver = rig.moved(Role::Deliver);
    rig.delivery(deliver, 100, &Carried::due_now(id("crm"), Trigger::Replay));
    assert_eq!(told(&rig.attempts()), ["e100 to crm #1"]);
}

#[test]
fn the_time_of_the_first_attempt_stays() {
    let mut rig = Rig::new(&crm());
    let deliver = rig.moved(Role::Deliver);
    let began = rig.now - seconds(60);
    rig.delivery(deliver, 100, &Carried { first_at: Some(began), ..due(rig.now) });
    rig.delivery(deliver, 101, &Carried { attempts: 0, ..due(rig.now) });
    let ended = rig.now;
    for attempt in rig.attempts() {
        rig.answer(&attempt, 500);
    }
    let first_at = |(_, ending): &(_, Ending)| match ending {
        Ending::Delivery(ending) => ending.first_at,
        Ending::Unreadable(_) => None,
    };
    let found: Vec<_> = rig.batch().endings.iter().map(first_at).collect();
    assert_eq!(found, [Some(began), Some(ended)]);
}

#[test]
fn a_poison_record_harms_no_other() {
    let mut rig = Rig::new(&crm());
    let orders = rig.orders();
    rig.event(orders, 100, "a");
    rig.record(orders, 101, Some("hunter2"), Headers::default());
    rig.event(orders, 102, "a");
    let attempts = rig.attempts();
    assert_eq!(told(&attempts), ["e100 to crm #1", "e102 to crm #1"]);
    let batch = rig.commit();
    assert_eq!(endings(&batch), ["orders/0/101: unreadable"]);
    assert_eq!(commits(&batch), ["orders/0 at 100: 100 102"]);
    for attempt in &attempts {
        rig.answer(attempt, 200);
    }
    assert_eq!(commits(&rig.commit()), ["orders/0 at 103:"]);
}

/// Checks what becomes of a record of the deliver topic with these headers of ours, beside a good one.
fn check_poison(headers: &[(&str, &str)], expect: &str) {
    let mut rig = Rig::new(&crm());
    let deliver = rig.moved(Role::Deliver);
    let mut poison = Headers::default();
    for (name, value) in headers {
        poison.push(name, (*value).to_owned());
    }
    rig.record(deliver, 100, Some(r#"{"event":"a"}"#), poison);
    rig.delivery(deliver, 101, &due(rig.now));
    assert_eq!(told(&rig.attempts()), ["e101 to crm #2"]);
    assert_eq!(endings(&rig.commit()), [expect], "{headers:?}");
}

#[test]
fn a_delivery_that_says_nonsense_is_a_poison_record_too() {
    check_poison(&[], "moved/0/100: unreadable");
    check_poison(&[("webhooks-subscription", "no id")], "moved/0/100: unreadable");
    let crm = ("webhooks-subscription", "crm");
    check_poison(&[crm, ("webhooks-due-at", "soon")], "moved/0/100 to crm: unreadable");
    let [place, at] =
        [("webhooks-origin", "orders/3/42"), ("webhooks-origin-timestamp", "2025-01-15T10:30:00Z")];
    let many = ("webhooks-attempts", "4294967295");
    check_poison(&[crm, many, place, at], "orders/3/42 to crm: unreadable");
}

#[test]
fn a_retry_that_cannot_be_read_any_more_is_the_end_of_its_delivery() {
    let mut rig = Rig::new(&crm());
    let tier = rig.moved(Role::Tier(TierIndex(2)));
    let first = Source::of_format(Format::Registry);
    let first = Source { event_type: Some(Selector::Literal("a".into())), ..first };
    let origin =
        Origin { topic: "orders".into(), partition: 3, offset: Offset(42), timestamp: rig.now };
    let carried = Carried {
        id: Some(EventId::new("evt_1")),
        origin: Some(origin),
        source: Some(Arc::new(first)),
        ..due(rig.now + seconds(30))
    };
    rig.delivery(tier, 100, &carried);
    assert_eq!(told(&rig.attempts()), [""; 0]);
    let batch = rig.commit();
    assert_eq!(endings(&batch), ["orders/3/42 to crm: unreadable"]);
    assert_eq!(commits(&batch), ["moved/0 at 101:"]);
    let [(_, Ending::Unreadable(ending))] = &batch.endings[..] else { panic!("it is one") };
    assert_eq!(ending.delivery.as_deref(), Some(&carried));
    assert_eq!(rig.engine.bytes(), 0);
}

#[test]
fn what_nobody_wants_is_settled_silently_and_counted() {
    let mut rig = Rig::new(&crm());
    let orders = rig.orders();
    rig.event(orders, 100, "other");
    rig.record(orders, 101, None, Headers::default());
    rig.event(orders, 102, "other");
    assert_eq!(told(&rig.attempts()), [""; 0]);
    let batch = rig.commit();
    assert_eq!(endings(&batch), [""; 0]);
    assert_eq!(commits(&batch), ["orders/0 at 103:"]);
    let expect = Counts { records: 3, tombstones: 1, unmatched: 2, ..Counts::default() };
    assert_eq!(rig.engine.counts(), expect);
    assert_eq!(rig.engine.bytes(), 0);
}

#[test]
fn a_failure_without_an_answer_is_retried() {
    let mut rig = Rig::new(&crm());
    let orders = rig.orders();
    rig.event(orders, 100, "a");
    let attempt = rig.attempts().remove(0);
    let failure = Failure { reason: Reason::Timeout, error: "no answer within 10s".into() };
    let attempted = Attempted { latency: seconds(10), end: Err(failure) };
    rig.engine.attempted(attempt.id, &attempt.subscription, attempted, rig.now, 0.0);
    assert_eq!(endings(&rig.commit()), ["e100 to crm: retrying timeout"]);
}
