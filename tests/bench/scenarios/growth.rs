//! How cost grows with what there is more of.

use crate::Scale;
use crate::event::{self, KIB};
use crate::figures::{self, Run, row};
use crate::stage::{Cast, IN_FLIGHT, Stage};

/// With the subscriptions that an event goes to; as many deliveries each time.
pub fn matched(scale: Scale) {
    let deliveries = scale.of(100_000);
    let what = format!("{deliveries} deliveries, by subscriptions an event goes to");
    figures::heading("matched", &what);
    let stage = Stage::new(scale, 4);
    let counts = [1, 10, 100, 1_000];
    let stages = counts.map(|count| stage.beside(4).filled(deliveries / count, KIB));
    let pairs = stages.iter().zip(counts);
    let casts: Vec<_> = pairs.map(|(stage, n)| stage.cast(|setup| setup).fanned_out(n)).collect();
    table(scale, &counts.map(|count| count.to_string()), |n| casts[n].deliver(deliveries));
}

/// With the size of an event, beside the limit.
pub fn bodies(scale: Scale) {
    /// Bytes, events, and how the size is called.
    const SIZES: [(usize, usize, &str); 4] = [
        (256, 100_000, "256 B"),
        (KIB, 100_000, "1 KiB"),
        (16 * KIB, 20_000, "16 KiB"),
        (256 * KIB, 5_000, "256 KiB"),
    ];
    figures::heading("bodies", "by bytes of an event");
    let stage = Stage::new(scale, 4);
    let stages = SIZES.map(|(size, count, _)| stage.beside(4).filled(scale.of(count), size));
    let casts = one_each(&stages);
    let limits = SIZES.map(|(_, _, name)| format!("limit, {name}"));
    let names: Vec<_> =
        SIZES.map(|(_, _, name)| name.to_owned()).into_iter().chain(limits).collect();
    table(scale, &names, |n| {
        let (size, count, _) = SIZES[n % SIZES.len()];
        match casts.get(n) {
            Some(cast) => cast.deliver(scale.of(count)),
            None => stage.limit("/ok/s0", scale.of(count), IN_FLIGHT, size),
        }
    });
}

/// With the partitions of the events' topic, and with all events in one of them.
pub fn partitions(scale: Scale) {
    let events = scale.of(100_000);
    figures::heading("partitions", &format!("{events} events, by partitions of their topic"));
    let stage = Stage::new(scale, 4);
    let counts = [1, 4, 16, 64];
    let one_of_four = stage.beside(4);
    one_of_four.produce((0..events).map(|n| event::draft(n, KIB, 1)));
    let mut stages = Vec::from(counts.map(|count| stage.beside(count).filled(events, KIB)));
    stages.push(one_of_four);
    let casts = one_each(&stages);
    let names: Vec<_> = counts.iter().map(usize::to_string).chain(["1 of 4".to_owned()]).collect();
    table(scale, &names, |n| casts[n].deliver(events));
}

/// With the instances that share a backlog; CPU is that of all together.
pub fn instances(scale: Scale) {
    let events = scale.of(200_000);
    figures::heading("instances", &format!("{events} events in 12 partitions, by instances"));
    let stage = Stage::new(scale, 12).filled(events, KIB);
    let cast = stage.cast(|setup| setup).fanned_out(1);
    table(scale, &[1, 2, 3].map(|count| count.to_string()), |n| cast.deliver_by(n + 1, events));
}

fn one_each(stages: &[Stage]) -> Vec<Cast<'_>> {
    stages.iter().map(|stage| stage.cast(|setup| setup).fanned_out(1)).collect()
}

/// Makes every run in every round, and prints a row of each.
fn table(scale: Scale, names: &[String], run: impl Fn(usize) -> Run) {
    let mut runs = vec![Vec::new(); names.len()];
    for _ in 0..scale.rounds() {
        for (n, runs) in runs.iter_mut().enumerate() {
            runs.push(run(n));
        }
    }
    figures::columns();
    for (name, runs) in names.iter().zip(&runs) {
        row(name, runs);
    }
}
