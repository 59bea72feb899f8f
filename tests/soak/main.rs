//! The soak: the guarantees as a long run, with faults at random.
//!
//! `cargo test --test soak -- --minutes 30 --seed 7` starts a broker, three instances and receivers of all characters,
//! produces without end, and kills, stops, freezes and restarts instances and broker as the seed's dice say. At the end
//! it prints a ledger and exits with 1 unless nothing is lost and audit, dead-letter topic and receiver agree.

#[allow(dead_code, reason = "the soak uses a part of it")]
#[path = "../flows/fixture.rs"]
mod fixture;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use fixture::{Fixture, SOON};
use support::broker::Broker;
use support::connector::Connector;
use support::exchange::Answer;
use support::ledger::Witnesses;
use support::receiver::Receiver;
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
const SUBSCRIPTIONS: [&str; 7] =
    ["good-1", "good-2", "good-3", "slow", "flaky", "stubborn", "refusing"];

const INSTANCES: [&str; 3] = ["a", "b", "c"];

/// Between two rounds of events.
const ROUND: Duration = Duration::from_millis(500);

/// Between two faults.
const FAULT_EVERY: Duration = Duration::from_secs(8);

/// The longest that it takes to come to rest.
const REST: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let witnesses = Arc::new(Mutex::new(Witnesses::new(&SUBSCRIPTIONS)));
    let receiver = receiver(witnesses.clone());
    let broker = Broker::start();
    let flow = Fixture::on(Scope::on(&broker, "soak"), |setup| {
        setup
            .set("delivery", "max_in_flight", "128")
            .set("delivery", "max_in_flight_per_subscription", "64")
            // Who is disabled is owed nothing any more.
            .set("disable", "after_dead_letters", "0")
    });
    for id in SUBSCRIPTIONS {
        let rules = json!({"retry": {"schedule": ["1s", "2s", "5s"]}, "noRetryOn": [400]});
        flow.subscribe(id, &receiver.url(&format!("/{id}")), &["*"], rules);
    }
    let instances = INSTANCES.map(|id| flow.setup.clone().instance(id).start()).into();
    let mut run = Run { flow, broker, instances, dice: SmallRng::seed_from_u64(arguments.seed) };

    let end = Instant::now() + Duration::from_secs(60 * arguments.minutes);
    let (mut produced, mut next_fault) = (0, Instant::now() + FAULT_EVERY);
    while Instant::now() < end {
        let count = run.dice.random_range(20..120);
        run.flow.numbered_events(produced..produced + count);
        produced += count;
        if next_fault <= Instant::now() {
            let requests = witnesses.lock().expect("nobody panics with it").requests();
            print!("{produced} events, {requests} requests: ");
            run.fault();
            next_fault = Instant::now() + FAULT_EVERY;
        }
        std::thread::sleep(ROUND);
    }
    println!("{produced} events: the trouble is over");
    let all_ended = Witnesses::wait_ends(&run.flow.scope, &SUBSCRIPTIONS, produced, REST);
    let all_left = run.stop();
    let mut witnesses = witnesses.lock().expect("nobody panics with it");
    witnesses.hear(&run.flow.scope);
    let ledger = witnesses.ledger(produced);
    println!("{ledger}");
    if ledger.is_right() && all_ended && all_left { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn receiver(witnesses: Arc<Mutex<Witnesses>>) -> Receiver {
    Receiver::unlogged(move |seen| {
        let (id, subscription) = (seen.webhook_id(), &seen.path[1..]);
        let is_unlucky = id.bytes().map(usize::from).sum::<usize>() % 3 == 0;
        let mut witnesses = witnesses.lock().expect("nobody panics with it");
        let is_first = witnesses.of(id, subscription).requests() == 0;
        let status = match subscription {
            "flaky" if is_first && is_unlucky => 503,
            "stubborn" if is_unlucky => 422,
            "refusing" => 400,
            _ => 204,
        };
        witnesses.answered(id, subscription, status);
        let delay = Duration::from_millis(if subscription == "slow" { 150 } else { 0 });
        Answer::status(status).after(delay)
    })
}

struct Run {
    flow: Fixture,
    broker: Broker,
    instances: Vec<Connector>,
    dice: SmallRng,
}

impl Run {
    /// Has something go wrong, and be well again.
    fn fault(&mut self) {
        let victim = self.dice.random_range(0..INSTANCES.len());
        let away = Duration::from_secs(self.dice.random_range(1..15));
        let (instance, id) = (&mut self.instances[victim], INSTANCES[victim]);
        match self.dice.random_range(0..12) {
            0..4 => {
                println!("kill -9 of {id}");
                instance.kill9();
                *instance = self.flow.setup.clone().instance(id).start();
            }
            4..6 => {
                println!("SIGTERM of {id}");
                instance.sigterm();
                let status = instance.wait_exit(SOON);
                assert!(status.success(), "{id} ended with {status}");
                *instance = self.flow.setup.clone().instance(id).start();
            }
            6..8 => {
                println!("{id} stands still for {away:?}");
                instance.freeze();
                std::thread::sleep(away);
                instance.thaw();
            }
            8 => {
                println!("the broker stops for {away:?}");
                self.broker.stop();
                std::thread::sleep(away);
                self.broker.start_again();
            }
            9 => {
                println!("kill -9 of the broker for {away:?}");
                self.broker.kill();
                std::thread::sleep(away);
                self.broker.start_again();
            }
            _ => {
                println!("the broker stands still for {away:?}");
                self.broker.freeze();
                std::thread::sleep(away);
                self.broker.thaw();
            }
        }
    }

    /// Ends all instances, and tells whether each ended well.
    fn stop(&mut self) -> bool {
        self.instances.iter_mut().for_each(Connector::sigterm);
        self.instances.iter_mut().all(|instance| instance.wait_exit(SOON).success())
    }
}
