//! One endpoint harms nobody: what the others lose by one that hangs, and what large bodies take of memory.

use std::time::Duration;

use serde_json::json;

use crate::Scale;
use crate::event::{self, KIB};
use crate::figures::{self, Bar, Series, judge, ratios, row};
use crate::pace::{self, Quantiles};
use crate::stage::{Cast, Stage};
use crate::support::record::Draft;

/// Ten endpoints that get every event, of which one hangs, beside the nine alone.
pub fn hanging(scale: Scale) {
    const OTHERS: usize = 9;
    let events = scale.of(20_000);
    figures::heading(
        "hanging",
        &format!("{events} events to each of nine, and to a tenth that hangs"),
    );
    let stage = Stage::new(4).filled(events, KIB);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let (mut beside, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds() {
        let nine = stage.cast(|setup| setup).fanned_out(OTHERS);
        without.push(nine.deliver(OTHERS * events));
        let ten = stage.cast(|setup| setup).fanned_out(OTHERS);
        ten.write([hangs(&ten)]);
        with.push(ten.deliver(OTHERS * events));
        alone.push(paced(&stage.beside(4), scale, |_| None));
        beside.push(paced(&stage.beside(4), scale, |cast| Some(hangs(cast))));
    }
    figures::columns();
    row("nine beside one", &with);
    row("nine alone", &without);
    pace::row("one beside one", &beside);
    pace::row("one alone", &alone);
    judge("rate of the nine / alone", &ratios(&with, &without, |run| run.rate), Bar::AtLeast(0.95));
    let p99 = ratios(&beside, &alone, |quantiles: &Quantiles| quantiles.p99);
    judge("p99 / alone", &p99, Bar::AtMost(1.5));
}

fn hangs(cast: &Cast) -> Draft {
    cast.subscription("hanging", "/hang/it", &["*"], json!({}))
}

/// Returns what events at an even pace took to one endpoint, perhaps beside another.
fn paced(topic: &Stage, scale: Scale, other: impl Fn(&Cast) -> Option<Draft>) -> Quantiles {
    let span = Duration::from_secs(15) / scale.divisor();
    let cast = topic.cast(|setup| setup).subscribed("/timed/s0", json!({}));
    cast.write(other(&cast));
    let connector = cast.start();
    let quantiles = Quantiles::of(topic, span);
    drop(connector);
    quantiles
}

/// Bodies of 1 MiB, against the budget of bytes in flight.
pub fn large(scale: Scale) {
    const BUDGET_MIB: f64 = 64.0;
    const PART: usize = 100;
    let events = scale.of(10_000);
    figures::heading("large", &format!("{events} bodies of 1 MiB, a budget of {BUDGET_MIB} MiB"));
    let stage = Stage::new(4);
    // A part at a time, so that the benchmark itself stays small.
    for from in (0..events).step_by(PART) {
        let part = from..(from + PART).min(events);
        stage.produce(part.map(|n| event::draft(n, 1 << 20, stage.partitions)));
    }
    let cast = stage.cast(|setup| setup).subscribed("/ok/s0", json!({}));
    let runs = [cast.deliver(events)];
    figures::columns();
    row("connector", &runs);
    let peak = Series::of(&runs, |run| run.peak_mib);
    judge("peak MiB", &peak, Bar::AtMost(BUDGET_MIB + 100.0));
}
