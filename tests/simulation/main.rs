//! The core in virtual time: one seed, one run.
//!
//! Engines share a simulated cluster, group and receivers. Crashes, rebalances, lost partitions, aborted transactions,
//! logs that lose their ends, late and double results, and changes of subscriptions happen as a seed's dice say. Every
//! step is checked against the invariants in `invariants.rs`. A seed that fails prints how to run it alone.

mod cluster;
mod invariants;
mod receivers;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use world::World;

/// Names the variable that runs one seed alone.
const SEED: &str = "SIMULATION_SEED";

/// The seeds of every test run.
const SEEDS: u64 = 300;

#[test]
fn every_delivery_ends_once_whatever_happens() {
    if let Ok(seed) = std::env::var(SEED) {
        let seed = seed.parse().expect("SIMULATION_SEED is a number");
        let summary = World::new(seed).run();
        println!("seed {seed}: {summary:?}");
        return;
    }
    let next = AtomicU64::new(0);
    let total = Mutex::new(world::Summary::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| run_seeds(&next, &total));
        }
    });
    let total = total.into_inner().expect("a failed seed has ended the test");
    println!("{SEEDS} seeds: {total:?}");
    // A simulation in which nothing goes wrong proves nothing.
    assert!(total.crashes > SEEDS && total.aborts > SEEDS && total.rebalances > SEEDS);
    assert!(
        total.unreported > 0
            && total.stale > 0
            && total.repeats > 0
            && total.dead_letters > 0
            && total.moves > 0
            && total.cuts > SEEDS
    );
}

#[test]
fn a_seed_always_shows_the_same() {
    assert_eq!(World::new(7).run(), World::new(7).run());
}

fn run_seeds(next: &AtomicU64, total: &Mutex<world::Summary>) {
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= SEEDS {
            return;
        }
        let run = catch_unwind(AssertUnwindSafe(|| World::new(seed).run()));
        let Ok(summary) = run else {
            panic!("seed {seed} fails; alone: {SEED}={seed} cargo test --test simulation");
        };
        *total.lock().expect("no holder of the lock panics") += summary;
    }
}
