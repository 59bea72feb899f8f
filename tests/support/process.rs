//! Child processes that never outlive the test process, not even its kill -9.
//!
//! Beside each child runs a watcher: a small shell that reads from a pipe only the test process holds. When the
//! test process ends, however it ends, the read returns, and the watcher kills the child and removes its folder.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Waits for the pipe's end, kills process `$1`, waits (bounded) until it is gone, removes folder `$2`.
const WATCHER: &str = r#"
read -r line
kill -KILL "$1"
tries=0
while kill -0 "$1" && [ "$tries" -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
rm -rf -- "$2"
"#;

/// How often the state of another process is looked at; there is nothing to block on.
pub const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A running child with its watcher; dropping it kills the child.
pub struct Process {
    name: String,
    child: Child,
    /// `None` once the child's end was seen: its pid must not be killed any more.
    watcher: Option<Child>,
    log: PathBuf,
    /// Whether a failure's message holds the last lines already.
    told: AtomicBool,
}

impl Process {
    /// Starts `command` with its output appended to the file `log`.
    ///
    /// `folder` is removed when the test process ends while the child still runs; otherwise it is left alone.
    pub fn start(name: &str, command: &mut Command, log: &Path, folder: &Path) -> Self {
        let out =
            OpenOptions::new().create(true).append(true).open(log).unwrap_or_else(|error| {
                panic!("can't open {name}'s log {}: {error}", log.display())
            });
        let err = out.try_clone().expect("an open file's handle can be duplicated");
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| panic!("can't start {name}: {error}"));
        let watcher = Command::new("sh")
            .args(["-c", WATCHER, "watcher", &child.id().to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("can't start the watcher of {name}: {error}"));
        Self {
            name: name.to_owned(),
            child,
            watcher: Some(watcher),
            log: log.to_owned(),
            told: AtomicBool::new(false),
        }
    }

    /// Returns the child's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the exit status if the child has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        let status = self
            .child
            .try_wait()
            .unwrap_or_else(|error| panic!("can't ask for the state of {}: {error}", self.name));
        if status.is_some() {
            self.dismiss_watcher();
        }
        status
    }

    /// Sends a signal, e.g. `"TERM"`; one to a child that has ended is ignored.
    pub fn signal(&mut self, signal: &str) {
        if self.exited().is_some() {
            return;
        }
        // The child is not reaped yet, so its pid can't belong to another process.
        let status = Command::new("kill")
            .args(["-s", signal, &self.child.id().to_string()])
            .status()
            .unwrap_or_else(|error| panic!("can't run kill for {}: {error}", self.name));
        assert!(status.success(), "kill -s {signal} of {} failed: {status}", self.name);
    }

    /// Kills the child (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) -> ExitStatus {
        // An error means that it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let status = self
            .child
            .wait()
            .unwrap_or_else(|error| panic!("can't wait for the end of {}: {error}", self.name));
        self.dismiss_watcher();
        status
    }

    /// Waits until the child has ended by itself.
    pub fn wait_exit(&mut self, timeout: Duration) -> ExitStatus {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.exited() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "{} did not end within {timeout:?}; {}",
                self.name,
                self.last_lines()
            );
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Returns all that the child has written so far.
    pub fn log(&self) -> String {
        match fs::read(&self.log) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => format!("(no log: {error})"),
        }
    }

    /// Returns the last lines of the child's output, with a heading, for the message of a failure.
    pub fn last_lines(&self) -> String {
        const LINES: usize = 40;
        self.told.store(true, Ordering::Relaxed);
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(LINES)..];
        format!(
            "the last {} of {} lines {} wrote:\n{}",
            last.len(),
            lines.len(),
            self.name,
            last.join("\n")
        )
    }

    /// Closes the watcher's pipe as the end of the test process would.
    pub fn abandon(&mut self) {
        if let Some(watcher) = &mut self.watcher {
            drop(watcher.stdin.take());
        }
    }

    fn dismiss_watcher(&mut self) {
        if let Some(mut watcher) = self.watcher.take() {
            // Killed before its pipe closes, so that it never acts on a pid that is free again.
            let _ = watcher.kill();
            let _ = watcher.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() && !self.told.load(Ordering::Relaxed) {
            eprintln!("{}", self.last_lines());
        }
        // An error means that it has ended already; a panic here would hide the test's own.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.dismiss_watcher();
    }
}
