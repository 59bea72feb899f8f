//! Many subscriptions.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::Scale;
use crate::event::{KIB, place, typed};
use crate::figures::{self, Bar, Series, judge, ratios, row, short};
use crate::stage::{Cast, Stage};
use crate::support::record::Draft;
use crate::usage;

/// The header that names the tenant.
const TENANT: &str = r#"tenant = { header = "tenant" }"#;

/// Subscriptions of one tenant, each to a type of its own.
const TYPES: usize = 10;

/// Every event goes to a hundred subscriptions.
pub fn fan_out(scale: Scale) {
    const FAN: usize = 100;
    let deliveries = scale.of(200_000);
    figures::heading("fan-out", &format!("{} events to {FAN} each", deliveries / FAN));
    let one = Stage::new(scale, 4).filled(deliveries, KIB);
    let fan = one.beside(4).filled(deliveries / FAN, KIB);
    let one_cast = one.cast(|setup| setup).fanned_out(1);
    let fan_cast = fan.cast(|setup| setup).fanned_out(FAN);
    let (mut ours, mut base) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds() {
        base.push(one_cast.deliver(deliveries));
        ours.push(fan_cast.deliver(deliveries));
    }
    figures::columns();
    row("to 100 each", &ours);
    row("to one", &base);
    judge("deliveries/s / to one", &ratios(&ours, &base, |run| run.rate), Bar::AtLeast(1.0));
}

/// 100,000 subscriptions over 10,000 tenants, of which one wants each event.
pub fn tenants(scale: Scale) {
    let (tenants, events) = (scale.of(10_000), scale.of(100_000));
    let count = tenants * TYPES;
    let what = format!("{count} subscriptions, {tenants} tenants, {events} events");
    figures::heading("tenants", &what);
    let stage = Stage::new(scale, 4);
    stage.produce((0..events).map(|n| event(n, tenants, 4)));
    let one = stage.cast_with(TENANT, |setup| setup).subscribed("/ok/s0", json!({}));
    let many = stage.cast_with(TENANT, |setup| setup);
    many.write(subscriptions(&many, tenants));
    // The broker compiles again what it runs when both have begun, and takes as much as half of a core for that.
    for _ in 0..2 {
        one.deliver(events);
        many.deliver(events);
    }
    // A run takes a few seconds, and varies by more than what is looked for.
    let (mut ours, mut base) = (Vec::new(), Vec::new());
    for _ in 0..5 * scale.rounds() {
        base.push(one.deliver(events));
        ours.push(many.deliver(events));
    }
    figures::columns();
    row("many subscriptions", &ours);
    row("one subscription", &base);
    judge("rate / one subscription", &ratios(&ours, &base, |run| run.rate), Bar::AtLeast(0.95));
    starts(scale, &stage.beside(4), tenants);
}

/// What many subscriptions take when there is nothing to do but to know them.
fn starts(scale: Scale, quiet: &Stage, tenants: usize) {
    let count = (tenants * TYPES) as f64;
    let one = quiet.cast_with(TENANT, |setup| setup).subscribed("/ok/s0", json!({}));
    let many = quiet.cast_with(TENANT, |setup| setup);
    many.write(subscriptions(&many, tenants));
    let (mut ours, mut base) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds() {
        base.push(Start::of(&one));
        ours.push(Start::of(&many));
    }
    let ready = |starts: &[Start]| Series::of(starts, |start| start.ready.as_secs_f64());
    println!("  ready after {} s with one subscription", ready(&base));
    judge("start to ready, s", &ready(&ours), Bar::AtMost(3.0));
    let each = ours.iter().zip(&base).map(|(our, base)| our.beyond(base) / count);
    judge("resident KiB a subscription", &each.collect(), Bar::AtMost(1.5));
}

/// A million subscriptions over 100,000 tenants.
pub fn million(scale: Scale) {
    let (tenants, events) = (scale.of(100_000), scale.of(10_000));
    let count = tenants * TYPES;
    figures::heading("million", &format!("{count} subscriptions, {events} events"));
    let stage = Stage::new(scale, 4);
    let cast = stage.cast_with(TENANT, |setup| setup);
    let begin = Instant::now();
    cast.write(subscriptions(&cast, tenants));
    println!("  written in {} s", short(begin.elapsed().as_secs_f64()));
    let Start { ready, resident_kib, cpu } = Start::of(&cast);
    println!("  ready after {} s", short(ready.as_secs_f64()));
    println!("  {} s of CPU until then", short(cpu.as_secs_f64()));
    println!("  {} MiB resident then", short(resident_kib as f64 / 1024.0));
    stage.produce((0..events).map(|n| event(n, tenants, 4)));
    let run = cast.deliver(events);
    figures::columns();
    row("connector", &[run]);
}

/// What a connector without work took until it was ready.
struct Start {
    ready: Duration,
    resident_kib: u64,
    cpu: Duration,
}

impl Start {
    fn of(cast: &Cast) -> Self {
        let (connector, ready) = cast.start_timed();
        let id = connector.id();
        Self { ready, resident_kib: usage::resident_kib(id), cpu: usage::cpu(id) }
    }

    /// Returns the KiB by which more is resident than after another start.
    fn beyond(&self, other: &Self) -> f64 {
        self.resident_kib as f64 - other.resident_kib as f64
    }
}

/// Event `n`: the tenants in turn, and with each further turn another type.
fn event(n: usize, tenants: usize, partitions: usize) -> Draft {
    let event_type = format!("t.k{}", n / tenants % TYPES);
    let draft = place(n, partitions, typed(n, KIB, &event_type));
    draft.header("tenant", format!("tenant{}", n % tenants))
}

fn subscriptions(cast: &Cast, tenants: usize) -> impl Iterator<Item = Draft> {
    (0..tenants * TYPES).map(move |n| {
        let (tenant, kind) = (n / TYPES, n % TYPES);
        let more = json!({ "tenant": format!("tenant{tenant}") });
        let (id, events) = (format!("s{tenant}-{kind}"), format!("t.k{kind}"));
        cast.subscription(&id, &format!("/ok/{id}"), &[&events], more)
    })
}
