//! A headless Chromium, as people's browsers see a page; Node drives it.
//!
//! On Linux and x86-64 the browser comes with a package, with the libraries and the font it needs; elsewhere it is the
//! system's `chromium`.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::LOOK_EVERY;
use super::third_party::{node_packages, run};

/// What a page is looked at with.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Size in CSS pixels; less than 600 wide is a phone.
    pub size: (u32, u32),
    /// `light` or `dark`.
    pub scheme: &'static str,
}

/// A running browser with one page; dropping it ends it. It ends with the test process, whatever becomes of that.
pub struct Browser {
    driver: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    _profile: TempDir,
}

/// What a page did since it was opened.
#[derive(Debug)]
pub struct Noted {
    /// Lines of the console and errors that nobody caught.
    pub told: Vec<String>,
    /// Requests, as `GET http://…`.
    pub requests: Vec<String>,
}

impl Browser {
    /// Starts a browser with no page.
    ///
    /// # Panics
    ///
    /// When there is none, or it can't be started; the message says what to do.
    pub fn start() -> Self {
        let folder = &*FOLDER;
        let profile = tempfile::tempdir().expect("the temporary folder is writable");
        let mut command = Command::new("node");
        command.arg(source("browser.cjs")).arg(executable(folder)).arg(profile.path());
        command.env("NODE_PATH", folder.join("node_modules"));
        if is_packaged() {
            command.env("LD_LIBRARY_PATH", folder.join("lib"));
            command.env("FONTCONFIG_FILE", folder.join("fonts.conf"));
        }
        let driver = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut driver = driver.unwrap_or_else(|error| panic!("{command:?} can't run: {error}"));
        let commands = driver.stdin.take();
        let answers = BufReader::new(driver.stdout.take().expect("it is piped"));
        Self { driver, commands, answers, _profile: profile }
    }

    /// Opens a page in place of the one that is open, waits until it is loaded, and returns `status` and `headers`.
    pub fn open(&mut self, url: &str, View { size: (width, height), scheme }: View) -> Value {
        self.ask(json!({
            "command": "open", "url": url, "width": width, "height": height, "scheme": scheme,
        }))
    }

    /// Returns what a JavaScript expression says in the page; of a promise, what becomes of it.
    pub fn evaluate(&mut self, script: &str) -> Value {
        self.ask(json!({ "command": "evaluate", "script": script }))
    }

    /// Waits until an expression says what is expected.
    ///
    /// # Panics
    ///
    /// When it doesn't within `timeout`; shows what it says.
    pub fn wait(&mut self, timeout: Duration, script: &str, expected: impl Into<Value>) {
        let (deadline, expected) = (Instant::now() + timeout, expected.into());
        loop {
            let told = self.evaluate(script);
            if told == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{script}\nis {told}\nnot {expected}");
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Takes the network away from the page, or gives it back.
    pub fn set_offline(&mut self, is: Offline) {
        self.ask(json!({ "command": "offline", "is": is == Offline::Yes }));
    }

    /// Returns what the page did since it was opened.
    pub fn noted(&mut self) -> Noted {
        let noted = self.ask(json!({ "command": "noted" }));
        Noted { told: texts(&noted["told"]), requests: texts(&noted["requests"]) }
    }

    /// Returns what axe-core has against the page: rules of WCAG 2 A and AA, and good practice.
    pub fn audit(&mut self) -> Vec<String> {
        texts(&self.ask(json!({ "command": "audit" })))
    }

    /// Writes a picture of the whole page.
    pub fn screenshot(&mut self, path: &Path) {
        self.ask(json!({ "command": "screenshot", "path": path }));
    }

    fn ask(&mut self, command: Value) -> Value {
        let to = self.commands.as_mut().expect("it is there until the browser is dropped");
        // What a driver that has ended can't read shows when its answer is missing.
        let _ = writeln!(to, "{command}");
        let mut line = String::new();
        let read = self.answers.read_line(&mut line).expect("the driver writes UTF-8");
        assert!(read > 0, "the browser's driver ended; what it said stands above");
        let mut answer: Value = serde_json::from_str(&line).expect("the driver writes JSON");
        assert!(answer["error"].is_null(), "{command}: {}", answer["error"]);
        answer["ok"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends the browser when nobody can ask any more.
        drop(self.commands.take());
        let _ = self.driver.wait();
    }
}

/// Whether a page has no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offline {
    Yes,
    No,
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.map(|item| item.as_str().unwrap_or_default().to_owned()).collect()
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser").join(name)
}

/// The folder of the packages, and of what comes with them.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    node_packages("browser", &source(""), |into| {
        if is_packaged() {
            run(Command::new("node").arg(source("unpack.cjs")).current_dir(into), "");
        }
    })
});

/// Tells whether the package has a browser for this machine.
fn is_packaged() -> bool {
    cfg!(all(target_os = "linux", target_arch = "x86_64"))
}

fn executable(folder: &Path) -> PathBuf {
    if is_packaged() {
        return folder.join("chromium");
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|folder| folder.join("chromium"));
    found.into_iter().find(|file| file.is_file()).unwrap_or_else(|| {
        panic!("the flow of the status page needs a browser: install chromium so that it is on the PATH")
    })
}
