//! What the benchmark's own program is when it runs as a process beside the benchmark.

mod limit;
mod plain;
mod receiver;

use std::env;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::support::process::Process;

pub use limit::{Limit, Used};
pub use plain::Plain;

/// The argument that makes the program take a role; the next one is the role in JSON.
const ARGUMENT: &str = "--role";

/// A role and all that it needs.
#[derive(Serialize, Deserialize)]
pub enum Role {
    /// Answers and counts.
    Receiver { address: SocketAddr },
    /// Signs and posts, and nothing else.
    Limit(Limit),
    /// Consumes and posts, and nothing else.
    Plain(Plain),
}

/// Plays the role that the command line names, if it names one; tells whether it did.
pub fn play() -> bool {
    let mut arguments = env::args().skip(1);
    if arguments.next().as_deref() != Some(ARGUMENT) {
        return false;
    }
    let role = arguments.next().expect("a role follows its argument");
    match serde_json::from_str(&role).expect("the benchmark writes its roles itself") {
        Role::Receiver { address } => receiver::run(address),
        Role::Limit(limit) => limit.run(),
        Role::Plain(plain) => plain.run(),
    }
    true
}

/// The program in a role, as a process of its own; dropping it kills it.
pub struct Worker {
    process: Process,
    // After `process`, so that the folder is removed when nothing writes to it any more.
    _folder: TempDir,
}

impl Worker {
    /// Starts it.
    pub fn start(role: &Role) -> Self {
        let folder = tempfile::Builder::new().prefix("kafka-webhooks-bench-").tempdir();
        let folder = folder.expect("the temporary folder is writable");
        let program = env::current_exe().expect("the system knows what it runs");
        let mut command = Command::new(program);
        command.arg(ARGUMENT).arg(serde_json::to_string(role).expect("a role is JSON"));
        let log = folder.path().join("log");
        let process = Process::start("a part of the benchmark", &mut command, &log, folder.path());
        Self { process, _folder: folder }
    }

    /// Returns its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until it has ended well, and returns the last line that it printed.
    pub fn finish(mut self, timeout: Duration) -> String {
        let status = self.process.wait_exit(timeout);
        assert!(status.success(), "{status}; {}", self.process.last_lines());
        self.process.log().lines().last().unwrap_or_default().to_owned()
    }

    /// Returns the last lines that it printed, for the message of a failure.
    pub fn last_lines(&self) -> String {
        self.process.last_lines()
    }
}
