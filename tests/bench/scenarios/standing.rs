//! What must cost nothing: a long backlog, a full retry wheel, idleness.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use crate::Scale;
use crate::event::{KIB, envelope, place};
use crate::figures::{self, Bar, Series, judge, ratios, row};
use crate::stage::Stage;
use crate::support::record::Draft;
use crate::usage;

/// A million events of backlog.
pub fn memory(scale: Scale) {
    let (few, many) = (scale.of(10_000), scale.of(1_000_000));
    figures::heading("memory", &format!("a backlog of {many} events"));
    let short = Stage::new(scale, 4).filled(few, KIB);
    let long = short.beside(4).filled(many, KIB);
    let short = short.cast(|setup| setup).subscribed("/ok/s0", json!({}));
    let long = long.cast(|setup| setup).subscribed("/ok/s0", json!({}));
    let (mut ours, mut base) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds() {
        base.push(short.deliver(few));
        ours.push(long.deliver(many));
    }
    figures::columns();
    row(&format!("{many} events"), &ours);
    row(&format!("{few} events"), &base);
    judge("peak / short backlog's", &ratios(&ours, &base, |run| run.peak_mib), Bar::AtMost(1.2));
    judge("peak MiB", &Series::of(&ours, |run| run.peak_mib), Bar::AtMost(150.0));
}

/// 500,000 deliveries that wait for their retry.
pub fn wheel(scale: Scale) {
    let (waiting, events) = (scale.of(500_000), scale.of(100_000));
    figures::heading("wheel", &format!("{waiting} records wait in a tier, {events} fresh events"));
    let stage = Stage::new(scale, 4).filled(events, KIB);
    let empty = stage.cast(|setup| setup).subscribed("/ok/s0", json!({}));
    let full = stage.cast(|setup| setup).subscribed("/ok/s0", json!({}));
    let now = Timestamp::now();
    full.fill("retry.1h", (0..waiting).map(|n| wait(n, now)));
    let (mut ours, mut base) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds() {
        base.push(empty.deliver(events));
        ours.push(full.deliver(events));
    }
    figures::columns();
    row("full wheel", &ours);
    row("empty wheel", &base);
    judge("rate / empty wheel", &ratios(&ours, &base, |run| run.rate), Bar::AtLeast(0.95));
}

/// A retry of a delivery that failed now and is due in two hours.
fn wait(n: usize, now: Timestamp) -> Draft {
    const DUE: Duration = Duration::from_secs(2 * 3600);
    let due = now.checked_add(DUE).expect("two hours ahead is in range");
    let (now, due) = (format!("{now:.3}"), format!("{due:.3}"));
    place(n, 4, envelope(n, KIB))
        .header("webhooks-subscription", "s0")
        .header("webhooks-id", format!("evt_w{n}"))
        .header("webhooks-trigger", "event")
        .header("webhooks-attempts", "3")
        .header("webhooks-due-at", due)
        .header("webhooks-first-at", &now)
        .header("webhooks-origin", format!("orders/{}/{n}", n % 4))
        .header("webhooks-origin-timestamp", now)
        .header("webhooks-reason", "http-status")
        .header("webhooks-status", "503")
}

/// Nothing to do.
pub fn idle(scale: Scale) {
    const SETTLE: Duration = Duration::from_secs(3);
    // The clock of CPU time is too coarse for less.
    let span = Duration::from_secs(20) / scale.divisor().min(2);
    let what = format!("16 partitions of every topic, all tiers, {span:?} each round");
    figures::heading("idle", &what);
    let stage = Stage::new(scale, 16);
    let cast = stage.cast(|setup| setup.set("topics", "partitions", "16"));
    let cast = cast.subscribed("/ok/s0", json!({}));
    let connector = cast.start();
    std::thread::sleep(SETTLE);
    let shares = (0..scale.rounds()).map(|_| {
        let before = usage::cpu(connector.id());
        std::thread::sleep(span);
        100.0 * (usage::cpu(connector.id()) - before).as_secs_f64() / span.as_secs_f64()
    });
    judge("% of a core", &shares.collect(), Bar::AtMost(1.0));
}
