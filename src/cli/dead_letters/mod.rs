//! `dead-letters …`: what was given up or couldn't be read, listed, shown and sent again.

mod document;
mod filters;
mod list;
mod redrive;
mod scan;
mod show;

use std::io::Write;

use clap::Subcommand;

use super::Failure;
use crate::kafka::Connection;

pub use list::List;
pub use redrive::Redrive;
pub use show::Show;

/// What to do with dead letters.
#[derive(Subcommand)]
pub enum Command {
    /// List dead letters
    List(List),
    /// Show a dead letter; its value only if that is asked for
    Show(Show),
    /// Send dead letters again: each starts its retry schedule anew, and keeps its event's id
    Redrive(Redrive),
}

/// Does what is asked for, and prints the result.
///
/// # Errors
/// The cluster can't be reached, or the command can't be done; what was written before is whole.
pub fn run(
    command: &Command,
    connection: &Connection,
    out: &mut impl Write,
) -> Result<(), Failure> {
    match command {
        Command::List(list) => list::list(list, connection, out),
        Command::Show(show) => show::show(show, connection, out),
        Command::Redrive(redrive) => redrive::redrive(redrive, connection, out),
    }
}
