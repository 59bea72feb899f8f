//! Guarantee 1 and 2 in bad weather: the broker goes and comes back.

use std::time::Duration;

use super::load::{LONG, Load, of_all_kinds, wait_ready_is};
use crate::fixture::SOON;
use crate::support::broker::Broker;
use crate::support::connector::Connector;
use crate::support::receiver::Receiver;
use crate::support::scope::Scope;

/// How long the broker is away: longer than a session, shorter than a transaction.
const AWAY: Duration = Duration::from_secs(20);

/// Lines that an outage may add to the log.
const LINES: usize = 200;

fn check(name: &str, end: impl Fn(&mut Broker)) {
    let load = Load { events: 4_000, fan_out: 5 };
    let receiver =
        Receiver::start(|seen, nth| of_all_kinds(seen, nth).after(Duration::from_millis(5)));
    let mut broker = Broker::start();
    let mut flow = load.prepare(Scope::on(&broker, name), 32, &receiver);
    // Much shorter than the outage: waiting for a broker is no stall.
    flow.setup = flow.setup.clone().set("ops", "stall_after", r#""5s""#);
    let mut connector = flow.start();
    receiver.wait_count(SOON, load.deliveries() / 4);
    let lines = connector.log().lines().count();

    end(&mut broker);
    wait_ready_is(&connector, 503);
    // The scenario itself: time passes without a broker.
    std::thread::sleep(AWAY);
    assert_eq!(connector.get("/live").0, 200, "an outage is waited out");
    connector.wait_metrics(SOON, r#"webhooks_ready_condition{condition="broker-reachable"} 0"#);
    broker.start_again();
    wait_ready_is(&connector, 200);

    load.check(&flow, &receiver);
    let log = connector.log();
    let added = log.lines().count() - lines;
    assert!(added < LINES, "{added} lines of log for one outage");
    // Every client notices, and says so again and again; what is alike is told once in half a minute.
    let told = log.matches("AllBrokersDown").count();
    assert!((1..=2).contains(&told), "the outage is told {told} times:\n{log}");
    connector.wait_metrics(SOON, r#"webhooks_ready_condition{condition="broker-reachable"} 1"#);
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

/// A coordinator that is slow, and records that time out before it takes them.
#[test]
fn a_broker_that_answers_nobody_for_a_while_is_waited_out() {
    // Longer than records wait, and than a session.
    const FROZEN: Duration = Duration::from_secs(8);
    const PROPERTIES: &str = r#"{ "session.timeout.ms" = 6000, "message.timeout.ms" = 3000 }"#;
    const ROUNDS: usize = 4;
    let load = Load { events: 3_000, fan_out: 5 };
    let receiver =
        Receiver::start(|seen, nth| of_all_kinds(seen, nth).after(Duration::from_millis(15)));
    let mut broker = Broker::start();
    let mut flow = load.prepare(Scope::on(&broker, "frozen"), 16, &receiver);
    flow.setup = flow
        .setup
        .set("kafka", "properties", PROPERTIES)
        // Most of the time no transaction is under way: the first that is begun with a frozen broker loses its records.
        .set("ledger", "commit_interval", r#""500ms""#);
    let mut connector = flow.start();
    let aborts = |connector: &Connector| connector.metric("webhooks_ledger_aborts_total");
    for _ in 0..ROUNDS {
        receiver.wait_count(LONG, (receiver.count() + 300).min(load.deliveries()));
        broker.freeze();
        // The scenario itself: time passes without an answer.
        std::thread::sleep(FROZEN);
        assert_eq!(connector.get("/live").0, 200, "it is waited out");
        broker.thaw();
        // Which call of a transaction is frozen is chance; of some rounds, one hits its records.
        let deadline = std::time::Instant::now() + FROZEN;
        while aborts(&connector) == 0 && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(100));
        }
        if aborts(&connector) > 0 {
            break;
        }
    }
    assert!(aborts(&connector) > 0, "no transaction was aborted in {ROUNDS} rounds");

    load.check(&flow, &receiver);
    connector.sigterm();
    assert!(connector.wait_exit(LONG).success());
}
