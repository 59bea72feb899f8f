//! `subscriptions test`.

use std::io::Write;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{find, missing, read};
use crate::cli::Failure;
use crate::domain::event::rfc3339_ms;
use crate::domain::headers::{Carried, Trigger};
use crate::domain::record::Headers;
use crate::domain::subscription::SubscriptionId;
use crate::kafka::Connection;
use crate::kafka::admin::Admin;
use crate::kafka::tail::{From, Tail};
use crate::kafka::writer::{Target, Writer};

/// One look for the audit record.
const LOOK: Duration = Duration::from_millis(100);

/// Sends an event `webhook.test` by way of the deliver topic, waits for what the connector's first attempt comes to, and
/// prints that audit record.
///
/// # Errors
/// It was not delivered, nothing was heard of it in time, or a topic is missing by which it would go.
pub(super) fn test(
    id: &SubscriptionId,
    within: Duration,
    connection: &Connection,
    out: &mut impl Write,
) -> Result<(), Failure> {
    find(&read(connection)?, id).ok_or_else(|| missing(id))?;
    let topics = &connection.config().topics;
    Admin::new(connection)?.cluster()?.require(&[&topics.deliver, &topics.audit])?;
    let audit = Tail::start(connection, [&*topics.audit], From::End);
    let audit = audit.map_err(|error| Failure::of(format!("{}: {error}", topics.audit)))?;
    let event = format!("test_{:016x}", rand::random::<u64>());
    let value = json!({
        "id": event,
        "timestamp": rfc3339_ms(Timestamp::now()),
        "event": "webhook.test",
        "version": "1.0",
        "data": { "message": "This is a test of your webhook." },
    });
    let (value, key) = (value.to_string(), id.as_str().as_bytes());
    let headers = Carried::due_now(id.clone(), Trigger::Test).write(&Headers::default(), None);
    let writer = Writer::new(connection)?;
    writer.write(&topics.deliver, Target::ByKey, key, Some(value.as_bytes()), &headers)?;
    let deadline = Instant::now() + within;
    while Instant::now() < deadline {
        let Some(record) = audit.next(LOOK) else { continue };
        if record.key.as_deref() != Some(key) {
            continue;
        }
        let told = record.value.as_deref().unwrap_or_default();
        let Ok(told) = serde_json::from_slice::<Value>(told) else { continue };
        if told["eventId"] == event.as_str() {
            writeln!(out, "{told:#}")?;
            if told["outcome"] == "delivered" {
                return Ok(());
            }
            let text = |name: &str| told[name].as_str().unwrap_or_default();
            let (outcome, reason) = (text("outcome"), text("reason"));
            return Err(Failure::of(format!(
                "{id} did not take the test event {event}: it is {outcome}, for the reason {reason}"
            )));
        }
    }
    Err(Failure::of(format!(
        "nothing was heard of the test event {event} within {within:?}: is a connector of the group {} running?",
        connection.config().kafka.group_id
    )))
}
