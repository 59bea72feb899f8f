use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::domain::record::Header;
use crate::domain::source::{Format, Selector};
use crate::domain::subscription::tests::id;

fn header(name: &str, value: Option<&[u8]>) -> Header {
    Header { name: name.into(), value: value.map(Bytes::copy_from_slice) }
}

fn headers(pairs: &[(&str, &str)]) -> Headers {
    Headers(pairs.iter().map(|(name, value)| header(name, Some(value.as_bytes()))).collect())
}

/// Tells headers as text, one `name: value` each.
fn told(headers: &Headers) -> Vec<String> {
    let value = |header: &Header| match &header.value {
        Some(value) => String::from_utf8_lossy(value).into_owned(),
        None => "(null)".to_owned(),
    };
    headers.0.iter().map(|header| format!("{}: {}", header.name, value(header))).collect()
}

/// A delivery that says everything it can.
fn carried() -> Carried {
    let at = |text: &str| text.parse().expect("a time");
    Carried {
        subscription: id("crm"),
        id: Some(EventId::new("evt_1")),
        trigger: Trigger::Replay,
        attempts: 3,
        due_at: Some(at("2025-01-15T10:31:00.5Z")),
        first_at: Some(at("2025-01-15T10:30:01.123Z")),
        origin: Some(Origin {
            topic: "orders".into(),
            partition: 3,
            offset: Offset(42),
            timestamp: at("2025-01-15T10:30:00Z"),
        }),
        source: Some(Arc::new(Source::of_format(Format::Envelope))),
        reason: Some(Reason::HttpStatus),
        status: Some(503),
        redrives: 2,
    }
}

fn obituary(error: &str) -> Obituary {
    Obituary { kind: DeadLetterKind::Delivery, error: Some(error.into()) }
}

#[test]
fn a_retry_says_all_that_the_contract_lists_behind_the_events_headers() {
    let written = carried().write(&headers(&[("traceparent", "00-1")]), None);
    let expect = [
        "traceparent: 00-1",
        "webhooks-subscription: crm",
        "webhooks-id: evt_1",
        "webhooks-trigger: replay",
        "webhooks-attempts: 3",
        "webhooks-due-at: 2025-01-15T10:31:00.500Z",
        "webhooks-first-at: 2025-01-15T10:30:01.123Z",
        "webhooks-origin: orders/3/42",
        "webhooks-origin-timestamp: 2025-01-15T10:30:00.000Z",
        r#"webhooks-source: {"format":"envelope"}"#,
        "webhooks-reason: http-status",
        "webhooks-status: 503",
        "webhooks-redrives: 2",
    ];
    assert_eq!(told(&written), expect);
}

#[test]
fn a_dead_letter_adds_its_kind_and_error() {
    let event = headers(&[("traceparent", "00-1"), ("webhooks-error", "of an earlier life")]);
    let retry = carried().write(&event, None);
    let written = told(&carried().write(&event, Some(&obituary("the receiver answered 503"))));
    assert_eq!(written[..written.len() - 2], told(&retry));
    let end = ["webhooks-kind: delivery", "webhooks-error: the receiver answered 503"];
    assert_eq!(written[written.len() - 2..], end);
    let silent = Obituary { kind: DeadLetterKind::Delivery, error: None };
    let silent = told(&carried().write(&event, Some(&silent)));
    assert_eq!(silent.last().map(String::as_str), Some("webhooks-kind: delivery"));
}

#[test]
fn an_unreadable_record_is_a_dead_letter_without_a_subscription() {
    let origin = carried().origin.expect("it has one");
    let record = headers(&[("webhooks-subscription", "a b"), ("traceparent", "00-1")]);
    let expect = [
        "traceparent: 00-1",
        "webhooks-origin: orders/3/42",
        "webhooks-origin-timestamp: 2025-01-15T10:30:00.000Z",
        "webhooks-reason: unreadable",
        "webhooks-kind: record",
        "webhooks-error: not JSON, at line 1 column 2",
    ];
    assert_eq!(told(&unreadable(&record, &origin, "not JSON, at line 1 column 2")), expect);
}

#[test]
fn what_can_be_understood_of_a_malformed_delivery_is_salvaged() {
    let with = |more: &[(&str, &str)]| {
        let mut headers = carried().write(&Headers::default(), None);
        more.iter().for_each(|(name, value)| headers.push(name, (*value).to_owned()));
        Carried::salvage(&headers)
    };
    assert_eq!(with(&[]), Some(carried()));
    let bad = [(ATTEMPTS, "many"), (DUE_AT, "soon"), (SOURCE, "{}"), (ORIGIN_TIMESTAMP, "then")];
    let expect = Carried { attempts: 0, due_at: None, source: None, origin: None, ..carried() };
    assert_eq!(with(&bad), Some(expect));
    assert_eq!(with(&[(SUBSCRIPTION, "a b")]), None);
    assert_eq!(Carried::salvage(&headers(&[(ORIGIN, "orders/3/42")])), None);
    let placed = headers(&[(SUBSCRIPTION, "crm"), (ORIGIN, "orders/3/42")]);
    let expect = Carried::due_now(id("crm"), Trigger::Event);
    assert_eq!(Carried::salvage(&placed), Some(expect), "a place without a time is none");
}

#[test]
fn a_subscription_alone_is_a_delivery_that_is_due_now() {
    let read = Carried::read(&headers(&[("other", "x"), ("webhooks-subscription", "crm")]));
    assert_eq!(read, Ok(Carried::due_now(id("crm"), Trigger::Event)));
}

/// Checks that a value makes its header, and no other, malformed.
fn check_malformed(name: &'static str, value: Option<&[u8]>) {
    let mut headers = carried().write(&Headers::default(), None);
    headers.0.push(header(name, value));
    let value = value.map(String::from_utf8_lossy);
    assert_eq!(Carried::read(&headers), Err(BadHeader(name)), "{value:?}");
}

#[test]
fn every_malformed_header_of_ours_is_named() {
    let time =
        ["", "now", "2025-01-15", "2025-01-15T10:30:00", "1736937000", "2025-13-15T10:30:00Z"];
    let cases: &[(&str, &[&str])] = &[
        (SUBSCRIPTION, &["", "a b", "é"]),
        (TRIGGER, &["", "EVENT", "other"]),
        // One more attempt must still be countable.
        (ATTEMPTS, &["", "-1", "1.0", "many", "4294967295", "4294967296"]),
        (REDRIVES, &["", "-1", "1.0", "many", "4294967295", "4294967296"]),
        (DUE_AT, &time),
        (FIRST_AT, &time),
        (ORIGIN, &["", "orders", "orders/3", "/3/42", "orders/x/42", "orders/3/", "orders/3/42/1"]),
        (ORIGIN_TIMESTAMP, &time),
        (SOURCE, &["", "envelope", r#"{"format":"xml"}"#, r#"{"format":"json"}"#]),
        (REASON, &["", "bad luck"]),
        (STATUS, &["", "OK", "-1", "65536"]),
    ];
    for (name, values) in cases {
        for value in *values {
            check_malformed(name, Some(value.as_bytes()));
        }
        check_malformed(name, Some(b"\xff"));
    }
    check_malformed(ID, Some(b"\xff"));
    // There is no delivery to nobody, and no place without a time.
    check_malformed(SUBSCRIPTION, None);
    check_malformed(ORIGIN_TIMESTAMP, None);
    assert_eq!(Carried::read(&Headers::default()), Err(BadHeader(SUBSCRIPTION)));
}

#[test]
fn a_bad_header_says_its_name_and_not_its_value() {
    let bad = Carried::read(&headers(&[("webhooks-subscription", "hunter 2")])).unwrap_err();
    assert_eq!(bad.to_string(), r#"header "webhooks-subscription" is missing or malformed"#);
}

#[test]
fn a_null_header_that_may_be_missing_counts_as_missing() {
    let mut headers = carried().write(&Headers::default(), None);
    for name in [ID, TRIGGER, ATTEMPTS, DUE_AT, FIRST_AT, ORIGIN, SOURCE, REASON, STATUS, REDRIVES]
    {
        headers.0.push(header(name, None));
    }
    let bare = self::headers(&[("webhooks-subscription", "crm")]);
    assert_eq!(Carried::read(&headers), Carried::read(&bare));
}

#[test]
fn what_has_no_known_kind_is_no_dead_letter() {
    let read = |kind| Obituary::read(&headers(&[(KIND, kind)])).map(|end| end.kind);
    assert_eq!(read("record"), Ok(DeadLetterKind::Record));
    assert_eq!(read("other"), Err(BadHeader(KIND)));
    assert_eq!(Obituary::read(&Headers::default()), Err(BadHeader(KIND)));
    // What tells of dead letters that were sent again is none.
    assert_eq!(Obituary::read(&mark()), Err(BadHeader(KIND)));
    assert!(is_mark(&mark()));
}

fn check_error(error: &str, expect: usize) {
    let written = carried().write(&Headers::default(), Some(&obituary(error)));
    assert_eq!(written.text(ERROR), Some(&error[..expect]));
}

#[test]
fn an_error_is_cut_at_a_kibibyte_between_characters() {
    check_error("", 0);
    check_error(&"x".repeat(1024), 1024);
    check_error(&"x".repeat(1025), 1024);
    check_error(&format!("{}é", "x".repeat(1022)), 1024);
    check_error(&format!("{}é", "x".repeat(1023)), 1023);
    check_error(&format!("{}🦀!", "x".repeat(1021)), 1021);
}

fn time() -> impl Strategy<Value = Timestamp> {
    // Whole milliseconds of the years 1 to 9999.
    (-62_135_596_800_000_i64..253_402_200_000_000)
        .prop_map(|ms| Timestamp::from_millisecond(ms).expect("in range"))
}

/// A place in a topic whose name has any of the characters that Kafka allows.
fn origin() -> impl Strategy<Value = Origin> {
    let place = ("[a-zA-Z0-9._-]{1,249}", 0..i32::MAX, 0..i64::MAX, time());
    place.prop_map(|(topic, partition, offset, timestamp)| Origin {
        topic: topic.into(),
        partition,
        offset: Offset(offset),
        timestamp,
    })
}

fn any_source() -> impl Strategy<Value = Arc<Source>> {
    let selector = prop_oneof![
        "\\PC{0,20}".prop_map(|text| Selector::Header(text.into())),
        "\\PC{0,20}".prop_map(|text| Selector::Literal(text.into())),
        Just(Selector::Key),
    ];
    let format = select(vec![Format::Envelope, Format::Json, Format::Registry]);
    (format, selector.clone(), prop::option::of(selector)).prop_map(|(format, one, tenant)| {
        Arc::new(Source { event_type: Some(one), tenant, ..Source::of_format(format) })
    })
}

fn any_carried() -> impl Strategy<Value = Carried> {
    let option = prop::option::of::<BoxedStrategy<Timestamp>>;
    (
        ("[A-Za-z0-9_-]{1,64}", prop::option::of("\\PC{0,300}")),
        (select(Trigger::ALL.to_vec()), 0..u32::MAX, 0..u32::MAX),
        (option(time().boxed()), option(time().boxed()), prop::option::of(origin())),
        prop::option::of(any_source()),
        (prop::option::of(select(Reason::ALL.to_vec())), prop::option::of(100_u16..1000)),
    )
        .prop_map(
            |(
                (subscription, name),
                (trigger, attempts, redrives),
                (due_at, first_at, origin),
                source,
                last,
            )| {
                Carried {
                    subscription: id(&subscription),
                    id: name.as_deref().map(EventId::new),
                    trigger,
                    attempts,
                    due_at,
                    first_at,
                    origin,
                    source,
                    reason: last.0,
                    status: last.1,
                    redrives,
                }
            },
        )
}

/// The headers that tell of a delivery.
const OURS: [&str; 12] = [
    SUBSCRIPTION,
    ID,
    TRIGGER,
    ATTEMPTS,
    DUE_AT,
    FIRST_AT,
    ORIGIN,
    ORIGIN_TIMESTAMP,
    SOURCE,
    REASON,
    STATUS,
    REDRIVES,
];

/// A header as properties show it when they fail.
type Pair = (String, Option<Vec<u8>>);

/// Headers of a producer: duplicates, nulls, names that begin almost like ours.
fn theirs() -> impl Strategy<Value = Vec<Pair>> {
    let name = prop_oneof!["[ab]", "webhook-[a-z]{0,3}", "Webhooks-id", "\\PC{0,8}"];
    let name = name.prop_filter("theirs", |name| !name.starts_with(PREFIX));
    let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..8));
    prop::collection::vec((name, value), 0..8)
}

fn of_pairs(pairs: &[Pair]) -> Headers {
    Headers(pairs.iter().map(|(name, value)| header(name, value.as_deref())).collect())
}

proptest! {
    #[test]
    fn a_delivery_reads_back_as_it_was_written(carried in any_carried(), event in theirs()) {
        let event = of_pairs(&event);
        prop_assert_eq!(Carried::read(&carried.write(&event, None)), Ok(carried.clone()));
        let dead = carried.write(&event, Some(&obituary("it failed")));
        prop_assert_eq!(Obituary::read(&dead), Ok(obituary("it failed")));
        prop_assert_eq!(Carried::read(&dead), Ok(carried));
    }

    #[test]
    fn no_headers_make_the_reader_panic_and_what_is_salvaged_is_read_again(
        spoilt in prop::collection::vec(
            (select(OURS.to_vec()), prop_oneof![
                prop::option::of(prop::collection::vec(any::<u8>(), 0..12)),
                select(vec!["crm", "1", "2025-01-15T10:30:00Z", "a/1/2", "{\"format\":\"envelope\"}"])
                    .prop_map(|text| Some(text.as_bytes().to_vec())),
            ]),
            0..12,
        ),
    ) {
        let spoilt = Headers(spoilt.iter().map(|(name, value)| header(name, value.as_deref())).collect());
        let read = Carried::read(&spoilt);
        let salvaged = Carried::salvage(&spoilt);
        if let Ok(read) = read {
            prop_assert_eq!(salvaged.as_ref(), Some(&read));
        }
        if let Some(salvaged) = salvaged {
            prop_assert_eq!(Carried::read(&salvaged.write(&spoilt, None)), Ok(salvaged));
        }
    }

    #[test]
    fn times_travel_to_the_millisecond(ns in 0_i128..4_000_000_000_000_000_000) {
        let due = Timestamp::from_nanosecond(ns).expect("in range");
        let written = Carried { due_at: Some(due), ..carried() }.write(&Headers::default(), None);
        let read = Carried::read(&written).expect("it was just written").due_at.expect("it is set");
        prop_assert_eq!(read.as_millisecond(), due.as_millisecond());
    }

    #[test]
    fn ours_are_replaced_over_many_hops_and_theirs_stay(
        event in theirs(), hops in prop::collection::vec(any_carried(), 1..6), dead in any::<bool>(),
    ) {
        let event = of_pairs(&event);
        let mut hopped = event.clone();
        for hop in &hops {
            hopped = hop.write(&hopped, dead.then(|| obituary("it failed")).as_ref());
        }
        let (kept, ours) = hopped.0.split_at(event.0.len());
        prop_assert!(kept == event.0, "theirs changed");
        let mut times = BTreeMap::<_, u32>::new();
        for header in ours {
            prop_assert!(header.name.starts_with(PREFIX));
            *times.entry(&header.name).or_default() += 1;
        }
        prop_assert!(times.values().all(|times| *times == 1), "{:?}", times);
        let last = hops.last().expect("there is a hop");
        prop_assert_eq!(Carried::read(&hopped), Ok(last.clone()));
    }
}
