//! Guarantees 1 and 2 while what brokers lead moves between them: partitions, the group's coordinator, the
//! transaction's, the controller.

use std::time::{Duration, Instant};

use super::load::{LONG, Load, of_all_kinds};
use crate::fixture::SOON;
use crate::support::broker::{Broker, Cluster};
use crate::support::connector::Connector;
use crate::support::receiver::Receiver;
use crate::support::scope::Scope;

fn commits(connector: &Connector) -> u64 {
    connector.metric("webhooks_ledger_commit_duration_seconds_count")
}

fn wait_commits(connector: &Connector, count: u64) {
    let deadline = Instant::now() + LONG;
    while commits(connector) < count {
        assert!(Instant::now() < deadline, "nothing is committed without the node");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn leaders_that_move_are_followed() {
    let load = Load { events: 6_000, fan_out: 5 };
    let receiver =
        Receiver::start(|seen, nth| of_all_kinds(seen, nth).after(Duration::from_millis(15)));
    let mut cluster = Cluster::start();
    let flow = load.prepare(Scope::at(&cluster.bootstrap(), "leaders"), 8, &receiver);
    let mut connector = flow.start();
    receiver.wait_count(SOON, 100);

    let ends: [fn(&mut Broker); 3] = [Broker::stop, Broker::kill, Broker::stop];
    for (n, end) in ends.into_iter().enumerate() {
        cluster.wait_in_sync();
        end(cluster.node(n));
        // What it led is led by the others now, or nothing would be committed any more.
        wait_commits(&connector, commits(&connector) + 3);
        cluster.node(n).start_again();
    }

    load.check(&flow, &receiver);
    connector.sigterm();
    assert!(connector.wait_exit(LONG).success());
}
