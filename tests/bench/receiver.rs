//! The receiver's process as the benchmark sees it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::roles::{Role, Worker};
use crate::support::connector::parse_response;
use crate::support::free_port;

/// Between two looks at the count.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// What the receiver has counted since it was reset. Times are microseconds of its own clock.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Requests that came.
    pub requests: usize,
    /// Different deliveries, by webhook-id and path, that were answered 200.
    pub distinct: usize,
    /// Further answers of 200 to deliveries that had had one.
    pub repeats: usize,
    /// When the first request came.
    pub first: Option<u64>,
    /// When the last different delivery was answered 200.
    pub last: u64,
    /// When the last first attempt came.
    pub fresh_until: u64,
    /// The requests until then.
    pub requests_while_fresh: usize,
    /// Requests that were more at once than an endpoint that had just come back was warm for.
    pub overrun: usize,
    /// CPU time of the watched processes when the first request came.
    pub cpu_at_first: Duration,
}

impl Report {
    /// Returns the time from the first request to the last delivery.
    pub fn took(&self) -> Duration {
        self.since_first(self.last)
    }

    /// Returns the time from the first request to the last first attempt.
    pub fn took_while_fresh(&self) -> Duration {
        self.since_first(self.fresh_until)
    }

    fn since_first(&self, then: u64) -> Duration {
        Duration::from_micros(then.saturating_sub(self.first.unwrap_or(then)))
    }
}

/// One timed delivery.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// When the event was made, in microseconds since 1970.
    pub at: u64,
    /// Microseconds until the receiver had it.
    pub took: u64,
}

impl Latency {
    /// Returns when the receiver had it, in microseconds since 1970.
    pub fn arrived(&self) -> u64 {
        self.at + self.took
    }
}

/// A receiver in its own process; dropping it kills it.
pub struct Receiver {
    worker: Worker,
    address: SocketAddr,
}

impl Receiver {
    /// Starts one and waits until it answers.
    pub fn start() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let receiver = Self { worker: Worker::start(&Role::Receiver { address }), address };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "{}", receiver.worker.last_lines());
            std::thread::sleep(LOOK_EVERY);
        }
        receiver
    }

    /// Returns its process id.
    pub fn id(&self) -> u32 {
        self.worker.id()
    }

    /// Returns the URL of a path, which begins with `/` and its kind of answer.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Forgets what was counted, and watches processes from now on.
    pub fn reset(&self, watch: &[u32]) {
        let watch: Vec<_> = watch.iter().map(|pid| format!("watch={pid}")).collect();
        self.get(&format!("/reset?{}", watch.join("&")));
    }

    /// Has the endpoints that come and go be away.
    pub fn go_away(&self) {
        self.get("/away");
    }

    /// Has the endpoints that come and go be back.
    pub fn come_back(&self) {
        self.get("/back");
    }

    /// Returns what was counted so far.
    pub fn report(&self) -> Report {
        self.json("/report")
    }

    /// Returns the latencies so far, in the order of arrival.
    pub fn latencies(&self) -> Vec<Latency> {
        self.json("/latencies")
    }

    /// Waits until so many different deliveries have succeeded.
    ///
    /// # Panics
    ///
    /// When none comes for a minute.
    pub fn wait_distinct(&self, count: usize) -> Report {
        const PATIENCE: Duration = Duration::from_secs(60);
        let mut moved = (Instant::now(), 0);
        loop {
            let report = self.report();
            if report.distinct >= count {
                return report;
            }
            if report.distinct > moved.1 {
                moved = (Instant::now(), report.distinct);
            }
            assert!(
                moved.0.elapsed() < PATIENCE,
                "no delivery within {PATIENCE:?}: {report:?} of {count}"
            );
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn json<T: DeserializeOwned>(&self, path: &str) -> T {
        let body = self.get(path);
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path} said {body}: {error}"))
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).expect("the receiver listens");
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("the receiver reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the receiver answers in ASCII");
        let (status, body) = parse_response(&answer).expect("the receiver speaks HTTP");
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }
}
