//! The benchmark: what a delivery costs, beside what it costs at least.
//!
//! `cargo bench` plays every scenario on a broker, a receiver and a connector of its own, each in its own process, and
//! in the same run the limit: a loop that signs and posts the same bodies to the same receiver and does nothing else.
//! `cargo bench -- NAME…` plays some, `--quick` makes what is measured ten times smaller.
//!
//! Everything shares one machine, so figures are worth something only beside each other: runs to be compared take
//! turns, and a ratio is that of two runs of one round. What is printed is the median of the rounds, with the least and
//! the most of them. All traffic stays on loopback; every child ends with this process, however it ends.

mod event;
mod figures;
mod pace;
mod receiver;
mod roles;
mod scenarios;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod usage;

use std::process::ExitCode;

use clap::Parser;

use scenarios::SCENARIOS;

/// Measures the connector.
#[derive(Parser)]
struct Arguments {
    /// The scenarios to play, all without any
    names: Vec<String>,
    /// Ten times smaller
    #[arg(long)]
    quick: bool,
    /// Rounds of each comparison; scenarios that vary much play a multiple
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// How large everything is.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    divisor: u32,
    rounds: u32,
}

impl Scale {
    /// Returns how many of so many there are.
    pub fn of(self, count: usize) -> usize {
        count / self.divisor as usize
    }

    /// Returns what times are divided by.
    pub fn divisor(self) -> u32 {
        self.divisor
    }

    /// Returns how many rounds of a comparison are asked for.
    pub fn rounds(self) -> u32 {
        self.rounds
    }
}

fn main() -> ExitCode {
    if roles::play() {
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::parse();
    for name in &arguments.names {
        if !SCENARIOS.iter().any(|(known, _)| known == name) {
            let known: Vec<_> = SCENARIOS.iter().map(|(known, _)| *known).collect();
            eprintln!("{name} is none of the scenarios: {}", known.join(", "));
            return ExitCode::from(2);
        }
    }
    let divisor = if arguments.quick { 10 } else { 1 };
    let scale = Scale { divisor, rounds: arguments.rounds };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{cores} cores; {} rounds asked for; median (least–most)", scale.rounds);
    for (name, play) in SCENARIOS {
        if arguments.names.is_empty() || arguments.names.iter().any(|wanted| wanted == name) {
            play(scale);
        }
    }
    ExitCode::SUCCESS
}
