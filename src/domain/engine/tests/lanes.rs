//! One endpoint harms nobody: breakers, rates, and room for the others.

mod endpoints;

use super::*;

const ALONE: Duration = Duration::from_secs(7);

/// So many failures in a row are enough for a breaker.
pub(super) const TROUBLES: i64 = 10;

impl Rig {
    /// Ends an attempt with a 429 that names a time to be left alone for.
    pub(super) fn refuse(&mut self, attempt: &Attempt, alone: Duration) {
        let answer = Answer { status: 429, retry_after: Some(alone), excerpt: None };
        let attempted = Attempted { latency: millis(10), end: Ok(answer) };
        self.engine.attempted(attempt.id, &attempt.subscription, attempted, self.now, 0.0);
    }

    /// Ends an attempt without an answer.
    pub(super) fn fail(&mut self, attempt: &Attempt, reason: Reason) {
        let end = Err(Failure { reason, error: "it fails".into() });
        let attempted = Attempted { latency: millis(1), end };
        self.engine.attempted(attempt.id, &attempt.subscription, attempted, self.now, 0.0);
    }

    /// Takes up so many events of a type from an offset on, and lets their first attempts end so.
    pub(super) fn trouble(
        &mut self,
        of: PartitionId,
        offset: i64,
        event_type: &str,
        reason: Reason,
    ) {
        for offset in offset..offset + TROUBLES {
            self.event(of, offset, event_type);
        }
        for attempt in self.attempts() {
            self.fail(&attempt, reason);
        }
    }

    /// Looks at what is full until nothing more makes way, and returns how long what does is to wait, by looks.
    pub(super) fn make_room(&mut self) -> Vec<Vec<Duration>> {
        let mut parts = Vec::new();
        loop {
            self.attempts();
            let Some(batch) = self.engine.poll_batch(self.now) else { return parts };
            parts.push(waits(&batch, self.now));
            self.engine.batch_committed(&batch);
            self.wait(millis(50));
        }
    }

    /// Takes up events of a type until the partition is full; returns the next offset.
    pub(super) fn fill(&mut self, to: PartitionId, mut offset: i64, event_type: &str) -> i64 {
        while self.engine.has_room(to) {
            self.event(to, offset, event_type);
            offset += 1;
        }
        offset
    }
}

/// Two subscriptions to these URLs; `slow` wants events of type `s`, `fast` of type `f`.
fn to(slow: &str, fast: &str) -> Vec<Arc<Subscription>> {
    let slow = json!({"url": slow, "events": ["s"]});
    subscriptions(&[("slow", slow), ("fast", json!({"url": fast, "events": ["f"]}))])
}

pub(super) fn slow_and_fast() -> Vec<Arc<Subscription>> {
    subscriptions(&[("slow", json!({"events": ["s"]})), ("fast", json!({"events": ["f"]}))])
}

pub(super) fn of<'a>(attempts: &'a [Attempt], name: &str) -> Vec<&'a Attempt> {
    attempts.iter().filter(|attempt| attempt.subscription.id == id(name)).collect()
}

/// Lets a lane grow to 64 attempts at once, has it go through rounds of which seven in eight attempts end so, and returns how
/// many it makes then.
fn grown_and_then(rounds: usize, end: impl Fn(&mut Rig, &Attempt)) -> usize {
    let mut rig = Rig::new(&slow_and_fast());
    let orders = rig.orders();
    let mut offset = 100;
    let mut round = |rig: &mut Rig| {
        offset = rig.fill(orders, offset, "s");
        rig.attempts()
    };
    for size in [16, 32] {
        let attempts = round(&mut rig);
        assert_eq!(attempts.len(), size);
        attempts.iter().for_each(|attempt| rig.answer(attempt, 200));
        rig.commit();
    }
    for _ in 0..rounds {
        for (n, attempt) in round(&mut rig).iter().enumerate() {
            // Ten in a row would open the breaker, the last of a round and the first of the next among them.
            if n % 8 == 0 { rig.answer(attempt, 200) } else { end(&mut rig, attempt) }
        }
        rig.commit();
    }
    round(&mut rig).len()
}

#[test]
fn a_lane_sends_less_at_once_after_timeouts_refusals_and_slow_answers() {
    for reason in [Reason::Timeout, Reason::Connect, Reason::Reset, Reason::Tls, Reason::Protocol] {
        let fewer = grown_and_then(2, |rig, attempt| rig.fail(attempt, reason));
        assert!((4..48).contains(&fewer), "{fewer} after {reason:?}");
    }
    for status in [500, 502, 503, 504] {
        let fewer = grown_and_then(2, |rig, attempt| rig.answer(attempt, status));
        assert!((4..48).contains(&fewer), "{fewer} after {status}");
    }
    let fewer = grown_and_then(1, |rig, attempt| rig.answer(attempt, 429));
    assert_eq!(fewer, 1, "each 429 halves");
    let slow_with_many = |rig: &mut Rig, attempt: &Attempt| {
        let latency = if rig.engine.in_flight() > 4 { millis(500) } else { millis(10) };
        rig.answer_after(attempt, latency, 200);
    };
    let fewer = [1, 2, 3].map(|rounds| grown_and_then(rounds, slow_with_many));
    assert!(fewer[0] < 64 && fewer.is_sorted_by(|before, after| before > after), "{fewer:?}");
}

#[test]
fn a_lane_sends_more_at_once_while_answers_are_quick_whatever_they_say() {
    for status in [200, 204, 302, 400, 404] {
        let more = grown_and_then(1, |rig, attempt| rig.answer(attempt, status));
        assert_eq!(more, 120, "all there is after {status}, but for the last slots");
    }
    for reason in [Reason::Auth, Reason::Proxy, Reason::EgressRefused, Reason::Transform] {
        let more = grown_and_then(1, |rig, attempt| rig.fail(attempt, reason));
        assert!(more >= 64, "{reason:?} is no fault of the endpoint's");
    }
}

#[test]
fn a_definition_that_is_written_again_begins_anew() {
    let mut rig = Rig::new(&slow_and_fast());
    let orders = rig.orders();
    rig.event(orders, 100, "s");
    let first = rig.attempts();
    rig.refuse(&first[0], ALONE);
    let again = slow_and_fast().swap_remove(0);
    rig.engine.put_subscription(again, rig.now);
    rig.event(orders, 101, "s");
    assert_eq!(told(&rig.attempts()), ["e101 to slow #1"]);
}

#[test]
fn a_slow_lane_makes_room_for_the_others() {
    let mut rig = Rig::new(&slow_and_fast());
    let orders = rig.orders();
    let next = rig.fill(orders, 100, "s");
    let hanging = rig.attempts();
    assert_eq!(hanging.len(), 16);
    // The event behind the full window is the other's.
    rig.wait(seconds(1));
    let attempts = rig.attempts();
    assert_eq!(of(&attempts, "slow").len(), 0);
    let batch = rig.commit();
    assert!(endings(&batch).iter().all(|ending| ending.contains("to slow: moved")));
    rig.event(orders, next, "f");
    assert_eq!(told(&rig.attempts()), [format!("e{next} to fast #1")]);
    // What comes for the slow one now doesn't fill the window again.
    for offset in next + 1..next + 2000 {
        rig.event(orders, offset, "s");
    }
    rig.event(orders, next + 2000, "f");
    assert_eq!(told(&rig.attempts()), [format!("e{} to fast #1", next + 2000)]);
}

/// An engine with ten slots, and a subscription that may have two of them beside one that may have all.
fn ten_slots() -> Rig {
    let slow = json!({"events": ["s"], "maxInFlight": 2});
    let both = subscriptions(&[("slow", slow), ("fast", json!({"events": ["f"]}))]);
    Rig::with(Policy { max_in_flight: 10, ..policy() }, &both)
}

#[test]
fn nobody_makes_room_in_a_partition_whose_other_deliveries_wait_for_slots() {
    let mut rig = ten_slots();
    let orders = rig.orders();
    for offset in 100..110 {
        rig.event(orders, offset, "f");
    }
    let next = rig.fill(orders, 110, "s");
    let attempts = rig.attempts();
    assert_eq!((of(&attempts, "slow").len(), of(&attempts, "fast").len()), (2, 8));
    rig.wait(seconds(1));
    assert_eq!(rig.attempts().len(), 0);
    rig.check_quiet();
    // With a slot to spare it is the slow one that the others wait for.
    of(&attempts, "fast").into_iter().for_each(|attempt| rig.answer(attempt, 200));
    assert_eq!(rig.attempts().len(), 2);
    // Slots aren't short any more, so the partition takes what its window holds.
    rig.attempts();
    rig.fill(orders, next, "s");
    assert_eq!(rig.attempts().len(), 0);
    rig.wait(seconds(1));
    rig.attempts();
    assert!(endings(&rig.commit()).iter().any(|ending| ending.contains("to slow: moved")));
}

#[test]
fn room_is_made_in_a_partition_while_those_of_others_wait_for_slots() {
    let mut rig = ten_slots();
    let orders = rig.orders();
    let busy = rig.second_orders();
    rig.fill(orders, 100, "s");
    for offset in 100..200 {
        rig.event(busy, offset, "f");
    }
    assert_eq!(rig.attempts().len(), 10);
    rig.wait(seconds(1));
    assert_eq!(rig.attempts().len(), 0);
    assert!(endings(&rig.commit()).iter().any(|ending| ending.contains("to slow: moved")));
}

/// An endpoint that never has time again, and a delivery to it that is never the one to find out.
#[test]
fn a_delivery_that_waits_and_waits_expires_without_an_attempt() {
    let url = "https://example.com/hooks";
    let mut rig = Rig::new(&to(url, url));
    let (orders, deliver) = (rig.orders(), rig.moved(Role::Deliver));
    rig.event(orders, 100, "f");
    let first = rig.attempts();
    rig.refuse(&first[0], seconds(60));
    let began = rig.now;
    let mut carried = Carried { subscription: id("slow"), attempts: 0, ..due(rig.now) };
    for n in 0.. {
        rig.delivery(deliver, 100 + n, &carried);
        assert_eq!(rig.attempts().len(), 0);
        let batch = rig.commit();
        let its = |ending: &&(PartitionId, Ending)| ending.0 == deliver;
        let Some((_, Ending::Delivery(ending))) = batch.endings.iter().find(its) else {
            panic!("it is here no longer")
        };
        assert_eq!(ending.attempts, 0, "no attempt is made, and none is counted");
        let Next::Move(due_at, _) = ending.next else {
            assert_eq!(ending.next, Next::DeadLetter(Reason::Expired));
            break;
        };
        carried.due_at = Some(due_at);
        carried.first_at = ending.first_at;
        rig.now = due_at;
        // The other finds out that the endpoint still has no time.
        rig.event(orders, 101 + n, "f");
        let probe = rig.attempts();
        assert_eq!(told(&probe), [format!("e{} to fast #1", 101 + n)]);
        rig.refuse(&probe[0], seconds(60));
    }
    let age = crate::domain::tiers::until(rig.now, began);
    assert!((seconds(3600 - 120)..=seconds(3600)).contains(&age), "{age:?}");
}

/// Waits double up to five minutes, so that a lane without hope comes back twelve times an hour, not each second.
#[test]
fn a_lane_without_hope_is_not_looked_at_again_and_again() {
    let mut rig = Rig::new(&slow_and_fast());
    let (orders, deliver) = (rig.orders(), rig.moved(Role::Deliver));
    rig.trouble(orders, 100, "s", Reason::Timeout);
    let until = rig.now + seconds(3600);
    let (mut offset, mut probes) = (100, 0);
    while rig.now < until {
        let carried = Carried { subscription: id("slow"), ..due(rig.now) };
        rig.delivery(deliver, offset, &carried);
        offset += 1;
        for attempt in rig.attempts() {
            rig.fail(&attempt, Reason::Timeout);
            probes += 1;
            // What came with it goes away for as long as the breaker says.
            rig.delivery(deliver, offset, &carried);
            offset += 1;
            rig.attempts();
        }
        let batch = rig.commit();
        let wait = waits(&batch, rig.now).into_iter().max();
        rig.wait(wait.expect("it has to wait each time"));
    }
    assert!((18..=22).contains(&probes), "{probes} in an hour");
}

/// Returns how long what a batch moves to the tiers is to wait.
pub(super) fn waits(batch: &Batch, now: Timestamp) -> Vec<Duration> {
    let wait = |ending: &Ending| match ending {
        Ending::Delivery(ending) => match ending.next {
            Next::Move(due, _) => Some(crate::domain::tiers::until(due, now)),
            _ => None,
        },
        Ending::Unreadable(_) => None,
    };
    batch.endings.iter().filter_map(|(_, ending)| wait(ending)).collect()
}

#[test]
fn waits_for_a_slow_lane_grow_up_to_the_time_that_it_has_been_slow() {
    let mut rig = Rig::new(&slow_and_fast());
    let orders = rig.orders();
    let next = rig.fill(orders, 100, "s");
    rig.attempts();
    rig.wait(seconds(1));
    let first = rig.make_room().concat();
    assert!(first.len() > 900 && first.is_sorted(), "{}", first.len());
    assert!(first[0] >= seconds(1) && first[first.len() - 1] == seconds(10), "{first:?}");
    rig.wait(seconds(100));
    for offset in next..next + 100 {
        rig.event(orders, offset, "s");
    }
    let later = waits(&rig.commit(), rig.now);
    let longest = later.last().expect("the lane has enough");
    assert!(later.is_sorted() && (seconds(90)..=seconds(101)).contains(longest), "{longest:?}");
}

#[test]
fn a_subscription_that_is_alone_with_its_slowness_is_left_to_wait() {
    let mut rig = Rig::new(&crm());
    let orders = rig.orders();
    rig.fill(orders, 100, "a");
    rig.attempts();
    rig.wait(seconds(100));
    rig.attempts();
    rig.check_quiet();
    assert!(!rig.engine.has_room(orders), "its backlog stays in its topic");
}

#[test]
fn a_lane_that_is_fast_enough_makes_no_room() {
    let mut rig = Rig::new(&slow_and_fast());
    let orders = rig.orders();
    rig.fill(orders, 100, "s");
    let attempts = rig.attempts();
    rig.wait(millis(1));
    for attempt in &attempts {
        rig.answer(attempt, 200);
    }
    rig.attempts();
    let batch = rig.commit();
    assert!(endings(&batch).iter().all(|ending| ending.ends_with("delivered ok")));
}

#[test]
fn a_rate_is_kept_and_whoever_waits_for_it_is_no_stall() {
    let rate = json!({"rateLimit": {"requests": 50, "per": "1s"}, "events": ["s"]});
    let mut rig = Rig::new(&subscriptions(&[("slow", rate)]));
    let orders = rig.orders();
    for offset in 100..400 {
        rig.event(orders, offset, "s");
    }
    let mut sent = 0;
    for _ in 0..200 {
        for attempt in rig.attempts() {
            rig.answer(&attempt, 200);
            sent += 1;
        }
        rig.wait(millis(10));
    }
    assert!((98..=103).contains(&sent), "{sent} in two seconds");
    for attempt in rig.attempts() {
        rig.answer(&attempt, 200);
    }
    let wake = rig.engine.next_wake(rig.now).expect("something waits for its time");
    assert!(crate::domain::tiers::until(wake, rig.now) <= millis(20));
    while rig.engine.poll_batch(rig.now).map(|batch| rig.engine.batch_committed(&batch)).is_some() {
        rig.wait(INTERVAL);
    }
    assert!(!rig.engine.has_work(), "nothing should move before its time");
}

#[test]
fn a_tenant_with_many_subscriptions_leaves_the_other_its_share() {
    let of_many = json!({"tenant": "many", "events": ["*"]});
    let names: Vec<String> = (0..10).map(|n| format!("m{n}")).collect();
    let mut all: Vec<_> = names.iter().map(|name| (name.as_str(), of_many.clone())).collect();
    all.push(("one", json!({"tenant": "one", "events": ["*"]})));
    let policy = Policy { max_in_flight: 4, fairness: Fairness::Tenant, ..policy() };
    let mut rig = Rig::with(policy, &subscriptions(&all));
    let deliver = rig.moved(Role::Deliver);
    let to = names.iter().map(String::as_str).chain(["one", "one"]);
    for (offset, name) in (100..).zip(to) {
        let carried = Carried { subscription: id(name), ..due(rig.now) };
        rig.delivery(deliver, offset, &carried);
    }
    let attempts = rig.attempts();
    assert_eq!((attempts.len(), of(&attempts, "one").len()), (4, 2));
}

#[test]
fn lanes_are_counted_by_what_they_do() {
    let rate = json!({"rateLimit": {"requests": 1, "per": "1h"}, "events": ["r"]});
    let rest = [("slow", json!({"events": ["s"]})), ("fast", json!({"events": ["f"]}))];
    let mut all = rest.to_vec();
    all.push(("rated", rate));
    let mut rig = Rig::new(&subscriptions(&all));
    let orders = rig.orders();
    for (offset, event_type) in (100..).zip(["s", "f", "r", "r"]) {
        rig.event(orders, offset, event_type);
    }
    let attempts = rig.attempts();
    rig.refuse(of(&attempts, "slow")[0], ALONE);
    assert_eq!(rig.engine.lanes(), LaneCounts { active: 1, limited: 1, open: 1 });
}

#[test]
fn deliveries_that_wait_are_counted_by_what_they_wait_for() {
    let rate = json!({"rateLimit": {"requests": 1, "per": "1h"}, "events": ["r"]});
    let few = json!({"maxInFlight": 1, "events": ["l"]});
    let many = json!({"events": ["m"]});
    let all = [("rated", rate), ("few", few), ("many", many), ("away", json!({"events": ["a"]}))];
    let mut rig = Rig::with(Policy { max_in_flight: 5, ..policy() }, &subscriptions(&all));
    let orders = rig.orders();
    rig.event(orders, 100, "a");
    let first = rig.attempts();
    rig.refuse(&first[0], millis(500));
    let events = ["r", "r", "r", "l", "l", "m", "m", "m", "m", "m", "m", "a"];
    for (offset, event_type) in (101..).zip(events) {
        rig.event(orders, offset, event_type);
    }
    assert_eq!(rig.attempts().len(), 5);
    // What is left alone for less than a tier waits here.
    let waiting = Waiting { slot: 3, limit: 1, rate: 2, endpoint: 1 };
    assert_eq!((rig.engine.waiting(), rig.engine.queued()), (waiting, 7));
}
