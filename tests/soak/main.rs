//! The soak: the guarantees as a long run, with faults at random.
//!
//! `cargo test --test soak -- --minutes 30 --seed 7` starts a broker, three instances and receivers of all characters,
//! produces without end, and kills, stops and restarts instances and broker as the seed's dice say. At the end it prints
//! a ledger and exits with 1 unless nothing is lost and the audit agrees with the receiver's own log.

#[path = "../flows/fixture.rs"]
mod fixture;
mod ledger;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use fixture::{Fixture, SOON};
use ledger::Ledger;
use support::broker::Broker;
use support::connector::Connector;
use support::exchange::{Answer, Seen};
use support::receiver::Receiver;
use support::record::Draft;
use support::scope::Scope;

/// How long the run is, and what its dice show.
#[derive(Parser)]
struct Arguments {
    /// Minutes of trouble
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// The seed of the dice
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Subscriptions by id, which is their receiver's character.
const SUBSCRIPTIONS: [&str; 6] = ["good-1", "good-2", "good-3", "slow", "flaky", "failing"];

/// Between two rounds of events.
const ROUND: Duration = Duration::from_millis(500);

/// Between two faults.
const FAULT_EVERY: Duration = Duration::from_secs(8);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut dice = SmallRng::seed_from_u64(arguments.seed);
    let receiver = Receiver::start(answer);
    let mut broker = Broker::start();
    let flow = Fixture::on(Scope::on(&broker, "soak"), |setup| {
        setup.set("delivery", "max_in_flight", "128").set(
            "delivery",
            "max_in_flight_per_subscription",
            "64",
        )
    });
    for id in SUBSCRIPTIONS {
        let retry = json!({"retry": {"schedule": ["1s", "2s", "5s"]}});
        flow.subscribe(id, &receiver.url(&format!("/{id}")), &["*"], retry);
    }
    let start = |id: &str| flow.setup.clone().instance(id).start();
    let mut instances: Vec<Connector> = ["a", "b", "c"].map(start).into();
    let end = Instant::now() + Duration::from_secs(60 * arguments.minutes);
    let (mut produced, mut next_fault) = (0, Instant::now() + FAULT_EVERY);
    while Instant::now() < end {
        produced += produce(&flow, produced, dice.random_range(20..120));
        if next_fault <= Instant::now() {
            let victim = dice.random_range(0..instances.len());
            let id = ["a", "b", "c"][victim];
            let fault = match dice.random_range(0..10) {
                0..5 => {
                    instances[victim].kill9();
                    format!("kill -9 of {id}")
                }
                5..8 => {
                    instances[victim].sigterm();
                    instances[victim].wait_exit(SOON);
                    format!("SIGTERM of {id}")
                }
                8 => {
                    broker.stop();
                    "stop of the broker".to_owned()
                }
                _ => {
                    broker.kill();
                    "kill -9 of the broker".to_owned()
                }
            };
            println!("{produced} events, {} requests: {fault}", receiver.count());
            if fault.ends_with("broker") {
                std::thread::sleep(Duration::from_secs(dice.random_range(1..15)));
                broker.start_again();
            } else {
                instances[victim] = start(id);
            }
            next_fault = Instant::now() + FAULT_EVERY;
        }
        std::thread::sleep(ROUND);
    }
    println!("{produced} events, {} requests: the trouble is over", receiver.count());
    let ledger = Ledger::read(&flow, &receiver, produced, &SUBSCRIPTIONS);
    println!("{ledger}");
    if ledger.is_right() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Writes events and returns how many.
fn produce(flow: &Fixture, from: usize, count: usize) -> usize {
    let event = |n: usize| {
        let value = json!({"id": format!("evt_{n}"), "event": "soak.event", "data": {"n": n}});
        Draft::new(format!("k{n}"), value.to_string())
    };
    flow.scope.produce_all("orders", (from..from + count).map(event));
    count
}

fn answer(seen: &Seen, nth: usize) -> Answer {
    let is_unlucky = seen.webhook_id().bytes().map(usize::from).sum::<usize>() % 3 == 0;
    match &seen.path[1..] {
        "slow" => Answer::status(200).after(Duration::from_millis(150)),
        "flaky" if nth == 1 && is_unlucky => Answer::status(503),
        "failing" => Answer::status(500),
        _ => Answer::status(204),
    }
}
