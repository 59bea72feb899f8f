//! Real Apache Kafka, one process a broker: KRaft, loopback, everything in temporary folders.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use tempfile::TempDir;

use super::process::{LOOK_EVERY, Process};
use super::{free_port, java, reader};

/// A loaded machine starts a broker in seconds; this is for one that is very loaded.
const START_TIMEOUT: Duration = Duration::from_secs(90);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Any 16 bytes in base64 do; each broker is a cluster of its own.
const CLUSTER_ID: &str = "a2Fma2Etd2ViaG9va3MtMQ";

/// How a broker's JVM is set up.
#[derive(Clone, Copy)]
enum Jvm {
    /// It starts fast rather than running fast for long, and several fit beside what a test does.
    Quick,
    /// It has the compilers it has in production, and they begin twenty times sooner: in three minutes is compiled what is
    /// in an hour otherwise, and on two cores a compiler at work is in everybody's way. It has as much memory as Kafka's own
    /// start script gives, most of it for what is young: its collector stops everything once in ten seconds instead of
    /// two, so that latencies don't measure it. Nor does it copy the log cleaner's buffer, of 128 MiB, for a tenth of a
    /// second.
    Steady,
}

impl Jvm {
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Quick => &["-Xmx768m", "-XX:TieredStopAtLevel=1"],
            Self::Steady => &[
                "-Xms1g",
                "-Xmx1g",
                "-Xmn640m",
                "-XX:+AlwaysPreTouch",
                "-XX:CompileThresholdScaling=0.05",
                "-XX:PretenureSizeThreshold=64m",
            ],
        }
    }

    fn command(self) -> Command {
        let mut command = Command::new("java");
        command.args(self.options()).args([
            "-XX:+UseSerialGC",
            "-XX:-UsePerfData",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
            "-cp",
            java::class_path(),
        ]);
        command
    }
}

/// A broker of one test; dropping it ends it and removes its data.
pub struct Broker {
    process: Process,
    jvm: Jvm,
    port: u16,
    // After `process`, so that the folder is removed when nothing writes to it any more.
    folder: TempDir,
}

impl Broker {
    /// Starts a broker that is a cluster by itself, and waits until it answers.
    pub fn start() -> Self {
        Self::alone(Jvm::Quick)
    }

    /// Starts one that time is measured with, and waits until it answers.
    pub fn start_steady() -> Self {
        Self::alone(Jvm::Steady)
    }

    fn alone(jvm: Jvm) -> Self {
        let mut broker = Self::node(0, &[free_port()], jvm);
        broker.wait_until_it_answers();
        broker
    }

    /// Formats a fresh data folder and starts node `n` of a cluster whose controllers have these ports.
    fn node(n: usize, controllers: &[u16], jvm: Jvm) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("kafka-webhooks-broker-")
            .tempdir()
            .expect("the temporary folder is writable");
        let port = free_port();
        fs::write(
            folder.path().join("server.properties"),
            properties(folder.path(), port, n, controllers),
        )
        .expect("a new temporary folder is writable");
        format_storage(folder.path());
        let process = launch(folder.path(), jvm);
        Self { process, jvm, port, folder }
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
        self.process = launch(self.folder.path(), self.jvm);
        self.wait_until_it_answers();
    }

    /// Takes the end of a partition's log away while the broker is not there, as when its machine is lost before it has
    /// written it: what is left are the batches that begin before this offset.
    pub fn cut_log(&self, topic: &str, partition: i32, end: usize) {
        let segment = format!("data/{topic}-{partition}/00000000000000000000.log");
        let segment = self.folder.path().join(segment);
        let log = fs::read(&segment).unwrap_or_else(|error| panic!("{segment:?}: {error}"));
        let mut length = 0;
        // Kafka's documentation, "Record Batch": its base offset, and its length behind these twelve bytes.
        while let Some((base, rest)) = log[length..].split_first_chunk()
            && i64::from_be_bytes(*base) < end as i64
        {
            let batch = rest.first_chunk().expect("a batch is whole");
            length += 12 + i32::from_be_bytes(*batch) as usize;
        }
        assert!(length < log.len(), "the log ends before offset {end}");
        let file = fs::OpenOptions::new().write(true).open(&segment);
        let cut = file.and_then(|file| file.set_len(length as u64));
        cut.unwrap_or_else(|error| panic!("{segment:?} can't be cut: {error}"));
    }

    /// Has the broker do nothing for a while (SIGSTOP): its connections stay, and nobody answers.
    pub fn freeze(&mut self) {
        self.process.signal("STOP");
    }

    /// Has a frozen broker go on.
    pub fn thaw(&mut self) {
        self.process.signal("CONT");
    }

    /// Lets none of its files grow past so many KiB until it starts again: as on a full disk, a write fails then.
    pub fn bound_files(&self, kib: u32) {
        let pid = self.process.id().to_string();
        let limit = format!("--fsize={}", u64::from(kib) * 1024);
        let status = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
        let status = status.unwrap_or_else(|error| panic!("can't run prlimit: {error}"));
        assert!(status.success(), "prlimit {limit} of the broker failed: {status}");
    }

    /// Waits until the broker has ended by itself.
    pub fn wait_until_it_fails(&mut self, timeout: Duration) {
        let status = self.process.wait_exit(timeout);
        assert!(!status.success(), "the broker ended as if it was asked to");
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

/// Brokers that replicate everything to each other, so that what one leads moves when it goes.
pub struct Cluster {
    nodes: Vec<Broker>,
}

impl Cluster {
    /// Starts three brokers, the fewest that can lose one and go on, and waits until all answer.
    pub fn start() -> Self {
        let controllers = [free_port(), free_port(), free_port()];
        let nodes = (0..controllers.len()).map(|n| Broker::node(n, &controllers, Jvm::Quick));
        let mut cluster = Self { nodes: nodes.collect() };
        cluster.nodes.iter_mut().for_each(Broker::wait_until_it_answers);
        cluster
    }

    /// Returns `host:port` of all nodes, separated by commas.
    pub fn bootstrap(&self) -> String {
        self.nodes.iter().map(Broker::bootstrap).collect::<Vec<_>>().join(",")
    }

    /// Returns one of its brokers.
    pub fn node(&mut self, n: usize) -> &mut Broker {
        &mut self.nodes[n]
    }

    /// Waits until every replica has all that its leader has: until then, not every node can be done without.
    pub fn wait_in_sync(&self) {
        let client: BaseConsumer =
            reader::client(&self.bootstrap()).create().expect("the settings of a reader are valid");
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let metadata = client.fetch_metadata(None, Duration::from_secs(1));
            let is_in_sync = metadata.as_ref().is_ok_and(|metadata| {
                let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
                partitions.all(|partition| partition.isr().len() == partition.replicas().len())
            });
            if is_in_sync {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "the replicas did not catch up: {:?}",
                metadata.err()
            );
            std::thread::sleep(LOOK_EVERY);
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

fn launch(folder: &Path, jvm: Jvm) -> Process {
    Process::start(
        "the broker",
        jvm.command().arg("kafka.Kafka").arg(folder.join("server.properties")),
        &folder.join("broker.log"),
        folder,
    )
}

fn format_storage(folder: &Path) {
    let output = Jvm::Quick
        .command()
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
fn properties(folder: &Path, port: u16, n: usize, controllers: &[u16]) -> String {
    let logs = folder.join("data");
    let logs = logs.display();
    let controller_port = controllers[n];
    let voters: Vec<_> =
        controllers.iter().enumerate().map(|(n, port)| format!("{n}@127.0.0.1:{port}")).collect();
    let voters = voters.join(",");
    let replicas = controllers.len();
    let in_sync = replicas.div_ceil(2);
    format!(
        "process.roles=broker,controller
node.id={n}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={logs}
log.index.size.max.bytes=65536
auto.create.topics.enable=false
message.max.bytes=10485760
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.num.partitions=4
offsets.topic.replication.factor={replicas}
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.backoff.ms=500
"
    )
}
