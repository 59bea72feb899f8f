//! The receiver: an HTTP server that does as little as can be, and counts.
//!
//! The first segment of a path says how a request is answered:
//!
//! | path | answer |
//! |---|---|
//! | `/ok/…` | 200 at once |
//! | `/slow/…` | 200 after 50 ms |
//! | `/flaky/…` | 503 to one in five, by webhook-id and attempt; 200 to the others |
//! | `/timed/…` | 200 at once; the time since the event's `data.at` is kept |
//! | `/fail/…` | 500 at once |
//! | `/late/…` | 200 after 2 s |
//! | `/hang/…` | never |
//! | `/cold/…` | 503 while it is away; then 200 after 20 ms, timed, and 503 to more at once than 32 and as many as it has served since |
//!
//! A GET is for the benchmark itself: see [`crate::receiver`].

use std::convert::Infallible;
use std::future::pending;
use std::hash::{Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustc_hash::{FxHashSet, FxHasher};
use serde::Deserialize;

use crate::event::now_micros;
use crate::receiver::{Latency, Report};
use crate::usage;

const SLOW: Duration = Duration::from_millis(50);
const LATE: Duration = Duration::from_secs(2);

/// What a receiver that has just come back takes for a request, and how many at once it is warm for.
const WARM: Duration = Duration::from_millis(20);
const WARM_FOR: usize = 32;

/// The most latencies that are kept.
const LATENCIES_MAX: usize = 1_000_000;

/// Serves until the process is killed.
pub fn run(address: SocketAddr) {
    // On the same machine as what it measures: it may have half of it.
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .expect("a runtime can be built");
    let state = Arc::new(State { tally: Mutex::default(), started: Instant::now() });
    runtime.block_on(runtime.spawn(serve(address, state))).expect("the server doesn't panic");
}

async fn serve(address: SocketAddr, state: Arc<State>) {
    let listener = tokio::net::TcpListener::bind(address).await.expect("the port was free");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // Answers are small; without this they may wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let state = state.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| handle(request, &state));
            // A client that went away is no failure of the receiver.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

struct State {
    tally: Mutex<Tally>,
    started: Instant,
}

#[derive(Default)]
struct Tally {
    report: Report,
    delivered: FxHashSet<u64>,
    /// Processes whose CPU time is read when the first request comes.
    watch: Vec<u32>,
    latencies: Vec<Latency>,
    cold: Cold,
}

/// What an endpoint is that comes and goes.
#[derive(Default)]
struct Cold {
    is_away: bool,
    at_once: usize,
    served: usize,
}

impl State {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().expect("no holder of the lock panics")
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).expect("it doesn't run that long")
    }

    fn arrived(&self, is_first_attempt: bool) {
        let now = self.micros();
        let mut tally = self.tally();
        if tally.report.first.is_none() {
            tally.report.first = Some(now);
            tally.report.cpu_at_first = tally.watch.iter().map(|pid| usage::cpu(*pid)).sum();
        }
        tally.report.requests += 1;
        if is_first_attempt {
            tally.report.fresh_until = now;
            tally.report.requests_while_fresh = tally.report.requests;
        }
    }

    fn delivered(&self, key: u64) {
        let now = self.micros();
        let mut tally = self.tally();
        if tally.delivered.insert(key) {
            tally.report.last = now;
        } else {
            tally.report.repeats += 1;
        }
    }
}

impl Tally {
    /// Takes a request in, if the endpoint is there and has not been overrun.
    fn enter(&mut self) -> bool {
        if self.cold.is_away {
            return false;
        }
        let enters = self.cold.at_once < WARM_FOR + self.cold.served;
        self.cold.at_once += usize::from(enters);
        self.report.overrun += usize::from(!enters);
        enters
    }

    fn leave(&mut self) {
        self.cold.at_once -= 1;
        self.cold.served += 1;
    }
}

async fn handle(
    request: Request<Incoming>,
    state: &State,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() == Method::GET {
        return Ok(control(request.uri().path(), request.uri().query(), state));
    }
    let (parts, mut body) = request.into_parts();
    let header = |name| parts.headers.get(name).map_or(&b""[..], |value| value.as_bytes());
    let (id, attempt) = (header("webhook-id"), header("x-webhook-attempt"));
    let (key, dice) = (hash(id, parts.uri.path().as_bytes()), hash(id, attempt));
    state.arrived(attempt == b"1" || attempt.is_empty());
    let path = parts.uri.path();
    let is_cold = path.starts_with("/cold/");
    if is_cold && !state.tally().enter() {
        return Ok(answer(StatusCode::SERVICE_UNAVAILABLE, Bytes::new()));
    }
    if path.starts_with("/timed/") || is_cold {
        let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        time(&bytes, state);
    } else {
        while let Some(Ok(_)) = body.frame().await {}
    }
    if path.starts_with("/flaky/") && dice.is_multiple_of(5) {
        return Ok(answer(StatusCode::SERVICE_UNAVAILABLE, Bytes::new()));
    }
    if path.starts_with("/fail/") {
        return Ok(answer(StatusCode::INTERNAL_SERVER_ERROR, Bytes::new()));
    }
    if path.starts_with("/slow/") {
        tokio::time::sleep(SLOW).await;
    } else if path.starts_with("/late/") {
        tokio::time::sleep(LATE).await;
    } else if is_cold {
        tokio::time::sleep(WARM).await;
        state.tally().leave();
    } else if path.starts_with("/hang/") {
        pending::<()>().await;
    }
    state.delivered(key);
    Ok(answer(StatusCode::OK, Bytes::new()))
}

fn time(body: &[u8], state: &State) {
    #[derive(Deserialize)]
    struct Envelope {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        at: u64,
    }
    let now = now_micros();
    let envelope: Envelope = serde_json::from_slice(body).expect("a timed event has `data.at`");
    let at = envelope.data.at;
    let mut tally = state.tally();
    if tally.latencies.len() < LATENCIES_MAX {
        tally.latencies.push(Latency { at, took: now.saturating_sub(at) });
    }
}

fn control(path: &str, query: Option<&str>, state: &State) -> Response<Full<Bytes>> {
    let mut tally = state.tally();
    tally.report.distinct = tally.delivered.len();
    let json = match path {
        "/reset" => {
            let order = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
            let watch = order.filter(|(name, _)| name == "watch");
            let watch = watch.filter_map(|(_, pid)| pid.parse().ok()).collect();
            *tally = Tally { watch, ..Tally::default() };
            Ok(Vec::new())
        }
        "/away" | "/back" => {
            tally.cold.is_away = path == "/away";
            Ok(Vec::new())
        }
        "/report" => serde_json::to_vec(&tally.report),
        "/latencies" => serde_json::to_vec(&tally.latencies),
        _ => return answer(StatusCode::NOT_FOUND, Bytes::new()),
    };
    answer(StatusCode::OK, json.expect("numbers are always JSON").into())
}

fn answer(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
}

fn hash(one: &[u8], other: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    one.hash(&mut hasher);
    other.hash(&mut hasher);
    // Folded once more, because its low bits alone are not evenly spread.
    hasher.finish().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7
}
