//! One endpoint harms nobody: what the others lose by those that hang, fail, are slow or flooded, how one that was away comes
//! back, and what large bodies take of memory.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::Scale;
use crate::event::{self, KIB};
use crate::figures::{self, Bar, Series, judge, ratios, row};
use crate::pace::{self, EVERY, Pacer, Quantiles, micros};
use crate::receiver::{Latency, Receiver};
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
    let stage = Stage::new(scale, 4).filled(events, KIB);
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

/// A thousand endpoints, of which 100 fail, 100 take 2 s and 10 hang, beside the others alone.
pub fn crowd(scale: Scale) {
    const ALL: usize = 1_000;
    const HEALTHY: usize = 790;
    const RATE: u32 = 2_000;
    let span = Duration::from_secs(30) / scale.divisor();
    figures::heading(
        "crowd",
        &format!("{RATE} events/s to {ALL} endpoints in turn: 100 fail, 100 take 2 s, 10 hang"),
    );
    let stage = Stage::new(scale, 4);
    let run = |count: usize| {
        let topic = stage.beside(4);
        let cast = topic.cast(|setup| setup);
        cast.write((0..count).map(|n| {
            let path = match n {
                0..HEALTHY => "timed",
                HEALTHY..890 => "fail",
                890..990 => "late",
                _ => "hang",
            };
            let (id, event_type) = (format!("s{n}"), format!("t.k{n}"));
            cast.subscription(&id, &format!("/{path}/{id}"), &[&event_type], json!({}))
        }));
        let connector = cast.start();
        let pacer = Pacer::new(&topic).paced(Duration::from_secs(1) / RATE, ALL, HEALTHY);
        let quantiles = Quantiles::by(pacer, span);
        drop(connector);
        quantiles
    };
    let (mut beside, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds() {
        alone.push(run(HEALTHY));
        beside.push(run(ALL));
    }
    pace::row("healthy beside the others", &beside);
    pace::row("healthy alone", &alone);
    let p99 = ratios(&beside, &alone, |quantiles: &Quantiles| quantiles.p99);
    judge("p99 / alone", &p99, Bar::AtMost(2.0));
}

/// What a flooded endpoint takes in a second, and of how many types events are, all but one of which go to it.
const RATE: f64 = 50.0;
const TYPES: usize = 10;

/// An endpoint that nine in ten events go to and that takes 50 a second, beside another, which is also looked at alone.
pub fn flood(scale: Scale) {
    let span = Duration::from_secs(15) / scale.divisor();
    figures::heading(
        "flood",
        &format!("an event every {EVERY:?}, nine in ten to an endpoint that takes {RATE} a second"),
    );
    let stage = Stage::new(scale, 4);
    let run = |other: fn(&Cast) -> Vec<Draft>| {
        let topic = stage.beside(4);
        let cast = topic.cast(|setup| setup);
        cast.write([cast.subscription("s0", "/timed/s0", &["t.k0"], json!({}))]);
        cast.write(other(&cast));
        let connector = cast.start();
        let receiver: &Receiver = &topic.receiver;
        receiver.reset(&[]);
        let mut pacer = Pacer::new(&topic).paced(EVERY, TYPES, 1);
        pacer.warm_up();
        let (began, rate) = std::thread::scope(|threads| {
            let rate = threads.spawn(move || rate_of_others(receiver, span));
            (pacer.run(span), rate.join().expect("it only counts"))
        });
        let arrivals = pacer.arrivals();
        drop(connector);
        (Quantiles::within(&arrivals, began, span), rate)
    };
    let (mut beside, mut alone, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.rounds() {
        alone.push(run(|_| Vec::new()).0);
        let (quantiles, rate) = run(|cast| vec![flooded(cast)]);
        beside.push(quantiles);
        rates.push(rate);
    }
    pace::row("one beside the flooded", &beside);
    pace::row("one alone", &alone);
    let p99 = ratios(&beside, &alone, |quantiles: &Quantiles| quantiles.p99);
    judge("p99 / alone", &p99, Bar::AtMost(1.5));
    let off = Series::of(&rates, |rate| (rate / RATE - 1.0).abs());
    println!("  the flooded has {} a second", Series::of(&rates, |rate| *rate));
    judge("off its rate", &off, Bar::AtMost(0.05));
}

fn flooded(cast: &Cast) -> Draft {
    let types: Vec<_> = (1..TYPES).map(|n| format!("t.k{n}")).collect();
    let types: Vec<_> = types.iter().map(String::as_str).collect();
    let rate = json!({"rateLimit": {"requests": RATE as u32, "per": "1s"}});
    cast.subscription("flooded", "/ok/flooded", &types, rate)
}

/// Returns the requests a second that aren't timed, counted over the middle of a span of time that begins now.
fn rate_of_others(receiver: &Receiver, span: Duration) -> f64 {
    let count = || {
        let all = receiver.report().requests;
        (all.saturating_sub(receiver.latencies().len()), Instant::now())
    };
    std::thread::sleep(span / 5);
    let (before, began) = count();
    std::thread::sleep(span * 3 / 5);
    let (after, ended) = count();
    (after - before) as f64 / ended.duration_since(began).as_secs_f64()
}

/// An endpoint with a backlog that is away for 10 s, and overrun by many requests at once when it has just come back.
pub fn recovery(scale: Scale) {
    const AWAY: Duration = Duration::from_secs(10);
    let events = scale.of(100_000);
    figures::heading(
        "recovery",
        &format!("{events} events to an endpoint that is away for {AWAY:?}, then takes 20 ms"),
    );
    let stage = Stage::new(scale, 4).filled(events, KIB);
    let (mut back, mut usual, mut overrun) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.rounds() {
        let run = |away: Option<Duration>| {
            let cast = stage.cast(|setup| setup).subscribed("/cold/s0", json!({}));
            let receiver = &stage.receiver;
            receiver.reset(&[]);
            if away.is_some() {
                receiver.go_away();
            }
            let connector = cast.start();
            if let Some(away) = away {
                std::thread::sleep(away);
                receiver.come_back();
            }
            let report = receiver.wait_distinct(events);
            drop(connector);
            (Arrivals::of(&receiver.latencies()), report.overrun)
        };
        let (arrivals, _) = run(None);
        let full = arrivals.most();
        let (arrivals, over) = run(Some(AWAY));
        usual.push(full);
        back.push(arrivals.reach(full * 0.9));
        overrun.push(over as f64);
    }
    println!("  full speed {} deliveries/s", Series::of(&usual, |rate| *rate));
    judge("at full speed after, s", &Series::of(&back, |seconds| *seconds), Bar::AtMost(5.0));
    judge("overrun, requests", &Series::of(&overrun, |count| *count), Bar::AtMost(0.0));
}

/// How many deliveries there were in each part of the time since the first.
struct Arrivals(Vec<usize>);

impl Arrivals {
    const PART: Duration = Duration::from_millis(250);

    fn of(latencies: &[Latency]) -> Self {
        let first = latencies.iter().map(Latency::arrived).min().unwrap_or(0);
        let mut parts = Vec::new();
        for latency in latencies {
            let part = (latency.arrived() - first) / micros(Self::PART);
            let part = usize::try_from(part).expect("it doesn't run that long");
            parts.resize(parts.len().max(part + 1), 0);
            parts[part] += 1;
        }
        Self(parts)
    }

    fn rates(&self) -> impl Iterator<Item = f64> {
        self.0.iter().map(|count| *count as f64 / Self::PART.as_secs_f64())
    }

    /// Returns the rate that is reached in half of the parts.
    fn most(&self) -> f64 {
        self.rates().collect::<Series>().median()
    }

    /// Returns the seconds after which a rate is reached.
    fn reach(&self, rate: f64) -> f64 {
        let part = self.rates().position(|reached| reached >= rate);
        part.map_or(f64::INFINITY, |part| (part + 1) as f64 * Self::PART.as_secs_f64())
    }
}

/// Bodies of 1 MiB, against the budget of bytes in flight.
pub fn large(scale: Scale) {
    const BUDGET_MIB: f64 = 64.0;
    const PART: usize = 100;
    let events = scale.of(10_000);
    figures::heading("large", &format!("{events} bodies of 1 MiB, a budget of {BUDGET_MIB} MiB"));
    let stage = Stage::new(scale, 4);
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
