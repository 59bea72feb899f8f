//! `completions`: what makes a shell complete the command line.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Failure};

/// For which shell.
#[derive(Args)]
#[command(after_help = "\
Examples:
  kafka-webhooks completions bash > /etc/bash_completion.d/kafka-webhooks
  kafka-webhooks completions zsh > ~/.zfunc/_kafka-webhooks
  kafka-webhooks completions fish > ~/.config/fish/completions/kafka-webhooks.fish")]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the shell's script.
///
/// # Errors
/// The output can't be written.
pub fn print(completions: &Completions, out: &mut impl Write) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(completions.shell, &mut Cli::command(), "kafka-webhooks", &mut script);
    let script = String::from_utf8(script).expect("names and words of commands are text");
    // To bash it writes our name in two ways, because of the hyphen, and completes nothing behind a command then
    // (clap-rs/clap #6421).
    let script = script.replace("kafka__subcmd__webhooks", "kafka__webhooks");
    Ok(out.write_all(script.as_bytes())?)
}
