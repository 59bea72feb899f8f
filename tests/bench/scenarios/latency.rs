//! From produce to receiver, at a pace that leaves the machine idle most of the time.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::Scale;
use crate::figures::{self, Bar, judge, ratios};
use crate::pace::{self, EVERY, Pacer, Quantiles, micros};
use crate::roles::{Plain, Role, Worker};
use crate::stage::{Cast, IN_FLIGHT, Stage};
use crate::support::connector::Setup;
use crate::support::record::Draft;
use crate::support::scope::Scope;

/// How long events are made in a round.
const SPAN: Duration = Duration::from_secs(20);

/// Beside a loop that consumes and posts and does nothing else.
pub fn steady(scale: Scale) {
    let span = SPAN / scale.divisor();
    let what = format!("an event every {EVERY:?} for {span:?}, produce to receiver");
    figures::heading("latency", &what);
    let stage = Stage::new(scale, 4);
    // A broker that has seen backlogs only has yet to compile what it does for one event and for a commit. It gets five
    // times as many commits as in a round, and time for it, however short what is measured is.
    for _ in 0..3 {
        consume_and_post(&stage.beside(4), SPAN);
        connector(&stage.beside(4), SPAN, |setup| setup.set("ledger", "commit_interval", "'10ms'"));
    }
    // A round's p99 is its two hundred slowest events, and a pause of the broker's collector makes thirty of them.
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..2 * scale.rounds() {
        plain.push(consume_and_post(&stage.beside(4), span));
        ours.push(connector(&stage.beside(4), span, |setup| setup));
    }
    pace::row("connector", &ours);
    pace::row("consume and post", &plain);
    let p50 = ratios(&ours, &plain, |quantiles: &Quantiles| quantiles.p50);
    let p99 = ratios(&ours, &plain, |quantiles: &Quantiles| quantiles.p99);
    judge("p50 / consume and post", &p50, Bar::AtMost(1.15));
    judge("p99 / consume and post", &p99, Bar::AtMost(1.5));
}

/// Returns what the events took with a loop that consumes and posts.
fn consume_and_post(topic: &Stage, span: Duration) -> Quantiles {
    let _worker = Worker::start(&Role::Plain(Plain {
        bootstrap: topic.broker.bootstrap(),
        topic: topic.topic(),
        url: topic.receiver.url("/timed/plain"),
        in_flight: IN_FLIGHT,
    }));
    Quantiles::of(topic, span)
}

/// Returns what they took with the connector.
fn connector(topic: &Stage, span: Duration, adjust: fn(Setup) -> Setup) -> Quantiles {
    let cast = topic.cast(adjust).subscribed("/timed/s0", json!({}));
    let _connector = cast.start();
    Quantiles::of(topic, span)
}

/// With 10,000 subscriptions changed within one second, none of which gets an event.
pub fn changes(scale: Scale) {
    let count = scale.of(10_000);
    figures::heading("changes", &format!("{count} subscription changes in a second, under load"));
    let stage = Stage::new(scale, 4);
    // Warmed up as in `steady`.
    for _ in 0..2 {
        changed(&stage.beside(4), count, count);
    }
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds() {
        without.push(changed(&stage.beside(4), count, 0));
        with.push(changed(&stage.beside(4), count, count));
    }
    pace::row("with changes", &with);
    pace::row("without", &without);
    let p99 = ratios(&with, &without, |quantiles: &Quantiles| quantiles.p99);
    judge("p99 / without", &p99, Bar::AtMost(2.0));
}

/// Returns what the events took that were made while subscriptions changed, and in the second after.
fn changed(topic: &Stage, subscriptions: usize, changes: usize) -> Quantiles {
    const BEFORE: Duration = Duration::from_secs(3);
    const LOOK: Duration = Duration::from_secs(2);
    const AFTER: Duration = Duration::from_secs(1);
    let cast = topic.cast(|setup| setup).subscribed("/timed/s0", json!({}));
    cast.write(others(&cast, subscriptions, 0));
    let connector = cast.start();
    topic.receiver.reset(&[]);
    let mut pacer = Pacer::new(topic);
    pacer.warm_up();
    let drafts: Vec<_> = others(&cast, changes, 1).collect();
    let scope = &cast.scope;
    let began = std::thread::scope(|threads| {
        threads.spawn(|| {
            std::thread::sleep(BEFORE);
            within_a_second(scope, &drafts);
        });
        pacer.run(BEFORE + LOOK + AFTER)
    });
    let arrivals = pacer.arrivals();
    drop(connector);
    Quantiles::within(&arrivals, began + micros(BEFORE), LOOK)
}

/// Writes subscriptions in ten parts, one every tenth of a second.
fn within_a_second(scope: &Scope, drafts: &[Draft]) {
    for part in drafts.chunks(drafts.len().div_ceil(10).max(1)) {
        let next = Instant::now() + Duration::from_millis(100);
        scope.produce_all("subscriptions", part.iter().cloned());
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

fn others(cast: &Cast, count: usize, version: usize) -> impl Iterator<Item = Draft> {
    (0..count).map(move |n| {
        let more = json!({ "description": format!("version {version}") });
        cast.subscription(&format!("other{n}"), "/ok/other", &["other.thing"], more)
    })
}
