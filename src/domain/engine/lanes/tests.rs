//! The parts of a lane by themselves; what they do together is in the engine's tests.

use std::num::NonZeroU32;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use url::Url;

use super::breaker::{Breaker, Pass};
use super::limit::{Experience, Limit};
use super::rate::Rate;
use super::sites::Sites;
use crate::domain::outcome::{Answer, Attempted};
use crate::domain::subscription::RateLimit;
use crate::domain::tiers;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn at(ms: u64) -> Timestamp {
    tiers::add(Timestamp::UNIX_EPOCH, millis(ms))
}

fn some(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("it is not zero")
}

/// An endpoint that answers `at_ease` requests at once in `base`, and takes longer in proportion to those beyond.
fn latency(at_ease: u32, base: Duration, in_flight: u32) -> Duration {
    base.mul_f64((f64::from(in_flight) / f64::from(at_ease)).max(1.0))
}

/// Sends rounds of as many requests as the limit allows.
fn rounds(limit: &mut Limit, count: u32, experience: impl Fn(u32) -> Experience) {
    for _ in 0..count {
        let in_flight = limit.get();
        limit.started(in_flight);
        (0..in_flight).for_each(|_| limit.learn(experience(in_flight), in_flight));
    }
}

#[test]
fn a_limit_doubles_each_round_up_to_the_most_that_is_allowed() {
    let mut limit = Limit::new(None, some(256));
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(limit.get());
        rounds(&mut limit, 1, |_| Experience::Answered(millis(50)));
    }
    assert_eq!(seen, [16, 32, 64, 128, 256, 256]);
}

#[test]
fn a_limit_settles_near_what_an_endpoint_takes_at_ease_and_follows_it() {
    let mut limit = Limit::new(None, some(256));
    let mut settle = |at_ease: u32| {
        let answer = |n| Experience::Answered(latency(at_ease, millis(100), n));
        rounds(&mut limit, 400, answer);
        limit.get()
    };
    // Twice as slow as usual is where growth ends, three times is where it turns.
    for at_ease in [20, 60, 30, 80] {
        let settled = settle(at_ease);
        assert!((at_ease * 2..=at_ease * 7 / 2).contains(&settled), "{settled} for {at_ease}");
    }
}

#[test]
fn a_limit_is_measured_anew_by_an_endpoint_that_has_become_slower_for_good() {
    let mut limit = Limit::new(None, some(256));
    rounds(&mut limit, 20, |_| Experience::Answered(millis(20)));
    assert_eq!(limit.get(), 256);
    rounds(&mut limit, 60, |_| Experience::Answered(millis(500)));
    rounds(&mut limit, 400, |_| Experience::Answered(millis(500)));
    assert!(limit.get() > 200, "{}", limit.get());
}

#[test]
fn a_limit_is_halved_by_rounds_without_answers_and_by_a_429_but_not_by_some_503() {
    let mut limit = Limit::new(None, some(256));
    let one_in_five = |limit: &mut Limit| {
        for n in 0..5000 {
            let in_flight = limit.get();
            limit.started(in_flight);
            let trouble = n % 5 == 0;
            let answer = Experience::Answered(millis(10));
            limit.learn(if trouble { Experience::Troubled } else { answer }, in_flight);
        }
    };
    one_in_five(&mut limit);
    assert_eq!(limit.get(), 256);
    rounds(&mut limit, 2, |_| Experience::Troubled);
    assert_eq!(limit.get(), 64);
    limit.learn(Experience::TooMuch, 64);
    assert_eq!(limit.get(), 32);
    rounds(&mut limit, 20, |_| Experience::Troubled);
    assert_eq!(limit.get(), 1, "one is always allowed");
}

#[test]
fn a_limit_that_is_not_used_up_stays() {
    let mut limit = Limit::new(None, some(256));
    (0..1000).for_each(|_| limit.learn(Experience::Answered(millis(10)), 3));
    assert_eq!(limit.get(), 16);
}

#[test]
fn a_fixed_limit_learns_nothing() {
    let mut limit = Limit::new(Some(some(7)), some(256));
    rounds(&mut limit, 3, |_| Experience::TooMuch);
    assert_eq!(limit.get(), 7);
    assert_eq!(Limit::new(Some(some(7)), some(5)).get(), 5, "no more than all may have");
}

#[test]
fn a_breaker_opens_after_ten_troubles_in_a_row_and_closes_with_a_good_probe() {
    let mut breaker = Breaker::default();
    for _ in 0..9 {
        breaker.troubled(at(0));
    }
    breaker.answered();
    for _ in 0..9 {
        breaker.troubled(at(0));
        assert_eq!(breaker.pass(at(0)), Pass::Free);
    }
    breaker.troubled(at(0));
    assert_eq!(breaker.pass(at(999)), Pass::Not(at(1000)));
    assert!(!breaker.answered(), "a late answer is no probe");
    assert_eq!(breaker.pass(at(1000)), Pass::Probe);
    breaker.started();
    assert_eq!(breaker.pass(at(1000)), Pass::NotYet);
    assert!(breaker.answered());
    assert_eq!(breaker.pass(at(1000)), Pass::Free);
}

#[test]
fn each_probe_that_fails_doubles_the_wait_up_to_five_minutes() {
    let mut breaker = Breaker::default();
    (0..10).for_each(|_| breaker.troubled(at(0)));
    let mut waits = Vec::new();
    let mut now = at(0);
    for _ in 0..11 {
        let Pass::Not(until) = breaker.pass(now) else { panic!("{breaker:?} lets something pass") };
        waits.push(tiers::until(until, now).as_secs());
        now = until;
        breaker.started();
        breaker.troubled(now);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
}

#[test]
fn a_wish_to_be_left_alone_opens_a_breaker_and_never_shortens_a_wait() {
    let mut breaker = Breaker::default();
    breaker.asked(at(0), millis(7000));
    assert_eq!(breaker.pass(at(6999)), Pass::Not(at(7000)));
    breaker.asked(at(0), millis(2000));
    assert_eq!(breaker.pass(at(6999)), Pass::Not(at(7000)));
}

#[test]
fn a_probe_whose_end_nobody_hears_is_made_again() {
    let mut breaker = Breaker::default();
    breaker.asked(at(0), millis(1000));
    breaker.started();
    breaker.abandoned();
    assert_eq!(breaker.pass(at(1)), Pass::Probe);
}

#[test]
fn troubled_sites_are_not_remembered_for_ever() {
    let mut sites = Sites::default();
    let url = |n: u64| Url::parse(&format!("https://s{n}.example.com/hooks")).expect("a URL");
    let troubled = Attempted {
        latency: millis(1),
        end: Ok(Answer { status: 503, retry_after: None, excerpt: None }),
    };
    let mut most = 0;
    for n in 0..10_000 {
        // One a minute, so that sixty of them are from the last hour.
        sites.learn(&url(n), &troubled, None, at(n * 60_000));
        most = most.max(sites.len());
    }
    assert!(most <= 200, "{most}");
}

#[test]
fn a_site_that_is_to_be_left_alone_is_remembered_for_as_long() {
    let mut sites = Sites::default();
    let url = |n: u64| Url::parse(&format!("https://s{n}.example.com/hooks")).expect("a URL");
    let end = Ok(Answer { status: 503, retry_after: None, excerpt: None });
    let troubled = Attempted { latency: millis(1), end };
    let day = millis(24 * 3600 * 1000);
    sites.learn(&url(0), &troubled, Some(day), at(0));
    for n in 1..1_000 {
        sites.learn(&url(n), &troubled, None, at(n * 60_000));
    }
    assert_eq!(sites.pass(&url(0), at(1_000 * 60_000)), Pass::Not(tiers::add(at(0), day)));
}

proptest! {
    /// However late and irregularly a lane has its turn: no window of time holds more than the rate and the little that
    /// attempts may run ahead, and an eager lane falls behind by no more than its turns come late.
    #[test]
    fn a_rate_is_kept(
        requests in 1_u32..2000, per_s in 1_u64..60,
        steps in prop::collection::vec(0_u64..40, 1..400),
    ) {
        let limit = RateLimit { requests: some(requests), per: Duration::from_secs(per_s) };
        let mut rate = Rate::new(limit);
        let mut now = 1_000;
        let mut sent: Vec<u64> = Vec::new();
        for step in steps {
            now += step;
            while sent.len() < 10_000 && rate.wait(at(now)).is_none() {
                rate.started(at(now));
                sent.push(now);
            }
        }
        let interval = limit.interval().as_secs_f64() * 1000.0;
        let ahead = 50.0 / interval + 2.0;
        for (n, from) in sent.iter().enumerate() {
            let last = sent.len() - 1;
            let allowed = (sent[last] - from) as f64 / interval + ahead;
            prop_assert!((last - n + 1) as f64 <= allowed.ceil(), "{} within {} ms", last - n + 1, sent[last] - from);
        }
    }
}
