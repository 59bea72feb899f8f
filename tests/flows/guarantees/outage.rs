//! Guarantee 1 and 2 in bad weather: the broker goes and comes back.

use std::time::Duration;

use super::load::{LONG, Load};
use crate::fixture::SOON;
use crate::support::broker::Broker;
use crate::support::connector::Connector;
use crate::support::exchange::Answer;
use crate::support::receiver::Receiver;
use crate::support::scope::Scope;

/// How long the broker is away: longer than a session, shorter than a transaction.
const AWAY: Duration = Duration::from_secs(20);

/// Lines that an outage may add to the log.
const LINES: usize = 200;

fn wait_ready_is(connector: &Connector, status: u16) {
    let deadline = std::time::Instant::now() + LONG;
    while connector.get("/ready").0 != status {
        assert!(std::time::Instant::now() < deadline, "/ready never answered {status}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn check(name: &str, end: impl Fn(&mut Broker)) {
    let load = Load { events: 4_000, fan_out: 5 };
    let receiver = Receiver::start(|_, _| Answer::status(200).after(Duration::from_millis(5)));
    let mut broker = Broker::start();
    let flow = load.prepare(Scope::on(&broker, name), 32, &receiver);
    let mut connector = flow.start();
    receiver.wait_count(SOON, load.deliveries() / 4);
    let lines = connector.log().lines().count();

    end(&mut broker);
    wait_ready_is(&connector, 503);
    // The scenario itself: time passes without a broker.
    std::thread::sleep(AWAY);
    assert_eq!(connector.get("/live").0, 200, "an outage is waited out");
    broker.start_again();
    wait_ready_is(&connector, 200);

    load.check(&flow, &receiver);
    let added = connector.log().lines().count() - lines;
    assert!(added < LINES, "{added} lines of log for one outage");
    connector.sigterm();
    assert!(connector.wait_exit(LONG).success());
}

#[test]
fn a_broker_that_is_stopped_for_a_while_is_waited_out() {
    check("stopped", Broker::stop);
}

#[test]
fn a_broker_that_is_killed_is_waited_out() {
    check("killed", Broker::kill);
}
