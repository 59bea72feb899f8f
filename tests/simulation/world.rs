//! The world of a run: its clock, its instances, and what happens when.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use kafka_webhooks::domain::ending::{Destination, Ending, Next, Publication};
use kafka_webhooks::domain::engine::{
    AttemptId, Batch, Engine, Fairness, PartitionId, Policy, Role,
};
use kafka_webhooks::domain::outcome::{Attempted, RetryRules};
use kafka_webhooks::domain::progress::Window;
use kafka_webhooks::domain::record::{Headers, NextOffset, Offset, TopicPartition};
use kafka_webhooks::domain::retry::Schedule;
use kafka_webhooks::domain::source::{Format, Source, Sources};
use kafka_webhooks::domain::subscription::Subscription;
use kafka_webhooks::domain::tiers::{self, TierIndex, Wheel};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::cluster::{Cluster, TIERS, tier_topic};
use crate::invariants::{Ledger, index_of};
use crate::receivers::{Target, define, targets};

/// Faults and changes happen in this much virtual time; then the world is left to come to rest.
const TROUBLE: Duration = Duration::from_secs(120);

/// By then everything has come to rest, or never will.
const REST: Duration = Duration::from_secs(3 * 3600);

const INSTANCES: usize = 3;

/// Something that happens at its time.
enum Happening {
    Produce,
    Crash,
    Rebalance,
    Lose,
    Cut,
    Change,
    /// A result reaches the instance of that life.
    Result(usize, u32, AttemptId, Arc<Subscription>, Attempted),
    /// A transaction that the instance of that life began as a member of that generation comes to its end.
    Transaction(usize, u32, u32, Batch),
    /// An instance learns that its partitions are gone.
    Told(usize, u32),
    Restart(usize),
}

/// One process.
struct Instance {
    engine: Engine,
    /// Which life this is: what was meant for an earlier one is nobody's.
    life: u32,
    is_up: bool,
    /// Set from when the group went on without it until it is told.
    is_zombie: bool,
    /// Grows when the group goes on without it.
    generation: u32,
    hand: BTreeMap<TopicPartition, PartitionId>,
}

/// What happened in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub events: u64,
    pub requests: u64,
    pub repeats: u64,
    pub crashes: u64,
    pub rebalances: u64,
    pub aborts: u64,
    /// Transactions that were committed by a process that died before it knew.
    pub unreported: u64,
    pub stale: u64,
    pub dead_letters: u64,
    pub moves: u64,
    /// Logs that lost their ends, with records that were taken up.
    pub cuts: u64,
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.requests += other.requests;
        self.repeats += other.repeats;
        self.crashes += other.crashes;
        self.rebalances += other.rebalances;
        self.aborts += other.aborts;
        self.unreported += other.unreported;
        self.stale += other.stale;
        self.dead_letters += other.dead_letters;
        self.moves += other.moves;
        self.cuts += other.cuts;
    }
}

pub struct World {
    dice: SmallRng,
    start: Timestamp,
    now: Timestamp,
    queue: BinaryHeap<Reverse<(Timestamp, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    last: u64,
    cluster: Cluster,
    ledger: Ledger,
    targets: Vec<Target>,
    /// The definitions in force now, of every target.
    current: Vec<Option<Arc<Subscription>>>,
    instances: Vec<Instance>,
    /// Who is to have each partition; it gets it when the one before has let go.
    wanted: BTreeMap<TopicPartition, usize>,
    /// Requests by event, subscription and attempt.
    requests: BTreeMap<(String, String, u32), u64>,
    summary: Summary,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut dice = SmallRng::seed_from_u64(seed);
        let count = dice.random_range(3..60);
        let targets = targets(&mut dice, count);
        let cluster = Cluster::new(dice.random_range(1..3));
        let start = Timestamp::from_second(1_700_000_000).expect("in range");
        let current: Vec<_> = targets.iter().map(|one| Some(one.subscription.clone())).collect();
        let instances = (0..INSTANCES).map(|_| Instance::new(&current)).collect();
        let mut world = Self {
            dice,
            start,
            now: start,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            last: 0,
            cluster,
            ledger: Ledger::default(),
            targets,
            current,
            instances,
            wanted: BTreeMap::new(),
            requests: BTreeMap::new(),
            summary: Summary::default(),
        };
        world.plan();
        world.deal();
        world
    }

    /// Rolls what will happen.
    fn plan(&mut self) {
        for _ in 0..self.dice.random_range(10..150) {
            self.some_time(Happening::Produce);
        }
        for _ in 0..self.dice.random_range(0..6) {
            self.some_time(Happening::Crash);
            self.some_time(Happening::Lose);
        }
        for _ in 0..self.dice.random_range(0..10) {
            self.some_time(Happening::Rebalance);
            self.some_time(Happening::Cut);
            self.some_time(Happening::Change);
        }
    }

    fn some_time(&mut self, happening: Happening) {
        let at = Duration::from_millis(self.dice.random_range(0..TROUBLE.as_millis() as u64));
        self.at(tiers::add(self.start, at), happening);
    }

    fn at(&mut self, time: Timestamp, happening: Happening) {
        self.last += 1;
        self.queue.push(Reverse((time, self.last)));
        self.happenings.insert(self.last, happening);
    }

    fn within(&mut self, millis: u64) -> Timestamp {
        tiers::add(self.now, Duration::from_millis(self.dice.random_range(0..millis)))
    }

    /// Runs until nothing is left to happen, and checks that nothing is owed.
    pub fn run(mut self) -> Summary {
        self.pump();
        while let Some(time) = self.next_time() {
            assert!(tiers::until(time, self.start) < REST, "the world doesn't come to rest");
            self.now = self.now.max(time);
            if let Some(Reverse((time, key))) = self.queue.peek().copied()
                && time <= self.now
            {
                self.queue.pop();
                // A transaction whose process died has happened already, or never will.
                if let Some(happening) = self.happenings.remove(&key) {
                    self.happen(happening);
                }
            }
            self.pump();
        }
        self.ledger.check_end(&self.cluster, &self.targets);
        for instance in &self.instances {
            self.summary.stale += instance.engine.counts().stale;
            assert_eq!(instance.engine.bytes(), 0, "bytes are accounted for to the last");
            assert_eq!((instance.engine.in_flight(), instance.engine.queued()), (0, 0));
        }
        self.summary
    }

    /// Returns when something happens next, or an engine wants to be asked.
    fn next_time(&self) -> Option<Timestamp> {
        let up = self.instances.iter().filter(|instance| instance.is_up);
        let wakes = up.filter_map(|instance| instance.engine.next_wake(self.now));
        wakes.chain(self.queue.peek().map(|Reverse((time, _))| *time)).min()
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Produce => self.produce(),
            Happening::Crash => self.crash(),
            Happening::Restart(index) => self.instances[index].is_up = true,
            Happening::Rebalance => self.deal(),
            Happening::Lose => self.lose(),
            Happening::Cut => self.cut(),
            Happening::Told(index, life) => self.told(index, life),
            Happening::Change => self.change(),
            Happening::Result(index, life, id, subscription, attempted) => {
                let fraction = self.dice.random();
                let instance = &mut self.instances[index];
                if instance.life == life {
                    let engine = &mut instance.engine;
                    engine.attempted(id, &subscription, attempted.clone(), self.now, fraction);
                    if self.dice.random_range(0..20) == 0 {
                        engine.attempted(id, &subscription, attempted, self.now, fraction);
                    }
                }
            }
            Happening::Transaction(index, life, generation, batch) => {
                self.transaction(index, life, generation, batch);
            }
        }
    }

    fn produce(&mut self) {
        let event_type = match self.dice.random_range(0..4) {
            0 => "wide.open".to_owned(),
            _ => format!("narrow.{}", self.dice.random_range(0..self.targets.len())),
        };
        self.summary.events += 1;
        let id = format!("evt_{}", self.summary.events);
        let value = match self.dice.random_range(0..20) {
            0 => None,
            1 => Some(Bytes::from_static(b"not json")),
            _ => Some(Bytes::from(format!(r#"{{"id":"{id}","event":"{event_type}","data":1}}"#))),
        };
        let publication =
            Publication { to: Destination::Audit, key: None, value, headers: Headers::default() };
        let gap = self.gap();
        self.cluster.append("events", gap, self.now, publication);
    }

    fn gap(&mut self) -> i64 {
        if self.dice.random_range(0..3) == 0 { self.dice.random_range(0..300) } else { 0 }
    }

    /// Ends a process without warning. A new one takes its place; its partitions go to the others at once.
    fn crash(&mut self) {
        let index = self.dice.random_range(0..INSTANCES);
        let old = &mut self.instances[index];
        if !old.is_up {
            return;
        }
        self.summary.crashes += 1;
        self.summary.stale += old.engine.counts().stale;
        let last = old.life;
        let life = old.life + 1;
        *old = Instance { life, is_up: false, ..Instance::new(&self.current) };
        self.end_transaction_of(index, last);
        let restart = self.within(5_000);
        self.at(restart, Happening::Restart(index));
        self.deal();
    }

    /// Ends what a process had begun when it died: its commit was on its way, and is through or isn't; nobody reports.
    fn end_transaction_of(&mut self, index: usize, life: u32) {
        let is_its = |happening: &mut Happening| matches!(happening, Happening::Transaction(i, l, ..) if (*i, *l) == (index, life));
        let its = self.happenings.extract_if(.., |_, happening| is_its(happening)).next();
        let Some((_, Happening::Transaction(_, _, generation, batch))) = its else { return };
        if self.dice.random() && self.instances[index].generation == generation {
            self.summary.unreported += 1;
            self.commit(&batch);
        }
    }

    /// Deals the partitions anew among those who are up.
    fn deal(&mut self) {
        self.summary.rebalances += 1;
        for name in self.cluster.partitions() {
            let owner = self.dice.random_range(0..INSTANCES);
            self.wanted.insert(name.clone(), owner);
            for (index, instance) in self.instances.iter_mut().enumerate() {
                if index != owner
                    && let Some(id) = instance.hand.get(&name)
                {
                    instance.engine.revoke(*id);
                }
            }
        }
    }

    /// The group goes on without an instance that doesn't know it yet.
    fn lose(&mut self) {
        let index = self.dice.random_range(0..INSTANCES);
        let told = self.within(3_000);
        let instance = &mut self.instances[index];
        if instance.is_up && !instance.is_zombie {
            instance.is_zombie = true;
            instance.generation += 1;
            let life = instance.life;
            self.at(told, Happening::Told(index, life));
            self.deal();
        }
    }

    fn told(&mut self, index: usize, life: u32) {
        let instance = &mut self.instances[index];
        if instance.life == life {
            instance.is_zombie = false;
            for (_, id) in std::mem::take(&mut instance.hand) {
                instance.engine.abandon(id);
            }
        }
    }

    /// The log of a partition of events loses its end, and its owner learns of it at once.
    fn cut(&mut self) {
        let index = self.dice.random_range(0..INSTANCES);
        let Instance { engine, hand, is_zombie, .. } = &mut self.instances[index];
        let has_room = |(name, id): &(&TopicPartition, &PartitionId)| {
            role(name) == Role::Events && engine.has_room(**id)
        };
        let Some((name, id)) = hand.iter().find(has_room).filter(|_| !*is_zombie) else { return };
        let log = self.cluster.log(name);
        let left = self.dice.random_range(0..=log.len());
        let cut = log[..left].last().map_or(NextOffset(0), |record| record.origin.offset.next());
        if engine.position(*id).is_none_or(|position| position <= cut) {
            return;
        }
        self.summary.cuts += 1;
        let name = name.clone();
        engine.begin_anew(*id, cut);
        self.cluster.cut(&name, cut);
        self.ledger.cut(&name, cut, left);
        // What is on its way becomes of the positions that it would commit over them.
        for happening in self.happenings.values_mut() {
            let Happening::Transaction(.., batch) = happening else { continue };
            for commit in batch.commits.iter_mut().filter(|commit| commit.name == name) {
                let window = Window::new(commit.next, &commit.metadata);
                (commit.next, commit.metadata) = window.commit_before(cut);
            }
        }
    }

    /// Changes or removes a subscription that isn't stable; every instance learns of it.
    fn change(&mut self) {
        let index = self.dice.random_range(0..self.targets.len());
        if self.targets[index].is_stable {
            return;
        }
        let id = self.targets[index].subscription.id.clone();
        let kind = self.dice.random_range(0..3);
        let new = (kind == 0).then(|| define(id.as_str(), "wide.*", self.last as i64));
        self.current[index] = new.clone();
        for instance in &mut self.instances {
            match (&new, kind) {
                (Some(new), _) => instance.engine.put_subscription(new.clone(), self.now),
                (None, 1) => instance.engine.remove_subscription(&id, self.now),
                (None, _) => {
                    let definition = Offset(self.last as i64);
                    instance.engine.invalidate_subscription(
                        id.clone(),
                        definition,
                        "broken",
                        self.now,
                    );
                }
            }
        }
    }

    fn transaction(&mut self, index: usize, life: u32, generation: u32, batch: Batch) {
        let is_aborted = self.dice.random_range(0..8) == 0;
        let instance = &mut self.instances[index];
        assert_eq!(instance.life, life, "a transaction outlived its process");
        // The coordinator refuses a member of an old generation.
        if is_aborted || instance.generation != generation {
            self.summary.aborts += 1;
            instance.engine.batch_aborted(batch, self.now);
            return;
        }
        self.commit(&batch);
        self.instances[index].engine.batch_committed(&batch);
    }

    fn commit(&mut self, batch: &Batch) {
        self.ledger.commit(batch, &self.cluster, &self.targets);
        self.cluster.commit(&batch.commits);
        for (_, ending) in &batch.endings {
            self.count(ending);
            let (onward, audit) = ending.publications("i");
            let tells = matches!(ending, Ending::Delivery(d) if matches!(d.next, Next::Move(..)));
            assert_eq!(audit.is_none(), tells, "every decision is in the audit");
            if let Some(onward) = onward {
                let gap = self.gap();
                self.cluster.publish(onward, gap, self.now);
            }
        }
    }

    fn count(&mut self, ending: &Ending) {
        match ending {
            Ending::Delivery(ending) => match ending.next {
                Next::DeadLetter(_) => self.summary.dead_letters += 1,
                Next::Move(..) => self.summary.moves += 1,
                Next::Delivered | Next::Retry(..) | Next::Skipped(_) => {}
            },
            Ending::Unreadable(_) => self.summary.dead_letters += 1,
        }
    }

    /// Lets every instance do what there is to do now.
    fn pump(&mut self) {
        // Twice: what one lets go of, another takes up.
        self.pump_once();
        self.pump_once();
    }

    fn pump_once(&mut self) {
        self.hand_over();
        for index in 0..INSTANCES {
            if self.instances[index].is_up {
                self.pull(index);
                self.instances[index].engine.advance(self.now);
                let bytes = self.instances[index].engine.bytes();
                let beyond = RECORD_MAX * self.instances[index].hand.len();
                assert!(bytes < MAX_BYTES + beyond, "{bytes} bytes are in flight");
                self.attempt(index);
                self.write(index);
                self.release(index);
            }
        }
    }

    /// Gives partitions that nobody holds to those who are to have them.
    fn hand_over(&mut self) {
        for (name, owner) in &self.wanted {
            let holds =
                |instance: &Instance| instance.hand.contains_key(name) && !instance.is_zombie;
            let owner = if self.instances[*owner].is_up && !self.instances[*owner].is_zombie {
                *owner
            } else {
                let fit = |instance: &Instance| instance.is_up && !instance.is_zombie;
                let Some(other) = self.instances.iter().position(fit) else { continue };
                other
            };
            if self.instances.iter().any(holds) {
                continue;
            }
            let (next, metadata) = self.cluster.committed(name);
            let instance = &mut self.instances[owner];
            let id = instance.engine.assign(name.clone(), role(name), next, &metadata);
            instance.hand.insert(name.clone(), id);
        }
    }

    fn pull(&mut self, index: usize) {
        let instance = &mut self.instances[index];
        for (name, id) in &instance.hand {
            while instance.engine.has_room(*id) {
                let position = instance.engine.position(*id).unwrap_or(NextOffset(0));
                let Some(record) = self.cluster.fetch(name, position) else { break };
                instance.engine.record(*id, record, self.now);
            }
        }
    }

    fn attempt(&mut self, index: usize) {
        let life = self.instances[index].life;
        while let Some(attempt) = self.instances[index].engine.poll_attempt(self.now) {
            assert!(self.instances[index].engine.in_flight() <= MAX_IN_FLIGHT);
            if !self.instances[index].is_zombie {
                self.ledger.check_attempt(&attempt, self.now);
                self.ledger.check_repeat(&attempt);
            }
            let to = &attempt.subscription;
            let key = (attempt.event.label.id.to_string(), to.id.to_string(), attempt.number);
            let made = self.requests.entry(key).or_default();
            *made += 1;
            self.summary.requests += 1;
            self.summary.repeats += u64::from(*made > 1);
            let character = self.targets[index_of(&to.id)].character;
            let (latency, attempted) = character.answer(&mut self.dice);
            let result = Happening::Result(index, life, attempt.id, to.clone(), attempted);
            self.at(tiers::add(self.now, latency), result);
        }
    }

    fn write(&mut self, index: usize) {
        if let Some(batch) = self.instances[index].engine.poll_batch(self.now) {
            let Instance { life, generation, is_zombie, .. } = self.instances[index];
            // As far as it knows.
            let generation = generation - u32::from(is_zombie);
            let end = self.within(200);
            self.at(end, Happening::Transaction(index, life, generation, batch));
        }
    }

    fn release(&mut self, index: usize) {
        let instance = &mut self.instances[index];
        while let Some(id) = instance.engine.poll_released() {
            instance.hand.retain(|_, held| *held != id);
        }
    }
}

const MAX_IN_FLIGHT: usize = 20;

const MAX_BYTES: usize = 4_000;

/// More than any record takes here: the last of each partition may go beyond the budget.
const RECORD_MAX: usize = 600;

impl Instance {
    fn new(subscriptions: &[Option<Arc<Subscription>>]) -> Self {
        let topics = vec!["events".into()];
        let source = Source { topics, ..Source::of_format(Format::Envelope) };
        let mut engine = Engine::new(Policy {
            wheel: Wheel::new(TIERS.map(Duration::from_secs).to_vec()),
            retry: RetryRules {
                schedule: Schedule::new([1, 8, 40].map(Duration::from_secs)),
                jitter: 0.1,
                retry_after_max: Duration::from_secs(60),
                expire_after: Duration::from_secs(1200),
            },
            sources: Sources::new(vec![source]).expect("there are no patterns"),
            max_in_flight: MAX_IN_FLIGHT,
            max_in_flight_per_subscription: 4.try_into().expect("it is not zero"),
            fairness: Fairness::Subscription,
            disable_after: 0,
            max_bytes_in_flight: MAX_BYTES,
            commit_interval: Duration::from_millis(50),
        });
        for subscription in subscriptions.iter().flatten() {
            engine.put_subscription(subscription.clone(), Timestamp::MIN);
        }
        engine.subscriptions_read();
        Self {
            engine,
            life: 0,
            is_up: true,
            is_zombie: false,
            generation: 0,
            hand: BTreeMap::new(),
        }
    }
}

fn role(name: &TopicPartition) -> Role {
    match &*name.topic {
        "events" => Role::Events,
        "deliver" => Role::Deliver,
        topic => {
            let tier = (0..TIERS.len()).find(|tier| *tier_topic(*tier) == *topic);
            Role::Tier(TierIndex(tier.expect("there is no other topic")))
        }
    }
}
