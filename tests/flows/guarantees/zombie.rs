//! An instance that others take for gone changes nothing any more, and starts afresh.

use std::time::Duration;

use super::load::{LONG, Load, of_all_kinds, wait_owns};
use crate::support::receiver::Receiver;
use crate::support::scope::Scope;

#[test]
fn two_of_one_id_fence_each_other_until_one_gives_up_and_lose_and_double_nothing() {
    let load = Load { events: 4_000, fan_out: 5 };
    let receiver =
        Receiver::start(|seen, nth| of_all_kinds(seen, nth).after(Duration::from_millis(5)));
    let flow = load.prepare(Scope::new("fenced"), 32, &receiver);
    let mut first = flow.start();
    receiver.wait_count(LONG, load.deliveries() / 5);
    let second = flow.setup.start();
    first.wait_log(LONG, "the session failed");
    second.wait_log(LONG, "the session failed");
    // The first failed first, and so it has had enough first.
    assert!(!first.wait_exit(LONG).success());
    load.check(&flow, &receiver);
    drop(second);
}

#[test]
fn an_instance_that_stood_still_for_longer_than_its_session_starts_afresh() {
    const PROPERTIES: &str = r#"{ "session.timeout.ms" = 6000, "transaction.timeout.ms" = 8000 }"#;
    let load = Load { events: 6_000, fan_out: 5 };
    let receiver =
        Receiver::start(|seen, nth| of_all_kinds(seen, nth).after(Duration::from_millis(20)));
    let mut flow = load.prepare(Scope::new("stood-still"), 16, &receiver);
    flow.setup = flow.setup.set("kafka", "properties", PROPERTIES);
    let mut a = flow.setup.clone().instance("a").start();
    let mut b = flow.setup.clone().instance("b").start();
    wait_owns(&mut a, &flow, 1);
    wait_owns(&mut b, &flow, 1);
    receiver.wait_count(LONG, load.deliveries() / 20);

    a.freeze();
    wait_owns(&mut b, &flow, 4);
    a.thaw();
    wait_owns(&mut a, &flow, 1);
    load.check(&flow, &receiver);
    a.sigterm();
    assert!(a.wait_exit(LONG).success());
}
