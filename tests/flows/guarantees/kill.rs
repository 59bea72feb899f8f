//! Guarantees 1, 2 and 3: kill -9 under load loses nothing, records nothing twice, and repeats only what was in the air.

use std::time::Duration;

use super::load::{Kill, LONG, Load, of_all_kinds, wait_owns};
use crate::support::broker::Broker;
use crate::support::receiver::Receiver;
use crate::support::scope::Scope;

#[test]
fn kill_9_under_load_loses_nothing_and_repeats_only_what_was_in_the_air() {
    let load = Load { events: 10_000, fan_out: 10 };
    // One of the ten is slow: every record has a delivery pending long after the others are done. The others take their
    // time too, so that no machine is fast enough to end very many between two commits.
    let receiver = Receiver::start(|seen, nth| {
        let millis = if seen.path == "/s3" { 20 } else { 10 };
        of_all_kinds(seen, nth).after(Duration::from_millis(millis))
    });
    let broker = Broker::start();
    let flow = load.prepare(Scope::on(&broker, "kill"), 64, &receiver);

    let mut connector = flow.start();
    let mut kills = Vec::new();
    for share in [3, 6, 9] {
        receiver.wait_count(LONG, load.deliveries() * share / 12);
        kills.push(Kill::of("a", &mut connector));
        connector = flow.setup.start();
    }
    let checked = load.check(&flow, &receiver);
    checked.check_in_the_air(&kills);
    // Without its memory of what is pending, a restart would repeat nine of ten deliveries in every window.
    let repeats = checked.repeats.len();
    assert!(repeats < load.deliveries() / 8, "{repeats} repeats");
}

#[test]
fn instances_that_come_and_go_under_load_lose_and_double_nothing() {
    let load = Load { events: 6_000, fan_out: 5 };
    let receiver =
        Receiver::start(|seen, nth| of_all_kinds(seen, nth).after(Duration::from_millis(2)));
    let flow = load.prepare(Scope::new("come-and-go"), 32, &receiver);
    let instance = |id: &str| flow.setup.clone().instance(id).start();

    let mut a = instance("a");
    receiver.wait_count(LONG, load.deliveries() / 10);
    let mut b = instance("b");
    let mut c = instance("c");
    [&mut a, &mut b, &mut c].into_iter().for_each(|one| wait_owns(one, &flow, 1));
    receiver.wait_count(LONG, load.deliveries() * 3 / 10);
    a.sigterm();
    assert!(a.wait_exit(LONG).success());
    receiver.wait_count(LONG, load.deliveries() * 4 / 10);
    let killed = Kill::of("b", &mut b);
    receiver.wait_count(LONG, load.deliveries() / 2);
    load.check(&flow, &receiver).check_in_the_air(&[killed]);
    c.sigterm();
    assert!(c.wait_exit(LONG).success());
}
