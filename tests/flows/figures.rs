//! Looking back over a range: lists and figures of made-up audit records, whose sums are known beforehand.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::support::connector::Setup;
use crate::support::record::Draft;

/// What was audited, so many minutes ago.
struct Played<'a> {
    subscription: &'a str,
    outcome: &'a str,
    reason: &'a str,
    latency_ms: Option<f64>,
    minutes_ago: i64,
}

/// Writes audit records as the connector does, in the partition that their key chooses.
fn play(flow: &Fixture, now: Timestamp, played: impl IntoIterator<Item = Played<'static>>) {
    let drafts = played.into_iter().enumerate().map(|(nth, it)| {
        let at = now - SignedDuration::from_mins(it.minutes_ago);
        let record = json!({
            "version": 1, "at": format!("{at:.3}"), "outcome": it.outcome, "reason": it.reason,
            "eventId": format!("evt_{nth}"), "eventType": "a", "tenant": null,
            "subscriptionId": it.subscription, "url": "https://example.com/hooks", "attempt": 1,
            "statusCode": null, "latencyMs": it.latency_ms, "laneWaitMs": null,
            "nextAttemptAt": null, "trigger": "event",
            "source": {
                "topic": "orders", "partition": 0, "offset": nth,
                "timestamp": "2026-01-15T10:30:00.000Z",
            },
            "response": null, "error": null, "instance": "a",
        });
        Draft::new(it.subscription, record.to_string())
    });
    flow.scope.produce_all("audit", drafts);
}

/// `crm` takes 100 in 1 to 100 ms each. `erp` takes 5, gives up 3 after their last attempt and 2 without one, and makes 4
/// wait. All that is five minutes ago; before and after it `crm` takes 7 and 11, very slowly.
pub fn scene(name: &str) -> (Fixture, Timestamp) {
    let flow = Fixture::new(name);
    let now = Timestamp::now();
    let many = |count: u32, played: fn(f64) -> Played<'static>| {
        (1..=count).map(move |nth| played(f64::from(nth)))
    };
    let slow = |minutes_ago| Played {
        subscription: "crm",
        outcome: "delivered",
        reason: "ok",
        latency_ms: Some(9_999.0),
        minutes_ago,
    };
    let of_erp = |outcome, reason, latency_ms| Played {
        subscription: "erp",
        outcome,
        reason,
        latency_ms,
        minutes_ago: 5,
    };
    play(&flow, now, (0..7).map(|_| slow(8)));
    let crm = many(100, |nth| Played {
        subscription: "crm",
        outcome: "delivered",
        reason: "ok",
        latency_ms: Some(nth),
        minutes_ago: 5,
    });
    play(&flow, now, crm);
    play(&flow, now, (0..5).map(|_| of_erp("delivered", "ok", Some(200.0))));
    play(&flow, now, (0..3).map(|_| of_erp("dead-lettered", "exhausted", Some(1000.0))));
    play(&flow, now, (0..2).map(|_| of_erp("dead-lettered", "subscription-disabled", None)));
    play(&flow, now, (0..4).map(|_| of_erp("retrying", "http-status", Some(50.0))));
    play(&flow, now, (0..11).map(|_| slow(2)));
    (flow, now)
}

/// Runs a command that succeeds, over what was between so many minutes ago.
#[track_caller]
fn json_of(setup: &Setup, line: &str, now: Timestamp, (from, to): (i64, i64)) -> Value {
    let [since, until] =
        [from, to].map(|ago| format!("{:.3}", now - SignedDuration::from_mins(ago)));
    let range = ["--since", &since, "--until", &until, "--output", "json"];
    let output = setup.run(&[&line.split(' ').collect::<Vec<_>>(), &range[..]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{line}: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// Checks figures: total, delivered, failed, success rate; then mean, p50, p95 and p99, of which quantiles may be wrong by
/// a hundredth.
#[track_caller]
fn check(figures: &Value, counts: [u64; 3], rate: Option<f64>, latencies: Option<[f64; 4]>) {
    let counted = ["total", "delivered", "failed"].map(|name| figures[name].as_u64());
    assert_eq!(counted, counts.map(Some), "{figures}");
    assert_eq!(figures["successRate"].as_f64(), rate, "{figures}");
    let told = ["mean", "p50", "p95", "p99"].map(|name| figures["latencyMs"][name].as_f64());
    let Some(expected) = latencies else {
        return assert_eq!(told, [None; 4], "{figures}");
    };
    for (told, expected) in told.into_iter().zip(expected) {
        let told = told.unwrap_or_else(|| panic!("a latency is missing in {figures}"));
        assert!((told - expected).abs() <= expected / 100.0, "{told} is not {expected}: {figures}");
    }
}

#[test]
fn figures_of_a_range_are_those_that_counting_by_hand_gives() {
    let (flow, now) = scene("figures");
    let stats = |line: &str, range| json_of(&flow.setup, line, now, range);
    let middle = (6, 3);
    // 100 of 1 to 100 ms, 5 of 200, 3 of 1000, 4 of 50: 112 attempts, 9250 ms.
    let all = stats("stats", middle);
    check(&all, [110, 105, 5], Some(105.0 / 110.0), Some([82.6, 52.0, 200.0, 1000.0]));
    let crm = [50.5, 50.0, 95.0, 99.0];
    check(&stats("stats --subscription crm", middle), [100, 100, 0], Some(1.0), Some(crm));
    let slow = Some([9999.0; 4]);
    check(&stats("stats", (9, 6)), [7, 7, 0], Some(1.0), slow);
    check(&stats("stats", (3, 0)), [11, 11, 0], Some(1.0), slow);
    check(&stats("stats", (4, 3)), [0, 0, 0], None, None);
    // Of all 130 attempts 18 are slow: more than 5 in 100, and fewer than half.
    let whole = stats("stats", (9, 0));
    check(&whole, [128, 123, 5], Some(123.0 / 128.0), Some([1455.6, 61.0, 9999.0, 9999.0]));

    let named = |groups: &Value, field: &str| -> Vec<(String, u64)> {
        let groups = groups.as_array().expect("a listing is an array").iter();
        let attempts = |group: &Value| group["attempts"].as_u64().expect("a number");
        groups
            .map(|group| (group[field].as_str().expect("a text").to_owned(), attempts(group)))
            .collect()
    };
    let groups = stats("stats --by subscription", middle);
    let expect = [("crm", 100), ("erp", 12)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(named(&groups, "subscriptionId"), expect);
    check(&groups[0], [100, 100, 0], Some(1.0), Some(crm));
    check(&groups[1], [10, 5, 5], Some(0.5), Some([350.0, 200.0, 1000.0, 1000.0]));

    let groups = stats("stats --by reason", middle);
    let expect = [("exhausted", 3), ("http-status", 4), ("ok", 105), ("subscription-disabled", 0)];
    let expect = expect.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(named(&groups, "reason"), expect);
    check(&groups[0], [3, 0, 3], Some(0.0), Some([1000.0; 4]));
    check(&groups[1], [0, 0, 0], None, Some([50.0; 4]));
    check(&groups[2], [105, 105, 0], Some(1.0), Some([57.6, 53.0, 100.0, 200.0]));
    check(&groups[3], [2, 0, 2], Some(0.0), None);
}

#[test]
fn a_list_of_a_range_holds_what_was_in_it() {
    let (flow, now) = scene("list-range");
    let count = |line: &str, range| {
        let listed = json_of(&flow.setup, line, now, range);
        listed.as_array().expect("a listing is an array").len()
    };
    let list = "deliveries list";
    assert_eq!(count(list, (6, 3)), 114);
    assert_eq!(count(list, (9, 6)), 7);
    assert_eq!(count(list, (3, 0)), 11);
    assert_eq!(count(list, (9, 0)), 132);
    assert_eq!(count(list, (4, 3)), 0);
    // The first time belongs to a range, and the last doesn't.
    assert_eq!((count(list, (5, 4)), count(list, (6, 5))), (114, 0));
    assert_eq!(count("deliveries list --subscription erp --outcome retrying", (6, 3)), 4);
    assert_eq!(count("deliveries list --subscription erp", (3, 0)), 0);
}
