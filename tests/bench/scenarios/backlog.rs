//! Backlogs to one subscription.

use serde_json::json;

use crate::Scale;
use crate::event::KIB;
use crate::figures::{self, Bar, Series, judge, ratios, row};
use crate::stage::{IN_FLIGHT, Stage};
use crate::usage;

/// The requests in flight to a receiver that takes its time.
const MANY: usize = 1_000;

/// A receiver that answers at once.
pub fn at_once(scale: Scale) {
    let events = scale.of(200_000);
    figures::heading("backlog", &format!("{events} events, the receiver answers at once"));
    let stage = Stage::new(scale, 4).filled(events, KIB);
    let cast = stage.cast(|setup| setup).subscribed("/ok/s0", json!({}));
    let beside = [stage.broker.id(), stage.receiver.id()];
    let (mut ours, mut limit, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.rounds() {
        limit.push(stage.limit("/ok/s0", events, IN_FLIGHT, KIB));
        let before = beside.map(usage::cpu);
        ours.push(cast.deliver(events));
        let used = |n: usize| (usage::cpu(beside[n]) - before[n]).as_secs_f64();
        others.push([0, 1].map(|n| used(n) * 1e6 / events as f64));
    }
    figures::columns();
    row("connector", &ours);
    row("limit", &limit);
    let [broker, receiver] = [0, 1].map(|n| Series::of(&others, |micros| micros[n]));
    println!("  beside the connector, µs of CPU a delivery: broker {broker}, receiver {receiver}");
    judge("CPU / limit", &ratios(&ours, &limit, |run| run.cpu_micros), Bar::AtMost(1.4));
    judge("rate / limit", &ratios(&ours, &limit, |run| run.rate), Bar::AtLeast(0.65));
}

/// A receiver that takes 50 ms: with as many requests in flight as its subscription allows, and as are found to be of use.
pub fn slow(scale: Scale) {
    let events = scale.of(100_000);
    let what = format!("{events} events, the receiver takes 50 ms, {MANY} in flight");
    figures::heading("slow", &what);
    let stage = Stage::new(scale, 4).filled(events, KIB);
    let many = MANY.to_string();
    let subscribed = |more| {
        let cast = stage.cast(|setup| {
            let setup = setup.set("delivery", "max_in_flight", &many);
            setup.set("delivery", "max_in_flight_per_subscription", &many)
        });
        cast.subscribed("/slow/s0", more)
    };
    let allowing = subscribed(json!({ "maxInFlight": MANY }));
    let silent = subscribed(json!({}));
    let (mut allowed, mut found, mut limit) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.rounds() {
        limit.push(stage.limit("/slow/s0", events, MANY, KIB));
        allowed.push(allowing.deliver(events));
        found.push(silent.deliver(events));
    }
    figures::columns();
    row("connector", &allowed);
    row("that finds the number", &found);
    row("limit", &limit);
    println!("  rate of the one that finds it {}", ratios(&found, &limit, |run| run.rate));
    judge("rate / limit", &ratios(&allowed, &limit, |run| run.rate), Bar::AtLeast(0.85));
}

/// A receiver that answers 503 to one in five.
///
/// Each delivery is tried again a second later. The last retries of a few trickle in when the backlog is long done, so
/// attempts are counted while first attempts are made, those of retries among them.
pub fn flaky(scale: Scale) {
    let events = scale.of(100_000);
    figures::heading("flaky", &format!("{events} events, one answer in five is 503"));
    let stage = Stage::new(scale, 4).filled(events, KIB);
    let good = stage.cast(|setup| setup).subscribed("/ok/s0", json!({}));
    let schedule = ["1s"; 20];
    let retry = json!({ "retry": { "schedule": schedule } });
    // Topics of its own each time: what an earlier round left in the retry tiers would be delivered again.
    let play = || stage.cast(|setup| setup).subscribed("/flaky/s0", retry.clone()).deliver(events);
    // The broker has yet to compile what it does for the retry tiers, and takes half of a core for that.
    for _ in 0..2 {
        good.deliver(events);
        play();
    }
    // First attempts are made within a few seconds, and a round by itself says little.
    let (mut ours, mut base) = (Vec::new(), Vec::new());
    for _ in 0..2 * scale.rounds() {
        base.push(good.deliver(events));
        ours.push(play());
    }
    figures::columns();
    row("one in five is 503", &ours);
    row("all are 200", &base);
    let attempts = Series::of(&ours, |run| run.fresh_rate);
    println!("  {attempts} attempts/s while first attempts are made");
    let each = Series::of(&ours, |run| run.requests as f64 / events as f64);
    println!("  {each} attempts a delivery");
    let took = Series::of(&ours, |run| run.took.as_secs_f64());
    println!("  all delivered after {took} s");
    judge("attempts/s / all 200", &ratios(&ours, &base, |run| run.fresh_rate), Bar::AtLeast(0.8));
    judge("delivered twice", &Series::of(&ours, |run| run.repeats as f64), Bar::AtMost(0.0));
}
