use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::domain::record::{NextOffset, Offset};
use crate::domain::subscription::SubscriptionHash;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const START: NextOffset = NextOffset(100);

fn hash(number: u32) -> SubscriptionHash {
    SubscriptionHash(number)
}

/// Says what a commit holds, in words.
fn summary(window: &Window) -> String {
    let (watermark, metadata) = window.commit();
    let set = PendingSet::decode(watermark, &metadata);
    let records = set.records.iter().map(|(offset, pending)| match pending {
        Pending::Whole => offset.0.to_string(),
        Pending::Only(hashes) => {
            let hashes: Vec<_> = hashes.iter().map(|hash| hash.0.to_string()).collect();
            format!("{}[{}]", offset.0, hashes.join(","))
        }
    });
    let records: Vec<_> = records.collect();
    let cursor = set.cursor.map_or(String::new(), |cursor| format!(" above {}", cursor.0));
    format!("{}..{} {}{cursor}", watermark.0, set.frontier.0, records.join(" "))
}

#[test]
fn the_watermark_waits_for_the_first_open_record() {
    let mut window = Window::new(START, "");
    let first = window.open_sole(Offset(100), NOW);
    let second = window.open_sole(Offset(103), NOW);
    window.skip(Offset(104));
    window.settle(second, hash(1));
    assert_eq!(summary(&window), "100..105 100");
    window.settle(first, hash(1));
    assert_eq!(summary(&window), "105..105 ");
}

#[test]
fn nothing_pending_needs_no_metadata() {
    let mut window = Window::new(START, "");
    window.skip(Offset(100));
    assert_eq!(window.commit(), (NextOffset(101), String::new()));
}

#[test]
fn a_half_added_fan_out_is_a_cursor_and_what_is_open_below_it() {
    let mut window = Window::new(START, "");
    let seq = window.open_fan(Offset(100), vec![], Some(hash(0)), NOW);
    for number in [10, 20, 30] {
        window.add(seq, hash(number));
    }
    window.settle(seq, hash(20));
    assert_eq!(summary(&window), "100..101 100[10,30] above 30");
    window.add(seq, hash(40));
    window.close(seq);
    assert_eq!(summary(&window), "100..101 100[10,30,40]");
}

#[test]
fn a_new_owner_takes_up_only_what_is_left() {
    let mut window = Window::new(START, "");
    let sole = window.open_sole(Offset(100), NOW);
    let fan = window.open_fan(Offset(101), vec![], Some(hash(0)), NOW);
    window.add(fan, hash(10));
    window.add(fan, hash(20));
    window.close(fan);
    window.open_sole(Offset(105), NOW);
    window.settle(sole, hash(1));
    window.settle(fan, hash(10));

    let (watermark, metadata) = window.commit();
    let mut heir = Window::new(watermark, &metadata);
    assert_eq!(heir.plan(Offset(101)), Plan::Only(vec![hash(20)], None));
    assert_eq!(heir.plan(Offset(102)), Plan::Settled);
    assert_eq!(heir.plan(Offset(105)), Plan::Whole);
    assert_eq!(heir.plan(Offset(106)), Plan::Whole);
    // Before it has read all that was left, its own commits still tell of the rest.
    let fan = heir.open_fan(Offset(101), vec![hash(20)], None, NOW);
    heir.settle(fan, hash(20));
    assert_eq!(summary(&heir), "102..106 105");
}

#[test]
fn metadata_of_another_version_or_damaged_is_ignored() {
    let mut window = Window::new(START, "");
    let first = window.open_sole(Offset(100), NOW);
    window.open_sole(Offset(101), NOW);
    let (_, metadata) = window.commit();
    window.settle(first, hash(1));
    let all = PendingSet::empty(START);
    assert_ne!(PendingSet::decode(START, &metadata), all);
    let other =
        [format!("2{}", &metadata[1..]), metadata[..metadata.len() - 1].into(), "text".into()];
    for metadata in other {
        assert_eq!(PendingSet::decode(START, &metadata), all, "{metadata}");
    }
}

#[test]
fn a_window_full_of_single_deliveries_fits_and_holds_a_thousand() {
    let mut window = Window::new(START, "");
    let mut offset = START.0;
    while window.has_room() {
        window.open_sole(Offset(offset), NOW);
        offset += 2;
        assert!(window.unsettled() < 10_000, "the window has no bound");
    }
    assert!(window.unsettled() > 1000, "only {} records fit", window.unsettled());
    let (watermark, metadata) = window.commit();
    let set = PendingSet::decode(watermark, &metadata);
    assert_eq!(set.records.len(), window.unsettled());
}

/// Fills a window with records of one delivery each, as far as there is room, and returns its commit.
fn full_of_singles() -> (NextOffset, String) {
    let mut window = Window::new(START, "");
    let mut offset = START.0;
    while window.has_room() {
        window.open_sole(Offset(offset), NOW);
        offset += 1;
    }
    window.commit()
}

/// Opens a record with deliveries of these hashes, as far as there is room for each.
fn fan_out(window: &mut Window, offset: i64, hashes: impl Iterator<Item = u32>) -> Seq {
    let seq = window.open_fan(Offset(offset), vec![], Some(hash(0)), NOW);
    for number in hashes {
        assert!(window.has_room(), "a record that others stand behind is added whole");
        window.add(seq, hash(number));
    }
    window.close(seq);
    seq
}

#[test]
fn an_heir_whose_records_fan_out_wider_than_they_were_left_waits_for_room() {
    let (watermark, metadata) = full_of_singles();
    let count = PendingSet::decode(watermark, &metadata).records.len() as i64;
    let mut heir = Window::new(watermark, &metadata);
    let (mut open, mut most) = (vec![], 0);
    // But for the last: behind it there is nothing, and it may be half added.
    for offset in START.0..START.0 + count - 1 {
        while !heir.has_room() {
            // What is open settles, and then it goes on.
            let (seq, number) = open.pop().expect("without anything open there is room");
            heir.settle(seq, hash(number));
        }
        let seq = fan_out(&mut heir, offset, 1..4);
        open.extend((1..4).map(|number| (seq, number)));
        most = most.max(open.len());
        let (_, metadata) = heir.commit();
        let set = PendingSet::decode(heir.watermark(), &metadata);
        assert_eq!(set.frontier, NextOffset(START.0 + count), "the set was cut at {offset}");
    }
    assert!(most < 3 * count as usize, "all {most} were open at once");
}

#[test]
fn a_fan_out_that_fits_no_set_is_never_started_in_it_and_nothing_is_lost() {
    let (watermark, metadata) = full_of_singles();
    let mut heir = Window::new(watermark, &metadata);
    heir.open_sole(Offset(100), NOW);
    let seq = fan_out(&mut heir, 101, 1..5_000);
    assert!(!heir.has_room(), "the next waits");
    assert_eq!(summary(&heir), "100..101 100");
    for number in 1..5_000 {
        heir.settle(seq, hash(number));
    }
    assert!(heir.has_room());
    let (watermark, metadata) = heir.commit();
    assert_eq!(Window::new(watermark, &metadata).plan(Offset(101)), Plan::Settled);
    assert_eq!(Window::new(watermark, &metadata).plan(Offset(102)), Plan::Whole);
}

/// What a window should say, kept the plain way: every delivery of every record.
struct Model {
    /// The deliveries of the record at each offset.
    records: BTreeMap<i64, Vec<u32>>,
    settled: BTreeSet<(i64, u32)>,
}

impl Model {
    fn new(fans: &[(u8, u8)]) -> Self {
        let mut offset = START.0;
        let mut records = BTreeMap::new();
        for (gap, fan) in fans {
            offset += i64::from(*gap);
            records.insert(offset, (0..u32::from(*fan)).map(|n| n * 7 + 1).collect());
            offset += 1;
        }
        Self { records, settled: BTreeSet::new() }
    }
}

/// One life of an owner: takes up what is not settled, settles some of it in random order, commits, dies.
///
/// Returns the commit, after checking that it says exactly what the model knows.
fn live(
    model: &mut Model,
    committed: (NextOffset, String),
    order: &mut impl FnMut(usize) -> usize,
    steps: usize,
) -> (NextOffset, String) {
    let mut window = Window::new(committed.0, &committed.1);
    let mut air: Vec<(i64, u32, Seq)> = vec![];
    let coming: Vec<_> =
        model.records.range(committed.0.0..).map(|(o, d)| (*o, d.clone())).collect();
    let mut coming = coming.into_iter().peekable();
    let mut half: Option<(i64, Seq, Vec<u32>)> = None;
    for _ in 0..steps {
        let choice = order(3);
        if choice == 0 && !air.is_empty() {
            let (offset, number, seq) = air.swap_remove(order(air.len()));
            window.settle(seq, hash(number));
            assert!(
                model.settled.insert((offset, number)),
                "delivery {offset}/{number} was repeated"
            );
        } else if let Some((offset, seq, mut rest)) = half.take() {
            if !rest.is_empty() && window.has_room() {
                let number = rest.remove(0);
                window.add(seq, hash(number));
                air.push((offset, number, seq));
            }
            if rest.is_empty() {
                window.close(seq);
            } else {
                half = Some((offset, seq, rest));
            }
        } else if window.has_room()
            && let Some((offset, all)) = coming.next()
        {
            let plan = window.plan(Offset(offset));
            let needed: Vec<u32> = all.iter().copied().filter(|n| plan.needs(hash(*n))).collect();
            let open: Vec<u32> =
                all.iter().copied().filter(|n| !model.settled.contains(&(offset, *n))).collect();
            assert_eq!(needed, open, "offset {offset}");
            match (plan, needed.as_slice()) {
                (_, []) => window.skip(Offset(offset)),
                (Plan::Whole, [number]) => {
                    air.push((offset, *number, window.open_sole(Offset(offset), NOW)));
                }
                (Plan::Whole, [first, rest @ ..]) => {
                    let seq = window.open_fan(Offset(offset), vec![], Some(hash(0)), NOW);
                    window.add(seq, hash(*first));
                    air.push((offset, *first, seq));
                    half = Some((offset, seq, rest.to_vec()));
                }
                (Plan::Only(listed, cursor), _) => {
                    let seq = window.open_fan(Offset(offset), listed.clone(), cursor, NOW);
                    air.extend(listed.iter().map(|hash| (offset, hash.0, seq)));
                    let rest: Vec<_> =
                        needed.iter().copied().filter(|n| !listed.contains(&hash(*n))).collect();
                    if cursor.is_some() {
                        half = Some((offset, seq, rest));
                    }
                }
                (Plan::Settled, _) => unreachable!("a settled record needs nothing"),
            }
        }
        let (watermark, metadata) = window.commit();
        assert!(metadata.len() <= METADATA_MAX);
        for (offset, all) in model.records.range(..watermark.0) {
            let open = all.iter().find(|n| !model.settled.contains(&(*offset, **n)));
            assert_eq!(open, None, "the watermark passed an open delivery of offset {offset}");
        }
        check_cut(&window, NextOffset(START.0 + order(200) as i64));
    }
    window.commit()
}

/// Checks what is committed of a log that was cut: before the cut all is as it was, and behind it all is new.
fn check_cut(window: &Window, cut: NextOffset) {
    let [whole, left] = [window.commit(), window.commit_before(cut)]
        .map(|(committed, metadata)| Window::new(committed, &metadata));
    assert_eq!(left.next(), whole.next().min(cut));
    for offset in (left.next().0..whole.next().0 + 200).map(Offset) {
        let expected = if cut.includes(offset) { whole.plan(offset) } else { Plan::Whole };
        assert_eq!(left.plan(offset), expected, "offset {}, cut at {}", offset.0, cut.0);
    }
}

proptest! {
    #[test]
    fn commits_lose_nothing_and_repeat_nothing_over_many_lives(
        fans in prop::collection::vec((0_u8..3, 0_u8..6), 1..60),
        choices in prop::collection::vec(any::<u16>(), 1..400),
        lives in prop::collection::vec(1_usize..200, 1..6),
    ) {
        let mut model = Model::new(&fans);
        let mut at = 0;
        let mut order = |bound: usize| {
            at += 1;
            usize::from(choices[at % choices.len()]) % bound
        };
        let mut committed = (START, String::new());
        for steps in lives {
            committed = live(&mut model, committed, &mut order, steps);
        }
    }

    #[test]
    fn a_window_that_keeps_to_its_room_always_fits(
        fans in prop::collection::vec((0_u8..200, 1_u8..120), 1..100),
        settle in prop::collection::vec(any::<prop::sample::Index>(), 0..400),
    ) {
        let mut window = Window::new(START, "");
        let mut air = vec![];
        let mut offset = START.0;
        let mut settle = settle.into_iter();
        for (gap, fan) in fans {
            offset += i64::from(gap) + 1;
            if !window.has_room() {
                break;
            }
            let mut seq = None;
            for number in 0..u32::from(fan) {
                if !window.has_room() {
                    break;
                }
                let seq = *seq.get_or_insert_with(|| {
                    window.open_fan(Offset(offset), vec![], Some(hash(0)), NOW)
                });
                window.add(seq, hash(number * 1000));
                air.push((seq, number * 1000));
            }
            window.close(seq.expect("there was room for one"));
            if let Some(index) = settle.next() {
                let (seq, number) = air.swap_remove(index.index(air.len()));
                window.settle(seq, hash(number));
            }
        }
        for index in settle {
            let (watermark, metadata) = window.commit();
            let set = PendingSet::decode(watermark, &metadata);
            prop_assert_eq!(set.frontier, window.next(), "the set was cut");
            if air.is_empty() {
                break;
            }
            let (seq, number) = air.swap_remove(index.index(air.len()));
            window.settle(seq, hash(number));
        }
    }

    #[test]
    fn no_metadata_makes_the_decoder_panic(metadata in "1[A-Za-z0-9_-]{0,60}") {
        PendingSet::decode(START, &metadata);
    }
}
