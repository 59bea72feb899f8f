//! Guarantees 1 and 2 when the broker's disk is full: its writes fail, it ends, and comes back with more room.

use std::time::Duration;

use super::load::{LONG, Load, of_all_kinds, wait_ready_is};
use crate::support::broker::Broker;
use crate::support::receiver::Receiver;
use crate::support::scope::Scope;

/// Holds the events of a partition, and less than the audit of all deliveries.
const ROOM_KIB: u32 = 1024;

#[test]
fn a_broker_whose_disk_is_full_is_waited_out() {
    let load = Load { events: 3_000, fan_out: 5 };
    let receiver =
        Receiver::start(|seen, nth| of_all_kinds(seen, nth).after(Duration::from_millis(5)));
    let mut broker = Broker::start();
    let mut flow = load.prepare(Scope::on(&broker, "full-disk"), 32, &receiver);
    // Waiting for a broker is no stall.
    flow.setup = flow.setup.set("ops", "stall_after", r#""2s""#);
    broker.bound_files(ROOM_KIB);
    // It may be full before the connector has told that it is ready.
    let mut connector = flow.setup.start();

    broker.wait_until_it_fails(LONG);
    wait_ready_is(&connector, 503);
    // The scenario itself: time passes without a broker.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(connector.get("/live").0, 200, "a full disk is waited out");
    broker.start_again();

    load.check(&flow, &receiver);
    connector.sigterm();
    assert!(connector.wait_exit(LONG).success());
}
