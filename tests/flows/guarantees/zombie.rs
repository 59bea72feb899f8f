//! A second instance of the same id fences the first.

use std::time::Duration;

use super::load::{LONG, Load};
use crate::support::exchange::Answer;
use crate::support::receiver::Receiver;
use crate::support::scope::Scope;

#[test]
fn a_producer_that_is_fenced_by_another_of_its_id_loses_and_doubles_nothing() {
    let load = Load { events: 4_000, fan_out: 5 };
    let receiver = Receiver::start(|_, _| Answer::status(200).after(Duration::from_millis(5)));
    let flow = load.prepare(Scope::new("fenced"), 32, &receiver);
    let mut first = flow.start();
    receiver.wait_count(LONG, load.deliveries() / 5);
    let second = flow.setup.start();
    first.wait_log(LONG, "the session failed");
    receiver.wait_count(LONG, load.deliveries() / 3);
    // Whoever set two up under one id ends one of them.
    first.kill9();
    load.check(&flow, &receiver);
    drop(second);
}
