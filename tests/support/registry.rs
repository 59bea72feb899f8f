//! A real schema registry: Apicurio, which speaks Confluent's API, on loopback with its data in memory.

use std::process::Command;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::{LOOK_EVERY, Process};
use super::{free_port, java};

/// A loaded machine starts it in seconds; this is for one that is very loaded.
const START_TIMEOUT: Duration = Duration::from_secs(90);

/// A running registry.
pub struct Registry {
    // Ended by its watcher: it lives as long as the test process.
    _process: Process,
    port: u16,
    _folder: TempDir,
}

/// Returns the registry that all tests share. It starts with the first call and ends with the test process; subjects
/// are to be named after a test's scope.
pub fn shared() -> &'static Registry {
    static SHARED: LazyLock<Registry> = LazyLock::new(Registry::start);
    &SHARED
}

impl Registry {
    fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("kafka-webhooks-registry-")
            .tempdir()
            .expect("the temporary folder is writable");
        let port = free_port();
        let mut command = Command::new("java");
        command
            .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"])
            .arg("-jar")
            .arg(java::registry_jar())
            .env("QUARKUS_HTTP_HOST", "127.0.0.1")
            .env("QUARKUS_HTTP_PORT", port.to_string());
        let log = folder.path().join("registry.log");
        let mut process = Process::start("the registry", &mut command, &log, folder.path());
        let deadline = Instant::now() + START_TIMEOUT;
        let url = format!("http://127.0.0.1:{port}/apis/ccompat/v7/subjects");
        while request(|client| client.get(&url)).is_err() {
            let ended = process.exited();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "the registry did not start within {START_TIMEOUT:?} ({ended:?}); {}",
                process.last_lines()
            );
            thread::sleep(LOOK_EVERY);
        }
        Self { _process: process, port, _folder: folder }
    }

    /// Returns its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns its base URL, as the connector wants it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.port)
    }

    /// Registers a schema and returns its id. A reference is the name it is imported by, and its subject in version 1.
    pub fn register(
        &self,
        subject: &str,
        kind: &str,
        schema: &str,
        references: &[(&str, &str)],
    ) -> u32 {
        let references = references
            .iter()
            .map(|(name, subject)| json!({ "name": name, "subject": subject, "version": 1 }));
        let references: Vec<_> = references.collect();
        let body = json!({ "schema": schema, "schemaType": kind, "references": references });
        let url = format!("{}/subjects/{subject}/versions", self.url());
        let answer = request(|client| {
            client.post(&url).header("content-type", "application/json").body(body.to_string())
        });
        let id = answer.as_ref().ok().and_then(|answer| answer["id"].as_u64());
        let id = id.unwrap_or_else(|| panic!("{subject} was not registered: {answer:?}"));
        u32::try_from(id).expect("ids have 32 bits")
    }
}

/// Returns a value in the wire format.
pub fn in_wire_format(id: u32, payload: &[u8]) -> Vec<u8> {
    [&[0], id.to_be_bytes().as_slice(), payload].concat()
}

/// Makes a request and returns its answer, or what is wrong with it.
fn request(
    build: impl FnOnce(&reqwest::Client) -> reqwest::RequestBuilder,
) -> Result<Value, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build();
    let client = client.expect("a client can be built");
    runtime.block_on(async {
        let response = build(&client).send().await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = response.text().await.map_err(|error| error.to_string())?;
        match serde_json::from_str(&body) {
            Ok(answer) if status.is_success() => Ok(answer),
            _ => Err(format!("{status} {body}")),
        }
    })
}
