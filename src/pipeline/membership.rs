//! One member of the group: which partitions are in its hand, which are coming, which are going.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing::{info, warn};

use super::inbox::{Inbox, Input};
use super::translations::Translations;
use crate::domain::decode::Translation;
use crate::domain::engine::{Engine, PartitionId, Role, Sequel};
use crate::domain::record::{Record, TopicPartition};
use crate::domain::tiers::TierIndex;
use crate::kafka::consumer::{GroupConsumer, Identity, Part};
use crate::kafka::group::{Lag, Notice};
use crate::kafka::positions::Committed;
use crate::kafka::{Connection, KafkaError};

/// The most records that are taken from one partition before the next has its turn.
const TURN: usize = 64;

/// How long a member's records are taken before the driver sees to all else, its own attempts too. A turn that is begun
/// is ended.
const ROUND: Duration = Duration::from_millis(1);

/// The longest that revoked partitions are held while their attempts end.
///
/// As long as they are held librdkafka fetches nothing for those that stay either (`rd_kafka_rebalance_op_incr` pauses
/// all): a receiver that hangs must not hold up everybody's for long. What takes longer is repeated by the next owner.
const HANDOVER_MAX: Duration = Duration::from_secs(5);

/// How long leaving the group may take.
const LEAVE: Duration = Duration::from_secs(5);

/// A session's member of the group.
pub(super) struct Membership {
    part: Part,
    consumer: GroupConsumer,
    inbox: Arc<Inbox>,
    roles: Roles,
    translations: Translations,
    /// The partitions in hand; those on their way out stay until nothing of theirs is open.
    hand: Vec<(TopicPartition, PartitionId)>,
    /// The partitions whose committed positions are being asked for.
    coming: HashSet<TopicPartition>,
    /// Revocations that are not answered yet.
    going: Vec<Handover>,
    handover: Duration,
    /// Whether the group has assigned anything yet, be it nothing.
    assigned: bool,
    /// Since when the group has to take the member in, or back; `None` while it is one.
    outside_since: Option<Instant>,
    /// Who the member is since then, until the ledger has been told.
    identity: Option<Identity>,
}

/// Partitions on their way out.
struct Handover {
    /// What the group has asked back: it takes one answer for all. `None` when nobody asked, at the end.
    asked: Option<Vec<TopicPartition>>,
    open: Vec<PartitionId>,
    deadline: Instant,
}

/// What the records of each topic are.
struct Roles {
    deliver: Arc<str>,
    audit: Arc<str>,
    tiers: Vec<Arc<str>>,
}

impl Roles {
    fn of(&self, topic: &str) -> Role {
        if *topic == *self.deliver {
            return Role::Deliver;
        }
        if *topic == *self.audit {
            return Role::Audit;
        }
        let tier = self.tiers.iter().position(|tier| **tier == *topic);
        tier.map_or(Role::Events, |tier| Role::Tier(TierIndex(tier)))
    }
}

impl Membership {
    /// Joins the group.
    pub(super) fn join(
        connection: &Connection,
        part: Part,
        inbox: &Arc<Inbox>,
        translations: Translations,
    ) -> Result<Self, KafkaError> {
        let config = connection.config();
        let tiers = config.topics.tiers.iter().map(|tier| tier.topic.clone()).collect();
        let wake = inbox.clone();
        let consumer = GroupConsumer::join(connection, part, Arc::new(move || wake.wake()))?;
        Ok(Self {
            part,
            consumer,
            inbox: inbox.clone(),
            roles: Roles {
                deliver: config.topics.deliver.clone(),
                audit: config.topics.audit.clone(),
                tiers,
            },
            translations,
            hand: Vec::new(),
            coming: HashSet::new(),
            going: Vec::new(),
            handover: handover(config.kafka.session()),
            assigned: false,
            outside_since: Some(Instant::now()),
            identity: None,
        })
    }

    pub(super) fn part(&self) -> Part {
        self.part
    }

    /// Returns who the member is since the last assignment, if that is new.
    pub(super) fn take_identity(&mut self) -> Option<Identity> {
        self.identity.take()
    }

    pub(super) fn lags(&self) -> Vec<Lag> {
        let mut lags = self.consumer.lags();
        for (name, _) in self.hand.iter().filter(|(_, id)| self.translations.holds(*id)) {
            let its = lags.iter_mut().filter(|lag| lag.name == *name);
            its.for_each(|lag| lag.ahead += 1);
        }
        lags
    }

    pub(super) fn is_assigned(&self) -> bool {
        self.assigned
    }

    /// Returns since when the group has to take this member in, or back, if it has.
    pub(super) fn outside_since(&self) -> Option<Instant> {
        self.outside_since
    }

    pub(super) fn reaches_broker(&self) -> bool {
        self.consumer.reaches_broker()
    }

    /// Serves the consumer and acts on what the group says.
    ///
    /// # Errors
    /// The consumer is of no use any more; the text says why.
    pub(super) fn poll(&mut self, engine: &mut Engine, now: Instant) -> Result<(), String> {
        for notice in self.consumer.poll(now) {
            match notice {
                Notice::Assigned(names) => self.assigned(names)?,
                Notice::Revoked(names) => self.revoked(names, engine),
                Notice::Lost(names) => self.lost(&names, engine),
                Notice::Fatal(reason) => return Err(reason),
            }
        }
        Ok(())
    }

    fn assigned(&mut self, names: Vec<TopicPartition>) -> Result<(), String> {
        self.assigned = true;
        self.outside_since = None;
        self.identity = self.consumer.identity();
        if names.is_empty() {
            return self.start(&[]);
        }
        self.coming.extend(names.iter().cloned());
        let (part, inbox) = (self.part, self.inbox.clone());
        let answer = move |committed| inbox.push(Input::Positions(part, committed));
        self.consumer.look_up(names, answer);
        Ok(())
    }

    /// Starts partitions whose committed positions are known now.
    ///
    /// # Errors
    /// The consumer refuses.
    pub(super) fn positions(
        &mut self,
        mut committed: Vec<Committed>,
        engine: &mut Engine,
    ) -> Result<(), String> {
        // What was lost while it was asked for is not ours any more.
        committed.retain(|committed| self.coming.remove(&committed.name));
        let mut audits = Vec::new();
        for Committed { name, next, metadata } in &committed {
            let role = self.roles.of(&name.topic);
            let id = engine.assign(name.clone(), role, *next, metadata);
            if role == Role::Audit {
                audits.push(id);
            }
            self.hand.push((name.clone(), id));
        }
        info!(partitions = committed.len(), "partitions taken over");
        if !audits.is_empty() {
            let inbox = self.inbox.clone();
            // Only now: what is read must be no older than the positions.
            self.consumer.look_up_statuses(move |it| inbox.push(Input::Statuses(audits, it)));
        }
        self.start(&committed)
    }

    fn start(&mut self, committed: &[Committed]) -> Result<(), String> {
        let started = self.consumer.start(committed);
        started.map_err(|error| format!("assigned partitions can't be started: {error}"))
    }

    fn revoked(&mut self, names: Vec<TopicPartition>, engine: &mut Engine) {
        // Nobody gets them before they are given back: their last commit is made in the new generation.
        self.identity = self.consumer.identity();
        self.coming.retain(|name| !names.contains(name));
        let concerned = self.hand.iter().filter(|(name, _)| names.contains(name));
        let open: Vec<_> = concerned.map(|(_, id)| *id).collect();
        for id in &open {
            engine.revoke(*id);
        }
        self.going.push(Handover {
            asked: Some(names),
            open,
            deadline: Instant::now() + self.handover,
        });
    }

    fn lost(&mut self, names: &[TopicPartition], engine: &mut Engine) {
        warn!(
            partitions = names.len(),
            "partitions were lost: the group went on without this member"
        );
        self.outside_since = Some(Instant::now());
        self.coming.retain(|name| !names.contains(name));
        for (_, id) in self.hand.extract_if(.., |(name, _)| names.contains(name)) {
            engine.abandon(id);
            self.translations.forget(id);
        }
        self.consumer.give_back(names);
    }

    /// Takes records as far as the engine has room and a round has time; tells whether there were any.
    ///
    /// # Errors
    /// The consumer refuses to read again what it should.
    pub(super) fn pull(&mut self, engine: &mut Engine, now: Timestamp) -> Result<bool, String> {
        let begin = Instant::now();
        let mut pulled = false;
        // The next round begins with the partition behind the first, or with one that had no turn: so a budget is shared.
        let mut next = 1;
        for (index, (name, id)) in self.hand.iter().enumerate() {
            if pulled && begin.elapsed() >= ROUND {
                next = index;
                break;
            }
            if self.translations.is_running(*id) {
                continue;
            }
            if !engine.has_room(*id) {
                if self.consumer.fetched(name).is_waiting() {
                    engine.wants_room(*id);
                }
                continue;
            }
            if let Some((record, translation)) = self.translations.take(*id) {
                pulled = true;
                engine.translated(*id, record, translation, now);
            }
            let mut fetched = self.consumer.fetched(name);
            for _ in 0..TURN {
                if !engine.has_room(*id) {
                    break;
                }
                let Some(record) = fetched.next() else { break };
                pulled = true;
                match engine.sequel(*id, &record.origin) {
                    Sequel::Next => {}
                    // A rebalance has librdkafka pause at the record behind the last one that it knows to be handed
                    // over: one that is just being handed over is fetched again (`rd_kafka_toppar_pause_resume`).
                    Sequel::Repeated => continue,
                    Sequel::Anew => {
                        let cut = record.origin.offset.at();
                        let from = engine.begin_anew(*id, cut);
                        warn!(topic = %name.topic, partition = name.partition, offset = cut.0, from = from.0,
                            "offsets went back: the log was cut here, or the topic made anew");
                        if from < cut {
                            let seek = self.consumer.read_again(name, from);
                            seek.map_err(|error| format!("{name} can't be read again: {error}"))?;
                            break;
                        }
                    }
                }
                if !engine.needs_schema(*id, &record) {
                    engine.record(*id, record, now);
                    continue;
                }
                match self.translations.begin(*id, record) {
                    Some((record, translation)) => engine.translated(*id, record, translation, now),
                    None => break,
                }
            }
        }
        if self.hand.len() > 1 {
            self.hand.rotate_left(next);
        }
        Ok(pulled)
    }

    /// Takes note of what a schema has said of a record; it is taken up in its partition's next turn.
    pub(super) fn translated(&mut self, id: PartitionId, record: Record, translation: Translation) {
        self.translations.done(id, record, translation);
    }

    /// Gives back what has been let go of, or has run out of time.
    pub(super) fn release(&mut self, released: &[PartitionId], engine: &mut Engine) {
        let mut gone = released.to_vec();
        let now = Instant::now();
        for handover in self.going.iter_mut().filter(|handover| handover.deadline <= now) {
            for id in handover.open.drain(..).filter(|id| !released.contains(id)) {
                warn!(partition = %id, "attempts outlast the handover: the next owner repeats them");
                engine.abandon(id);
                gone.push(id);
            }
        }
        self.hand.retain(|(_, id)| !gone.contains(id));
        for id in &gone {
            self.translations.forget(*id);
        }
        for handover in &mut self.going {
            handover.open.retain(|open| !gone.contains(open));
        }
        let is_done = |handover: &mut Handover| handover.open.is_empty();
        for Handover { asked, .. } in self.going.extract_if(.., is_done) {
            if let Some(names) = asked {
                info!(partitions = names.len(), "partitions given back");
                self.consumer.give_back(&names);
            }
        }
    }

    /// Starts to let go of everything. The group learns of it when this member leaves.
    pub(super) fn begin_stop(&mut self, engine: &mut Engine, deadline: Instant) {
        self.coming.clear();
        let open: Vec<_> = self.hand.iter().map(|(_, id)| *id).collect();
        for id in &open {
            engine.revoke(*id);
        }
        self.going.push(Handover { asked: None, open, deadline });
    }

    /// Tells whether nothing is open any more.
    pub(super) fn is_empty(&self) -> bool {
        self.hand.is_empty() && self.going.is_empty()
    }

    /// Leaves the group.
    pub(super) fn leave(self) {
        self.consumer.leave(LEAVE);
    }
}

/// Returns how long revoked partitions may be held: well below the time after which the group gives up a member.
fn handover(session: Duration) -> Duration {
    HANDOVER_MAX.min(session * 2 / 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(session: u64, expected: u64) {
        let [session, expected] = [session, expected].map(Duration::from_secs);
        assert_eq!(handover(session), expected);
    }

    #[test]
    fn a_handover_ends_well_below_the_session() {
        check(6, 4);
        check(30, 5);
        check(45, 5);
    }
}
