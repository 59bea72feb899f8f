//! The built connector as a process of its own, with settings made for one test.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::free_port;
use super::process::{LOOK_EVERY, Process};
use super::scope::Scope;

/// The program that cargo has built.
const PROGRAM: &str = env!("CARGO_BIN_EXE_kafka-webhooks");

/// The settings of a connector; one `Setup` can start any number of instances, one after another or side by side.
#[derive(Clone)]
pub struct Setup {
    /// Section, key → TOML value.
    settings: BTreeMap<(String, String), String>,
    sources: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// Begins with the scope's broker, prefix and group, instance `a`, and receivers on loopback allowed.
    ///
    /// All else has the connector's defaults.
    pub fn new(scope: &Scope) -> Self {
        let setup =
            Self { settings: BTreeMap::new(), sources: Vec::new(), environment: Vec::new() };
        setup
            .set("kafka", "bootstrap_servers", &quoted(scope.bootstrap()))
            .set("kafka", "group_id", &quoted(&scope.group()))
            .set("topics", "prefix", &quoted(scope.prefix()))
            .set("egress", "allow_http", "true")
            .set("egress", "allow", r#"["127.0.0.0/8", "::1/128"]"#)
            .set("log", "format", r#""json""#)
            .instance("a")
    }

    /// Sets a key of a section to a TOML value: `.set("retry", "tiers", r#"["1s", "5s"]"#)`.
    pub fn set(mut self, section: &str, key: &str, value: &str) -> Self {
        self.settings.insert((section.to_owned(), key.to_owned()), value.to_owned());
        self
    }

    /// Names the instance.
    pub fn instance(self, id: &str) -> Self {
        self.set("kafka", "instance_id", &quoted(id))
    }

    /// Adds a source of one of the scope's topics; `keys` are further lines of TOML, e.g. its selectors.
    pub fn source(mut self, scope: &Scope, topic: &str, format: &str, keys: &str) -> Self {
        self.sources.push(format!(
            "topics = [{}]\nformat = {}\n{keys}\n",
            quoted(&scope.topic(topic)),
            quoted(format)
        ));
        self
    }

    /// Sets a variable of the connector's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts `kafka-webhooks run` and returns at once; see [`Connector::wait_ready`].
    pub fn start(&self) -> Connector {
        self.start_command(&["run"])
    }

    /// Starts another command of the program and returns at once; it may be killed, or waited for.
    pub fn start_command(&self, arguments: &[&str]) -> Connector {
        let folder = tempfile::Builder::new()
            .prefix("kafka-webhooks-connector-")
            .tempdir()
            .expect("the temporary folder is writable");
        let ops = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let config = folder.path().join("connector.toml");
        fs::write(&config, self.toml(ops)).expect("a new temporary folder is writable");

        let mut command = self.command();
        command.args(arguments).arg("--config").arg(&config);
        let log = folder.path().join("connector.log");
        Connector {
            process: Process::start("the connector", &mut command, &log, folder.path()),
            ops,
            _folder: folder,
        }
    }

    /// Runs another command of the program to its end with the same settings, e.g. `["topics", "create"]`.
    pub fn run(&self, arguments: &[&str]) -> std::process::Output {
        self.run_from(arguments, Stdio::null())
    }

    fn run_from(&self, arguments: &[&str], input: Stdio) -> std::process::Output {
        let config = tempfile::NamedTempFile::new().expect("the temporary folder is writable");
        let ops = SocketAddr::from(([127, 0, 0, 1], free_port()));
        fs::write(config.path(), self.toml(ops)).expect("a new temporary file is writable");
        self.command()
            .args(arguments)
            .arg("--config")
            .arg(config.path())
            .stdin(input)
            .output()
            .expect("cargo has built the program")
    }

    /// Runs the program with a text as its standard input.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> std::process::Output {
        let file = tempfile::NamedTempFile::new().expect("the temporary folder is writable");
        fs::write(file.path(), input).expect("a new temporary file is writable");
        let input = file.reopen().expect("a new temporary file is readable");
        self.run_from(arguments, input.into())
    }

    /// Runs the program with a terminal, by util-linux's `script`, and returns all that it shows; `None` where there is no
    /// such program. Arguments are words without quotes.
    pub fn run_on_terminal(&self, arguments: &[&str]) -> Option<String> {
        let config = tempfile::NamedTempFile::new().expect("the temporary folder is writable");
        let ops = SocketAddr::from(([127, 0, 0, 1], free_port()));
        fs::write(config.path(), self.toml(ops)).expect("a new temporary file is writable");
        let line =
            format!("{PROGRAM} {} --config {}", arguments.join(" "), config.path().display());
        let mut command = self.with_environment(Command::new("script"));
        command.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").stdin(Stdio::null());
        let output = command.output().ok()?;
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{line}: {shown}");
        Some(shown)
    }

    fn command(&self) -> Command {
        self.with_environment(Command::new(PROGRAM))
    }

    fn with_environment(&self, mut command: Command) -> Command {
        // Settings of whoever runs the tests must not reach the connector.
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("KAFKA_WEBHOOKS_") {
                command.env_remove(name);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Renders the settings file.
    pub fn toml(&self, ops: SocketAddr) -> String {
        let listen = self.clone().set("ops", "listen", &quoted(&ops.to_string()));
        let mut text = String::new();
        let mut section = "";
        for ((of, key), value) in &listen.settings {
            if of != section {
                // A string takes any amount of text.
                let _ = writeln!(text, "\n[{of}]");
                section = of;
            }
            let _ = writeln!(text, "{key} = {value}");
        }
        for source in &self.sources {
            let _ = write!(text, "\n[[sources]]\n{source}");
        }
        text
    }
}

/// Writes a TOML string; JSON's escapes are among TOML's.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A running connector; dropping it kills it. When the test fails its last lines of log are shown.
pub struct Connector {
    process: Process,
    ops: SocketAddr,
    // After `process`, so that the folder is removed when nothing writes to it any more.
    _folder: TempDir,
}

impl Connector {
    /// Waits until `/ready` answers 200.
    ///
    /// # Panics
    ///
    /// When it doesn't within `timeout`, or the connector ends; the message shows its last lines of log.
    pub fn wait_ready(&mut self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        loop {
            let last = match self.try_get("/ready") {
                Ok((200, _)) => return,
                Ok((status, body)) => format!("{status} {body}"),
                Err(error) => error.to_string(),
            };
            if let Some(status) = self.process.exited() {
                panic!(
                    "the connector ended before it was ready ({status}); {}",
                    self.process.last_lines()
                );
            }
            assert!(
                Instant::now() < deadline,
                "the connector was not ready within {timeout:?}, /ready said: {last}; {}",
                self.process.last_lines()
            );
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Returns its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns the address of the ops port.
    pub fn ops(&self) -> SocketAddr {
        self.ops
    }

    /// Fetches a path of the ops port and returns status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.try_get(path).unwrap_or_else(|error| {
            panic!("GET {path} of the connector failed: {error}; {}", self.process.last_lines())
        })
    }

    fn try_get(&self, path: &str) -> io::Result<(u16, String)> {
        fetch(self.ops, path)
    }

    /// Waits until the log holds a text.
    ///
    /// # Panics
    ///
    /// When it doesn't within `timeout`; shows its last lines.
    pub fn wait_log(&self, timeout: Duration, text: &str) {
        let deadline = Instant::now() + timeout;
        while !self.log().contains(text) {
            assert!(
                Instant::now() < deadline,
                "no {text:?} within {timeout:?}:\n{}",
                self.process.last_lines()
            );
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Polls `/status` until it satisfies `holds`.
    ///
    /// # Panics
    ///
    /// When it doesn't within `timeout`; shows the last answer.
    pub fn wait_status(&self, timeout: Duration, holds: impl Fn(&serde_json::Value) -> bool) {
        let deadline = Instant::now() + timeout;
        loop {
            let (_, body) = self.get("/status");
            if serde_json::from_str(&body).is_ok_and(|status| holds(&status)) {
                return;
            }
            assert!(Instant::now() < deadline, "not within {timeout:?}; the last status: {body}");
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Polls `/metrics` until it has a line: gauges and some counters are brought up to date once a second.
    ///
    /// # Panics
    ///
    /// When it hasn't within `timeout`; shows the last answer.
    pub fn wait_metrics(&self, timeout: Duration, line: &str) {
        let deadline = Instant::now() + timeout;
        loop {
            let (_, body) = self.get("/metrics");
            if body.lines().any(|one| one == line) {
                return;
            }
            assert!(Instant::now() < deadline, "no {line} within {timeout:?} in: {body}");
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Returns a metric without labels; 0 as long as there is none.
    pub fn metric(&self, name: &str) -> u64 {
        let (_, body) = self.get("/metrics");
        let value = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |count| count.trim().parse().expect("a count is a number"))
    }

    /// Asks it to drain and end (SIGTERM); see [`Connector::wait_exit`].
    pub fn sigterm(&mut self) {
        self.process.signal("TERM");
    }

    /// Ends it without warning (SIGKILL) and waits until it is gone.
    pub fn kill9(&mut self) {
        self.process.kill();
    }

    /// Has it do nothing for a while (SIGSTOP).
    pub fn freeze(&mut self) {
        self.process.signal("STOP");
    }

    /// Has it go on after [`Connector::freeze`].
    pub fn thaw(&mut self) {
        self.process.signal("CONT");
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    ///
    /// When it runs on after `timeout`; the message shows its last lines of log.
    pub fn wait_exit(&mut self, timeout: Duration) -> ExitStatus {
        self.process.wait_exit(timeout)
    }

    /// Returns all that it has written to stdout and stderr.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// Fetches a path by HTTP and returns status and body.
pub fn fetch(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    const TIMEOUT: Duration = Duration::from_secs(5);
    const MAX_ANSWER: u64 = 16 << 20;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // To HTTP/1.0 the answer comes unchunked and ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    parse_response(&answer)
        .ok_or_else(|| io::Error::other(format!("not an HTTP response: {answer:?}")))
}

/// Splits an HTTP/1.x response into status and body.
pub fn parse_response(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    Some((status, body.to_owned()))
}
