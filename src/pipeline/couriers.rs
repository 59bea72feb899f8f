//! Couriers: the threads that make attempts.
//!
//! Each has a runtime and connections of its own, so that a request, its connection and its timers live on one thread
//! and wake no other. They decide nothing.
//!
//! A driver that has little to do makes attempts with its own hands: to wake a courier and to be woken by it takes longer
//! than the work of an attempt. It does so only where a receiver can't keep it from its own work, so by plain HTTP: no
//! handshakes, and nothing that comes unasked.

use std::cell::Cell;
use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::runtime::{Builder, Runtime, RuntimeMetrics};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::inbox::{Inbox, Input};
use crate::domain::engine::Attempt;
use crate::domain::subscription::Auth;
use crate::http::{Sender, Settings, SetupError};
use crate::ops::traces::Traces;

/// The most attempts that a courier takes on before those under way have their turn.
const TURN: usize = 64;

/// So many attempts in flight are few: if they are the driver's, it still has time.
const FEW: usize = 4;

/// The bytes of a record, and of the data in it, that are signed in less time than it takes to wake a thread.
const SHORT: usize = 16 << 10;

/// Between two looks at how much of their time couriers are at work.
const LOOK: Duration = Duration::from_millis(25);

/// How busy the driver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pressure {
    /// Its last round found no records to take, and so many attempts are in flight.
    Little { in_flight: usize },
    /// There is more to do than it has done.
    Much,
}

/// All couriers. Dropping them ends their threads, and with them the attempts that run there.
pub struct Couriers {
    /// A queue each; the limit of attempts in flight bounds them.
    queues: Vec<UnboundedSender<Errand>>,
    next: Cell<usize>,
    /// What attempts are made with that are the driver's.
    own: Tools,
    works: Vec<RuntimeMetrics>,
    /// When was last looked at how long they had been at work, and how long that was for all together.
    looked: Cell<(Instant, Duration)>,
}

/// What attempts are made with on one thread; clones share it.
#[derive(Clone)]
struct Tools {
    sender: Arc<Sender>,
    traces: Option<Arc<Traces>>,
}

/// An attempt to make, and where to tell of its end.
struct Errand {
    attempt: Attempt,
    inbox: Arc<Inbox>,
}

/// Why there can be no couriers.
#[derive(Debug)]
pub enum HireError {
    /// The HTTP client can't be set up.
    Sender(SetupError),
    /// The system has no room for a thread or its runtime.
    Thread(io::Error),
}

impl fmt::Display for HireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sender(error) => write!(f, "the HTTP client can't start: {error}"),
            Self::Thread(error) => write!(f, "a thread for requests can't start: {error}"),
        }
    }
}

impl std::error::Error for HireError {}

impl Couriers {
    /// Starts a courier for each core. Attempts are traced if there is somebody to trace them.
    ///
    /// # Errors
    /// [`HireError`]; the program can't start then.
    pub fn start(settings: &Settings, traces: Option<Arc<Traces>>) -> Result<Self, HireError> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let senders = Sender::several(settings, cores + 1).map_err(HireError::Sender)?;
        let tools = |sender| Tools { sender: Arc::new(sender), traces: traces.clone() };
        let mut all = senders.into_iter().map(tools);
        let own = all.next().expect("there is one more than cores");
        let started = all.map(start).collect::<io::Result<Vec<_>>>().map_err(HireError::Thread)?;
        let (queues, works) = started.into_iter().unzip();
        let looked = Cell::new((Instant::now(), Duration::ZERO));
        Ok(Self { queues, next: Cell::new(0), own, works, looked })
    }

    /// Has an attempt made by the next courier in turn, or as a task of the driver's runtime, in which this is called. Its
    /// end comes through the inbox.
    pub(super) fn attempt(&self, attempt: Attempt, pressure: Pressure, inbox: &Arc<Inbox>) {
        let errand = Errand { attempt, inbox: inbox.clone() };
        if is_own(&errand.attempt, pressure) {
            errand.set_out(&self.own);
            return;
        }
        let next = self.next.get();
        self.next.set((next + 1) % self.queues.len());
        let sent = self.queues[next].send(errand);
        sent.expect("a courier ends after its queue does");
    }

    /// Returns the share of their time that couriers were at work since the last look, and how long ago that was, unless
    /// it was just now.
    pub(super) fn worked(&self, now: Instant) -> Option<(f64, Duration)> {
        let (before, worked_before) = self.looked.get();
        let span = now.saturating_duration_since(before);
        if span < LOOK {
            return None;
        }
        let worked = self.works.iter().map(|work| work.worker_total_busy_duration(0)).sum();
        self.looked.set((now, worked));
        let share = (worked - worked_before).as_secs_f64() / span.as_secs_f64();
        Some(((share / self.works.len() as f64).min(1.0), span))
    }
}

impl Errand {
    /// Makes the attempt, as a task of the calling thread's runtime.
    fn set_out(self, tools: &Tools) {
        let Self { attempt, inbox } = self;
        let Tools { sender, traces } = tools.clone();
        tokio::spawn(async move {
            let now = Timestamp::now();
            let attempted = sender.send(&attempt, now).await;
            if let Some(traces) = traces {
                traces.attempted(&attempt, &attempted, now);
            }
            inbox.push(Input::Attempted(attempt.id, attempt.subscription, attempted));
        });
    }
}

/// Tells whether the driver makes an attempt itself: one that keeps it from nothing, and for which nobody but the receiver
/// is asked, as others may wait for that answer, too.
fn is_own(Attempt { event, subscription, .. }: &Attempt, pressure: Pressure) -> bool {
    let is_little = matches!(pressure, Pressure::Little { in_flight } if in_flight <= FEW);
    let record = event.record.value.as_ref().map_or(0, Bytes::len);
    is_little
        && subscription.url.scheme() == "http"
        && event.data.len().max(record) <= SHORT
        && subscription.transform.is_none()
        && subscription.origin.is_none()
        && matches!(subscription.auth.as_deref(), None | Some(Auth::Header { .. }))
}

fn start(tools: Tools) -> io::Result<(UnboundedSender<Errand>, RuntimeMetrics)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let work = runtime.metrics();
    let (queue, errands) = unbounded_channel();
    let run = move || run(runtime, errands, &tools);
    thread::Builder::new().name("courier".into()).spawn(run)?;
    Ok((queue, work))
}

fn run(runtime: Runtime, mut errands: UnboundedReceiver<Errand>, tools: &Tools) {
    runtime.block_on(async {
        let mut turn = Vec::with_capacity(TURN);
        while errands.recv_many(&mut turn, TURN).await > 0 {
            turn.drain(..).for_each(|errand| errand.set_out(tools));
        }
    });
    // Lookups of names that still run have threads of their own; nobody waits for them.
    runtime.shutdown_background();
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::decode::tests::{event, record, source};
    use crate::domain::source::Format;
    use crate::domain::subscription::tests::subscription;

    const LITTLE: Pressure = Pressure::Little { in_flight: 4 };

    /// An attempt at a record of so many bytes, to a subscription that `changes` define.
    fn attempt(bytes: usize, changes: &Value) -> Attempt {
        let envelope = |text: &str| json!({"id": "e", "event": "o.c", "data": text}).to_string();
        let text = "x".repeat(bytes - envelope("").len());
        let mut definition = json!({"url": "http://127.0.0.1/hooks"});
        let fields = definition.as_object_mut().expect("it is an object");
        fields.extend(changes.as_object().expect("changes are an object").clone());
        let event = event(source(Format::Envelope), record(&envelope(&text), &[]));
        Attempt::of_none(event, subscription("crm", &definition), 1)
    }

    #[track_caller]
    fn check(bytes: usize, changes: Value, pressure: Pressure, expected: bool) {
        assert_eq!(is_own(&attempt(bytes, &changes), pressure), expected, "{changes}");
    }

    #[test]
    fn a_driver_with_little_to_do_makes_attempts_that_keep_it_from_nothing() {
        check(100, json!({}), LITTLE, true);
        check(16 << 10, json!({"auth": {"type": "bearer", "token": "s3cret"}}), LITTLE, true);
    }

    #[test]
    fn couriers_make_attempts_when_there_is_much_to_do() {
        check(100, json!({}), Pressure::Little { in_flight: 5 }, false);
        check(100, json!({}), Pressure::Much, false);
    }

    #[test]
    fn couriers_make_attempts_that_take_time_or_an_answer_that_others_wait_for() {
        let oauth2 = json!({
            "type": "oauth2", "tokenUrl": "http://127.0.0.1/token", "clientId": "c", "clientSecret": "s3cret",
        });
        check((16 << 10) + 1, json!({}), LITTLE, false);
        check(100, json!({"transform": "data"}), LITTLE, false);
        check(100, json!({"url": "https://127.0.0.1/hooks"}), LITTLE, false);
        check(100, json!({"auth": oauth2}), LITTLE, false);
        check(100, json!({"abuseProtection": {"origin": "events.example.com"}}), LITTLE, false);
    }
}
