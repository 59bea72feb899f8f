//! One session: from reading the subscriptions over membership in the group to its end.
//!
//! Its thread drives the engine: it takes what happened from the inbox, records from the consumer, and carries out
//! what the engine decides. A session that fails is replaced by a new one, which reads everything unsettled again;
//! all state is in Kafka.

mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rand::RngExt as _;
use rand::rngs::SmallRng;
use tracing::{info, warn};

use super::couriers::{Couriers, Pressure};
use super::inbox::{Inbox, Input};
use super::membership::Membership;
use super::run::Stopper;
use super::translations::Translations;
use crate::domain::engine::{Change as StatusChange, Engine, Telling};
use crate::domain::status::{State, Status};
use crate::domain::tiers;
use crate::kafka::Connection;
use crate::kafka::cluster::ClusterError;
use crate::kafka::consumer::Part;
use crate::kafka::ledger::{self, Ledger};
use crate::kafka::statuses::Statuses;
use crate::kafka::subscriptions::{Change, Follower, News};
use crate::ops::health::Health;
use crate::ops::metrics::Metrics;
use crate::schema::Translator;

/// The longest that the driver rests: a wake-up that got lost costs no more.
const REST: Duration = Duration::from_millis(100);

/// How a session ended.
pub(super) enum End {
    /// It was asked to, and let go of everything in time.
    Stopped,
    /// It is of no use any more, for this reason.
    Failed(String),
}

/// What outlives a session.
pub(super) struct Surroundings<'a> {
    pub(super) connection: Connection<'a>,
    pub(super) couriers: Couriers,
    pub(super) translator: Translator,
    pub(super) health: Arc<Health>,
    pub(super) stopper: Stopper,
    pub(super) batch_size: usize,
}

impl Surroundings<'_> {
    /// Returns the deadline of attempts whose subscription has none.
    fn timeout(&self) -> Duration {
        self.connection.config().delivery.timeout
    }
}

/// Whether the session still takes on work.
#[derive(PartialEq, Eq)]
enum Phase {
    Running,
    Stopping,
}

/// What a session has once it takes part in the group.
struct Joined {
    events: Membership,
    waiting: Membership,
    ledger: Ledger,
}

impl Joined {
    fn members(&self) -> [&Membership; 2] {
        [&self.events, &self.waiting]
    }

    fn members_mut(&mut self) -> [&mut Membership; 2] {
        [&mut self.events, &mut self.waiting]
    }

    fn member_mut(&mut self, part: Part) -> &mut Membership {
        match part {
            Part::Events => &mut self.events,
            Part::Waiting => &mut self.waiting,
        }
    }
}

pub(super) struct Session<'a> {
    surroundings: &'a Surroundings<'a>,
    inbox: Arc<Inbox>,
    engine: Engine,
    _follower: Follower,
    /// `None` until the subscriptions are read: no event is matched before.
    joined: Option<Joined>,
    producer_ready: bool,
    /// Since when the ledger has had its batch.
    on_its_way: Option<Instant>,
    /// Since when a broker has been reachable.
    reachable_since: Option<Instant>,
    phase: Phase,
    /// Whether the last round found no records to take. The first attempts of a burst are still made at ease, then.
    at_ease: bool,
    metrics: Metrics,
    dice: SmallRng,
    /// Counts whatever moves.
    progress: u64,
    /// When the last of the attempts that run must have ended.
    in_air_until: Instant,
    next_tick: Instant,
}

impl<'a> Session<'a> {
    /// Starts a session.
    ///
    /// # Errors
    /// A client can't be made from the settings.
    pub(super) fn start(
        surroundings: &'a Surroundings<'a>,
        engine: Engine,
    ) -> Result<Self, String> {
        let inbox = Arc::new(Inbox::new(surroundings.stopper.bell()));
        let news = inbox.clone();
        let rules = surroundings.connection.config().subscription_rules();
        let report = move |it| news.push_in_turn(Input::Subscriptions(it));
        let follower = Follower::start(&surroundings.connection, rules, report);
        let follower = follower.map_err(|error| ClusterError::from(error).to_string())?;
        Ok(Self {
            surroundings,
            inbox,
            engine,
            _follower: follower,
            joined: None,
            producer_ready: false,
            on_its_way: None,
            reachable_since: None,
            phase: Phase::Running,
            at_ease: true,
            metrics: Metrics::of_session(&surroundings.connection.config().delivery),
            dice: rand::make_rng(),
            progress: 0,
            in_air_until: Instant::now(),
            next_tick: Instant::now(),
        })
    }

    /// Drives the engine until the session ends.
    pub(super) async fn run(mut self) -> End {
        let end = self.drive().await.map_or_else(End::Failed, |()| End::Stopped);
        if let Some(Joined { events, waiting, ledger }) = self.joined {
            drop(ledger);
            events.leave();
            waiting.leave();
        }
        end
    }

    async fn drive(&mut self) -> Result<(), String> {
        let mut inputs = Vec::new();
        loop {
            if self.phase == Phase::Running && self.surroundings.stopper.is_set() {
                self.begin_stop();
            }
            self.inbox.take(&mut inputs);
            let (now, instant) = (Timestamp::now(), Instant::now());
            for input in inputs.drain(..) {
                self.handle(input, now)?;
            }
            let mut pulled = false;
            if let Some(joined) = &mut self.joined {
                for member in [&mut joined.events, &mut joined.waiting] {
                    member.poll(&mut self.engine, instant)?;
                    if let Some(identity) = member.take_identity() {
                        joined.ledger.identify(member.part(), identity);
                    }
                    pulled |= member.pull(&mut self.engine, now)?;
                }
            }
            if let Some((share, span)) = self.surroundings.couriers.worked(instant) {
                self.engine.worked(share, span);
            }
            self.engine.advance(now);
            self.carry_out(now, instant);
            if self.next_tick <= instant {
                self.tick(now);
                self.watch()?;
            }
            let mut members = self.joined.iter().flat_map(Joined::members);
            if self.phase == Phase::Stopping && members.all(Membership::is_empty) {
                return Ok(());
            }
            self.progress += u64::from(pulled);
            self.at_ease = !pulled;
            let rest = if pulled { Duration::ZERO } else { self.rest(now) };
            self.inbox.wait(rest).await;
        }
    }

    fn handle(&mut self, input: Input, now: Timestamp) -> Result<(), String> {
        // A transaction that was aborted is written again: nothing has moved.
        if !matches!(input, Input::Ledger(ledger::Report::Aborted(..))) {
            self.progress += 1;
        }
        match input {
            Input::Subscriptions(News::Changes(changes)) => {
                changes.into_iter().for_each(|change| self.change(change, now));
            }
            Input::Subscriptions(News::ReadToEnd) => {
                self.engine.subscriptions_read();
                self.join()?;
            }
            Input::Subscriptions(News::Fatal(reason)) => return Err(reason),
            Input::Positions(part, committed) => {
                let joined = self.joined.as_mut().expect("only members ask for positions");
                joined.member_mut(part).positions(committed, &mut self.engine)?;
            }
            Input::Translated(part, id, record, translation) => {
                let joined = self.joined.as_mut().expect("only members have records");
                joined.member_mut(part).translated(id, record, translation);
            }
            Input::Statuses(partitions, Statuses { audit_partitions, all }) => {
                for id in partitions {
                    self.engine.know_statuses(id, audit_partitions, &all, now);
                }
            }
            Input::Ledger(report) => self.ledger(report, now)?,
            Input::Attempted(id, subscription, attempted) => {
                let fraction = self.dice.random();
                self.engine.attempted(id, &subscription, attempted, now, fraction);
            }
        }
        Ok(())
    }

    fn change(&mut self, change: Change, now: Timestamp) {
        match change {
            Change::Put(subscription) => self.engine.put_subscription(subscription, now),
            Change::Removed(id) => self.engine.remove_subscription(&id, now),
            Change::Invalid { id, offset, reason } => {
                warn!(subscription = %id, offset = offset.0, %reason, "the subscription is invalid: nothing is sent for it");
                self.engine.invalidate_subscription(id, offset, &reason, now);
            }
            Change::BadKey { partition, offset } => {
                warn!(
                    partition,
                    offset = offset.0,
                    "a key is no subscription id: the record is passed over"
                );
            }
            Change::Status(id, status) => self.engine.status_read(id, status.as_ref()),
        }
    }

    fn join(&mut self) -> Result<(), String> {
        let (registry, invalid) = self.engine.subscriptions();
        info!(subscriptions = registry.len(), invalid, "subscriptions read");
        let Surroundings { connection, batch_size, translator, .. } = self.surroundings;
        let failed = |error| ClusterError::from(error).to_string();
        let join = |part| {
            let translations = Translations::new(part, translator.clone(), self.inbox.clone());
            Membership::join(connection, part, &self.inbox, translations).map_err(failed)
        };
        let inbox = self.inbox.clone();
        let report = move |it| inbox.push(Input::Ledger(it));
        let ledger = Ledger::start(connection, *batch_size, report).map_err(failed)?;
        let (events, waiting) = (join(Part::Events)?, join(Part::Waiting)?);
        self.joined = Some(Joined { events, waiting, ledger });
        Ok(())
    }

    fn ledger(&mut self, report: ledger::Report, now: Timestamp) -> Result<(), String> {
        self.on_its_way = None;
        match report {
            ledger::Report::Ready => self.producer_ready = true,
            ledger::Report::Committed(batch, took) => {
                self.metrics.committed(took);
                let endings = batch.endings.iter().map(|(_, ending)| ending);
                endings.clone().for_each(|ending| self.metrics.ended(ending));
                self.surroundings.health.ended(endings);
                batch.statuses.iter().for_each(tell);
                self.engine.batch_committed(&batch);
            }
            ledger::Report::Aborted(batch, reason) => {
                warn!(outcomes = batch.endings.len(), %reason, "a transaction was aborted: its outcomes are written again");
                self.metrics.aborted();
                self.engine.batch_aborted(batch, now);
            }
            ledger::Report::Fatal(reason) => return Err(format!("the ledger failed: {reason}")),
        }
        Ok(())
    }

    /// Does what the engine has decided.
    fn carry_out(&mut self, now: Timestamp, instant: Instant) {
        let Some(joined) = &mut self.joined else { return };
        // No attempt is made before its outcome could be written.
        while self.producer_ready
            && let Some(attempt) = self.engine.poll_attempt(now)
        {
            let timeout = attempt.subscription.timeout.unwrap_or(self.surroundings.timeout());
            self.in_air_until = self.in_air_until.max(instant + timeout);
            let in_flight = self.engine.in_flight();
            let pressure =
                if self.at_ease { Pressure::Little { in_flight } } else { Pressure::Much };
            self.surroundings.couriers.attempt(attempt, pressure, &self.inbox);
        }
        if let Some(batch) = self.engine.poll_batch(now) {
            self.on_its_way = Some(instant);
            joined.ledger.write(batch);
        }
        let engine = &mut self.engine;
        let released: Vec<_> = std::iter::from_fn(|| engine.poll_released()).collect();
        for group in joined.members_mut() {
            group.release(&released, engine);
        }
    }

    fn begin_stop(&mut self) {
        self.phase = Phase::Stopping;
        let timeout = self.surroundings.connection.config().shutdown.timeout;
        info!(
            in_flight = self.engine.in_flight(),
            ?timeout,
            "stopping: what is in flight is waited for"
        );
        let deadline = Instant::now() + timeout;
        for group in self.joined.iter_mut().flat_map(Joined::members_mut) {
            group.begin_stop(&mut self.engine, deadline);
        }
    }

    /// Returns how long there is nothing to do unless something happens.
    fn rest(&self, now: Timestamp) -> Duration {
        self.engine.next_wake(now).map_or(REST, |wake| tiers::until(wake, now)).min(REST)
    }
}

/// Logs what has become of a subscription, once: by the instance that found it.
fn tell(telling: &Telling) {
    let Some(status) = telling.status.as_ref().filter(|_| telling.change == StatusChange::State)
    else {
        return;
    };
    let Status { consecutive_dead_letters: dead_letters, reason, .. } = status;
    let (id, reason) = (&telling.id, reason.as_deref());
    match status.state {
        State::Failing => {
            warn!(subscription = %id, dead_letters, reason, "the subscription is failing")
        }
        State::Disabled => {
            warn!(subscription = %id, dead_letters, reason, "the subscription is disabled")
        }
        State::Active => info!(subscription = %id, "the subscription is active"),
        // Every instance has logged that when it read the definition.
        State::Invalid => {}
    }
}
