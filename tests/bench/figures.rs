//! Figures: what one run took, what several say together, and how that is printed.

use std::fmt;
use std::time::Duration;

use crate::receiver::Report;

/// What one run took.
#[derive(Clone, Debug)]
pub struct Run {
    /// Deliveries a second, from the first request to the last delivery.
    pub rate: f64,
    /// Microseconds of CPU a delivery, of the processes that deliver.
    pub cpu_micros: f64,
    /// The most memory in MiB that one of these processes had resident.
    pub peak_mib: f64,
    /// Requests that were made.
    pub requests: usize,
    /// Deliveries that were answered 200 more than once.
    pub repeats: usize,
    /// From the first request to the last delivery.
    pub took: Duration,
    /// Requests a second while first attempts were made.
    pub fresh_rate: f64,
}

impl Run {
    /// Puts together what the receiver and the system say.
    pub fn new(report: &Report, cpu: Duration, peak_kib: u64) -> Self {
        let deliveries = report.distinct as f64;
        let fresh = report.requests_while_fresh as f64;
        Self {
            rate: deliveries / report.took().as_secs_f64(),
            cpu_micros: cpu.as_secs_f64() * 1e6 / deliveries,
            peak_mib: peak_kib as f64 / 1024.0,
            requests: report.requests,
            repeats: report.repeats,
            took: report.took(),
            fresh_rate: fresh / report.took_while_fresh().as_secs_f64(),
        }
    }
}

/// The same figure of several rounds, in ascending order.
#[derive(Clone, Debug, Default)]
pub struct Series(Vec<f64>);

impl Series {
    /// Takes a figure of each run.
    pub fn of<T>(runs: &[T], figure: impl Fn(&T) -> f64) -> Self {
        runs.iter().map(figure).collect()
    }

    /// Returns the middle one, between two the mean; NaN when there is none.
    pub fn median(&self) -> f64 {
        let Self(sorted) = self;
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }
}

impl FromIterator<f64> for Series {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        let mut sorted: Vec<_> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Self(sorted)
    }
}

/// Shows the median, and the least and the most around it.
impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(sorted) = self;
        let (Some(least), Some(most)) = (sorted.first(), sorted.last()) else {
            return f.pad("none");
        };
        f.pad(&format!("{} ({}–{})", short(self.median()), short(*least), short(*most)))
    }
}

/// Writes a number with about three digits that count.
pub fn short(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

/// Prints the heading of a scenario.
pub fn heading(name: &str, what: &str) {
    println!("\n## {name}: {what}");
}

/// Prints the columns of [`row`].
pub fn columns() {
    println!("{:26}{:>26}{:>26}{:>22}", "", "deliveries/s", "µs CPU a delivery", "peak MiB");
}

/// Prints what several runs of one thing took.
pub fn row(name: &str, runs: &[Run]) {
    let rate = Series::of(runs, |run| run.rate);
    let cpu = Series::of(runs, |run| run.cpu_micros);
    let peak = Series::of(runs, |run| run.peak_mib);
    println!("{name:26}{rate:>26}{cpu:>26}{peak:>22}");
}

/// What a figure has to be.
#[derive(Clone, Copy, Debug)]
pub enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

/// Prints whether a figure's median reaches its bar.
pub fn judge(what: &str, figure: &Series, bar: Bar) {
    let (sign, limit, reached) = match bar {
        Bar::AtLeast(limit) => ("≥", limit, figure.median() >= limit),
        Bar::AtMost(limit) => ("≤", limit, figure.median() <= limit),
    };
    let verdict = if reached { "reached" } else { "MISSED" };
    println!("  {verdict:8} {what} {sign} {}: {figure}", short(limit));
}

/// Returns, round by round, what one thing is relative to another: noise that lasts longer than a round cancels out.
pub fn ratios<T>(ours: &[T], theirs: &[T], figure: impl Fn(&T) -> f64) -> Series {
    ours.iter().zip(theirs).map(|(our, their)| figure(our) / figure(their)).collect()
}
