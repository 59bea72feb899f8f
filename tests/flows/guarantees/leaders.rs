//! Guarantees 1 and 2 while what brokers lead moves between them: partitions, the group's coordinator, the
//! transaction's, the controller.

use std::time::Duration;

use super::load::{LONG, Load};
use crate::fixture::SOON;
use crate::support::broker::{Broker, Cluster};
use crate::support::exchange::Answer;
use crate::support::receiver::Receiver;
use crate::support::scope::Scope;

#[test]
fn leaders_that_move_are_followed() {
    let load = Load { events: 6_000, fan_out: 5 };
    let receiver = Receiver::start(|_, _| Answer::status(200).after(Duration::from_millis(5)));
    let mut cluster = Cluster::start();
    let flow = load.prepare(Scope::at(&cluster.bootstrap(), "leaders"), 16, &receiver);
    let mut connector = flow.start();
    receiver.wait_count(SOON, 100);

    let ends: [fn(&mut Broker); 3] = [Broker::stop, Broker::kill, Broker::stop];
    for (n, end) in ends.into_iter().enumerate() {
        cluster.wait_in_sync();
        let before = receiver.count();
        end(cluster.node(n));
        // What it led is led by the others now, or nothing would move.
        receiver.wait_count(LONG, (before + 500).min(load.deliveries()));
        cluster.node(n).start_again();
    }

    load.check(&flow, &receiver);
    connector.sigterm();
    assert!(connector.wait_exit(LONG).success());
}
