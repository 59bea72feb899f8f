//! The window: the records of one partition between its watermark and its frontier.

use std::collections::VecDeque;

use jiff::Timestamp;
use rustc_hash::{FxHashMap, FxHashSet};

use super::pending::{BYTES_MAX, Pending, PendingSet, Writer};
use crate::domain::record::{NextOffset, Offset};
use crate::domain::subscription::SubscriptionHash;

/// Bytes kept free for the head of the pending set.
const HEAD_MAX: usize = 24;

/// The place of an opened record in its window; valid until the window is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seq(u64);

/// What a record that comes up still needs, seen from what earlier owners of the partition did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing: it was settled.
    Settled,
    /// All its deliveries.
    Whole,
    /// Those to these subscriptions, and to all above the cursor if there is one.
    Only(Vec<SubscriptionHash>, Option<SubscriptionHash>),
}

impl Plan {
    /// Tells whether the delivery to this subscription is still needed.
    pub fn needs(&self, hash: SubscriptionHash) -> bool {
        match self {
            Self::Settled => false,
            Self::Whole => true,
            Self::Only(listed, cursor) => {
                listed.contains(&hash) || cursor.is_some_and(|cursor| hash > cursor)
            }
        }
    }
}

/// What a settled delivery means for its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Others of the record are still open.
    Delivery,
    /// It was the last: the record is done.
    Last,
    /// It was the record's only one, which is done with it.
    Only,
}

#[derive(Debug)]
enum State {
    Settled,
    /// The record's one delivery is in the air.
    Sole,
    /// These deliveries of a fan-out are in the air; the cursor is set while more are to be added.
    Fan(Vec<SubscriptionHash>, Option<SubscriptionHash>),
}

#[derive(Debug)]
struct Slot {
    offset: Offset,
    opened_at: Timestamp,
    state: State,
    /// Whether deliveries are added to it that its earlier owner didn't leave, while others are left behind it.
    is_wider: bool,
}

/// Tracks one partition's records from the watermark to the frontier.
///
/// Its size is bounded by [`Window::has_room`]: what is in the air must fit into a commit's metadata whatever the
/// order in which it settles, and does, because settling never makes the pending set longer.
#[derive(Debug)]
pub struct Window {
    slots: VecDeque<Slot>,
    /// The sequence number of the first slot.
    base: u64,
    /// The first offset that was not opened here.
    next: NextOffset,
    /// What earlier owners left pending at and behind `next`.
    left: PendingSet,
    /// The deliveries that `left` lists, and how many hashes they have at most.
    left_fanned: usize,
    left_hashes: usize,
    unsettled: usize,
    /// Those of the unsettled that are wider than they were left.
    wider: usize,
    fanned: usize,
    hashes: FxHashMap<SubscriptionHash, u32>,
}

impl Window {
    /// Opens a window at a committed position with the metadata that stood there.
    pub fn new(committed: NextOffset, metadata: &str) -> Self {
        let left = PendingSet::decode(committed, metadata);
        let listed: Vec<_> =
            left.records.values().filter_map(Pending::listed).flatten().copied().collect();
        let left_fanned = listed.len();
        let left_hashes = listed.into_iter().collect::<FxHashSet<_>>().len();
        Self {
            slots: VecDeque::new(),
            base: 0,
            next: committed,
            left,
            left_fanned,
            left_hashes,
            unsettled: 0,
            wider: 0,
            fanned: 0,
            hashes: FxHashMap::default(),
        }
    }

    /// Tells what the next record still needs.
    pub fn plan(&self, offset: Offset) -> Plan {
        if !self.left.frontier.includes(offset) {
            return Plan::Whole;
        }
        match self.left.records.get(&offset) {
            None => Plan::Settled,
            Some(Pending::Whole) => Plan::Whole,
            Some(Pending::Only(listed)) => Plan::Only(listed.clone(), self.left_cursor(offset)),
        }
    }

    /// Passes over a record that needs nothing.
    pub fn skip(&mut self, offset: Offset) {
        self.advance(offset);
    }

    /// Opens a record that needs exactly one delivery.
    pub fn open_sole(&mut self, offset: Offset, now: Timestamp) -> Seq {
        self.advance(offset);
        self.push(offset, State::Sole, now)
    }

    /// Opens a record that fans out. The listed deliveries are in the air at once. With a cursor, those above it are
    /// still to be added one by one, until [`Window::close`].
    pub fn open_fan(
        &mut self,
        offset: Offset,
        listed: Vec<SubscriptionHash>,
        cursor: Option<SubscriptionHash>,
        now: Timestamp,
    ) -> Seq {
        assert!(cursor.is_some() || !listed.is_empty(), "a record without deliveries is skipped");
        self.advance(offset);
        for &hash in &listed {
            self.count(hash);
        }
        self.push(offset, State::Fan(listed, cursor), now)
    }

    /// Adds a delivery to the last opened record; hashes come in ascending order. Deliveries of one hash, and the
    /// first of a record, are added before the next [`Window::commit`]: a cursor speaks for all of its hash.
    pub fn add(&mut self, seq: Seq, hash: SubscriptionHash) {
        self.count(hash);
        match &mut self.slot(seq).state {
            State::Fan(listed, Some(cursor)) => {
                assert!(hash >= *cursor, "deliveries are added in the order of their hashes");
                *cursor = hash;
                listed.push(hash);
            }
            state => panic!("a delivery was added to a record in state {state:?}"),
        }
    }

    /// Says that the last opened record has all its deliveries.
    pub fn close(&mut self, seq: Seq) -> Settled {
        let slot = self.slot(seq);
        let State::Fan(listed, cursor @ Some(_)) = &mut slot.state else {
            panic!("a record was closed in state {:?}", slot.state);
        };
        *cursor = None;
        if listed.is_empty() {
            self.finish(seq);
            return Settled::Last;
        }
        Settled::Delivery
    }

    /// Settles one delivery.
    pub fn settle(&mut self, seq: Seq, hash: SubscriptionHash) -> Settled {
        let slot = self.slot(seq);
        let over = match &mut slot.state {
            State::Sole => Some(Settled::Only),
            State::Settled => panic!("a delivery of offset {} was settled twice", slot.offset.0),
            State::Fan(listed, cursor) => {
                let at = listed.iter().position(|other| *other == hash);
                listed.swap_remove(at.expect("a delivery is settled once, after it was added"));
                let is_last = listed.is_empty() && cursor.is_none();
                self.uncount(hash);
                is_last.then_some(Settled::Last)
            }
        };
        if over.is_some() {
            self.finish(seq);
        }
        over.unwrap_or(Settled::Delivery)
    }

    fn finish(&mut self, seq: Seq) {
        let slot = self.slot(seq);
        slot.state = State::Settled;
        let was_wider = slot.is_wider;
        self.wider -= usize::from(was_wider);
        self.unsettled -= 1;
        self.pop_settled();
    }

    /// Returns the first offset that is not settled: what may be committed.
    pub fn watermark(&self) -> NextOffset {
        self.slots.front().map_or(self.next, |slot| slot.offset.at())
    }

    /// Returns when the record at the watermark was opened, if one is open.
    pub fn open_since(&self) -> Option<Timestamp> {
        self.slots.front().map(|slot| slot.opened_at)
    }

    /// Returns the first offset that was not opened.
    pub fn next(&self) -> NextOffset {
        self.next
    }

    /// Returns how many records are open.
    pub fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Tells whether one more delivery can be taken up and the pending set still fits, come what may.
    ///
    /// Re-reading what earlier owners left always has room: it fitted into the commit that it came from. That isn't true
    /// of a record that has more deliveries now than it had then: beyond the bound there is one of these at a time, with
    /// all its deliveries at once, as a cursor can stand only behind the last entry of a set.
    pub fn has_room(&self) -> bool {
        let is_rereading = !self.left.records.is_empty();
        self.bytes_bound() < BYTES_MAX || is_rereading && (self.wider == 0 || self.is_half_added())
    }

    fn is_half_added(&self) -> bool {
        matches!(self.slots.back(), Some(Slot { state: State::Fan(_, Some(_)), .. }))
    }

    /// Returns an upper bound of the pending set's bytes, now and after any settling, with one more delivery.
    fn bytes_bound(&self) -> usize {
        // The largest gap is the whole span, and its lowest bit is the mark of a list.
        let span = (self.next.max(self.left.frontier).0 - self.watermark().0 + 1) as u64;
        let gap = varint_len(span << 1);
        let (records, fanned) =
            (self.unsettled + self.left.records.len(), self.fanned + self.left_fanned);
        let hashes = self.hashes.len() + self.left_hashes + 1;
        let index = varint_len(hashes as u64);
        let count = if fanned == 0 { 0 } else { index };
        HEAD_MAX + (records + 1) * (gap + count) + (fanned + 1) * index + 4 * hashes
    }

    /// Returns the position to commit and the metadata that goes with it, at most [`METADATA_MAX`] characters.
    ///
    /// [`METADATA_MAX`]: super::METADATA_MAX
    pub fn commit(&self) -> (NextOffset, String) {
        self.commit_before(NextOffset(i64::MAX))
    }

    /// Returns the same for a log that was cut: what is pending before stays so, and what comes behind is new.
    pub fn commit_before(&self, cut: NextOffset) -> (NextOffset, String) {
        let watermark = self.watermark().min(cut);
        let mut writer = Writer::new(watermark);
        let mut cursor = None;
        for slot in self.slots.iter().take_while(|slot| cut.includes(slot.offset)) {
            match &slot.state {
                State::Settled => {}
                State::Sole => writer.entry(slot.offset, None),
                State::Fan(listed, open) => {
                    writer.entry(slot.offset, Some(listed));
                    cursor = *open;
                }
            }
        }
        let left = self.left.records.iter().take_while(|(offset, _)| cut.includes(**offset));
        for (offset, pending) in left {
            writer.entry(*offset, pending.listed());
            cursor = self.left_cursor(*offset);
        }
        (watermark, writer.finish(self.next.max(self.left.frontier).min(cut), cursor))
    }

    /// Returns the cursor that an earlier owner left at a record: only its last can have one.
    fn left_cursor(&self, offset: Offset) -> Option<SubscriptionHash> {
        let last = self.left.records.last_key_value();
        self.left.cursor.filter(|_| last.is_some_and(|(last, _)| *last == offset))
    }

    fn advance(&mut self, offset: Offset) {
        assert!(!self.next.includes(offset), "offset {} was opened twice", offset.0);
        assert!(!self.is_half_added(), "the record before is half added");
        self.next = offset.next();
        while let Some(entry) = self.left.records.first_entry()
            && self.next.includes(*entry.key())
        {
            self.left_fanned -= entry.remove().listed().map_or(0, <[_]>::len);
        }
        if self.left.records.is_empty() {
            self.left_hashes = 0;
        }
    }

    fn push(&mut self, offset: Offset, state: State, opened_at: Timestamp) -> Seq {
        let is_rereading = !self.left.records.is_empty();
        let is_wider = is_rereading && matches!(state, State::Fan(_, Some(_)));
        self.slots.push_back(Slot { offset, opened_at, state, is_wider });
        self.unsettled += 1;
        self.wider += usize::from(is_wider);
        Seq(self.base + self.slots.len() as u64 - 1)
    }

    fn slot(&mut self, seq: Seq) -> &mut Slot {
        let index = seq.0.checked_sub(self.base).and_then(|index| usize::try_from(index).ok());
        let slot = index.and_then(|index| self.slots.get_mut(index));
        slot.expect("a record stays in the window until all its deliveries are settled")
    }

    fn pop_settled(&mut self) {
        while matches!(self.slots.front(), Some(Slot { state: State::Settled, .. })) {
            self.slots.pop_front();
            self.base += 1;
        }
    }

    fn count(&mut self, hash: SubscriptionHash) {
        self.fanned += 1;
        *self.hashes.entry(hash).or_default() += 1;
    }

    fn uncount(&mut self, hash: SubscriptionHash) {
        self.fanned -= 1;
        let count = self.hashes.get_mut(&hash).expect("every hash in the air is counted");
        *count -= 1;
        if *count == 0 {
            self.hashes.remove(&hash);
        }
    }
}

fn varint_len(number: u64) -> usize {
    (64 - number.leading_zeros() as usize).div_ceil(7).max(1)
}
