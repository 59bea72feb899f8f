//! How commands fail, and what the process says and returns then.

use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::config::Problem;
use crate::kafka::cluster::ClusterError;

/// The exit code for wrong usage, as clap's own.
const WRONG_USAGE: u8 = 2;

/// The exit code for bad settings (`EX_USAGE` of sysexits.h; clap's own 2 is for the command line).
const BAD_SETTINGS: u8 = 64;

/// The most lines that are printed of one failure.
const LINES_MAX: usize = 200;

/// Why a command didn't do what it was asked to.
#[derive(Debug)]
pub enum Failure {
    /// The settings have these problems.
    Settings(Vec<Problem>),
    /// The command line asks for what can't be; one sentence.
    Usage(String),
    /// It failed; one sentence a line.
    Failed(Vec<String>),
    /// It failed, and its output says how.
    Told,
    /// Its output can't be written.
    Output(io::Error),
}

impl Failure {
    /// Makes a failure of one sentence.
    pub fn of(sentence: impl Into<String>) -> Self {
        Self::Failed(vec![sentence.into()])
    }

    /// Returns the process's exit code: 64 for settings, 2 for usage, else 1.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Settings(_) => ExitCode::from(BAD_SETTINGS),
            Self::Usage(_) => ExitCode::from(WRONG_USAGE),
            Self::Failed(_) | Self::Told | Self::Output(_) => ExitCode::FAILURE,
        }
    }
}

/// One line for each thing that is wrong, 200 at most; nothing if all is said.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = match self {
            Self::Settings(problems) => {
                problems.iter().map(|problem| format!("settings: {problem}")).collect()
            }
            Self::Usage(sentence) => vec![sentence.clone()],
            Self::Failed(sentences) => sentences.clone(),
            // Whoever read it has gone: nobody is there to be told.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Vec::new(),
            Self::Output(error) => vec![format!("the output can't be written: {error}")],
            Self::Told => Vec::new(),
        };
        for line in lines.iter().take(LINES_MAX) {
            writeln!(f, "{line}")?;
        }
        match lines.len().checked_sub(LINES_MAX) {
            Some(more) if more > 0 => writeln!(f, "and {more} more"),
            _ => Ok(()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Self {
        match error {
            ClusterError::Property { name, problem } => {
                let path = format!("kafka.properties.{name:?}");
                Self::Settings(vec![Problem::new(path, problem)])
            }
            error => Self::of(error.to_string()),
        }
    }
}
