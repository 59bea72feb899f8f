//! `run`: sessions one after the other, until somebody stops it or it makes no sense to go on.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use tracing::{error, info};

use super::couriers::Couriers;
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
    driver: OnceLock<Thread>,
}

impl Stopper {
    /// Asks for the stop; what is in flight is waited for.
    pub fn stop(&self) {
        self.0.asked.store(true, Ordering::Release);
        if let Some(driver) = self.0.driver.get() {
            driver.unpark();
        }
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
    /// It failed too often in a row; the text is the last reason.
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
    // Set already if this thread ran a connector before; then it is the same.
    let _ = stopper.0.driver.set(std::thread::current());
    let connection = Connection::new(config);
    let surroundings =
        Surroundings { connection, couriers, translator, health, stopper, batch_size };
    let mut failures = 0;
    loop {
        let started = Instant::now();
        let session = Session::start(&surroundings, Engine::new(policy(config)));
        let reason = match session.map(Session::run) {
            Ok(End::Stopped) => return Stopped::Asked,
            Ok(End::Failed(reason)) | Err(reason) => reason,
        };
        failures = if started.elapsed() > STEADY { 1 } else { failures + 1 };
        if failures >= FAILURES_MAX {
            return Stopped::Failed(reason);
        }
        error!(%reason, failures, "the session failed: a new one reads again what isn't settled");
        let resume = Instant::now() + BACKOFF * 2_u32.pow(failures - 1);
        while Instant::now() < resume && !surroundings.stopper.is_set() {
            std::thread::park_timeout(resume - Instant::now());
        }
        if surroundings.stopper.is_set() {
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
