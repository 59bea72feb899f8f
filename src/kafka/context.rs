//! What clients say by themselves: log lines and errors, brought into our log once.
//!
//! While a cluster is away every client says so several times a second. Of what is said alike, one line in a while is
//! logged as a warning.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{debug, error, info, warn};

/// How long nothing alike is logged again.
const QUIET: Duration = Duration::from_secs(30);

/// The context of clients that need no other.
pub(super) struct LogContext;

impl ClientContext for LogContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client_error(&error, reason);
    }
}

impl ConsumerContext for LogContext {}

/// Logs what librdkafka says.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Debug => debug!(target: "librdkafka", facility, "{message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            info!(target: "librdkafka", facility, "{message}");
        }
        _ if !is_due(facility) => debug!(target: "librdkafka", facility, "{message}"),
        RDKafkaLogLevel::Warning => warn!(target: "librdkafka", facility, "{message}"),
        _ => error!(target: "librdkafka", facility, "{message}"),
    }
}

/// Logs a client's error. librdkafka goes on by itself: these are the weather of a cluster.
pub(super) fn client_error(error: &KafkaError, reason: &str) {
    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
        return;
    }
    let code = error.rdkafka_error_code().map(|code| code.to_string()).unwrap_or_default();
    if is_due(&code) {
        warn!(target: "librdkafka", code, "{reason}");
    } else {
        debug!(target: "librdkafka", code, "{reason}");
    }
}

/// Tells whether something of this kind may be logged now. Kinds are librdkafka's facilities and error codes: few.
fn is_due(kind: &str) -> bool {
    static LAST: LazyLock<Mutex<HashMap<String, Instant>>> = LazyLock::new(Mutex::default);
    let mut last = LAST.lock().expect("no holder of the lock panics");
    let now = Instant::now();
    match last.get(kind) {
        Some(at) if now.duration_since(*at) < QUIET => false,
        _ => {
            last.insert(kind.to_owned(), now);
            true
        }
    }
}
