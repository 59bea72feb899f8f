//! Couriers: the threads that make attempts.
//!
//! Each has a runtime and connections of its own, so that a request, its connection and its timers live on one thread
//! and wake no other. They decide nothing.

use std::cell::Cell;
use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

use jiff::Timestamp;
use tokio::runtime::{Builder, Runtime, RuntimeMetrics};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::inbox::{Inbox, Input};
use crate::domain::engine::Attempt;
use crate::http::{Sender, Settings, SetupError};
use crate::ops::traces::Traces;

/// The most attempts that a courier takes on before those under way have their turn.
const TURN: usize = 64;

/// Between two looks at how much of their time couriers are at work.
const LOOK: Duration = Duration::from_millis(25);

/// All couriers. Dropping them ends their threads, and with them the attempts that run.
pub struct Couriers {
    /// A queue each; the limit of attempts in flight bounds them.
    queues: Vec<UnboundedSender<Errand>>,
    next: Cell<usize>,
    works: Vec<RuntimeMetrics>,
    /// When was last looked at how long they had been at work, and how long that was for all together.
    looked: Cell<(Instant, Duration)>,
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
        let senders = Sender::several(settings, cores).map_err(HireError::Sender)?;
        let started = senders.into_iter().map(|sender| start(sender, traces.clone()));
        let started = started.collect::<io::Result<Vec<_>>>().map_err(HireError::Thread)?;
        let (queues, works) = started.into_iter().unzip();
        let looked = Cell::new((Instant::now(), Duration::ZERO));
        Ok(Self { queues, next: Cell::new(0), works, looked })
    }

    /// Has the next courier in turn make an attempt; its end comes through the inbox.
    pub(super) fn attempt(&self, attempt: Attempt, inbox: &Arc<Inbox>) {
        let next = self.next.get();
        self.next.set((next + 1) % self.queues.len());
        let sent = self.queues[next].send(Errand { attempt, inbox: inbox.clone() });
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

fn start(
    sender: Sender,
    traces: Option<Arc<Traces>>,
) -> io::Result<(UnboundedSender<Errand>, RuntimeMetrics)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let work = runtime.metrics();
    let (queue, errands) = unbounded_channel();
    let run = move || run(runtime, errands, Arc::new(sender), traces);
    thread::Builder::new().name("courier".into()).spawn(run)?;
    Ok((queue, work))
}

fn run(
    runtime: Runtime,
    mut errands: UnboundedReceiver<Errand>,
    sender: Arc<Sender>,
    traces: Option<Arc<Traces>>,
) {
    runtime.block_on(async {
        let mut turn = Vec::with_capacity(TURN);
        while errands.recv_many(&mut turn, TURN).await > 0 {
            for Errand { attempt, inbox } in turn.drain(..) {
                let (sender, traces) = (sender.clone(), traces.clone());
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
    });
    // Lookups of names that still run have threads of their own; nobody waits for them.
    runtime.shutdown_background();
}
