//! Receivers in other languages: the snippets of the README, with the libraries that others published.
//!
//! Libraries are fetched once, into `target/receivers`.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::free_port;
use super::java::fetched_once;
use super::process::{LOOK_EVERY, Process};
use super::third_party::run;

/// A language that the README has a receiver in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Python,
    Node,
    Go,
}

/// A receiver that runs; dropping it kills it.
pub struct Snippet {
    port: u16,
    process: Process,
    // After `process`, so that the folder is removed when nothing uses it any more.
    _folder: TempDir,
}

impl Language {
    /// Tells whether what runs it is there; says so loudly if it isn't.
    pub fn is_there(self) -> bool {
        let programs: &[&[&str]] = match self {
            Self::Python => &[&["python3", "-m", "pip", "--version"]],
            Self::Node => &[&["node", "--version"], &["npm", "--version"]],
            Self::Go => &[&["go", "version"]],
        };
        let runs = |line: &&[&str]| {
            Command::new(line[0]).args(&line[1..]).output().is_ok_and(|it| it.status.success())
        };
        let is_there = programs.iter().all(runs);
        if !is_there {
            eprintln!("SKIPPED: the README's receiver in {self:?} is not run: it is not installed");
        }
        is_there
    }

    /// How code of it is marked in Markdown.
    fn fence(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "js",
            Self::Go => "go",
        }
    }

    /// Returns the README's receiver.
    fn snippet(self) -> String {
        let readme = include_str!("../../README.md");
        let (_, code) = readme
            .split_once(&format!("```{}\n", self.fence()))
            .unwrap_or_else(|| panic!("the README has no receiver in {self:?}"));
        let (code, _) = code.split_once("```").expect("a block of code ends");
        code.to_owned()
    }

    /// Runs the README's receiver with `library` in the place of `standardwebhooks`, and waits until it listens.
    pub fn start(self, library: &str, secret: &str) -> Snippet {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let code = self.snippet().replace("standardwebhooks", library);
        let mut command = self.command(&code, folder.path());
        let port = free_port();
        command.env("WEBHOOK_SECRET", secret).env("PORT", port.to_string());
        let log = folder.path().join("receiver.log");
        let name = format!("the receiver in {self:?} with {library}");
        let mut process = Process::start(&name, &mut command, &log, folder.path());
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(process.exited().is_none(), "{}", process.last_lines());
            assert!(Instant::now() < deadline, "{}", process.last_lines());
            thread::sleep(LOOK_EVERY);
        }
        Snippet { port, process, _folder: folder }
    }

    /// Writes the code into a folder and returns the command that runs it.
    fn command(self, code: &str, folder: &Path) -> Command {
        let file = |name: &str| {
            let path = folder.join(name);
            fs::write(&path, code).expect("a new temporary folder is writable");
            path
        };
        match self {
            Self::Python => {
                let mut command = Command::new("python3");
                command.arg(file("receiver.py")).env("PYTHONPATH", libraries().join("python"));
                command
            }
            Self::Node => {
                // Node looks for modules beside the file.
                let modules = libraries().join("node/node_modules");
                std::os::unix::fs::symlink(modules, folder.join("node_modules"))
                    .expect("a link can be made in a new folder");
                let mut command = Command::new("node");
                command.arg(file("receiver.mjs"));
                command
            }
            Self::Go => {
                file("main.go");
                for name in ["go.mod", "go.sum"] {
                    fs::copy(source(name), folder.join(name)).expect("the repository holds it");
                }
                let binary = folder.join("receiver");
                let mut build = Command::new("go");
                run(build.args(["build", "-o"]).arg(&binary).arg(".").current_dir(folder), "");
                Command::new(binary)
            }
        }
    }
}

impl Snippet {
    /// Returns its URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Returns what it wrote.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/receivers").join(name)
}

/// Returns the folder of the libraries.
fn libraries() -> &'static Path {
    static LIBRARIES: LazyLock<PathBuf> = LazyLock::new(|| {
        let [requirements, package] = ["requirements.txt", "package.json"].map(source);
        let read = |path| fs::read(path).expect("the repository holds it");
        let key = [read(&requirements), read(&package)].concat();
        fetched_once("receivers", &key, |into| {
            if Language::Python.is_there() {
                let mut pip = Command::new("python3");
                pip.args(["-m", "pip", "install", "-q", "--disable-pip-version-check", "--target"]);
                run(pip.arg(into.join("python")).arg("-r").arg(&requirements), "");
            }
            if Language::Node.is_there() {
                let node = into.join("node");
                fs::create_dir(&node).expect("a new folder is writable");
                fs::copy(&package, node.join("package.json")).expect("a new folder is writable");
                let mut npm = Command::new("npm");
                npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]);
                run(npm.current_dir(&node), "");
            }
        })
    });
    &LIBRARIES
}
