//! The story of an event as people read it.

use super::reason;
use crate::domain::audit::AuditRecord;
use crate::domain::event::rfc3339_ms;
use crate::domain::history::{Delivery, Produced, Story, Waiting};

/// Tells a story, line by line.
pub(super) fn tell(story: &Story) -> Vec<String> {
    // A record that is no event has its place for a name.
    let place = || story.sources.first().map(|produced| produced.source.to_string());
    let id = story.event_id.clone().or_else(place).unwrap_or_default();
    let event_type = story.event_type.as_deref().map(|text| format!("  {text}"));
    let tenant = story.tenant.as_deref().map(|text| format!("  tenant {text}"));
    let mut lines =
        vec![format!("{id}{}{}", event_type.unwrap_or_default(), tenant.unwrap_or_default())];
    for Produced { source, present, settled } in &story.sources {
        let present = if *present == Some(false) { ", gone from there" } else { "" };
        let settled = match settled {
            Some(true) => ", the connector is done with it",
            Some(false) => ", the connector is not done with it",
            None => "",
        };
        let written = rfc3339_ms(source.timestamp);
        lines.push(format!("  {source} of {written}{present}{settled}"));
    }
    if story.deliveries.is_empty() {
        lines.push(String::new());
        let nothing = "no delivery of it is known: if the connector is done with it, no subscription wanted it";
        lines.push(nothing.to_owned());
    }
    for delivery in story.deliveries.values() {
        lines.push(String::new());
        tell_delivery(delivery, &mut lines);
    }
    if story.left_out > 0 {
        lines.push(format!("{} records more are not shown", story.left_out));
    }
    lines
}

fn tell_delivery(delivery: &Delivery, lines: &mut Vec<String>) {
    let id = delivery.subscription_id.as_deref().unwrap_or("no subscription");
    lines.push(format!("{id}: {}", delivery.state.as_str()));
    for record in &delivery.attempts {
        lines.push(format!("  {}", line(record)));
        let said = record.error.as_deref().or(record.response.as_deref());
        lines.extend(said.map(|said| format!("      {said}")));
    }
    for Waiting { place, due_at, .. } in &delivery.waiting {
        let due = due_at.map_or("now".to_owned(), rfc3339_ms);
        lines.push(format!("  waits in {place}, due {due}"));
    }
    for place in &delivery.dead_letters {
        lines.push(format!("  dead letter {place}"));
    }
}

fn line(record: &AuditRecord) -> String {
    let what = match (record.latency_ms, record.attempt) {
        (Some(latency), attempt) => format!("#{attempt} took {latency} ms"),
        (None, 0) => "no attempt".to_owned(),
        (None, attempt) => format!("after #{attempt}"),
    };
    let next = record.next_attempt_at.map(|next| format!(", next due {}", rfc3339_ms(next)));
    format!(
        "{}  {what}: {}, {}{}",
        rfc3339_ms(record.at),
        record.outcome.as_str(),
        reason(record),
        next.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::history::Subject;
    use crate::domain::record::{Headers, Offset, Origin, Record};

    fn origin(topic: &str) -> Origin {
        let timestamp = "2026-01-15T10:30:00Z".parse().expect("a time");
        Origin { topic: topic.into(), partition: 3, offset: Offset(42), timestamp }
    }

    #[test]
    fn what_waits_is_told_with_its_place_and_time() {
        let mut headers = Headers::default();
        for (name, value) in [
            ("webhooks-subscription", "crm"),
            ("webhooks-id", "evt_1"),
            ("webhooks-origin", "orders/1/7"),
            ("webhooks-origin-timestamp", "2026-01-15T10:29:00Z"),
            ("webhooks-due-at", "2026-01-15T10:31:00Z"),
        ] {
            headers.push(name, value);
        }
        let record = Record { origin: origin("retry"), key: None, value: None, headers };
        let mut story = Story::default();
        story.add_waiting(&Subject::parse("evt_1"), &record);
        let expect = [
            "evt_1",
            "  orders/1/7 of 2026-01-15T10:29:00.000Z",
            "",
            "crm: waiting",
            "  waits in retry/3/42, due 2026-01-15T10:31:00.000Z",
        ];
        assert_eq!(tell(&story), expect);
    }

    #[test]
    fn what_came_to_nothing_is_told_by_its_place() {
        let mut story = Story::default();
        story.add_source(&origin("orders"));
        story.sources[0].present = Some(true);
        story.sources[0].settled = Some(false);
        let lines = tell(&story);
        assert_eq!(lines[0], "orders/3/42");
        assert!(lines[1].ends_with("Z, the connector is not done with it"), "{lines:?}");
        assert!(lines[3].starts_with("no delivery of it is known"), "{lines:?}");
    }
}
