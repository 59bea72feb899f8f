//! The program: command line, settings, command, exit code.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use kafka_webhooks::cli::{self, Cli, Command, Failure};
use kafka_webhooks::kafka::Connection;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The arenas that librdkafka's threads share. With one for each of them they hold a tenth more memory and take as much CPU.
#[cfg(target_env = "gnu")]
const ARENAS: std::ffi::c_int = 2;

fn main() -> ExitCode {
    // SAFETY: it takes two numbers, and no other thread runs yet.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
    let cli = Cli::parse();
    match execute(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprint!("{failure}");
            failure.exit_code()
        }
    }
}

fn execute(cli: &Cli) -> Result<(), Failure> {
    let out = &mut io::stdout();
    // These need no settings.
    match &cli.command {
        Command::Demo => return cli::demo::run(out),
        Command::Listen(listen) => return cli::listen::run(listen),
        Command::Verify(verify) => return cli::verify::run(verify, &mut io::stdin(), out),
        Command::Completions(completions) => return cli::completions::print(completions, out),
        _ => {}
    }
    let config = cli::load(cli).map_err(Failure::Settings)?;
    let connection = Connection::new(&config);
    match &cli.command {
        Command::Demo | Command::Listen(_) | Command::Verify(_) | Command::Completions(_) => Ok(()),
        Command::Run => cli::run::run(&config),
        Command::Check => cli::check::check(&connection, out),
        Command::Topics(cli::topics::Command::Create) => cli::topics::create(&connection, out),
        Command::Subscriptions(command) => cli::subscriptions::run(command, &connection, out),
        Command::DeadLetters(command) => cli::dead_letters::run(command, &connection, out),
        Command::Replay(replay) => cli::replay::run(replay, &connection, out),
        Command::Deliveries(command) => cli::deliveries::run(command, &connection, out),
        Command::Stats(stats) => cli::stats::stats(stats, &connection, out),
    }
}
