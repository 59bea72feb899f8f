//! A real Apache Kafka in one process: KRaft, loopback, everything in a temporary folder.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use tempfile::TempDir;

use super::process::Process;
use super::{free_port, java, reader};

/// A loaded machine starts a broker in seconds; this is for one that is very loaded.
const START_TIMEOUT: Duration = Duration::from_secs(90);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Any 16 bytes in base64 do; each broker is a cluster of its own.
const CLUSTER_ID: &str = "a2Fma2Etd2ViaG9va3MtMQ";

/// A broker of one test; dropping it ends it and removes its data.
pub struct Broker {
    process: Process,
    port: u16,
    // After `process`, so that the folder is removed when nothing writes to it any more.
    folder: TempDir,
}

impl Broker {
    /// Formats a fresh data folder, starts a broker on free ports, and waits until it answers.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("kafka-webhooks-broker-")
            .tempdir()
            .expect("the temporary folder is writable");
        let port = free_port();
        fs::write(
            folder.path().join("server.properties"),
            properties(folder.path(), port, free_port()),
        )
        .expect("a new temporary folder is writable");
        format_storage(folder.path());
        let process = launch(folder.path());
        let mut broker = Self { process, port, folder };
        broker.wait_until_it_answers();
        broker
    }

    /// Returns `host:port` for clients; it stays the same over [`Broker::start_again`].
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends the broker as an operator would (SIGTERM) and waits until it is gone.
    pub fn stop(&mut self) {
        self.process.signal("TERM");
        self.process.wait_exit(STOP_TIMEOUT);
    }

    /// Ends the broker without warning (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts a stopped or killed broker on the same port and data, and waits until it answers.
    pub fn start_again(&mut self) {
        assert!(
            self.process.exited().is_some(),
            "the broker must be stopped or killed before it starts again"
        );
        self.process = launch(self.folder.path());
        self.wait_until_it_answers();
    }

    fn wait_until_it_answers(&mut self) {
        let client: BaseConsumer =
            reader::client(&self.bootstrap()).create().expect("the settings of a reader are valid");
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let last = match client.fetch_metadata(None, Duration::from_millis(500)) {
                Ok(metadata) if !metadata.brokers().is_empty() => return,
                Ok(_) => "its metadata names no broker".to_owned(),
                Err(error) => error.to_string(),
            };
            if let Some(status) = self.process.exited() {
                panic!(
                    "the broker ended while it started ({status}); {}",
                    self.process.last_lines()
                );
            }
            assert!(
                Instant::now() < deadline,
                "the broker did not answer within {START_TIMEOUT:?} ({last}); {}",
                self.process.last_lines()
            );
        }
    }
}

/// Returns the bootstrap address of the broker that all tests share which don't break it.
///
/// It starts with the first call and ends with the test process. `KAFKA_WEBHOOKS_TEST_BROKER=host:port` names a
/// broker that runs already and is used instead.
pub fn shared() -> String {
    // A static is never dropped: the broker's watcher ends it (see `process`).
    static SHARED: LazyLock<Broker> = LazyLock::new(Broker::start);
    match env::var("KAFKA_WEBHOOKS_TEST_BROKER") {
        Ok(address) => address,
        Err(_) => SHARED.bootstrap(),
    }
}

/// A JVM that starts fast rather than running fast for long.
fn java() -> Command {
    let mut command = Command::new("java");
    command.args([
        "-Xmx768m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
        "-cp",
        java::class_path(),
    ]);
    command
}

fn launch(folder: &Path) -> Process {
    Process::start(
        "the broker",
        java().arg("kafka.Kafka").arg(folder.join("server.properties")),
        &folder.join("broker.log"),
        folder,
    )
}

fn format_storage(folder: &Path) {
    let output = java()
        .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
        .arg(folder.join("server.properties"))
        .output()
        .expect("java was found a moment ago");
    assert!(
        output.status.success(),
        "the broker's storage can't be formatted ({}):\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A killed broker can't register again before its session ends: a short one makes [`Broker::start_again`] fast.
fn properties(folder: &Path, port: u16, controller_port: u16) -> String {
    let logs = folder.join("data");
    let logs = logs.display();
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={logs}
auto.create.topics.enable=false
message.max.bytes=10485760
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
"
    )
}
