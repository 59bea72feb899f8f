//! Endpoints and origins that are in trouble: breakers, probes, and what waits for them.

use super::*;

#[test]
fn an_endpoint_that_asks_for_it_is_left_alone_and_its_deliveries_wait_in_the_tiers() {
    let mut rig = Rig::new(&slow_and_fast());
    let orders = rig.orders();
    rig.event(orders, 100, "s");
    let first = rig.attempts();
    rig.refuse(&first[0], ALONE);
    rig.event(orders, 101, "s");
    rig.event(orders, 102, "f");
    assert_eq!(told(&rig.attempts()), ["e102 to fast #1"], "the other goes on");
    let batch = rig.commit();
    assert_eq!(
        endings(&batch),
        ["e100 to slow: retrying http-status", "e101 to slow: moved to tier 1"]
    );
    // It was no attempt.
    let (_, Ending::Delivery(moved)) = &batch.endings[1] else { panic!("it is a delivery") };
    assert_eq!((moved.attempts, moved.attempted.is_none()), (0, true));
}

#[test]
fn after_the_wait_one_probe_is_made_and_its_success_opens_the_way() {
    let mut rig = Rig::new(&slow_and_fast());
    let orders = rig.orders();
    rig.event(orders, 100, "s");
    let first = rig.attempts();
    rig.refuse(&first[0], ALONE);
    rig.wait(ALONE - millis(1));
    for offset in 101..110 {
        rig.event(orders, offset, "s");
    }
    assert_eq!(rig.attempts().len(), 0, "less than a tier is waited out");
    rig.wait(millis(1));
    let probe = rig.attempts();
    assert_eq!(told(&probe), ["e101 to slow #1"]);
    rig.answer(&probe[0], 200);
    assert_eq!(rig.attempts().len(), 8);
}

#[test]
fn an_endpoint_that_is_back_is_sent_to_in_rounds_that_double() {
    let mut rig = Rig::new(&slow_and_fast());
    let orders = rig.orders();
    rig.trouble(orders, 100, "s", Reason::Reset);
    rig.wait(seconds(1));
    for offset in 110..400 {
        rig.event(orders, offset, "s");
    }
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let attempts = rig.attempts();
        rounds.push(attempts.len());
        attempts.iter().for_each(|attempt| rig.answer(attempt, 200));
    }
    // The last slots are left to others.
    assert_eq!(rounds, [1, 16, 32, 64, 120]);
}

#[test]
fn what_is_our_own_fault_opens_no_breaker() {
    for reason in [Reason::Auth, Reason::Proxy, Reason::EgressRefused, Reason::Transform] {
        let mut rig = Rig::new(&slow_and_fast());
        let orders = rig.orders();
        for offset in 100..120 {
            rig.event(orders, offset, "s");
        }
        for _ in 0..2 {
            for attempt in rig.attempts() {
                rig.fail(&attempt, reason);
            }
        }
        rig.event(orders, 120, "s");
        assert_eq!(told(&rig.attempts()), ["e120 to slow #1"], "{reason:?}");
    }
}

#[test]
fn a_probe_that_fails_by_our_own_fault_is_made_again() {
    let mut rig = Rig::new(&slow_and_fast());
    let orders = rig.orders();
    rig.trouble(orders, 100, "s", Reason::Reset);
    rig.wait(seconds(1));
    rig.event(orders, 110, "s");
    rig.event(orders, 111, "s");
    let probe = rig.attempts();
    assert_eq!(told(&probe), ["e110 to slow #1"]);
    rig.fail(&probe[0], Reason::Auth);
    assert_eq!(told(&rig.attempts()), ["e111 to slow #1"]);
}

#[test]
fn an_origin_that_cant_be_reached_is_left_alone_by_all_and_one_attempt_finds_out_for_all() {
    for reason in [Reason::Connect, Reason::Dns] {
        let mut rig = Rig::new(&to("https://example.com/slow", "https://example.com/fast"));
        let orders = rig.orders();
        rig.trouble(orders, 100, "s", reason);
        rig.event(orders, 110, "f");
        assert_eq!(rig.attempts().len(), 0, "{reason:?}");
        let moved = endings(&rig.commit()).pop();
        assert_eq!(moved.as_deref(), Some("e110 to fast: moved to tier 0"));
        rig.wait(seconds(1));
        for (offset, event_type) in (111..).zip(["f", "s", "f"]) {
            rig.event(orders, offset, event_type);
        }
        let probe = rig.attempts();
        assert_eq!(told(&probe), ["e111 to fast #1"]);
        // Any answer shows that it is there.
        rig.answer(&probe[0], 500);
        assert_eq!(told(&rig.attempts()), ["e113 to fast #1", "e112 to slow #1"]);
    }
}

#[test]
fn a_probe_of_an_origin_that_fails_lets_all_wait_longer() {
    let mut rig = Rig::new(&to("https://example.com/slow", "https://example.com/fast"));
    let orders = rig.orders();
    rig.trouble(orders, 100, "s", Reason::Connect);
    rig.wait(seconds(1));
    rig.event(orders, 110, "s");
    rig.event(orders, 111, "f");
    let probe = rig.attempts();
    assert_eq!(told(&probe), ["e110 to slow #1"]);
    rig.fail(&probe[0], Reason::Connect);
    assert_eq!(rig.attempts().len(), 0);
    assert!(endings(&rig.commit()).contains(&"e111 to fast: moved to tier 0".to_owned()));
}

#[test]
fn what_an_endpoint_answers_says_nothing_of_others_at_its_origin() {
    for reason in [Reason::Timeout, Reason::Reset, Reason::Tls, Reason::Protocol] {
        let mut rig = Rig::new(&to("https://example.com/slow", "https://example.com/fast"));
        let orders = rig.orders();
        rig.trouble(orders, 100, "s", reason);
        rig.event(orders, 110, "s");
        rig.event(orders, 111, "f");
        assert_eq!(told(&rig.attempts()), ["e111 to fast #1"], "{reason:?}");
    }
}

#[test]
fn another_port_or_scheme_is_another_origin() {
    for fast in ["https://example.com:8443/fast", "http://example.com/fast"] {
        let mut rig = Rig::new(&to("https://example.com/slow", fast));
        let orders = rig.orders();
        rig.trouble(orders, 100, "s", Reason::Connect);
        rig.event(orders, 110, "f");
        assert_eq!(told(&rig.attempts()), ["e110 to fast #1"], "{fast}");
    }
}

#[test]
fn subscriptions_to_one_url_leave_it_alone_together() {
    let mut rig = Rig::new(&to("https://example.com/hooks", "https://example.com/hooks"));
    let orders = rig.orders();
    rig.event(orders, 100, "s");
    let first = rig.attempts();
    rig.refuse(&first[0], ALONE);
    rig.event(orders, 101, "f");
    assert_eq!(rig.attempts().len(), 0);
    assert_eq!(endings(&rig.commit())[1], "e101 to fast: moved to tier 1");
}

#[test]
fn a_probe_that_is_abandoned_or_overtaken_by_a_definition_keeps_nobody_waiting() {
    let mut rig = Rig::new(&to("https://example.com/slow", "https://example.com/fast"));
    let (orders, moved) = (rig.orders(), rig.moved(Role::Deliver));
    rig.trouble(orders, 100, "s", Reason::Connect);
    rig.wait(seconds(1));
    let to_slow = Carried { subscription: id("slow"), ..due(rig.now) };
    rig.delivery(moved, 100, &to_slow);
    assert_eq!(told(&rig.attempts()), ["e100 to slow #2"]);
    rig.event(orders, 110, "f");
    assert_eq!(rig.attempts().len(), 0, "one finds out for all");
    rig.engine.abandon(moved);
    assert_eq!(told(&rig.attempts()), ["e110 to fast #1"]);
    rig.event(orders, 111, "s");
    assert_eq!(rig.attempts().len(), 0, "the next finds out for all");
    rig.engine.put_subscription(subscription("fast", &json!({"events": ["f"]})), rig.now);
    assert_eq!(told(&rig.attempts()), ["e111 to slow #1"]);
}

#[test]
fn deliveries_that_wait_for_an_endpoint_expire_like_all_others() {
    let mut rig = Rig::new(&slow_and_fast());
    let deliver = rig.moved(Role::Deliver);
    let orders = rig.orders();
    rig.event(orders, 100, "s");
    let first = rig.attempts();
    rig.refuse(&first[0], ALONE);
    let long_ago = rig.now - seconds(3599);
    let carried = Carried { subscription: id("slow"), first_at: Some(long_ago), ..due(rig.now) };
    rig.delivery(deliver, 100, &carried);
    assert_eq!(rig.attempts().len(), 0);
    let batch = rig.commit();
    assert_eq!(endings(&batch)[1], "e100 to slow: dead-lettered expired");
}

#[test]
fn what_waits_for_an_endpoint_waits_in_the_tiers_and_not_in_memory() {
    let mut rig = Rig::new(&slow_and_fast());
    let orders = rig.orders();
    for offset in 100..1000 {
        rig.event(orders, offset, "s");
    }
    let attempts = rig.attempts();
    assert_eq!((attempts.len(), rig.engine.queued()), (16, 884));
    attempts.iter().for_each(|attempt| rig.refuse(attempt, ALONE));
    assert_eq!((rig.attempts().len(), rig.engine.queued()), (0, 0));
    let batch = rig.commit();
    assert_eq!(rig.engine.bytes(), 0);
    let moved =
        endings(&batch).iter().filter(|it| it.ends_with("to slow: moved to tier 1")).count();
    assert_eq!(moved, 884);
}
