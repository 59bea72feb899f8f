//! Filters, and subscriptions that are disabled.

use std::collections::HashMap;

use super::*;
use crate::domain::audit::DEFINITION_OFFSET;
use crate::domain::expression::{EvaluationError, conversions};
use crate::domain::health::tests::audit_record;
use crate::domain::partitioner::home;
use crate::domain::status::{State, Status};

/// Assigns a partition of the audit topic, with what is known of statuses.
fn audit(rig: &mut Rig, statuses: &[(&str, Status)]) -> PartitionId {
    audit_of(rig, 0, 1, statuses)
}

/// Assigns one of so many partitions of the audit topic.
fn audit_of(rig: &mut Rig, partition: i32, of: usize, statuses: &[(&str, Status)]) -> PartitionId {
    let name = TopicPartition { topic: "audit".into(), partition };
    let id = rig.engine.assign(name, Role::Audit, START, "");
    let statuses = statuses.iter().map(|(id, status)| (self::id(id), status.clone())).collect();
    rig.engine.know_statuses(id, of, &statuses, rig.now);
    id
}

/// Takes up the audit record of a delivery to `crm` that ended so.
fn ended(rig: &mut Rig, to: PartitionId, offset: i64, next: Next) {
    assert!(rig.engine.has_room(to));
    let mut record = audit_record(next, Some(500));
    record.origin.offset = Offset(offset);
    rig.engine.record(to, record, rig.now);
}

fn told(batch: &Batch) -> Vec<String> {
    let tell = |telling: &Telling| match &telling.status {
        None => format!("{} is gone", telling.id),
        Some(Status { state, consecutive_dead_letters: count, definition_offset, .. }) => {
            format!("{} {state:?}@{definition_offset} {count}", telling.id)
        }
    };
    batch.statuses.iter().map(tell).collect()
}

const DEAD: Next = Next::DeadLetter(Reason::Exhausted);

fn status(state: State, definition: i64) -> Status {
    Status { state, ..Status::active(Offset(definition), START_AT) }
}

#[test]
fn an_event_goes_only_to_those_whose_filter_is_true_of_it() {
    let filter = |text: &str| json!({"filter": text});
    let mut rig = Rig::new(&subscriptions(&[
        ("all", json!({})),
        ("match", filter("data == 'hunter2'")),
        ("other", filter("data == 'x'")),
        ("error", filter("data.missing == 1")),
    ]));
    let orders = rig.orders();
    rig.event(orders, 100, "a");
    let mut told = super::told(&rig.attempts());
    told.sort();
    assert_eq!(told, ["e100 to all #1", "e100 to match #1"]);
    let counts = rig.engine.counts();
    assert_eq!((counts.filtered, counts.filter_errors.iter().sum::<u64>()), (1, 1));
}

#[test]
fn an_event_that_every_filter_refuses_is_settled_silently() {
    let mut rig = Rig::new(&subscriptions(&[("crm", json!({"filter": "false"}))]));
    let orders = rig.orders();
    rig.event(orders, 100, "a");
    assert_eq!(rig.engine.counts().unmatched, 1);
    let batch = rig.commit();
    assert_eq!((commits(&batch), endings(&batch)), (vec!["orders/0 at 101:".into()], vec![]));
}

#[test]
fn what_audit_records_make_of_a_subscription_is_told_with_their_position() {
    let mut rig = Rig::new(&crm());
    let audit = audit(&mut rig, &[]);
    for offset in 100..104 {
        ended(&mut rig, audit, offset, DEAD);
    }
    let batch = rig.commit();
    assert_eq!(told(&batch), ["crm Active@7 1", "crm Failing@7 2", "crm Disabled@7 3"]);
    assert_eq!(commits(&batch), ["audit/0 at 104:"]);
}

#[test]
fn how_far_the_audit_topic_tells_of_nothing_is_committed_once_in_a_while() {
    let mut rig = Rig::new(&crm());
    let (orders, audit) = (rig.orders(), audit(&mut rig, &[]));
    let began = rig.now;
    let mut deliver_and_read = |offset, next| {
        rig.event(orders, offset, "a");
        for attempt in rig.attempts() {
            rig.answer(&attempt, 200);
        }
        ended(&mut rig, audit, offset, next);
        let batch = rig.commit();
        let since = rig.now.duration_since(began);
        (since.as_millis(), commits(&batch).join(" "))
    };
    let is = |at: i128, what: &str| (at, what.to_owned());
    assert_eq!(deliver_and_read(100, Next::Delivered), is(0, "orders/0 at 101: audit/0 at 101:"));
    assert_eq!(deliver_and_read(101, Next::Delivered), is(50, "orders/0 at 102:"));
    assert_eq!(deliver_and_read(102, DEAD), is(100, "orders/0 at 103: audit/0 at 103:"));
    assert_eq!(deliver_and_read(103, Next::Skipped(Reason::Filtered)), is(150, "orders/0 at 104:"));
    let batch = rig.commit();
    assert_eq!(commits(&batch), ["audit/0 at 104:"]);
    assert_eq!(rig.now, began + seconds(1));
}

#[test]
fn nothing_is_folded_before_it_is_known_where_to_go_on() {
    let mut rig = Rig::new(&crm());
    let name = TopicPartition { topic: "audit".into(), partition: 0 };
    let audit = rig.engine.assign(name, Role::Audit, START, "");
    assert!(!rig.engine.has_room(audit));
    rig.engine.know_statuses(audit, 1, &HashMap::new(), rig.now);
    assert!(rig.engine.has_room(audit));
}

#[test]
fn a_fold_goes_on_where_the_owner_before_left_it() {
    let mut rig = Rig::new(&crm());
    let before = Status { consecutive_dead_letters: 2, ..status(State::Failing, 7) };
    let audit = audit(&mut rig, &[("crm", before)]);
    ended(&mut rig, audit, 100, DEAD);
    assert_eq!(told(&rig.commit()), ["crm Disabled@7 3"]);
}

#[test]
fn what_was_folded_for_a_partition_that_is_lost_is_not_told() {
    let mut rig = Rig::new(&crm());
    let audit = audit(&mut rig, &[]);
    ended(&mut rig, audit, 100, DEAD);
    let batch = rig.batch();
    rig.engine.abandon(audit);
    rig.engine.batch_aborted(batch, rig.now);
    rig.check_quiet();
}

#[test]
fn what_is_told_of_a_definition_that_was_replaced_or_deleted_is_passed_over() {
    let mut rig = Rig::new(&crm());
    let audit = audit(&mut rig, &[]);
    rig.engine.remove_subscription(&id("crm"), rig.now);
    ended(&mut rig, audit, 100, DEAD);
    let batch = rig.commit();
    assert_eq!((told(&batch), commits(&batch)), (vec![], vec!["audit/0 at 101:".into()]));
}

#[test]
fn a_disabled_subscription_gets_nothing_until_it_is_written_again() {
    let mut rig = Rig::new(&crm());
    let disabled = status(State::Disabled, 7);
    audit(&mut rig, &[("crm", disabled.clone())]);
    let orders = rig.orders();
    rig.event(orders, 100, "a");
    rig.engine.status_read(id("crm"), Some(&disabled));
    assert!(rig.attempts().is_empty(), "what waited is given up");
    rig.event(orders, 101, "a");
    let given_up = "e100 to crm: dead-lettered subscription-disabled";
    assert_eq!(endings(&rig.commit()), [given_up]);
    let troubled: Vec<_> = rig.engine.troubled().map(|it| (it.id.as_str(), it.state)).collect();
    assert_eq!(troubled, [("crm", State::Disabled)]);
    let again = Subscription { definition_offset: Offset(8), ..again() };
    rig.engine.put_subscription(Arc::new(again), rig.now);
    assert_eq!(told(&rig.commit()), ["crm Active@8 0"]);
    assert_eq!(rig.engine.troubled().count(), 0);
    rig.event(orders, 102, "a");
    assert_eq!(super::told(&rig.attempts()), ["e102 to crm #1"]);
}

#[test]
fn subscriptions_in_trouble_are_named_with_the_reason() {
    let mut rig = Rig::new(&subscriptions(&[
        ("fine", json!({})),
        ("down", json!({"url": "https://user:hunter2@example.com/hooks?key=hunter2"})),
        ("late", json!({})),
    ]));
    let failing = |definition| Status {
        reason: Some("dead-letters:70%".into()),
        ..status(State::Failing, definition)
    };
    rig.engine.status_read(id("fine"), Some(&status(State::Active, 7)));
    rig.engine.status_read(id("down"), Some(&failing(7)));
    // Of a definition that was replaced since.
    rig.engine.status_read(id("late"), Some(&failing(6)));
    rig.engine.invalidate_subscription(id("bad"), Offset(9), "url: is missing", rig.now);
    let invalid = Status::invalid(Offset(9), "url: is missing", rig.now);
    rig.engine.status_read(id("bad"), Some(&invalid));
    let troubled: Vec<_> = rig.engine.troubled().collect();
    let (down, bad) = (id("down"), id("bad"));
    let expected = [
        Troubled {
            id: &down,
            state: State::Failing,
            url: Some("https://example.com/hooks"),
            reason: Some("dead-letters:70%"),
            since: Some(START_AT),
        },
        Troubled {
            id: &bad,
            state: State::Invalid,
            url: None,
            reason: Some("url: is missing"),
            since: Some(rig.now),
        },
    ];
    assert_eq!(troubled, expected);
}

fn again() -> Subscription {
    Arc::into_inner(subscription("crm", &json!({}))).expect("it was just made")
}

#[test]
fn a_deliverys_turn_in_a_tier_comes_and_finds_it_disabled() {
    let mut rig = Rig::new(&crm());
    rig.engine.status_read(id("crm"), Some(&status(State::Disabled, 7)));
    let tier = rig.moved(Role::Tier(TierIndex(0)));
    rig.delivery(tier, 100, &due(rig.now));
    rig.wait(seconds(1));
    assert!(rig.attempts().is_empty());
    assert_eq!(endings(&rig.commit()), ["e100 to crm: dead-lettered subscription-disabled"]);
}

#[test]
fn the_status_of_a_subscription_that_is_deleted_goes_with_it() {
    let mut rig = Rig::new(&crm());
    audit(&mut rig, &[("crm", status(State::Active, 7))]);
    rig.engine.remove_subscription(&id("crm"), rig.now);
    assert_eq!(told(&rig.commit()), ["crm is gone"]);
}

#[test]
fn a_status_is_written_by_the_owner_of_the_audit_partition_alone() {
    let home = home(b"crm", 2);
    for partition in [0, 1] {
        let mut rig = Rig::new(&crm());
        audit_of(&mut rig, partition, 2, &[("crm", status(State::Failing, 7))]);
        rig.check_quiet();
        rig.engine.invalidate_subscription(id("crm"), Offset(8), "url: is missing", rig.now);
        let again = Subscription { definition_offset: Offset(9), ..again() };
        rig.engine.put_subscription(Arc::new(again), rig.now);
        rig.engine.remove_subscription(&id("crm"), rig.now);
        if partition == home {
            assert_eq!(told(&rig.commit()), ["crm Invalid@8 0", "crm Active@9 0", "crm is gone"]);
        }
        rig.check_quiet();
    }
}

#[test]
fn who_takes_over_writes_what_nobody_has_written() {
    let two = subscriptions(&[("crm", json!({})), ("late", json!({}))]);
    let mut rig = Rig::new(&two);
    rig.engine.invalidate_subscription(id("bad"), Offset(9), "url: is missing", rig.now);
    rig.check_quiet();
    let statuses = ["crm", "gone", "late"]
        .map(|id| (id, status(State::Disabled, if id == "late" { 6 } else { 7 })));
    audit(&mut rig, &statuses);
    assert_eq!(told(&rig.commit()), ["bad Invalid@9 0", "gone is gone", "late Active@7 0"]);
}

#[test]
fn a_partition_that_is_given_up_tells_of_nothing_more() {
    let mut rig = Rig::new(&crm());
    let audit = audit(&mut rig, &[]);
    rig.engine.revoke(audit);
    rig.engine.invalidate_subscription(id("crm"), Offset(8), "url: is missing", rig.now);
    rig.check_quiet();
    assert_eq!(rig.engine.poll_released(), Some(audit));
}

#[test]
fn what_a_definition_changes_is_committed_before_its_partition_is_given_back() {
    let mut rig = Rig::new(&crm());
    let audit = audit(&mut rig, &[]);
    rig.engine.invalidate_subscription(id("crm"), Offset(8), "url: is missing", rig.now);
    rig.engine.revoke(audit);
    assert_eq!(rig.engine.poll_released(), None);
    let batch = rig.commit();
    assert_eq!((told(&batch).len(), commits(&batch)), (1, vec!["audit/0 at 100:".to_owned()]));
    assert_eq!(rig.engine.poll_released(), Some(audit));
}

#[test]
fn an_audit_topic_that_is_made_anew_keeps_its_statuses() {
    let mut rig = Rig::new(&crm());
    let audit = audit(&mut rig, &[]);
    ended(&mut rig, audit, 100, DEAD);
    assert_eq!(told(&rig.commit()), ["crm Active@7 1"]);
    rig.engine.begin_anew(audit, NextOffset(0));
    ended(&mut rig, audit, 0, DEAD);
    assert_eq!(told(&rig.commit()), ["crm Failing@7 2"]);
}

/// Makes a definition of `crm` at an offset, written so many seconds before or after now.
fn written(rig: &Rig, offset: i64, seconds: i64) -> Arc<Subscription> {
    let at = rig.now + jiff::SignedDuration::from_secs(seconds);
    Arc::new(Subscription { definition_offset: Offset(offset), ..again() }.written(at))
}

/// A rig whose time is that of [`audit_record`].
fn rig_of(definition: (i64, i64)) -> Rig {
    let mut rig = Rig::new(&[]);
    rig.now = audit_record(DEAD, Some(500)).origin.timestamp;
    let (offset, seconds) = definition;
    rig.engine.put_subscription(written(&rig, offset, seconds), rig.now);
    rig
}

/// Takes up the audit record of a delivery to `crm` that was given up and followed this definition.
fn gave_up(rig: &mut Rig, to: PartitionId, offset: i64, definition: i64) {
    let mut record = audit_record(DEAD, Some(500));
    record.origin.offset = Offset(offset);
    let header = record.headers.0.iter_mut().find(|header| &*header.name == DEFINITION_OFFSET);
    header.expect("a dead letter has it").value = Some(definition.to_string().into());
    assert!(rig.engine.has_room(to));
    rig.engine.record(to, record, rig.now);
}

/// Returns a status of the definition at 100, which began so many seconds before or after now.
fn of_100(rig: &Rig, state: State, seconds: i64) -> Status {
    let since = rig.now + jiff::SignedDuration::from_secs(seconds);
    Status { since, consecutive_dead_letters: 2, ..status(state, 100) }
}

#[test]
fn a_later_definition_at_a_smaller_offset_starts_afresh() {
    let mut rig = rig_of((5, -10));
    let disabled = of_100(&rig, State::Disabled, -20);
    let audit = audit(&mut rig, &[("crm", disabled)]);
    assert_eq!(told(&rig.commit()), ["crm Active@5 0"]);
    for offset in 100..103 {
        gave_up(&mut rig, audit, offset, 5);
    }
    assert_eq!(told(&rig.commit()), ["crm Active@5 1", "crm Failing@5 2", "crm Disabled@5 3"]);
}

#[test]
fn dead_letters_of_a_definition_at_a_smaller_offset_are_not_added_to_those_before() {
    let mut rig = rig_of((5, -10));
    let failing_soon = of_100(&rig, State::Active, -20);
    let audit = audit(&mut rig, &[("crm", failing_soon)]);
    gave_up(&mut rig, audit, 100, 5);
    assert_eq!(told(&rig.commit()), ["crm Active@5 1"]);
}

#[test]
fn a_status_of_a_definition_that_is_not_read_yet_stands() {
    let mut rig = rig_of((5, -20));
    let disabled = of_100(&rig, State::Disabled, -10);
    let audit = audit(&mut rig, &[("crm", disabled)]);
    rig.check_quiet();
    gave_up(&mut rig, audit, 100, 5);
    assert_eq!(told(&rig.commit()), [""; 0]);
}

#[test]
fn a_dead_letter_that_is_ahead_of_its_definition_waits_for_it() {
    let mut rig = rig_of((7, -10));
    let audit = audit(&mut rig, &[]);
    gave_up(&mut rig, audit, 100, 8);
    assert!(!rig.engine.has_room(audit));
    rig.check_quiet();
    rig.engine.put_subscription(written(&rig, 8, 0), rig.now);
    rig.wait(millis(20));
    assert!(rig.attempts().is_empty());
    assert_eq!(told(&rig.commit()), ["crm Active@8 1"]);
}

#[test]
fn a_dead_letter_of_a_definition_that_never_comes_is_passed_over_in_a_second() {
    let mut rig = rig_of((5, -10));
    let audit = audit(&mut rig, &[]);
    gave_up(&mut rig, audit, 100, 100);
    let begun = rig.now;
    while !rig.engine.has_room(audit) {
        rig.now = rig.engine.next_wake(rig.now).expect("it looks again");
        rig.attempts();
    }
    assert_eq!(rig.now, begun + seconds(1));
    let batch = rig.commit();
    assert_eq!((told(&batch), commits(&batch)), (vec![], vec!["audit/0 at 101:".into()]));
}

#[test]
fn statuses_of_an_aborted_batch_come_again_before_the_newer_ones() {
    let mut rig = Rig::new(&crm());
    let audit = audit(&mut rig, &[]);
    ended(&mut rig, audit, 100, DEAD);
    let batch = rig.batch();
    assert_eq!(told(&batch), ["crm Active@7 1"]);
    ended(&mut rig, audit, 101, DEAD);
    rig.engine.batch_aborted(batch, rig.now);
    let again = rig.commit();
    assert_eq!(told(&again), ["crm Active@7 1", "crm Failing@7 2"]);
    assert_eq!(commits(&again), ["audit/0 at 102:"]);
    rig.check_quiet();
    ended(&mut rig, audit, 102, DEAD);
    assert_eq!(told(&rig.commit()), ["crm Disabled@7 3"]);
}

#[test]
fn a_filter_that_runs_past_its_budget_is_no_match_and_counted() {
    let endless = json!({"filter": "data.n.exists(a, data.n.exists(b, a + b == -1)) || true"});
    let mut rig = Rig::new(&subscriptions(&[("endless", endless), ("fine", json!({}))]));
    let orders = rig.orders();
    let numbers: Vec<_> = (0..1000).collect();
    let value = json!({"id": "e100", "event": "a", "data": {"n": numbers}});
    rig.record(orders, 100, Some(&value.to_string()), Headers::default());
    assert_eq!(super::told(&rig.attempts()), ["e100 to fine #1"]);
    let counts = rig.engine.counts();
    assert_eq!((counts.filtered, counts.filter_errors.iter().sum::<u64>()), (0, 1));
    assert_eq!(counts.filter_errors[EvaluationError::Budget as usize], 1);
}

#[test]
fn an_event_is_converted_once_however_many_filters_look_at_it_and_not_when_none_does() {
    let check = |filters: &[&str], expected| {
        let names: Vec<_> = (0..filters.len()).map(|n| format!("s{n}")).collect();
        let filter = |(name, filter): (&String, &&str)| (name.clone(), json!({"filter": filter}));
        let definitions: Vec<_> = names.iter().zip(filters).map(filter).collect();
        let mut all: Vec<_> =
            definitions.iter().map(|(id, it)| (id.as_str(), it.clone())).collect();
        all.push(("none", json!({})));
        let mut rig = Rig::new(&subscriptions(&all));
        let orders = rig.orders();
        let before = conversions();
        rig.event(orders, 100, "a");
        assert_eq!(rig.attempts().len(), all.len());
        assert_eq!(conversions() - before, expected, "{filters:?}");
    };
    check(&[], 0);
    check(&["type == 'a'", "id == 'e100'"], 0);
    check(&["data == 'hunter2'"; 50], 1);
    check(&["data == 'hunter2'", "type == 'a'", "data != 'x' && data == 'hunter2'"], 1);
}

#[test]
fn nothing_is_taken_up_before_the_subscriptions_are_read() {
    let mut engine = Engine::new(policy());
    let orders = engine.assign(orders(), Role::Events, START, "");
    engine.put_subscription(subscription("crm", &json!({})), START_AT);
    assert!(!engine.has_room(orders));
    engine.subscriptions_read();
    assert!(engine.has_room(orders));
}
