use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use super::*;
use crate::domain::ending::tests::{
    HIDDEN, answer, at, attempted, decided, unreadable, unreadable_retry,
};
use crate::domain::headers::Trigger;
use crate::domain::outcome::Failure;
use crate::domain::subscription::tests::subscription;
use crate::domain::tiers::TierIndex;

/// Checks the exact text of an audit record.
fn check(record: Vec<u8>, expect: &str) {
    let record = String::from_utf8(record).expect("UTF-8");
    assert_eq!(record, expect);
    assert!(!record.contains(HIDDEN));
}

#[test]
fn a_delivered_attempt() {
    let ending = attempted(Next::Delivered, answer(200, ""));
    check(
        of_delivery(&ending, "a"),
        r#"{"version":1,"at":"2025-01-15T10:30:01.123Z","outcome":"delivered","reason":"ok","eventId":"evt_1","eventType":"order.created","tenant":"acme","subscriptionId":"crm","url":"https://example.com/hooks","attempt":1,"statusCode":200,"latencyMs":12.4,"laneWaitMs":null,"nextAttemptAt":null,"trigger":"event","source":{"topic":"orders","partition":3,"offset":42,"timestamp":"2025-01-15T10:30:00.000Z"},"response":null,"error":null,"instance":"a"}"#,
    );
}

#[test]
fn an_attempt_tells_how_long_it_waited_for_its_lane() {
    let waited = Some(std::time::Duration::from_micros(1_234_567));
    let ending = DeliveryEnding { waited, ..attempted(Next::Delivered, answer(200, "")) };
    let record = String::from_utf8(of_delivery(&ending, "a")).expect("UTF-8");
    assert!(record.contains(r#""latencyMs":12.4,"laneWaitMs":1234.6,"#), "{record}");
}

#[test]
fn a_failed_attempt_that_another_follows() {
    let next = Next::Retry(at("2025-01-15T10:30:06.5Z"), TierIndex(1), Reason::HttpStatus);
    let ending = attempted(next, answer(503, "say \"busy\"\n"));
    check(
        of_delivery(&ending, "a"),
        r#"{"version":1,"at":"2025-01-15T10:30:01.123Z","outcome":"retrying","reason":"http-status","eventId":"evt_1","eventType":"order.created","tenant":"acme","subscriptionId":"crm","url":"https://example.com/hooks","attempt":1,"statusCode":503,"latencyMs":12.4,"laneWaitMs":null,"nextAttemptAt":"2025-01-15T10:30:06.500Z","trigger":"event","source":{"topic":"orders","partition":3,"offset":42,"timestamp":"2025-01-15T10:30:00.000Z"},"response":"say \"busy\"\n","error":null,"instance":"a"}"#,
    );
}

#[test]
fn the_last_attempt_of_a_schedule_is_one_record_with_its_own_status() {
    let next = Next::DeadLetter(Reason::Exhausted);
    let last = attempted(next, answer(500, "oops"));
    let ending = DeliveryEnding { attempts: 10, trigger: Trigger::Redrive, ..last };
    check(
        of_delivery(&ending, "a"),
        r#"{"version":1,"at":"2025-01-15T10:30:01.123Z","outcome":"dead-lettered","reason":"exhausted","eventId":"evt_1","eventType":"order.created","tenant":"acme","subscriptionId":"crm","url":"https://example.com/hooks","attempt":10,"statusCode":500,"latencyMs":12.4,"laneWaitMs":null,"nextAttemptAt":null,"trigger":"redrive","source":{"topic":"orders","partition":3,"offset":42,"timestamp":"2025-01-15T10:30:00.000Z"},"response":"oops","error":null,"instance":"a"}"#,
    );
}

#[test]
fn an_attempt_without_an_answer_has_an_error() {
    let failure = Failure { reason: Reason::Timeout, error: "no answer within 10s".into() };
    let ending = attempted(Next::DeadLetter(Reason::Exhausted), Err(failure));
    check(
        of_delivery(&ending, "a"),
        r#"{"version":1,"at":"2025-01-15T10:30:01.123Z","outcome":"dead-lettered","reason":"exhausted","eventId":"evt_1","eventType":"order.created","tenant":"acme","subscriptionId":"crm","url":"https://example.com/hooks","attempt":1,"statusCode":null,"latencyMs":12.4,"laneWaitMs":null,"nextAttemptAt":null,"trigger":"event","source":{"topic":"orders","partition":3,"offset":42,"timestamp":"2025-01-15T10:30:00.000Z"},"response":null,"error":"no answer within 10s","instance":"a"}"#,
    );
}

#[test]
fn a_decision_without_an_attempt_or_a_subscription() {
    let removed = decided(Next::DeadLetter(Reason::SubscriptionRemoved));
    let ending = DeliveryEnding { subscription: None, ..removed };
    check(
        of_delivery(&ending, "a"),
        r#"{"version":1,"at":"2025-01-15T10:30:01.123Z","outcome":"dead-lettered","reason":"subscription-removed","eventId":"evt_1","eventType":"order.created","tenant":"acme","subscriptionId":"crm","url":null,"attempt":0,"statusCode":null,"latencyMs":null,"laneWaitMs":null,"nextAttemptAt":null,"trigger":"event","source":{"topic":"orders","partition":3,"offset":42,"timestamp":"2025-01-15T10:30:00.000Z"},"response":null,"error":null,"instance":"a"}"#,
    );
}

#[test]
fn an_unreadable_record() {
    check(
        of_unreadable(&unreadable(), "a"),
        r#"{"version":1,"at":"2025-01-15T10:30:01.123Z","outcome":"dead-lettered","reason":"unreadable","eventId":null,"eventType":null,"tenant":null,"subscriptionId":null,"url":null,"attempt":0,"statusCode":null,"latencyMs":null,"laneWaitMs":null,"nextAttemptAt":null,"trigger":"event","source":{"topic":"orders","partition":3,"offset":42,"timestamp":"2025-01-15T10:30:00.000Z"},"response":null,"error":"not JSON, at line 1 column 1","instance":"a"}"#,
    );
}

#[test]
fn a_retry_that_cannot_be_read_any_more() {
    check(
        of_unreadable(&unreadable_retry(), "a"),
        r#"{"version":1,"at":"2025-01-15T10:30:01.123Z","outcome":"dead-lettered","reason":"unreadable","eventId":"evt_1","eventType":null,"tenant":null,"subscriptionId":"crm","url":null,"attempt":2,"statusCode":null,"latencyMs":null,"laneWaitMs":null,"nextAttemptAt":null,"trigger":"replay","source":{"topic":"orders","partition":3,"offset":42,"timestamp":"2025-01-15T10:30:00.000Z"},"response":null,"error":"not JSON, at line 1 column 1","instance":"a"}"#,
    );
}

#[test]
fn urls_lose_userinfo_query_and_fragment() {
    let url = json!({"url": "https://user:hunter2@example.com:8443/a%20b?key=hunter2#hunter2"});
    let ending = DeliveryEnding {
        subscription: Some(subscription("crm", &url)),
        ..attempted(Next::Delivered, answer(200, ""))
    };
    let record: serde_json::Value =
        serde_json::from_slice(&of_delivery(&ending, "a")).expect("JSON");
    assert_eq!(record["url"], "https://example.com:8443/a%20b");
}

#[test]
fn outcomes_are_the_contracts_words() {
    let outcomes = [Outcome::Delivered, Outcome::Retrying, Outcome::DeadLettered, Outcome::Skipped];
    let words = outcomes.map(Outcome::as_str);
    assert_eq!(words, ["delivered", "retrying", "dead-lettered", "skipped"]);
    assert_eq!(outcomes, Outcome::ALL);
    for outcome in outcomes {
        assert_eq!(serde_json::to_value(outcome).expect("a word"), outcome.as_str());
    }
}

#[test]
fn what_is_no_audit_record_reads_as_none() {
    let written = of_unreadable(&unreadable(), "a");
    assert!(AuditRecord::read(&written).is_some());
    for value in ["", "{}", "hunter2", r#"{"version":1}"#] {
        assert_eq!(AuditRecord::read(value.as_bytes()), None, "{value}");
    }
    let text = String::from_utf8(written).expect("UTF-8");
    let of_others = text.replace("\"unreadable\"", "\"whatever\"");
    assert_eq!(AuditRecord::read(of_others.as_bytes()), None, "reasons are a closed list");
    let newer = text.replacen('{', r#"{"addedLater":[1],"#, 1);
    assert_eq!(AuditRecord::read(newer.as_bytes()), AuditRecord::read(text.as_bytes()));
}

/// Makes the audit record of an attempt to deliver an event of the type `order.created` and the tenant `acme`.
pub(in crate::domain) fn record(
    subscription: &'static str,
    event: &'static str,
    outcome: Outcome,
    reason: Reason,
) -> AuditRecord<'static> {
    let written = of_delivery(&attempted(Next::Delivered, answer(200, "")), "a");
    AuditRecord {
        outcome,
        reason,
        event_id: Some(event.into()),
        subscription_id: Some(subscription.into()),
        ..AuditRecord::read(&written).expect("it is read back")
    }
}

/// Generates audit records with times to the millisecond and latencies to the tenth, as they are written.
pub(in crate::domain) fn records() -> impl Strategy<Value = AuditRecord<'static>> {
    let text = || prop::option::of("\\PC{0,12}").prop_map(|text| text.map(Cow::Owned));
    let time = || {
        (0..4_102_444_800_000_i64).prop_map(|ms| Timestamp::from_millisecond(ms).expect("in range"))
    };
    let tenths =
        || prop::option::of((0..10_000_000_u32).prop_map(|tenths| f64::from(tenths) / 10.0));
    let triggers = [Trigger::Event, Trigger::Test, Trigger::Replay, Trigger::Redrive];
    let decision =
        (time(), select(&Outcome::ALL[..]), select(&Reason::ALL[..]), prop::option::of(time()));
    let place = ("[a-z.]{1,9}", 0..99_i32, 0..i64::MAX, time());
    let attempt = (0..99_u32, prop::option::of(100..600_u16), tenths(), tenths(), text(), text());
    let whom = (text(), text(), text(), text(), text(), select(triggers.to_vec()), "[a-z]{1,9}");
    (decision, place, attempt, whom).prop_map(|(decision, place, attempt, whom)| {
        let (at, outcome, reason, next_attempt_at) = decision;
        let (topic, partition, offset, timestamp) = place;
        let (attempt, status_code, latency_ms, lane_wait_ms, response, error) = attempt;
        let (event_id, event_type, tenant, subscription_id, url, trigger, instance) = whom;
        let (topic, instance) = (topic.into(), instance.into());
        let source = Source { topic, partition, offset, timestamp };
        AuditRecord {
            version: 1,
            at,
            outcome,
            reason,
            event_id,
            event_type,
            tenant,
            subscription_id,
            url,
            attempt,
            status_code,
            latency_ms,
            lane_wait_ms,
            next_attempt_at,
            trigger,
            source,
            response,
            error,
            instance,
        }
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(record in records()) {
        prop_assert_eq!(AuditRecord::read(&write(&record)), Some(record));
    }
}

#[test]
#[should_panic(expected = "a move has no audit record")]
fn a_move_is_no_decision() {
    of_delivery(&decided(Next::Move(at("2025-01-15T10:31:00Z"), TierIndex(2))), "a");
}
