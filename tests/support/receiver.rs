//! A real HTTP receiver whose answers a test scripts and whose requests it reads.
//!
//! It runs on a thread of its own and handles thousands of requests a second in a debug build. It judges nothing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use tokio::sync::oneshot;

use super::breakable::{BreakableListener, Breaker};
use super::exchange::{Answer, Ending, Seen};

/// The most requests that are kept; a test that makes more fails.
const MAX_LOGGED: usize = 2_000_000;
/// The largest body that is read; a larger request is not logged and gets 413.
const MAX_BODY: usize = 16 << 20;

type Script = dyn Fn(&Seen, usize) -> Answer + Send + Sync;

/// A receiver on a free port of 127.0.0.1; dropping it closes all its connections.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Dropped, it ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Receiver {
    /// Starts a receiver that answers each request by `script`.
    ///
    /// `script` is also told how often this `webhook-id` has come to this path, this time included: 1 the first time.
    pub fn start(script: impl Fn(&Seen, usize) -> Answer + Send + Sync + 'static) -> Self {
        Self::listen(Box::new(script), Some(Mutex::default()))
    }

    /// Starts a receiver that keeps nothing, for runs of hours: whatever is to be known of its requests is for `script`
    /// to take down.
    pub fn unlogged(script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::listen(Box::new(move |seen, _| script(seen)), None)
    }

    fn listen(script: Box<Script>, log: Option<Mutex<Log>>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("a bound socket has an address");
        listener.set_nonblocking(true).expect("a socket can be made non-blocking");
        let shared = Arc::new(Shared { script, log, grown: Condvar::new() });
        let (stop, stopped) = oneshot::channel();
        let app = Router::new()
            .fallback(handle)
            .with_state(Arc::clone(&shared))
            .into_make_service_with_connect_info::<Breaker>();
        let thread = thread::Builder::new()
            .name("receiver".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime can be built");
                // Ending the runtime ends every connection, those that hang included.
                runtime.block_on(async {
                    let listener = tokio::net::TcpListener::from_std(listener)
                        .expect("the socket is non-blocking");
                    tokio::select! {
                        _ = axum::serve(BreakableListener(listener), app) => {}
                        _ = stopped => {}
                    }
                });
            })
            .expect("a thread can be started");
        Self { address, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Starts a receiver that answers every request with this status.
    pub fn always(status: u16) -> Self {
        Self::start(move |_, _| Answer::status(status))
    }

    /// Returns the URL of a path of this receiver, which begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns how many requests came so far.
    pub fn count(&self) -> usize {
        self.shared.lock().seen().len()
    }

    /// Returns all requests so far, in the order they arrived.
    pub fn requests(&self) -> Vec<Arc<Seen>> {
        self.shared.lock().seen().to_vec()
    }

    /// Waits until the predicate holds for all requests so far and returns them.
    ///
    /// The receiver stands still while it runs, and it runs again for new requests: with very many,
    /// [`Receiver::wait_count`] first.
    ///
    /// # Panics
    ///
    /// When it doesn't hold within `timeout`.
    pub fn wait_until(
        &self,
        timeout: Duration,
        mut holds: impl FnMut(&[Arc<Seen>]) -> bool,
    ) -> Vec<Arc<Seen>> {
        let holds = |seen: &[Arc<Seen>]| match holds(seen) {
            true => Ok(()),
            false => Err(seen.len() + 1),
        };
        self.wait(timeout, "what was awaited of the receiver", holds)
    }

    /// Waits until there are at least `count` requests and returns all; it costs nothing on the way.
    ///
    /// # Panics
    ///
    /// When there are fewer after `timeout`.
    pub fn wait_count(&self, timeout: Duration, count: usize) -> Vec<Arc<Seen>> {
        let holds = |seen: &[Arc<Seen>]| match seen.len() >= count {
            true => Ok(()),
            false => Err(count),
        };
        self.wait(timeout, &format!("request number {count}"), holds)
    }

    /// Waits for `holds`, which says at how many requests it wants to be asked again.
    fn wait(
        &self,
        timeout: Duration,
        what: &str,
        mut holds: impl FnMut(&[Arc<Seen>]) -> Result<(), usize>,
    ) -> Vec<Arc<Seen>> {
        let deadline = Instant::now() + timeout;
        let mut log = self.shared.lock();
        loop {
            let Err(count) = holds(log.seen()) else {
                return log.seen().to_vec();
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let seen = describe(log.seen());
                drop(log);
                panic!("{what} did not come within {timeout:?}; {seen}");
            }
            log.wake_at = Some(log.wake_at.map_or(count, |other| other.min(count)));
            (log, _) = self.shared.grown.wait_timeout(log, left).expect(UNPOISONED);
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It panicked only if the script did, which its own message says.
            let _ = thread.join();
        }
    }
}

const UNPOISONED: &str =
    "nothing panics while it holds the receiver's log, except a test's predicate";

struct Shared {
    script: Box<Script>,
    /// `None` when nothing is kept.
    log: Option<Mutex<Log>>,
    grown: Condvar,
}

#[derive(Default)]
struct Log {
    seen: Vec<Arc<Seen>>,
    /// How often a webhook id came to a path.
    counts: HashMap<(String, String), usize>,
    /// The length at which the next waiter wants to look; `None` when nobody waits.
    wake_at: Option<usize>,
    beyond_limit: usize,
}

impl Log {
    fn seen(&self) -> &[Arc<Seen>] {
        assert_eq!(self.beyond_limit, 0, "the receiver got more than {MAX_LOGGED} requests");
        &self.seen
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Log> {
        let log = self.log.as_ref().expect("only a receiver that keeps a log is asked for it");
        log.lock().expect(UNPOISONED)
    }

    /// Logs a request and returns how often its id has come to its path; 0 without a log.
    fn add(&self, seen: &Arc<Seen>) -> usize {
        if self.log.is_none() {
            return 0;
        }
        let id = seen.headers.get("webhook-id").map(|id| id.as_bytes());
        let id = String::from_utf8_lossy(id.unwrap_or_default()).into_owned();
        let mut log = self.lock();
        if log.seen.len() == MAX_LOGGED {
            log.beyond_limit += 1;
            self.grown.notify_all();
            return 1;
        }
        log.seen.push(Arc::clone(seen));
        if log.wake_at.is_some_and(|count| log.seen.len() >= count) {
            // Those who wait look again and say anew when they want to be woken.
            log.wake_at = None;
            self.grown.notify_all();
        }
        let count = log.counts.entry((id, seen.path.clone())).or_default();
        *count += 1;
        *count
    }
}

async fn handle(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(breaker): ConnectInfo<Breaker>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return Answer::status(413).response();
    };
    let seen = Arc::new(Seen {
        method: parts.method,
        path: parts.uri.to_string(),
        headers: parts.headers,
        body,
        received_at: SystemTime::now(),
        received: Instant::now(),
        answer: OnceLock::new(),
    });
    let nth = shared.add(&seen);
    let answer = (shared.script)(&seen, nth);
    if let Some(status) = answer.responds() {
        seen.answer.set(status).expect("each request is answered once");
    }
    if !answer.delay.is_zero() {
        tokio::time::sleep(answer.delay).await;
    }
    if let Some(mut gate) = answer.gate.clone() {
        // A test that has gone without opening it waits for nothing any more.
        let _ = gate.wait_for(|is_open| *is_open).await;
    }
    match answer.ending {
        Ending::Respond => {}
        Ending::Hang => std::future::pending().await,
        Ending::Close => breaker.break_off(),
    }
    answer.response()
}

fn describe(seen: &[Arc<Seen>]) -> String {
    const LAST: usize = 5;
    let last: Vec<String> = seen[seen.len().saturating_sub(LAST)..]
        .iter()
        .map(|seen| format!("{} {} {:?}", seen.method, seen.path, seen.webhook_id()))
        .collect();
    format!("{} requests were seen, the last:\n{}", seen.len(), last.join("\n"))
}
