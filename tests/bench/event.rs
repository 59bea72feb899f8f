//! The load: envelopes of a given size, as records and as the bodies that the connector makes of them.

use std::time::SystemTime;

use crate::support::record::Draft;

/// The secret of every subscription, and of the limit.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The type of the events.
pub const EVENT_TYPE: &str = "order.created";

/// The usual size of an event's record, in bytes.
pub const KIB: usize = 1024;

/// Returns the envelope of event `n`, `size` bytes long unless its fields alone take more.
pub fn envelope(n: usize, size: usize) -> String {
    typed(n, size, EVENT_TYPE)
}

/// Returns the envelope of event `n` with a type of its own.
pub fn typed(n: usize, size: usize, event_type: &str) -> String {
    let mut text = head(n, event_type);
    fill(&mut text, size, "}");
    text
}

/// Returns the body of a first attempt that delivers event `n`: the same envelope with what the connector adds.
pub fn body(n: usize, size: usize) -> Vec<u8> {
    let mut text = head(n, EVENT_TYPE);
    fill(&mut text, size, r#","attempt":1,"retryable":true}"#);
    text.into()
}

/// Returns the record of event `n`; partitions are filled in turn.
pub fn draft(n: usize, size: usize, partitions: usize) -> Draft {
    place(n, partitions, envelope(n, size))
}

/// Returns a record with event `n`'s key, in its partition.
pub fn place(n: usize, partitions: usize, value: String) -> Draft {
    let partition = i32::try_from(n % partitions).expect("there are few partitions");
    Draft::new(format!("k{n}"), value).partition(partition)
}

/// Returns the microseconds since 1970.
pub fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let since = since.expect("the clock is past 1970");
    u64::try_from(since.as_micros()).expect("the clock is before the year 500000")
}

fn head(n: usize, event_type: &str) -> String {
    let at = now_micros();
    format!(
        r#"{{"id":"evt_{n}","timestamp":"2025-01-15T10:30:00Z","event":"{event_type}","version":"1.0","data":{{"n":{n},"at":{at},"text":""#
    )
}

/// Fills the text up: what is added behind `data` doesn't count, so that records and bodies hold the same data.
fn fill(text: &mut String, size: usize, end: &str) {
    const SOME: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    let closed = text.len() + r#""}}"#.len();
    let mut missing = size.saturating_sub(closed);
    text.reserve(missing + 64);
    while missing > 0 {
        let some = &SOME[..missing.min(SOME.len())];
        text.push_str(some);
        missing -= some.len();
    }
    text.push_str(r#""}"#);
    text.push_str(end);
}
