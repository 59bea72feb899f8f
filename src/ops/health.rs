//! Health: what `/live`, `/ready` and `/status` answer, kept by the pipeline and read by the ops port.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::domain::engine::LaneCounts;

/// What has to hold before the connector is ready. Each is told in the words of `/ready`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// The subscriptions topic has been read to its end.
    pub subscriptions_read: bool,
    /// The transactional producer is initialised.
    pub producer_initialised: bool,
    /// The group has assigned partitions, be it none.
    pub partitions_assigned: bool,
    /// A broker is reachable.
    pub broker_reachable: bool,
    /// No partition is held back because the schema registry can't be reached.
    pub registry_reachable: bool,
}

impl Readiness {
    /// Returns each condition by the name that it has in metrics.
    pub fn conditions(self) -> [(&'static str, bool); 5] {
        [
            ("subscriptions-read", self.subscriptions_read),
            ("producer-initialised", self.producer_initialised),
            ("partitions-assigned", self.partitions_assigned),
            ("broker-reachable", self.broker_reachable),
            ("registry-reachable", self.registry_reachable),
        ]
    }

    fn all(self) -> bool {
        self.conditions().iter().all(|(_, holds)| *holds)
    }
}

/// How much is in the connector's hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Partitions in hand.
    pub partitions: usize,
    /// Attempts that run.
    pub in_flight: usize,
    /// Deliveries that wait in memory.
    pub queued: usize,
    /// Subscriptions with something in hand, by what they do.
    pub lanes: LaneCounts,
    /// Usable subscriptions.
    pub subscriptions: usize,
    /// Subscriptions that can't be used.
    pub invalid_subscriptions: usize,
    /// Subscriptions with many dead letters in a row.
    pub failing_subscriptions: usize,
    /// Subscriptions that were disabled for it.
    pub disabled_subscriptions: usize,
}

/// Whether there is something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Something is in hand and should move.
    Waiting,
    /// Nothing is in hand, or what is has its reason to wait: no broker is reachable, attempts run within their
    /// deadlines.
    None,
}

/// What the ops port answers from.
pub struct Health {
    stall_after: Duration,
    state: Mutex<State>,
}

struct State {
    readiness: Readiness,
    load: Load,
    /// What was counted when something last moved, and when that was.
    progress: u64,
    moved_at: Instant,
    /// When the pipeline last reported at all.
    seen_at: Instant,
}

/// Health as JSON shows it.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether the process should be left alone.
    pub live: bool,
    /// Whether the connector does its work.
    pub ready: bool,
    /// What readiness consists of.
    #[serde(flatten)]
    pub readiness: Readiness,
    /// How much is in hand.
    pub load: Load,
}

impl Health {
    /// Makes the health of a process that has just started. It isn't live any more when nothing has moved for
    /// `stall_after` though there is work.
    pub fn new(stall_after: Duration) -> Self {
        let now = Instant::now();
        let state = State {
            readiness: Readiness::default(),
            load: Load::default(),
            progress: 0,
            moved_at: now,
            seen_at: now,
        };
        Self { stall_after, state: Mutex::new(state) }
    }

    /// Takes the pipeline's report. `progress` is any number that changes when something moves.
    pub fn report(&self, readiness: Readiness, load: Load, progress: u64, work: Work) {
        let now = Instant::now();
        let mut state = self.state.lock().expect("no holder of the lock panics");
        if work == Work::None || progress != state.progress {
            state.moved_at = now;
        }
        state.progress = progress;
        state.readiness = readiness;
        state.load = load;
        state.seen_at = now;
    }

    /// Returns the answer to give now.
    pub fn current(&self) -> Report {
        let state = self.state.lock().expect("no holder of the lock panics");
        let oldest = state.moved_at.min(state.seen_at);
        let live = oldest.elapsed() < self.stall_after;
        let ready = live && state.readiness.all();
        Report { live, ready, readiness: state.readiness, load: state.load }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Readiness = Readiness {
        subscriptions_read: true,
        producer_initialised: true,
        partitions_assigned: true,
        broker_reachable: true,
        registry_reachable: true,
    };

    /// Reports twice, without progress in between, and returns whether it is live and ready.
    fn check(stall_after: Duration, readiness: Readiness, work: Work) -> (bool, bool) {
        let health = Health::new(stall_after);
        health.report(readiness, Load::default(), 1, work);
        health.report(readiness, Load::default(), 1, work);
        let report = health.current();
        (report.live, report.ready)
    }

    #[test]
    fn ready_when_everything_is() {
        let hour = Duration::from_secs(3600);
        assert_eq!(check(hour, ALL, Work::Waiting), (true, true));
        let no_broker = Readiness { broker_reachable: false, ..ALL };
        assert_eq!(check(hour, no_broker, Work::Waiting), (true, false));
        let no_registry = Readiness { registry_reachable: false, ..ALL };
        assert_eq!(check(hour, no_registry, Work::Waiting), (true, false));
    }

    #[test]
    fn not_live_when_work_waits_and_nothing_moves() {
        assert_eq!(check(Duration::ZERO, ALL, Work::Waiting), (false, false));
    }
}
