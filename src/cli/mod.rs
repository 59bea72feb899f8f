//! The command line: what can be asked for, and one file for each command.
//!
//! Commands print their results to standard output and what went wrong to standard error, one clear sentence a line.
//! No secret is printed, but for the one that `create` has just made.

mod audit;
pub mod check;
pub mod completions;
pub mod dead_letters;
pub mod deliveries;
pub mod demo;
mod failure;
mod json;
pub mod listen;
mod progress;
pub mod replay;
mod resend;
pub mod run;
pub mod stats;
pub mod subscriptions;
mod table;
#[cfg(test)]
mod tests;
mod times;
pub mod topics;
pub mod verify;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand, ValueEnum};

pub use failure::Failure;

use crate::config::{Config, Problem, environment};

/// The settings file that is read if none is named and this one exists.
pub const DEFAULT_FILE: &str = "config/connector.toml";

/// Delivers Kafka events as signed webhooks.
#[derive(Parser)]
#[command(name = "kafka-webhooks", version, about, subcommand_required = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 64 bad settings.")]
pub struct Cli {
    /// The settings file [default: config/connector.toml, if it exists]
    #[arg(long, global = true, env = "KAFKA_WEBHOOKS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A setting over file and environment, such as delivery.timeout=5s; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = setting)]
    pub set: Vec<(String, String)>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// See it work: everything in one process, on an embedded broker
    #[command(after_help = "Example:\n  kafka-webhooks demo")]
    Demo,
    /// Run the connector
    #[command(
        after_help = "Example:\n  kafka-webhooks run --config connector.toml --set log.level=debug"
    )]
    Run,
    /// Check settings, broker, topics and permissions, and say what to do about problems
    #[command(after_help = "Example:\n  kafka-webhooks check --config connector.toml")]
    Check,
    /// The connector's own topics
    #[command(subcommand)]
    Topics(topics::Command),
    /// Who wants which events, and where they go
    #[command(subcommand)]
    Subscriptions(subscriptions::Command),
    /// What became of events, attempt by attempt
    #[command(subcommand)]
    Deliveries(deliveries::Command),
    /// What deliveries came to, in figures: how many, how well, how fast
    Stats(stats::Stats),
    /// What was given up or could not be read: see it, send it again
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Send a range of past events to one subscription
    Replay(replay::Replay),
    /// For receivers: a local endpoint that verifies what it gets and tells of it
    Listen(listen::Listen),
    /// For receivers: whether a request is the sender's, its body from standard input
    Verify(verify::Verify),
    /// Print what makes a shell complete this command line
    Completions(completions::Completions),
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table for people
    #[default]
    Table,
    /// JSON; a listing is an array
    Json,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let setting = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) = setting.ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Loads the settings that a command line asks for.
///
/// # Errors
/// All problems with them; the process ends with 64.
pub fn load(cli: &Cli) -> Result<Config, Vec<Problem>> {
    Config::load(settings_file(cli), environment(), cli.set.clone())
}

/// Returns the settings file: the named one, which must exist, or the default one if it does.
pub fn settings_file(cli: &Cli) -> Option<&Path> {
    let default = Path::new(DEFAULT_FILE);
    cli.config.as_deref().or_else(|| default.exists().then_some(default))
}
