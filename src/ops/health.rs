//! Health: what `/live`, `/ready` and `/status` answer, kept by the pipeline and read by the ops port.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use super::failures::Failures;
use super::overview::{Overview, Partitions, Troubled};
use super::recent::Recent;
use super::snapshot::{Load, Snapshot};
use crate::config::Kafka;
use crate::domain::ending::Ending;

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

/// Who answers: each instance tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// `kafka.instance_id`.
    pub id: String,
    /// The consumer group that it shares with the other instances.
    pub group: String,
    /// The program's version.
    pub version: &'static str,
    /// When the process started.
    pub started_at: Timestamp,
}

impl Instance {
    /// Names an instance that starts now.
    pub fn starting(kafka: &Kafka) -> Self {
        Self {
            id: kafka.instance.id().to_owned(),
            group: kafka.group_id.clone(),
            version: env!("CARGO_PKG_VERSION"),
            started_at: Timestamp::now(),
        }
    }
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
    instance: Arc<Instance>,
    stall_after: Duration,
    state: Mutex<State>,
}

struct State {
    readiness: Readiness,
    snapshot: Arc<Snapshot>,
    recent: Recent,
    failures: Failures,
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
    pub fn new(instance: Instance, stall_after: Duration) -> Self {
        let now = Instant::now();
        let state = State {
            readiness: Readiness::default(),
            snapshot: Arc::default(),
            recent: Recent::new(now),
            failures: Failures::default(),
            progress: 0,
            moved_at: now,
            seen_at: now,
        };
        Self { instance: Arc::new(instance), stall_after, state: Mutex::new(state) }
    }

    /// Takes the pipeline's report. `progress` is any number that changes when something moves.
    pub fn report(&self, readiness: Readiness, snapshot: Snapshot, progress: u64, work: Work) {
        let now = Instant::now();
        let mut state = self.state();
        if work == Work::None || progress != state.progress {
            state.moved_at = now;
        }
        state.progress = progress;
        state.readiness = readiness;
        state.snapshot = Arc::new(snapshot);
        state.seen_at = now;
    }

    /// Takes note of endings that are committed.
    pub fn ended<'a>(&self, endings: impl DoubleEndedIterator<Item = &'a Ending> + Clone) {
        let mut state = self.state();
        state.recent.count(endings.clone(), Instant::now());
        state.failures.note(endings);
    }

    /// Returns the answer of `/live` and `/ready`.
    pub fn current(&self) -> Report {
        self.state().report(self.stall_after)
    }

    /// Returns the answer of `/status`.
    pub fn overview(&self) -> Overview {
        let mut state = self.state();
        let report = state.report(self.stall_after);
        let reported_seconds_ago = state.seen_at.elapsed().as_secs_f64();
        let activity = state.recent.activity(Instant::now());
        let last_failures = state.failures.latest().to_vec();
        let snapshot = state.snapshot.clone();
        // The pipeline needn't wait for the rest.
        drop(state);
        Overview {
            report,
            instance: self.instance.clone(),
            at: Timestamp::now(),
            reported_seconds_ago,
            activity,
            partitions: Partitions::of(&snapshot),
            tiers: snapshot.tiers.clone(),
            troubled_subscriptions: Troubled::of(&snapshot),
            last_failures,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }
}

impl State {
    fn report(&self, stall_after: Duration) -> Report {
        let live = self.moved_at.min(self.seen_at).elapsed() < stall_after;
        let ready = live && self.readiness.all();
        Report { live, ready, readiness: self.readiness, load: self.snapshot.load }
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

    fn health(stall_after: Duration) -> Health {
        let instance = Instance {
            id: "a".to_owned(),
            group: "group".to_owned(),
            version: "1.2.3",
            started_at: Timestamp::UNIX_EPOCH,
        };
        Health::new(instance, stall_after)
    }

    /// Reports twice, without progress in between, and returns whether it is live and ready.
    fn check(stall_after: Duration, readiness: Readiness, work: Work) -> (bool, bool) {
        let health = health(stall_after);
        health.report(readiness, Snapshot::default(), 1, work);
        health.report(readiness, Snapshot::default(), 1, work);
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
