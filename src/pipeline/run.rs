//! `run`: sessions one after the other, until somebody stops it or it makes no sense to go on.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::time::timeout;
use tracing::{error, info};

use super::couriers::Couriers;
use super::inbox::Bell;
use super::session::{End, Session, Surroundings};
use crate::config::Config;
use crate::domain::engine::{Engine, Policy};
use crate::domain::outcome::RetryRules;
use crate::domain::retry::Schedule;
use crate::domain::tiers::Wheel;
use crate::kafka::Connection;
use crate::ops::health::Health;
use crate::schema::Translator;

/// Sessions that may fail in a row before the process gives up.
const FAILURES_MAX: u32 = 5;

/// A session that lasted so long has worked: its failure is the first in a row.
const STEADY: Duration = Duration::from_secs(60);

/// The wait before the second session; it doubles with each further failure in a row.
const BACKOFF: Duration = Duration::from_secs(1);

/// Asks a running connector to stop; cheap to clone.
#[derive(Clone, Default)]
pub struct Stopper(Arc<Stop>);

#[derive(Default)]
struct Stop {
    asked: AtomicBool,
    bell: Bell,
}

impl Stopper {
    /// Asks for the stop; what is in flight is waited for.
    pub fn stop(&self) {
        self.0.asked.store(true, Ordering::Release);
        self.0.bell.notify_one();
    }

    /// Returns the driver's bell: a stop rings it, too.
    pub(super) fn bell(&self) -> Bell {
        self.0.bell.clone()
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.asked.load(Ordering::Acquire)
    }
}

/// How the connector came to its end.
#[derive(Debug)]
pub enum Stopped {
    /// It was asked to.
    Asked,
    /// It couldn't begin, or failed too often in a row; the text is the last reason.
    Failed(String),
}

/// Runs the connector on the calling thread until it is stopped.
pub fn run(
    config: &Config,
    batch_size: usize,
    couriers: Couriers,
    translator: Translator,
    health: Arc<Health>,
    stopper: Stopper,
) -> Stopped {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Stopped::Failed(format!("its thread can't be set up: {error}")),
    };
    let connection = Connection::new(config);
    let surroundings =
        Surroundings { connection, couriers, translator, health, stopper, batch_size };
    let stopped = runtime.block_on(run_sessions(config, &surroundings));
    // As couriers do.
    runtime.shutdown_background();
    stopped
}

async fn run_sessions(config: &Config, surroundings: &Surroundings<'_>) -> Stopped {
    let stopper = &surroundings.stopper;
    let mut failures = 0;
    loop {
        let started = Instant::now();
        let end = match Session::start(surroundings, Engine::new(policy(config))) {
            Ok(session) => session.run().await,
            Err(reason) => End::Failed(reason),
        };
        let reason = match end {
            End::Stopped => return Stopped::Asked,
            End::Failed(reason) => reason,
        };
        failures = if started.elapsed() > STEADY { 1 } else { failures + 1 };
        if failures >= FAILURES_MAX {
            return Stopped::Failed(reason);
        }
        error!(%reason, failures, "the session failed: a new one reads again what isn't settled");
        let resume = Instant::now() + BACKOFF * 2_u32.pow(failures - 1);
        while Instant::now() < resume && !stopper.is_set() {
            // What was left of the session may ring, too.
            let _ = timeout(resume - Instant::now(), stopper.bell().notified()).await;
        }
        if stopper.is_set() {
            info!("stopped between two sessions");
            return Stopped::Asked;
        }
    }
}

fn policy(config: &Config) -> Policy {
    let Config { topics, retry, delivery, .. } = config;
    let per_subscription = u32::try_from(delivery.max_in_flight_per_subscription).ok();
    Policy {
        wheel: Wheel::new(topics.tiers.iter().map(|tier| tier.duration).collect()),
        retry: RetryRules {
            schedule: Schedule::new(retry.schedule.clone()),
            jitter: retry.jitter,
            retry_after_max: retry.retry_after_max,
            expire_after: retry.expire_after,
        },
        sources: config.sources.clone(),
        max_in_flight: delivery.max_in_flight,
        max_in_flight_per_subscription: per_subscription
            .and_then(NonZeroU32::new)
            .expect("the settings keep it from 1 to 65536"),
        fairness: delivery.fairness,
        disable_after: config.disable.after_dead_letters,
        max_bytes_in_flight: delivery.max_bytes_in_flight,
        commit_interval: config.ledger.commit_interval,
    }
}
